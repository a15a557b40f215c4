"""HDF5 files from anyone: opened for reading, and refused where they lead to other files, which HDF5 would open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py

from angiomorph.errors import InputError

DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError)  # what h5py makes of HDF5's errors


def open_hdf5(path: str | os.PathLike[str], expected: str) -> h5py.File:
    """Open an HDF5 file for reading.

    Args:
        path: the file.
        expected: what the file should be, for messages: "a training store (HDF5)".

    Raises:
        InputError: the file is absent or not HDF5.
    """
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected {expected}, found no such file; check its name") from error
    except OSError as error:
        raise InputError(f"{path}: expected {expected}, but it cannot be opened as HDF5: {error}") from error


@contextmanager
def telling_damage(path: str | os.PathLike[str], expected: str) -> Iterator[None]:
    """Say in one line that a file cannot be read, whatever h5py raises within the block.

    Args:
        path: the file.
        expected: see `open_hdf5`.

    Raises:
        InputError: h5py cannot read the file.
    """
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: expected {expected}, but it cannot be read: {reason}; copy or make it again") from error


def find_arrays(
    file: h5py.File, path: str | os.PathLike[str], expected: str, remedy: str, most: int | None = None
) -> Iterator[h5py.Dataset]:
    """Yield all arrays of an open HDF5 file that leads to no other file and to nothing twice.

    Args:
        file: open for reading.
        path: of the file, for messages.
        expected: what the file should be.
        remedy: what to do if it is none.
        most: groups and arrays that it may have; None for any number.

    Raises:
        InputError: the file has soft or external links, arrays kept elsewhere, loops, or too many objects.
    """

    def refuse(wanted: str, found: str) -> InputError:
        return InputError(f"{path}: expected {expected} with {wanted}, found {found}; {remedy}")

    count, seen, waiting = 0, set[int](), [file["/"]]
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        count += 1
        if address in seen or (most is not None and count > most):
            limit = "" if most is None else f" and up to {most} objects"
            raise refuse(f"each group once{limit}", f"{group.name!r} twice, or more of them")
        seen.add(address)
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise refuse("all in the file itself", f"{_say_link(link)} at {group.name.rstrip('/')}/{name}")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise refuse("all in the file itself", f"an array kept in another file at {item.name}")
                count += 1
                yield item


def _say_link(link: Any) -> str:
    if link is None:
        return "a link that cannot be read"
    external = isinstance(link, h5py.ExternalLink)
    return f"an external link to {link.filename!r}" if external else f"a soft link to {link.path!r}"
