"""Training by several GPUs, of one machine or of several: which `tf.distribute` strategy, and what its workers agree on.

A worker is a process, a replica a GPU (or the CPU of a worker without one). Each replica takes its slice of every joint batch,
so that the objective is that of one process with the joint batch.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.training.config import Sampling

MEETING = 600.0  # seconds that a worker waits for the others at the start
CONNECTING = 300.0  # seconds that TensorFlow then gets to connect them: it has no bound of its own
GREETING = 10.0  # seconds for one line over an open connection
JOBS = ("chief", "worker")
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class TrainingWorkers:
    """The workers of a training, "host:port" each with the chief first, and which of them (from 0) this process is."""

    workers: tuple[str, ...]
    index: int


def read_workers() -> TrainingWorkers | None:
    """Return what the environment's TF_CONFIG says, or None where it names no other worker.

    Raises:
        InputError: TF_CONFIG is not what TensorFlow's MultiWorkerMirroredStrategy takes.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        given = json.loads(text or "{}")
        jobs, task = given.get("cluster", {}), given.get("task", {})
        unknown = sorted(set(jobs) - set(JOBS))
        workers = tuple(str(address) for job in JOBS for address in jobs.get(job, ()))
        if not unknown and len(workers) < 2:
            return None
        if unknown or len(jobs.get("chief", ())) > 1:
            raise ValueError(f"jobs {', '.join(jobs)}")
        for address in workers:
            _host_and_port(address)
        if int(task["index"]) not in range(len(jobs[task["type"]])):
            raise ValueError(f"task {task}")
        index = int(task["index"]) + (len(jobs.get("chief", ())) if task["type"] == "worker" else 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"TF_CONFIG: expected JSON such as {EXAMPLE}, one process a worker, found {text!r} ({error}); unset it to train on "
            "this machine alone"
        ) from error
    return TrainingWorkers(workers, index)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or int(port) not in range(1, 65536):
        raise ValueError(f"address {address}")
    return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Distribution:
    """How a training is spread.

    Args:
        strategy: TensorFlow's; None for one device, as without any.
        worker: this process, from 0; 0 is the chief, which alone writes files.
        workers: number of processes.
    """

    strategy: tf.distribute.Strategy | None = None
    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes the files."""
        return self.worker == 0

    @property
    def local_replicas(self) -> int:
        """Number of slices of a joint batch that this process takes."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync // self.workers

    def scope(self) -> AbstractContextManager[Any]:
        """Return the context in which model and optimizer are made."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def pipeline(self, make: Callable[[], tf.data.Dataset]) -> Any:
        """Return what `fit` takes of an endless pipeline that yields this process's slices, one a local replica, in turn."""
        if self.strategy is None:
            return make()
        # Else the workers would ask each other at each step whether there is another.
        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        with self.scope():  # in which the pipeline leaves to the strategy what is copied to which GPU
            return self.strategy.distribute_datasets_from_function(lambda _: make().apply(endless))

    def mean(self, values: Sequence[float]) -> list[float]:
        """Return the mean over the workers, equal on all to the last bit; all have to call this, in the same order."""
        if self.strategy is None or self.workers == 1:
            return list(values)
        with self.scope():
            total = self.strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(values, tf.float64), axis=None)
        return [float(value) / self.workers for value in total]

    @contextmanager
    def explain_lost_workers(self) -> Iterator[None]:
        """Tell of a worker that has ended while this one needs it.

        Raises:
            InputError: TensorFlow has broken off what the workers do together.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.workers == 1 or not _is_loss(error):
                raise
            raise InputError(
                f"worker {self.worker} of {self.workers} (from 0): expected all of them until the end, but another ended or "
                "cannot be reached. The last checkpoint is intact. Read that worker's output, then restart all with `resume`. "
                f"TensorFlow says: {_reason(error.message)}"
            ) from error


def _reason(message: str) -> str:
    """Return the line that says something: a traceback through Keras comes first."""
    lines = message.strip().splitlines()
    return next((line.partition("aborted by: ")[2] for line in lines if "aborted by: " in line), lines[0])


def _is_loss(error: tf.errors.OpError) -> bool:
    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
    return isinstance(error, lost) or "Collective ops is aborted" in error.message


def _check_divisible(sampling: Sampling, replicas: int) -> None:
    """Check that each batch, a visit's last smaller one too, can be cut into equal slices.

    Raises:
        InputError: it cannot.
    """
    of_batch = "`batch_size`", sampling.batch_size, replicas * sampling.series_per_batch
    for option, number, multiple in (of_batch, ("`frames_per_series`", sampling.frames_per_series, replicas)):
        if number % multiple:
            raise InputError(
                f"{option} {number}: expected a multiple of {multiple}. The {replicas} GPUs or workers take equal slices of "
                f"each run in a batch; give {-(-number // multiple) * multiple}, or fewer GPUs by `gpu`"
            )


def join(team: TrainingWorkers | None, gpus: int, sampling: Sampling, description: Mapping[str, Any]) -> Distribution:
    """Choose the strategy: TF_CONFIG's workers, else several GPUs, else none; before TensorFlow first computes.

    Args:
        team: workers of `read_workers`.
        gpus: number of GPUs of this process, 0 for the CPU.
        sampling: batches to draw, cut into equal slices.
        description: values that all workers must share, by name.

    Raises:
        InputError: the slices cannot be equal, or a worker does not come, differs, or cannot be connected.
    """
    devices = list_devices(gpus)
    _check_divisible(sampling, max(1, len(devices)) * (1 if team is None else len(team.workers)))
    if team is not None:
        return _join_team(team, {**description, "GPUs of a worker": gpus})
    return Distribution(tf.distribute.MirroredStrategy(devices)) if len(devices) > 1 else Distribution()


def list_devices(gpus: int) -> list[str]:
    """Return TensorFlow's names of this process's first `gpus` GPUs."""
    return [f"GPU:{number}" for number in range(gpus)]


def _join_team(team: TrainingWorkers, description: Mapping[str, Any]) -> Distribution:
    meet(team, description)
    # TensorFlow holds Python's lock while it connects, so that neither a thread nor a signal could end it.
    faulthandler.dump_traceback_later(CONNECTING, exit=True, file=2)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            f"TF_CONFIG: expected to connect worker {team.index} of {len(team.workers)} before TensorFlow's first computation, "
            f"but: {error}"
        ) from error
    finally:
        faulthandler.cancel_dump_traceback_later()
        # TensorFlow takes it over and goes on; a handler in Python would wait while TensorFlow waits for another worker.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return Distribution(strategy, team.index, len(team.workers))


def meet(team: TrainingWorkers, description: Mapping[str, Any], seconds: float = MEETING) -> None:
    """Wait at the chief's address until all workers are there, and compare what they have in common.

    TensorFlow itself waits for ever, deaf to signals, for a worker that does not come, and hangs at one that differs.

    Args:
        team: the workers.
        description: values that all workers must share, by name.
        seconds: how long to wait.

    Raises:
        InputError: an address is taken, a worker does not come, or differs; all that came raise the same.
    """
    mine = json.loads(json.dumps(description))
    host, port = _host_and_port(team.workers[team.index])
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"TF_CONFIG: expected port {port} of {host} to be free for worker {team.index}, but: {error.strerror}; end what "
            "uses it, or name another port"
        ) from error
    with server:
        verdict = _gather(server, len(team.workers), mine, time.monotonic() + seconds) if team.index == 0 else None
    if verdict is None:
        verdict = _report(team, mine, time.monotonic() + seconds)
    if verdict:
        raise InputError(verdict)


def _gather(server: socket.socket, count: int, mine: dict[str, Any], deadline: float) -> str:
    """Return what is wrong with the others, "" for nothing, after telling them."""
    there: dict[int, tuple[socket.socket, dict[str, Any]]] = {}
    with ExitStack() as stack:
        while len(there) < count - 1 and time.monotonic() < deadline:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                connection = stack.enter_context(server.accept()[0])
                connection.settimeout(GREETING)
                index, theirs = json.loads(_line(connection))
                there[int(index)] = connection, dict(theirs)
            except (OSError, ValueError, TypeError):
                continue  # not one of ours, or ended
        verdict = _verdict(count, mine, {index: theirs for index, (_, theirs) in there.items()})
        for connection, _ in there.values():
            connection.sendall((json.dumps(verdict) + "\n").encode())
    return verdict


def _verdict(count: int, mine: dict[str, Any], others: dict[int, dict[str, Any]]) -> str:
    absent = [str(index) for index in range(1, count) if index not in others]
    if absent:
        return (
            f"TF_CONFIG: expected {count} workers, found that worker {', '.join(absent)} did not come; see what it printed, "
            "and that its machine reaches worker 0"
        )
    found = [
        f"{name}: {mine[name]} of worker 0, {theirs.get(name)} of worker {index}"
        for index, theirs in sorted(others.items())
        for name in mine
        if theirs.get(name) != mine[name]
    ]
    if found:
        return (
            f"TF_CONFIG: expected the same of all workers, found {'; '.join(found)}; start all with the same options, stores "
            "and `model_dir`, on a file system that they share"
        )
    return ""


def _report(team: TrainingWorkers, mine: dict[str, Any], deadline: float) -> str:
    """Tell the chief, and return what it finds."""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(_host_and_port(team.workers[0]), GREETING) as connection:
                connection.sendall((json.dumps([team.index, mine]) + "\n").encode())
                connection.settimeout(max(0.01, deadline - time.monotonic()) + GREETING)
                return str(json.loads(_line(connection)))
        except (OSError, ValueError):
            time.sleep(0.2)  # it is not there yet
    return f"TF_CONFIG: expected worker 0 at {team.workers[0]}, found no answer there; see what it printed"


def _line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        return file.readline()
