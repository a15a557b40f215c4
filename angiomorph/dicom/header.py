"""Headers of DICOM files: reading them without their pixels, and what kind of object they are of."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, FileDataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from angiomorph.dicom.attributes import functional, numbers, text, value, without_warnings
from angiomorph.errors import InputError

BIPLANE_CLASS = UID("1.2.840.10008.5.1.4.1.1.12.3")  # X-Ray Angiographic Bi-Plane Image Storage, retired
XA_CLASSES = (
    BIPLANE_CLASS,
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
TYPES_OF_PIXELS = (b"OW\0\0", b"OB\0\0", b"UN\0\0")
CHUNK = 1 << 20  # bytes
# Bytes of a deflated data set, which is held in memory several times, and by the file's size, as bombs take time too.
MOST_INFLATED, LEAST_INFLATED, INFLATION = 3 << 26, 1 << 26, 100
# How a data set begins: in group 8, or with meta information, by one of the group's first elements, which are short.
FIRST_GROUPS, LAST_FIRST_ELEMENT, LONGEST_FIRST_VALUE = (0x0002, 0x0008), 0x0018, 256


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
    dataset: FileDataset
    pixel_offset: int | None
    pixel_length: int

    @property
    def announced_syntax(self) -> UID:
        """Return the TransferSyntaxUID of the file's meta information; empty if it has none."""
        with without_warnings():
            return UID(str(value(self.dataset.file_meta, "TransferSyntaxUID") or "").strip("\0 "))

    @property
    def encapsulated(self) -> bool:
        """Return whether the pixels are compressed fragments, whatever the transfer syntax says."""
        return self.pixel_length == UNDEFINED_LENGTH

    @property
    def little_endian(self) -> bool:
        """Return the byte order that the data set was found to have, whatever the transfer syntax says."""
        return self.dataset.original_encoding[1] is not False

    @property
    def inflated(self) -> bool:
        """Return whether the file's data set had to be inflated whole, so that offsets are of no use."""
        return self.announced_syntax == DeflatedExplicitVRLittleEndian


def read_header(path: str | os.PathLike[str], keywords: Sequence[str] | None = None) -> Header:
    """Read a file's data set up to its pixels, also a bare one without preamble and meta information.

    Args:
        path: a DICOM file.
        keywords: the only attributes wanted; None for all.

    Raises:
        InputError: the file cannot be opened, is not DICOM, or ends or breaks within its header.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, without_warnings():
            bare = _is_bare(file)
            _check_inflation(path, file, bare=bare)
            tags = None if keywords is None else list(keywords)
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=tags, force=bare)
            return Header(path, dataset, *_locate_pixels(file, dataset))
    except InvalidDicomError as error:
        raise InputError(
            f"{path}: expected a DICOM file, found no mark DICM at byte 128; give a DICOM file or a folder of them"
        ) from error
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: expected a DICOM file, but it cannot be read: {error.strerror}") from error
    except Exception as error:  # pydicom's parser raises a dozen kinds on broken bytes; their texts may quote values
        raise InputError(
            f"{path}: expected a whole DICOM header, but it breaks off or is malformed ({type(error).__name__}); "
            "fetch the file again from its archive"
        ) from error


def _is_bare(file: BinaryIO) -> bool:
    """Return whether a file begins with a data set's first element instead of a preamble."""
    start = file.read(132)
    file.seek(0)
    if len(start) < 132 or start[128:] == b"DICM":
        return False
    group, element, length = struct.unpack("<HHL", start[:8])
    typed = start[4:6].isalpha() and start[4:6].isupper()
    return group in FIRST_GROUPS and element <= LAST_FIRST_ELEMENT and (typed or length <= LONGEST_FIRST_VALUE)


def _check_inflation(path: Path, file: BinaryIO, *, bare: bool) -> None:
    """Refuse a deflated file that would inflate to more than a run that fits into memory; leave the file at its start."""
    if bare or file.read(132)[128:] == b"DICM":
        # As pydicom reads it, of whatever length: what it inflates later starts where this ends.
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
        if DeflatedExplicitVRLittleEndian in text(meta, "TransferSyntaxUID"):
            _check_inflated_size(path, file)
    file.seek(0)


def _check_inflated_size(path: Path, file: BinaryIO) -> None:
    start = file.tell()
    most = min(MOST_INFLATED, LEAST_INFLATED + INFLATION * (file.seek(0, 2) - start))
    file.seek(start)
    inflate, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    part = file.read(CHUNK)
    while part and not inflate.eof:  # behind the end the tail stays as it was
        length += len(inflate.decompress(part, CHUNK))
        if length > most:
            raise InputError(
                f"{path}: expected a deflated file that inflates to at most {most >> 20} MiB, found more. Have the "
                "archive export the run as Explicit VR Little Endian, or convert it with dcmtk's dcmconv +te"
            )
        part = inflate.unconsumed_tail or file.read(CHUNK)


def _locate_pixels(file: BinaryIO, dataset: FileDataset) -> tuple[int | None, int]:
    if value(dataset.file_meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return None, 0
    order = ">" if dataset.original_encoding[1] is False else "<"
    start = file.read(8)
    if len(start) < 8 or Tag(*struct.unpack(f"{order}HH", start[:4])) != PIXEL_DATA:
        return None, 0
    # Whether types are written is seen here, and may belie the transfer syntax; as a length they would be odd ones.
    length = file.read(4) if start[4:] in TYPES_OF_PIXELS else start[4:]
    if len(length) < 4:
        return None, 0
    return file.tell(), struct.unpack(f"{order}L", length)[0]


def sop_class(dataset: Dataset) -> UID | None:
    """Return the SOPClassUID, of the data set or else of the file's meta information; None if neither says."""
    return _identifier(dataset, "SOPClassUID", "MediaStorageSOPClassUID")


def sop_instance(dataset: Dataset) -> UID | None:
    """Return the SOPInstanceUID, of the data set or else of the file's meta information; None if neither says."""
    return _identifier(dataset, "SOPInstanceUID", "MediaStorageSOPInstanceUID")


def _identifier(dataset: Dataset, keyword: str, of_file: str) -> UID | None:
    found = value(dataset, keyword) or value(getattr(dataset, "file_meta", Dataset()), of_file)
    with without_warnings():
        return UID(str(found)) if found else None


def imager_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Return ImagerPixelSpacing, of rows and of columns, mm at the detector; None where a header does not say it.

    Args:
        dataset: data set of a classic or an enhanced object.
    """
    framed = functional(dataset, "FramePixelDataPropertiesSequence", "ImagerPixelSpacing")
    sizes = numbers(framed if "ImagerPixelSpacing" in framed else dataset, "ImagerPixelSpacing")
    return (sizes[0], sizes[1]) if len(sizes) == 2 and min(sizes) > 0 else None


def is_angiogram(dataset: Dataset) -> bool:
    """Return whether a header is that of an angiographic picture: an XA or XRF class, or such a modality captured."""
    found = sop_class(dataset)
    return found in XA_CLASSES or (found in SECONDARY_CAPTURE_CLASSES and text(dataset, "Modality") in ("XA", "RF"))


def is_unsaid_capture(dataset: Dataset) -> bool:
    """Return whether a header is that of a captured picture of modality "other", which may be an angiogram."""
    return sop_class(dataset) in SECONDARY_CAPTURE_CLASSES and text(dataset, "Modality") == "OT"
