"""Runs in zip and gz archives: unpacked within bounds to a folder that is removed when nothing needs it any more."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from angiomorph.errors import InputError

ZIP, GZ = b"PK\x03\x04", b"\x1f\x8b"
MEMBERS = 100_000  # of an archive
SMALL = 1 << 30  # bytes: what an archive may always unpack to
RATIO = 100  # unpacked over packed size that a larger one may have; runs have 2 to 10
ROOM = 1 << 28  # bytes that stay free on the disk
BLOCK = 1 << 20  # bytes unpacked at a time
# What Python makes of wrong bytes; a MemoryError where an archive of LZMA asks for a dictionary of 4 GB.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, RuntimeError, ValueError, MemoryError)
UNPACK = "unpack it and give the folder"


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes: ...


class Unpacked:
    """What was in an archive, in a temporary folder that is removed with this object.

    Args:
        source: the archive.
        path: the folder of a zip's members, or the file of a gz.
        folder: the temporary folder; None if another object removes it.
    """

    def __init__(self, source: Path, path: Path, folder: Path | None) -> None:
        self.source, self.path = source, path
        if folder is not None:
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __reduce__(self) -> tuple[type[Unpacked], tuple[Path, Path, None]]:
        return Unpacked, (self.source, self.path, None)  # another process does not remove what is this one's

    def holds(self, path: Path) -> bool:
        """Return whether a file comes from the archive."""
        return path == self.path or self.path in path.parents

    def told(self, message: str) -> str:
        """Return a message in which the archive stands for the temporary folder."""
        return message.replace(str(self.path), str(self.source))


def archive_kind(path: Path) -> bytes:
    """Return how a zip or gz archive begins; b"" for any other file."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return b""
    return next((kind for kind in (ZIP, GZ) if start.startswith(kind)), b"")


def unpack(archive: Path) -> Unpacked:
    """Unpack a zip's members, or the one file of a gz, to a temporary folder.

    Sizes are checked before anything is written, and again while it is, as an archive may lie. Archives in it stay packed.

    Raises:
        InputError: the archive is damaged or encrypted; a member would leave the folder; there are too many members; it unpacks
            to more than 1 GiB and 100 times its size, or to more than the disk has room for.
    """
    folder = Path(tempfile.mkdtemp(prefix="angiomorph-"))
    path = folder / (archive.stem or "archive")
    unpacked = Unpacked(archive, path, folder)
    room = shutil.disk_usage(folder).free - ROOM
    with _explain_damage(archive):
        if archive_kind(archive) == GZ:
            with gzip.open(archive) as packed, path.open("xb") as file:
                copy_up_to(archive, packed, file, min(_most(archive), room))
        else:
            path.mkdir()
            _unzip(archive, path, room)
    return unpacked


@contextmanager
def _explain_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except NotImplementedError as error:  # a compression that Python does not know
        raise InputError(
            f"{archive}: expected an archive that this program can unpack, found another compression; {UNPACK}"
        ) from error
    except DAMAGED as error:
        raise InputError(f"{archive}: expected a whole archive, found a damaged one; fetch it again") from error
    except OSError as error:
        raise InputError(
            f"{archive}: expected to unpack it to the folder for temporary files, but: {error.strerror}; {UNPACK}"
        ) from error


def _most(archive: Path) -> int:
    return max(SMALL, RATIO * archive.stat().st_size)


def _unzip(archive: Path, folder: Path, room: int) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = [member for member in packed.infolist() if not member.is_dir()]
        total = sum(member.file_size for member in members)
        if len(members) > MEMBERS:
            raise InputError(f"{archive}: expected at most {MEMBERS} files in an archive, found {len(members)}; {UNPACK}")
        if total > min(_most(archive), room):
            raise _too_large(archive, total)
        if any(member.flag_bits & 1 for member in members):
            raise InputError(f"{archive}: expected an archive without a password, found encrypted files; {UNPACK}")
        targets = [_target(archive, folder, member.filename) for member in members]
        for member, target in zip(members, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(member) as source, _new(target).open("xb") as file:
                copy_up_to(archive, source, file, member.file_size)


def _target(archive: Path, folder: Path, name: str) -> Path:
    """Return where a member goes; links are written as files, so that names alone can lead out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or any(":" in part or "\0" in part for part in parts):
        raise InputError(f"{archive}: expected files that stay in their folder, found one whose name leads out of it; {UNPACK}")
    return folder.joinpath(*parts)


def _new(target: Path) -> Path:
    """Return a name that is free: a zip may have two members of one name."""
    count, free = 1, target
    while os.path.lexists(free):
        count += 1
        free = target.with_name(f"{target.name}_{count}")
    return free


def copy_up_to(archive: Path, source: Readable, target: IO[bytes], most: int) -> None:
    written = 0
    while block := source.read(BLOCK):
        written += len(block)
        if written > most:
            raise _too_large(archive, written)
        target.write(block)


def _too_large(archive: Path, size: int) -> InputError:
    return InputError(
        f"{archive}: expected an archive of runs that this disk has room for, found one of {archive.stat().st_size} bytes that "
        f"unpacks to {size} or more. If that is what you expect, unpack it on a larger disk and give the folder"
    )
