"""A file that is never half-written: after a crash it is what it was at its last commit."""

from __future__ import annotations

import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

if sys.platform != "win32":
    import fcntl

PAGE = 4096
HEADER = struct.Struct("<QQQ")  # size of the file, bytes of the note, number of pages
INDEX = struct.Struct("<Q")


class DurableFile:
    """A file object with commits: a crash undoes all changes since the last one.

    It keeps a redo log, as databases do. HDF5 has none: kill a process while it writes a store, and the store is lost.

    Bytes beyond the committed end go to the file at once, as nothing refers to them yet. Changes before that end wait in
    memory, page by page. `commit` writes them to a log beside the file, replaces the last log by it in one step, and then
    writes them to the file. Opening the file repeats the log's writes and cuts the file at the committed end.

    A write that fails, as on a full disk, is kept as `failure`, and later writes are dropped. HDF5 raises from destructors,
    so it has to close its file without an error; the next `commit` raises the failure instead.

    Args:
        path: the file, made if missing; its log is `<path>.log`.

    Raises:
        InputError: another process has the file open.
        OSError: the file cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.log = self.path.with_name(f"{self.path.name}.log")
        self.note: bytes | None = None  # of the last commit; None if there was none
        self.failure: OSError | None = None
        self._position = self._size = self._protected = 0
        self._pages: dict[int, bytearray] = {}
        fresh = not self.path.exists()
        self._file = open(self.path, "r+b" if not fresh else "w+b", buffering=0)  # noqa: SIM115 (closed by `close`)
        try:
            self._lock()
            if fresh:
                self.log.unlink(missing_ok=True)
            self._recover()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file without a commit; the committed bytes are then on disk even without the log."""
        try:
            if not self._file.closed:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def commit(self, note: bytes = b"") -> None:
        """Make everything written so far durable, together with `note`, in one step.

        Args:
            note: value of `self.note` once the file is opened again.

        Raises:
            OSError: this or an earlier write failed; the last commit holds.
        """
        if self.failure is not None:
            raise self.failure
        try:
            os.fsync(self._file.fileno())
            self._replace_log(note)
            self._apply()
        except OSError as error:
            self.failure = error
            raise
        self.note = note

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte, as files do."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Return the byte at which the next read or write starts."""
        return self._position

    def flush(self) -> None:
        """Do nothing: see `commit`."""

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, as files do."""
        left = max(0, self._size - self._position)
        data = bytearray(left if size < 0 else min(size, left))
        self.readinto(data)
        return bytes(data)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the current byte on and return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(0, self._size - self._position))
        for start, stop, page in self._parts(count):
            place = slice(start - self._position, stop - self._position)
            if page in self._pages:
                view[place] = self._pages[page][start - page * PAGE : stop - page * PAGE]
            else:
                view[place] = self._stored(start, stop)
        self._position += count
        return count

    def write(self, data: Any) -> int:
        """Write `data` at the current byte, to count from the next commit on, and return its length."""
        view = memoryview(data).cast("B")
        if self.failure is None:
            try:
                for start, stop, page in self._parts(len(view)):
                    part = view[start - self._position : stop - self._position]
                    if start < self._protected:
                        self._page(page)[start - page * PAGE : stop - page * PAGE] = part
                    else:
                        self._put(start, part)
            except OSError as error:
                self.failure = error
        self._position += len(view)
        if view:
            self._size = max(self._size, self._position)
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the file's size, to count from the next commit on; new bytes are 0."""
        for page in range(size // PAGE, self._protected // PAGE) if size < self._size else ():
            start = max(0, size - page * PAGE)
            self._page(page)[start:] = bytes(PAGE - start)
        self._size = size
        if self.failure is None:
            try:
                self._file.truncate(max(size, self._protected))
            except OSError as error:
                self.failure = error
        return size

    def _parts(self, count: int) -> list[tuple[int, int, int]]:
        """Return (start, stop, page) of what `count` bytes from here cover: by pages before the committed end, else at once."""
        end = self._position + count
        starts = [self._position, *range((self._position // PAGE + 1) * PAGE, min(end, self._protected), PAGE)]
        if self._position < self._protected < end:
            starts.append(self._protected)
        return [(start, stop, start // PAGE) for start, stop in zip(starts, [*starts[1:], end], strict=True) if start < stop]

    def _page(self, index: int) -> bytearray:
        if index not in self._pages:
            self._pages[index] = bytearray(self._stored(index * PAGE, (index + 1) * PAGE))
        return self._pages[index]

    def _stored(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        data = bytearray()
        while len(data) < stop - start and (more := self._file.read(stop - start - len(data))):
            data += more
        return bytes(data).ljust(stop - start, b"\0")

    def _put(self, start: int, data: memoryview | bytearray) -> None:
        self._file.seek(start)
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def _replace_log(self, note: bytes) -> None:
        with replace_file(self.log, durable=True) as partial, partial.open("wb") as log:
            log.write(HEADER.pack(self._size, len(note), len(self._pages)) + note)
            for index, page in sorted(self._pages.items()):
                log.write(INDEX.pack(index) + page)

    def _apply(self) -> None:
        for index, page in sorted(self._pages.items()):
            self._put(index * PAGE, page)
        self._file.truncate(self._size)
        self._pages.clear()
        self._protected = -(-self._size // PAGE) * PAGE

    def _recover(self) -> None:
        if self.log.exists():
            with self.log.open("rb") as log:
                self._size, length, pages = HEADER.unpack(log.read(HEADER.size))
                self.note = log.read(length)
                for _ in range(pages):
                    (index,) = INDEX.unpack(log.read(INDEX.size))
                    self._pages[index] = bytearray(log.read(PAGE))
        self._apply()

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{self.path}: expected to be alone at it, found another process that writes it; wait for it to end"
            ) from error
