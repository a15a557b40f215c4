"""Worker processes of this machine: a function of many tasks, results in order, few at a time, and a worker may die."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from angiomorph.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 2  # tasks a worker by which work runs ahead of the result that is wanted next


@dataclass(frozen=True)
class Died:
    """The result of a task whose process ended within it.

    Args:
        exit_code: exit code of the process; -n if signal n ended it; None of a cluster's, which does not tell it.
    """

    exit_code: int | None

    def __str__(self) -> str:
        """Return how the process ended: "signal SIGSEGV" or "exit status 3"."""
        if self.exit_code is None:
            return "no exit status that is known, each time that it was tried"
        if self.exit_code >= 0:
            return f"exit status {self.exit_code}"
        known = {number.value: number.name for number in signal.Signals}
        return f"signal {known.get(-self.exit_code, -self.exit_code)}"


def map_in_order(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[Result | Died, None, None]:
    """Yield `function(task)` of each task, in the order of the tasks.

    A started process runs one task at a time. At most `2 * workers` tasks are under way or wait to be yielded, which bounds
    memory. If a process dies in a task, another one takes its place and `Died` is that task's result.

    Args:
        function: a module's function, so that another process can import it.
        tasks: arguments that pickle can send.
        workers: processes, at least 1.

    Raises:
        InputError: a process ends before it has begun its first task.
        Exception: any error that `function` raised.
    """
    pool = [_Worker(function) for _ in range(min(workers, len(tasks)))]
    results: dict[int, Result | Died] = {}
    given = 0
    try:
        for wanted in range(len(tasks)):
            while True:
                for worker in pool:
                    if worker.task is None and given < min(len(tasks), wanted + AHEAD * workers):
                        worker.give(given, tasks[given])
                        given += 1
                if wanted in results:
                    break
                ready = wait([worker.connection for worker in pool])
                for worker in [worker for worker in pool if worker.connection in ready]:
                    worker.receive(results)
            yield results.pop(wanted)
    finally:
        for worker in pool:
            worker.stop()


class _Worker(Generic[Task, Result]):
    """One process and the number of the task it has, or None."""

    def __init__(self, function: Callable[[Task], Result]) -> None:
        self.function = function
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")  # a fork would take along the locks of libraries' threads
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(self.function, theirs), daemon=True)
        with hold_interrupts():
            self.process.start()
        theirs.close()  # or the end of the process would not end what comes from it
        self.task: int | None = None
        self.ready = False

    def give(self, number: int, task: Task) -> None:
        self.task = number
        try:
            self.connection.send(task)
        except OSError:
            return  # it has died: `receive` says so

    def receive(self, results: dict[int, Result | Died]) -> None:
        """Take one message: that the process has started, a result, an error, or its end."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self._bury(results)
            return
        if kind == "error":
            raise value
        if kind == "ready":
            self.ready = True
        elif self.task is not None:
            results[self.task] = value
            self.task = None

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.connection.close()

    def _bury(self, results: dict[int, Result | Died]) -> None:
        self.process.join()
        died = Died(self.process.exitcode or 0)
        if not self.ready:
            raise InputError(
                f"`workers`: expected a process to start, but it ended with {died}. A script has to call this under "
                '`if __name__ == "__main__":`, as Python starts processes by importing the script'
            )
        if self.task is not None:
            results[self.task] = died
        self.connection.close()
        self._start()


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Start processes that no interrupt reaches: on a terminal it goes to all, and a starting one would print a traceback."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # or Python starts it within, and undoes the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(function: Callable[[Any], Any], connection: Connection) -> None:
    """Do tasks until the other end closes; interruption is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        connection.send(("ready", None))
        while True:
            task = connection.recv()
            try:
                message = ("result", function(task))
            except Exception as error:
                message = ("error", error)
            connection.send(message)
    except (EOFError, OSError):
        return  # the parent has gone
