"""Subtracted runs and their warps as NIfTI images, as ITK and ANTs take them."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Iterable, Iterator

import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

HEADER, START = 348, 352  # bytes: of the header, and before the data
FLOAT32, VECTOR, MILLIMETRES, ALIGNED = 16, 1007, 2, 1  # datatype, intent_code, xyzt_units, qform_code and sform_code
MOST = 2**15 - 1  # of a size


def write_bsa_image(path: str | os.PathLike[str], bsa: np.ndarray, spacing: tuple[float, float] | None, units: str) -> None:
    """Write a subtracted run as one 3-D image, which lies where the displacement field of `write_warp` does.

    Args:
        path: the file's final name, ending in .nii.gz; written whole or not at all.
        bsa: `(T, H, W)` float32, in `units`, iodine negative.
        spacing: distance of rows and of columns, mm at the detector; None where it is unknown, for pixels instead of mm.
        units: unit of the values, for the header's description.

    Raises:
        InputError: more frames, rows or columns than NIfTI can say.

    Source: NIfTI-1.1, nifti1.h.
    """
    _check_sizes(path, bsa.shape)
    header = _header(bsa.shape, spacing, f"BSA, {units}", components=1)
    _write(path, header, (np.ascontiguousarray(frame, "<f4").tobytes() for frame in bsa))


def write_warp(path: str | os.PathLike[str], warp: np.ndarray, spacing: tuple[float, float] | None) -> None:
    """Write the warps of a run as one displacement field, frames one above the other 1 mm apart.

    The field is that of ITK: resampled by it, the background repeated for each frame becomes moved. Position (x, y, z) is
    (column spacing[1], row spacing[0], frame). The vector is (warp[..., 1] spacing[1], warp[..., 0] spacing[0], 0). Both are
    in mm and LPS, with neither rotation nor offset.

    Args:
        path: the file's final name, ending in .nii.gz; written whole or not at all.
        warp: `(T, H, W, 2)` float32, pixels, row then column: moved(x) = background(x + warp(x)).
        spacing: distance of rows and of columns, mm at the detector; None where it is unknown, for pixels instead of mm.

    Raises:
        InputError: more frames, rows or columns than NIfTI can say.

    Source: NIfTI-1.1, nifti1.h; intent 1007 is the one whose vectors ITK reads as they are.
    """
    _check_sizes(path, warp.shape)
    _write(path, _header(warp.shape, spacing, "warp", components=3), _list_vectors(warp, spacing or (1.0, 1.0)))


def _list_vectors(warp: np.ndarray, spacing: tuple[float, float]) -> Iterator[bytes]:
    """Yield the components x, y and z of all frames, one after the other, as NIfTI orders them."""
    for channel, scale in ((1, spacing[1]), (0, spacing[0])):
        for frame in warp:
            yield (frame[..., channel] * np.float32(scale)).astype("<f4").tobytes()
    for frame in warp:
        yield bytes(4 * frame[..., 0].size)


def _check_sizes(path: str | os.PathLike[str], shape: tuple[int, ...]) -> None:
    if max(shape) > MOST:
        raise InputError(f"{path}: expected at most {MOST} frames, rows and columns for NIfTI, got {shape[:3]}; use h5")


def _write(path: str | os.PathLike[str], header: bytes, parts: Iterable[bytes]) -> None:
    with (
        replace_file(path) as partial,
        partial.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=3, fileobj=file, mtime=0) as content,  # no time, so that the bytes repeat
    ):
        content.write(header.ljust(START, b"\0"))
        content.writelines(parts)


def _header(shape: tuple[int, ...], known: tuple[float, float] | None, what: str, *, components: int) -> bytes:
    """Return the header of a 3-D image of scalars or vectors; LPS is RAS turned by 180 degrees about z."""
    frames, rows, columns = shape[:3]
    down, right = known or (1.0, 1.0)
    place = "mm at the detector, LPS" if known else "pixels, LPS; no ImagerPixelSpacing"
    dimensions = (3, columns, rows, frames, 1, 1, 1, 1) if components == 1 else (5, columns, rows, frames, 1, components, 1, 1)
    parts = {
        0: struct.pack("<i", HEADER),
        40: struct.pack("<8h", *dimensions),
        68: struct.pack("<hhhh", VECTOR if components > 1 else 0, FLOAT32, 32, 0),
        76: struct.pack("<8f", 1.0, right, down, 1.0, 0.0, 0.0, 0.0, 0.0),
        108: struct.pack("<fff", START, 1.0, 0.0),
        123: struct.pack("<B", MILLIMETRES if known else 0),
        148: f"{what}, {place}".encode(),
        252: struct.pack("<hh", ALIGNED, ALIGNED),
        256: struct.pack("<6f", 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),  # quaternion b, c, d and offset
        280: struct.pack("<12f", -right, 0, 0, 0, 0, -down, 0, 0, 0, 0, 1.0, 0),
        344: b"n+1\0",
    }
    header = bytearray(HEADER)
    for start, value in parts.items():
        header[start : start + len(value)] = value
    return bytes(header)
