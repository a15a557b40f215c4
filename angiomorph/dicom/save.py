"""What every written DICOM file shares: reproducible UIDs, file meta information, whole-or-not-at-all saving."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from angiomorph.dicom.attributes import without_warnings
from angiomorph.dicom.compress import CODERS
from angiomorph.dicom.encoding import Encoding
from angiomorph.dicom.gathered_frames import GatheredFrames
from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

PROGRAM = "angiomorph"
IMPLEMENTATION_CLASS_UID = UID("2.25.292716217563146316246143962530254786437")  # drawn once for this program
IMPLEMENTATION_VERSION_NAME = "ANGIOMORPH"


class Blocks(Protocol):
    """Bytes that come in blocks, and how many they are together."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""


Entropy = str | bytes | Blocks


def derived_uid(*entropy: Entropy) -> UID:
    """Return a UID under 2.25 that depends on `entropy` alone, so that a repeated run writes the same file.

    Args:
        entropy: whatever makes the object unique: source UIDs, model hash, role of the UID.

    Returns:
        "2.25." and the first 128 bits of a SHA-256, decimal (DICOM PS3.5 B.2).
    """
    digest = hashlib.sha256()
    for part in entropy:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        for block in (data,) if isinstance(data, bytes) else data:
            digest.update(block)
    return UID(f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}")


def decimal(value: float) -> DSfloat:
    """Return a number as a decimal string of at most 16 characters (DICOM PS3.5 6.2, DS)."""
    return DSfloat(float(value), auto_format=True)


def save(
    dataset: Dataset,
    path: str | os.PathLike[str],
    compression: str = Encoding.compress,
    pixels: GatheredFrames | None = None,
) -> None:
    """Write a dataset as a DICOM file, Explicit VR Little Endian or compressed without loss, whole or not at all.

    Args:
        dataset: complete but for its pixels, with SOPClassUID and SOPInstanceUID; its `file_meta` is replaced.
        path: the file's final name; its folder is made if missing.
        compression: see `encoding.Encoding`.
        pixels: an image's pixels.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    with ExitStack() as stack:
        if pixels is not None:
            stack.enter_context(_pixels_set(dataset, pixels, compression, Path(path).parent))
        partial = stack.enter_context(replace_file(path))
        dataset.save_as(partial, enforce_file_format=True)


@contextmanager
def _pixels_set(dataset: Dataset, pixels: GatheredFrames, compression: str, folder: Path) -> Iterator[None]:
    """Let a data set have its pixels as a file, which pydicom copies piece by piece, within the block."""
    coder = CODERS.get(compression)
    with pixels.open() if coder is None else pixels.compress(dataset, coder, folder) as file:
        dataset.add_new("PixelData", "OW" if coder is None and pixels.dtype.itemsize > 1 else "OB", file)
        if coder is not None:
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = coder.syntax
        yield


@contextmanager
def explain_unwritable(path: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Say in words what of a source cannot be written again, and nothing else.

    Args:
        path: the file to write.
        name: the source's name.

    Raises:
        InputError: the source's values break their own type.
        OSError: the disk is full, or fails.
    """
    failure: Exception | None = None
    try:
        with without_warnings():
            yield
    except Exception as error:  # pydicom raises a dozen kinds on a source's broken values; their texts may quote them
        failure = _unwrap(error)
    try:
        if isinstance(failure, InputError) or (isinstance(failure, OSError) and failure.errno):  # a disk's, not pydicom's
            raise failure
        if failure is not None:
            raise InputError(
                f"{path}: expected a source header that can be written again, found values of {name} that break their own "
                f"type ({type(failure).__name__}). Fetch the source again from its archive"
            ) from failure
    finally:
        del failure  # which refers to this place, and would keep itself and the run's temporary files


def _unwrap(error: Exception) -> Exception:
    """Return what was raised where something failed: pydicom raises another of its type, with a traceback as its text."""
    while isinstance(cause := error.__cause__, Exception) and type(cause) is type(error):
        error = cause
    return error
