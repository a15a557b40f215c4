"""Arrays of one shape in a temporary file without a name, which is gone with the process, however that ends."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.errors import InputError


def open_unnamed(folder: str | os.PathLike[str] | None) -> io.FileIO:
    """Return a new file without a name, open for writing and reading.

    Args:
        folder: on whose disk it lies; it need not be there yet. None for the system's folder of temporary files.

    Raises:
        InputError: nothing can be written there.
    """
    wanted = Path(tempfile.gettempdir() if folder is None else folder)
    with _explain_disk_errors(wanted):
        there = next(path for path in (wanted, *wanted.absolute().parents) if path.is_dir())
        file: Any = tempfile.TemporaryFile(dir=there, buffering=0)  # noqa: SIM115 (who asks for it closes it)
    return getattr(file, "file", file)  # Windows wraps it


def write_all(file: io.FileIO, data: Any, folder: str | os.PathLike[str] | None) -> None:
    """Write bytes whole where a file stands.

    Args:
        file: open file from `open_unnamed`.
        data: bytes, or what holds them.
        folder: as of `open_unnamed`, for the message.

    Raises:
        InputError: the disk is full, or fails.
    """
    left = memoryview(data).cast("B")
    with _explain_disk_errors(folder or tempfile.gettempdir()):
        while left:
            left = left[file.write(left) or 0 :]


@contextmanager
def _explain_disk_errors(folder: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise InputError(
            f"{os.fspath(folder)}: expected room there for temporary files of the run, but: {reason}; make room, or name "
            "another folder with `out`"
        ) from error


class Spool:
    """Arrays on the disk, written and read by index in any order, by any thread.

    What was not written reads as zeros as far as something behind it was. It is no mapped memory, which would count as the
    process's own.

    Args:
        folder: on whose disk it lies, see `open_unnamed`.
        shape: shape of each array.
        dtype: type of each array's values.

    Raises:
        InputError: nothing can be written there.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, shape: Sequence[int], dtype: Any) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.file = open_unnamed(folder)
        self._folder = folder
        self._bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, self.file.close)

    def __setitem__(self, index: int, array: np.ndarray) -> None:
        """Write an array.

        Raises:
            InputError: the disk is full, or fails.
            ValueError: another shape.
        """
        if array.shape != self.shape:
            raise ValueError(f"spool: expected an array of shape {self.shape}, got {array.shape}")
        data = np.ascontiguousarray(array, self.dtype).reshape(-1).view(np.uint8).data
        with self._lock:
            self.file.seek(index * self._bytes)
            write_all(self.file, data, self._folder)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return an array.

        Raises:
            OSError: nothing was written there, or the disk fails.
        """
        array = np.empty(self.shape, self.dtype)
        left = array.reshape(-1).view(np.uint8).data
        with self._lock:
            self.file.seek(index * self._bytes)
            while left:
                if not (read := self.file.readinto(left)):
                    raise OSError(f"spool: expected array {index}, found the end of the temporary file")
                left = left[read:]
        return array
