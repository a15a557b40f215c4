"""Tasks on the workers of dask.distributed: of this machine or of many, and a worker may die."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from angiomorph import __version__
from angiomorph.errors import InputError
from angiomorph.workers.pool import Died, hold_interrupts

Task = TypeVar("Task")
Result = TypeVar("Result")
LOCAL = re.compile(r"local:([1-9]\d*)")
SCHEDULER = re.compile(r"(?!local:)(\w+://)?[^\s/]+:\d+")
# One task at a time is with a worker, so that its death is blamed on no other; a task is tried twice.
SCHEDULING = {"distributed.scheduler.worker-saturation": 1.0, "distributed.scheduler.allowed-failures": 1}
CONNECTING = 10  # seconds to wait for a scheduler
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")  # what TensorFlow and NumPy go by
_one_task = threading.Lock()  # of a worker, which may have several threads: memory is reckoned by one run a process


@dataclass(frozen=True)
class Cluster:
    """A scheduler of dask.distributed that this process is connected to.

    Args:
        address: as the user gave it.
        client: a `distributed.Client`.
    """

    address: str
    client: Any

    def count_workers(self) -> int:
        """Return how many worker processes there are now."""
        return len(self.client.nthreads())


@contextmanager
def open_cluster(address: str) -> Iterator[Cluster]:
    """Yield a connection to a cluster; workers that were started for it end with the block.

        >>> with am.open_cluster("local:1") as cluster:
        ...     report = am.prepare("data/sample_lin.dcm", "out/by_worker.h5", cluster=cluster)
        >>> isinstance(cluster, am.Cluster), report.taken
        (True, 1)

    A script calls it under `if __name__ == "__main__":`, as Python starts processes by importing the script.

    Args:
        address: `local:N` starts N worker processes here, which share this machine's cores; else that of a dask scheduler.

    Raises:
        InputError: no such scheduler, no address, processes that do not start, or dask.distributed is not installed.
    """
    local = LOCAL.fullmatch(address)
    if not local and not SCHEDULER.fullmatch(address):
        raise InputError(
            f"`cluster` {address}: expected local:N for N processes of this machine, or HOST:PORT of a dask scheduler"
        )
    distributed = _import_distributed()
    with ExitStack() as stack:
        try:
            # Its threads start the workers, and start them anew: no interrupt may reach these, see `hold_interrupts`.
            with hold_interrupts():
                place = stack.enter_context(_start_workers(int(local[1]))) if local else address
                client = stack.enter_context(distributed.Client(place, timeout=CONNECTING, set_as_default=False))
        except RuntimeError as error:
            raise InputError(
                f"`cluster` {address}: expected worker processes to start here, but they did not; give fewer, or wait until "
                "this machine has less to do"
            ) from error
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"`cluster` {address}: expected a dask scheduler within {CONNECTING} s, found none. Start one with "
                "`dask scheduler` and workers with `dask worker HOST:PORT --nthreads 1`, or give local:N"
            ) from error
        yield Cluster(address, client)


def _start_workers(number: int) -> Any:
    """Return a scheduler in this process with worker processes that share the cores."""
    threads = str(max(1, (os.cpu_count() or 1) // number))
    with import_module("dask.config").set(SCHEDULING):
        return _import_distributed().LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # any port: its usual one may be another cluster's
            memory_limit=0,  # its own would end a worker whose run is large
            silence_logs=logging.CRITICAL,
            env=dict.fromkeys(THREADS, threads),
        )


def map_on_cluster(
    function: Callable[[Task], Result], tasks: Sequence[Task], cluster: Cluster, ahead: int
) -> Generator[Result | Died, None, None]:
    """Yield `function(task)` of each task, in the order of the tasks.

    A worker does one task at a time, in the folder in which this process is. If it dies before its result has come, another one
    repeats the task. After more deaths than the scheduler allows (dask's `allowed-failures`; 1 of `local:N`), `Died` is the
    result. Workers may come and go. If the caller stops, tasks that have not begun are cancelled.

    Args:
        function: a module's function that workers can import.
        tasks: arguments that pickle can send.
        cluster: open cluster from `open_cluster`.
        ahead: tasks a worker by which work runs ahead of the result that is wanted next; it bounds memory.

    Raises:
        InputError: the scheduler has gone, or a worker lacks this version of the program or this process's folder.
        Exception: the first error that `function` raised, in the order of the tasks.
    """
    work = partial(_work, function=function, folder=os.getcwd(), version=__version__)
    # Results are fetched as they come: those that a worker holds would be lost with it.
    finished = _import_distributed().as_completed(loop=cluster.client.loop, with_results=True, raise_errors=False)
    numbers: dict[Any, int] = {}  # of the tasks under way
    results: dict[int, Result | Died | _Raised] = {}
    given = 0
    try:
        for wanted in range(len(tasks)):
            with _explain_losses(cluster):
                while True:
                    while given < min(len(tasks), wanted + ahead * max(1, cluster.count_workers())):
                        future = cluster.client.submit(work, tasks[given], pure=False)
                        numbers[future] = given
                        finished.add(future)
                        given += 1
                    if wanted in results:
                        break
                    future, result = next(finished)
                    results[numbers.pop(future)] = _take_result(future, result)
                found = results.pop(wanted)
                if isinstance(found, _Raised):
                    raise found.error
            yield found
    finally:
        if numbers and cluster.client.status == "running":
            cluster.client.cancel(list(numbers))


@dataclass(frozen=True)
class _Raised:
    """What a task raised, until its turn comes."""

    error: Exception


def _take_result(future: Any, result: Any) -> Any:
    """Return what a finished task returned, `Died`, or what it raised."""
    if future.status == "finished":
        return result
    if future.status != "error":
        raise _import_distributed().CancelledError
    error = result[1]
    if isinstance(error, _import_distributed().scheduler.KilledWorker):
        return Died(None)
    return _Raised(error)


@contextmanager
def _explain_losses(cluster: Cluster) -> Iterator[None]:
    """Say in one line that the scheduler has gone, or that workers lack the program."""
    distributed = _import_distributed()
    try:
        if cluster.client.status == "closed":  # while the caller did something else
            raise distributed.CancelledError
        yield
    except (distributed.CancelledError, distributed.comm.CommClosedError) as error:
        raise InputError(
            f"`cluster` {cluster.address}: expected its scheduler until the last run, but it has gone; what is finished is "
            "kept: give the command again"
        ) from error
    except RuntimeError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        raise InputError(
            f"`cluster` {cluster.address}: expected AngioMorph {__version__} with each worker, found none ({error.__cause__}); "
            "install it there"
        ) from error


def _work(task: Any, function: Callable[[Any], Any], folder: str, version: str) -> Any:
    """Do a task in a worker's process."""
    if version != __version__:
        raise InputError(
            f"`cluster`: expected AngioMorph {version} with each worker, found {__version__}; install the same version"
        )
    with _one_task:
        try:
            os.chdir(folder)
        except OSError as error:
            raise InputError(
                f"{folder}: expected this folder on each worker's machine, but {error.strerror}; start the command in "
                "one that all share"
            ) from error
        return function(task)


def _import_distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise InputError(
            "`cluster`: expected dask.distributed to be installed, found nothing; run `pip install 'angiomorph[cluster]'`"
        ) from error
