"""Ctrl-C and SIGTERM that wait for a moment at which nothing breaks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def defer_interrupts() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM wait until the block ends, or until what it yields is called between two steps.

    HDF5 calls methods of Python's file objects. What such a call raises is lost within HDF5, or ends the process by SIGSEGV.

    Returns:
        what does at once what an interrupt that waits would have done, if there is one.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield lambda: None
        return
    waiting: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    def interrupt() -> None:
        if waiting:
            first = waiting.pop(0)
            before[first](first, None)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):
                before[number] = handler
                signal.signal(number, note)
        yield interrupt
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        interrupt()
