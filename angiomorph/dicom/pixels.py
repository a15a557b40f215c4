"""Decoding frame by frame, whatever the transfer syntax, and noticing pixels that are not all there."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.pixels import get_decoder, iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from angiomorph.dicom.attributes import label, require_number, without_warnings
from angiomorph.dicom.header import UNDEFINED_LENGTH, Header, frame_count
from angiomorph.errors import InputError

JPEG_2000 = "pylibjpeg pylibjpeg-openjpeg"
PACKAGES = {
    JPEGExtended12Bit: "pylibjpeg pylibjpeg-libjpeg",
    JPEGLossless: "python-gdcm",
    JPEGLosslessSV1: "python-gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000: JPEG_2000,
    JPEG2000Lossless: JPEG_2000,
    HTJ2K: JPEG_2000,
    HTJ2KLossless: JPEG_2000,
    HTJ2KLosslessRPCL: JPEG_2000,
}
ITEM, SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD


def decode(header: Header) -> Iterator[np.ndarray]:
    """Yield a file's frames, `(H, W)` uint8 or uint16, or int8 or int16 where signed, without the bits above BitsStored.

    Args:
        header: of a file that has passed `checks.check_pixels`.

    Raises:
        InputError: pixel data that ends early, a frame that does not decode, or a decoder that is not installed.
    """
    _check_decoder(header)
    _check_whole(header)
    expected, found = frame_count(header.dataset), 0
    source = dcmread(header.path) if header.inflated else header.path
    rows, columns, bits = (
        require_number(header.path, header.dataset, keyword) for keyword in ("Rows", "Columns", "BitsStored")
    )
    shape = (rows, columns)
    frames = islice(iter_pixels(source, raw=True), expected)
    while (frame := _next_frame(header, frames, found + 1)) is not None:
        if frame.shape != shape:
            raise InputError(
                f"{header.path}: frame {found + 1}: expected {shape} pixels (Rows, Columns), decoded {frame.shape}; "
                "fetch the file again from its archive"
            )
        found += 1
        yield _low_bits(frame, bits)
    if found != expected:
        raise _truncated(header.path, f"{expected} frames ({label('NumberOfFrames')})", f"{found} frames")


def _low_bits(frame: np.ndarray, bits: int) -> np.ndarray:
    unused = 8 * frame.dtype.itemsize - bits
    return (frame << unused) >> unused  # of signed values, shifting back repeats the sign


def _next_frame(header: Header, frames: Iterator[np.ndarray], frame_number: int) -> np.ndarray | None:
    try:
        with without_warnings():
            return next(frames, None)
    except Exception as error:  # each decoder raises kinds of its own
        remedy = ""
        if package := PACKAGES.get(header.transfer_syntax):
            remedy = f"; if other frames of this kind fail too: pip install {package}"
        raise InputError(
            f"{header.path}: frame {frame_number}: expected pixels in {header.transfer_syntax.name}, but they do not decode "
            f"({type(error).__name__}); fetch the file again from its archive{remedy}"
        ) from error


def _check_decoder(header: Header) -> None:
    syntax = header.transfer_syntax
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise InputError(
            f"{header.path}: expected a transfer syntax for pictures, found {syntax.name}; "
            "convert the file, for example with dcmtk's `dcmconv +te`"
        ) from error
    if not available:
        raise InputError(
            f"{header.path}: its pixels are compressed with {syntax.name}, for which no decoder is installed; "
            f"pip install {PACKAGES.get(syntax, 'pillow')}"
        )


def _check_whole(header: Header) -> None:
    if header.pixel_offset is None:
        return
    with header.path.open("rb") as file:
        file.seek(header.pixel_offset)
        if header.transfer_syntax.is_encapsulated:
            _check_fragments(header, file)
        else:
            _check_bytes(header, file)


def _check_bytes(header: Header, file: BinaryIO) -> None:
    dataset = header.dataset
    rows, columns, bits = (require_number(header.path, dataset, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    expected = frame_count(dataset) * rows * columns * bits // 8
    start = file.tell()
    found = min(file.seek(0, 2) - start, header.pixel_length)
    if found < expected:
        raise _truncated(header.path, f"{expected} bytes ({frame_count(dataset)} frames)", f"{found} bytes")


def _check_fragments(header: Header, file: BinaryIO) -> None:
    start, size = file.tell(), file.seek(0, 2)
    file.seek(start)
    fragments = -1  # the offset table comes first
    expected = frame_count(header.dataset)
    while len(item := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHL", item)
        if group << 16 | element == SEQUENCE_END:
            break
        if group << 16 | element != ITEM or length == UNDEFINED_LENGTH or file.tell() + length > size:
            found = f"its end or broken bytes within frame fragment {fragments + 2}, {size - start} bytes from the start"
            raise _truncated(header.path, f"whole frame fragments for {expected} frames", found)
        file.seek(length, 1)
        fragments += 1
    if fragments < expected:
        raise _truncated(header.path, f"{expected} frames ({label('NumberOfFrames')})", f"{max(fragments, 0)} frames")


def _truncated(path: Path, expected: str, found: str) -> InputError:
    return InputError(
        f"{path}: expected {label('PixelData')} of {expected}, found {found}; the file is truncated or damaged: "
        "fetch it again from its archive"
    )
