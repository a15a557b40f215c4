"""Headers of DICOM files: reading them without their pixels, and what kind of object they are of."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from angiomorph.dicom.attributes import number, text, value, without_warnings
from angiomorph.errors import InputError

XA_CLASSES = (
    XRayAngiographicImageStorage,
    EnhancedXAImageStorage,
    XRayRadiofluoroscopicImageStorage,
    EnhancedXRFImageStorage,
)
ENHANCED_CLASSES = (EnhancedXAImageStorage, EnhancedXRFImageStorage)
SECONDARY_CAPTURE_CLASSES = (
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
UNDEFINED_LENGTH = 0xFFFFFFFF
PIXEL_DATA = Tag(0x7FE0, 0x0010)


@dataclass(frozen=True, eq=False)
class Header:
    """A file's data set without its pixels, and where those are.

    Args:
        path: the file.
        dataset: everything before the top-level pixel data, with `file_meta`.
        pixel_offset: byte at which the value of PixelData starts; None if the file has no top-level PixelData.
        pixel_length: its length in bytes, or 0xFFFFFFFF if encapsulated.
    """

    path: Path
    dataset: Dataset
    pixel_offset: int | None
    pixel_length: int

    @property
    def transfer_syntax(self) -> UID:
        """Return the TransferSyntaxUID; Implicit VR Little Endian, DICOM's default, if the file does not say."""
        return UID(self.dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian))

    @property
    def inflated(self) -> bool:
        """Return whether the file's data set had to be inflated whole, so that offsets are of no use."""
        return self.transfer_syntax == DeflatedExplicitVRLittleEndian


def read_header(path: str | os.PathLike[str], keywords: Sequence[str] | None = None) -> Header:
    """Read a file's data set up to its pixels.

    Args:
        path: a DICOM file.
        keywords: the only attributes wanted; None for all.

    Raises:
        InputError: the file cannot be opened, is not DICOM, or ends or breaks within its header.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, without_warnings():
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=None if keywords is None else list(keywords))
            return Header(path, dataset, *_locate_pixels(file, dataset))
    except InvalidDicomError as error:
        raise InputError(
            f"{path}: expected a DICOM file, found no mark DICM at byte 128; give a DICOM file or a folder of them"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: expected a DICOM file, but it cannot be read: {error.strerror}") from error
    except Exception as error:  # pydicom's parser raises a dozen kinds on broken bytes; their texts may quote values
        raise InputError(
            f"{path}: expected a whole DICOM header, but it breaks off or is malformed ({type(error).__name__}); "
            "fetch the file again from its archive"
        ) from error


def _locate_pixels(file: Any, dataset: Dataset) -> tuple[int | None, int]:
    transfer_syntax = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if transfer_syntax == DeflatedExplicitVRLittleEndian:
        return None, 0
    order = "<" if transfer_syntax.is_little_endian else ">"
    start = file.read(8)
    if len(start) < 8 or Tag(*struct.unpack(f"{order}HH", start[:4])) != PIXEL_DATA:
        return None, 0
    length = start[4:] if transfer_syntax.is_implicit_VR else file.read(4)
    if len(length) < 4:
        return None, 0
    return file.tell(), struct.unpack(f"{order}L", length)[0]


def frame_count(dataset: Dataset) -> int:
    """Return NumberOfFrames, 1 where it is absent."""
    return int(number(dataset, "NumberOfFrames") or 1)


def is_angiogram(dataset: Dataset) -> bool:
    """Return whether a header is that of an angiographic picture: an XA or XRF class, or such a modality captured."""
    sop_class = value(dataset, "SOPClassUID")
    captured = sop_class in SECONDARY_CAPTURE_CLASSES and text(dataset, "Modality") in ("XA", "RF")
    return sop_class in XA_CLASSES or captured
