"""What every written DICOM file shares: reproducible UIDs, file meta information, whole-or-not-at-all saving."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from angiomorph.dicom.attributes import without_warnings
from angiomorph.dicom.compress import compress
from angiomorph.dicom.encoding import Encoding
from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

PROGRAM = "angiomorph"
IMPLEMENTATION_CLASS_UID = UID("2.25.292716217563146316246143962530254786437")  # drawn once for this program
IMPLEMENTATION_VERSION_NAME = "ANGIOMORPH"


def derived_uid(*entropy: str | bytes) -> UID:
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
        digest.update(data)
    return UID(f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}")


def decimal(value: float) -> DSfloat:
    """Return a number as a decimal string of at most 16 characters (DICOM PS3.5 6.2, DS)."""
    return DSfloat(float(value), auto_format=True)


def save(dataset: Dataset, path: str | os.PathLike[str], compression: str = Encoding.compress) -> None:
    """Write a dataset as a DICOM file, Explicit VR Little Endian or compressed without loss, whole or not at all.

    Args:
        dataset: complete, with SOPClassUID and SOPInstanceUID, uncompressed; its `file_meta` is replaced.
        path: the file's final name; its folder is made if missing.
        compression: see `encoding.Encoding`.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    compress(dataset, compression)
    with replace_file(path) as partial:
        dataset.save_as(partial, enforce_file_format=True)


@contextmanager
def writing(path: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Say in words what of a source cannot be written again, and nothing else.

    Args:
        path: of the file to write.
        name: of the source.

    Raises:
        InputError: the source's values break their own type.
    """
    try:
        with without_warnings():
            yield
    except InputError:
        raise
    except Exception as error:  # pydicom raises a dozen kinds on a source's broken values; their texts may quote them
        if isinstance(error, OSError) and error.errno:  # a disk's, not pydicom's
            raise
        raise InputError(
            f"{path}: expected a source header that can be written again, found values of {name} that break their own "
            f"type ({type(error).__name__}); fetch the source again from its archive"
        ) from error
