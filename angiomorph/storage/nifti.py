"""Warps as NIfTI vector images, as ITK and ANTs take them."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

HEADER, START = 348, 352  # bytes: of the header, and before the data
FLOAT32, VECTOR, MILLIMETRES, ALIGNED = 16, 1007, 2, 1  # datatype, intent_code, xyzt_units, qform_code and sform_code
MOST = 2**15 - 1  # of a size


def write_warp(path: str | os.PathLike[str], warp: np.ndarray, spacing: tuple[float, float] | None) -> None:
    """Write the warps of a run as one displacement field, frames one above the other 1 mm apart.

    The field is that of ITK: resampled by it, the background repeated for each frame becomes moved. Position (x, y, z) is
    (column spacing[1], row spacing[0], frame), and the vector (warp[..., 1] spacing[1], warp[..., 0] spacing[0], 0), all in
    mm and LPS, with neither rotation nor offset.

    Args:
        path: the file's final name, ending in .nii.gz; written whole or not at all.
        warp: `(T, H, W, 2)` float32, pixels, row then column: moved(x) = background(x + warp(x)).
        spacing: of rows and of columns, mm at the detector; None where it is unknown, for pixels instead of mm.

    Raises:
        InputError: more frames, rows or columns than NIfTI can say.

    Source: NIfTI-1.1, nifti1.h; intent 1007 is the one whose vectors ITK reads as they are.
    """
    frames, rows, columns, _ = warp.shape
    if max(warp.shape) > MOST:
        raise InputError(f"{path}: expected at most {MOST} frames, rows and columns for NIfTI, got {warp.shape[:3]}; use h5")
    down, right = spacing or (1.0, 1.0)
    with (
        replace_file(path) as partial,
        partial.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=3, fileobj=file, mtime=0) as content,  # no time, so that the bytes repeat
    ):
        content.write(_header((columns, rows, frames), (right, down, 1.0), known=spacing is not None).ljust(START, b"\0"))
        for channel, scale in ((1, right), (0, down)):
            for frame in warp:
                content.write((frame[..., channel] * np.float32(scale)).astype("<f4").tobytes())
        for _ in range(frames):
            content.write(bytes(4 * rows * columns))


def _header(sizes: tuple[int, int, int], spacing: tuple[float, float, float], *, known: bool) -> bytes:
    """Return the header of a 3-D image of three components; LPS is RAS turned by 180 degrees about z."""
    description = b"warp, mm at the detector, LPS" if known else b"warp, pixels, LPS; no ImagerPixelSpacing"
    dimensions = struct.pack("<8h", 5, *sizes, 1, 3, 1, 1)
    steps = struct.pack("<8f", 1.0, *spacing, 0.0, 0.0, 0.0, 0.0)
    turned = struct.pack("<6f", 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)  # quaternion b, c, d and offset
    rows = struct.pack("<12f", -spacing[0], 0, 0, 0, 0, -spacing[1], 0, 0, 0, 0, spacing[2], 0)
    parts = {
        0: struct.pack("<i", HEADER),
        40: dimensions,
        68: struct.pack("<hhhh", VECTOR, FLOAT32, 32, 0),
        76: steps,
        108: struct.pack("<fff", START, 1.0, 0.0),
        123: struct.pack("<B", MILLIMETRES if known else 0),
        148: description,
        252: struct.pack("<hh", ALIGNED, ALIGNED),
        256: turned,
        280: rows,
        344: b"n+1\0",
    }
    header = bytearray(HEADER)
    for place, value in parts.items():
        header[place : place + len(value)] = value
    return bytes(header)
