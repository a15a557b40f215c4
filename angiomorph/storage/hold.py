"""One process at a time for each result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def hold_name(stem: Path) -> Iterator[bool]:
    """Yield whether this process alone makes the results of a name until the block ends; the system frees what dies.

    Args:
        stem: path of the results without their endings; its folder is made.

    Raises:
        OSError: the folder cannot be made or written.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = _name_lock(stem)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
        while not path.exists():  # its last holder removed it after it was opened here
            lock.release()
            lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows removes it itself
            path.unlink()
        lock.release()


def remove_dead_hold(stem: Path) -> None:
    """Remove what a killed process that held a name left of it.

    Args:
        stem: path of the results without their endings.

    Raises:
        OSError: the folder cannot be written.
    """
    if _name_lock(stem).exists():
        with hold_name(stem):
            pass


def _name_lock(stem: Path) -> Path:
    return stem.with_name(f".{stem.name}.lock")
