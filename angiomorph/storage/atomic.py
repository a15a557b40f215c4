"""Files and folders that get their names whole or not at all: one by itself, or several files together."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# Names tell the host, so that no process of another one is taken for dead where a folder is shared.
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
PARTIAL = re.compile(rf"\..*\.{HOST}-(\d+)\.partial")
# Temporary path to final name of each file written so far in this thread's `replace_together`.
_group: ContextVar[dict[Path, Path] | None] = ContextVar("group", default=None)


@contextmanager
def replace_file(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name when the block succeeds and vanishes when it fails.

    Within `replace_together` the file waits for the others of its group before it takes its name.

    Args:
        path: the final name; its folder is made if missing.
        durable: wait until the file is on the disk before it takes its name, and until the name is there too.

    Returns:
        the temporary path, in the same folder, to write to.

    Raises:
        OSError: a folder has the final name, or the disk fails.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder has that name", str(final))
    partial = final.with_name(f".{final.name}.{HOST}-{os.getpid()}.partial")
    group = _group.get()
    try:
        yield partial
        if durable:
            sync_path(partial)
        if group is None:
            os.replace(partial, final)
        else:
            group[partial] = final
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable and group is None:
        sync_path(final.parent)


@contextmanager
def replace_together() -> Iterator[None]:
    """Let all files that the block writes by `replace_file` take their names when it succeeds, or none of them.

    Only files written by the block's own thread belong to it.

    Raises:
        OSError: a file cannot take its name; those before it have theirs.
    """
    group: dict[Path, Path] = {}
    token = _group.set(group)
    try:
        yield
        for partial, final in group.items():
            os.replace(partial, final)
    finally:
        _group.reset(token)
        for partial in group:
            partial.unlink(missing_ok=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove the temporary files and folders that ended processes of this host left in a folder, and return them.

    Args:
        folder: folder of final names; it need not be there.
    """
    paths = Path(folder).iterdir() if Path(folder).is_dir() else ()
    left = [path for path in paths if (found := PARTIAL.fullmatch(path.name)) and not _is_running(int(found[1]))]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return left


def _is_running(process: int) -> bool:
    if sys.platform == "win32":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Return whether a process has ended, but nobody has asked how; in a container there may be nobody who does."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b") ")[2].startswith(b"Z")
    except OSError:  # the system does not tell
        return False


@contextmanager
def make_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its name when the block succeeds and vanishes when it fails.

    Args:
        path: the final name, which nothing may have yet; its parent is made if missing.

    Returns:
        the temporary folder, made and empty.

    Raises:
        OSError: something has the final name, or the disk fails.
    """
    final = Path(path)
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
    partial = final.with_name(f".{final.name}.{HOST}-{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        os.rename(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def sync_path(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: the disk fails.
    """
    if sys.platform == "win32" and os.path.isdir(path):  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
