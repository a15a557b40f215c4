"""The sizes at which frames are seen: shrunk by means over areas, and padded (NumPy and SciPy only)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from angiomorph.preprocessing.lazy_frames import Frames


def fitted_shape(shape: Sequence[int], size: int) -> tuple[int, int]:
    """Return the frame's shape shrunk so that its longer side is at most `size`; smaller frames keep theirs."""
    return _scale_shape(shape, min(1.0, size / max(shape)))


def level_shapes(shape: Sequence[int], size: int, levels: int, own: int) -> list[tuple[int, int]]:
    """Return the frame's shapes from coarse to fine: the longer side is `size`, then twice that and so on.

    Frames smaller than the network's own levels are enlarged for them, as it has learned structure and motion in pixels of
    that size. Levels beyond its own go up to the frame's pixels. A frame that `size` holds whole keeps its shape alone.

    Args:
        shape: (rows, columns) of the frame.
        size: longer side at the first level, pixels.
        levels: at most how many, at least 1.
        own: levels that the network was trained for, at least 1.
    """
    longer = max(shape)
    if longer <= size:
        return [(shape[0], shape[1])]
    finest = max(longer, size * 2 ** (own - 1))
    sides = dict.fromkeys(min(size * 2**level, finest) for level in range(levels))
    return [_scale_shape(shape, side / longer) for side in sides]


def _scale_shape(shape: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def average_areas(frames: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return smaller frames, each pixel the mean over its area.

        new(i, j) = mean of frames over [i H / h, (i + 1) H / h] x [j W / w, (j + 1) W / w]

    Pixels that lie partly inside count by their part.

    Args:
        frames: `(T, H, W)` float32 or float64.
        shape: (h, w), at most (H, W).

    Returns:
        `(T, h, w)` of the same type; `frames` itself if they have that shape.
    """
    if frames.shape[1:] == shape:
        return frames
    rows, columns = frames.shape[1:]
    down, across = (area_weights(*lengths).astype(frames.dtype) for lengths in ((rows, shape[0]), (columns, shape[1])))
    small = np.empty((len(frames), *shape), frames.dtype)
    for target, frame in zip(small, frames, strict=True):
        target[:] = (across @ (down @ frame).T).T
    return small


def fit_within(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames whose longer side is at most `size`: `average_areas(frames, fitted_shape((H, W), size))`.

    Args:
        frames: `(T, H, W)` float32 or float64.
        size: pixels, at least 1.

    Returns:
        `(T, h, w)` of the same type; `frames` itself if it is small enough.
    """
    return average_areas(frames, fitted_shape(frames.shape[1:], size))


def shrink_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames whose longer side is at most `size`, stored values of the same scale, rounded to integers.

        new = rint(average_areas(frames, fitted_shape((H, W), size)))

    The mean is that of stored values, as a detector with larger pixels forms it where they are linear in intensity.

    Args:
        frames: `(T, H, W)` uint8 or uint16.
        size: pixels, at least 1.

    Returns:
        `(T, h, w)` of the same type; `frames` itself if it is small enough.
    """
    shape = fitted_shape(frames.shape[1:], size)
    if shape == frames.shape[1:]:
        return frames
    small = np.empty((len(frames), *shape), frames.dtype)
    for target, frame in zip(small, frames, strict=True):  # one at a time: in float64 a run is large
        target[:] = np.rint(average_areas(frame[None].astype(np.float64), shape)[0])
    return small


def fit_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames as the network trains on them: larger ones shrunk by `fit_within`, smaller ones padded.

    Args:
        frames: `(T, H, W)` float32, normalised.
        size: side of the square result, pixels.

    Returns:
        `(T, size, size)`.
    """
    return pad(fit_within(frames, size), size)


def average_blocks(frames: Frames, size: int) -> np.ndarray:
    """Return the means over whole square blocks of pixels, as large as leave the shorter side at least `size`.

    Args:
        frames: `(T, H, W)`, any type; rows and columns that fill no block are cut off at the bottom and on the right.
        size: pixels; the result's shorter side stays below twice that, frames smaller than that keep theirs.

    Returns:
        `(T, h, w)` float64.
    """
    block = max(1, min(frames.shape[1:]) // size)
    rows, columns = (side // block for side in frames.shape[1:])
    small = np.empty((len(frames), rows, columns))
    for target, frame in zip(small, frames, strict=True):
        down = frame[: rows * block].reshape(rows, block, -1).sum(1, dtype=np.float64)
        target[:] = sum(down[:, place : columns * block : block] for place in range(block)) / block**2
    return small


@functools.lru_cache(maxsize=8)  # rows and columns of a few sizes
def area_weights(before: int, after: int) -> sparse.csr_array:
    """Return the `(after, before)` matrix whose row i is the mean over the i-th of `after` equal parts of `before` pixels."""
    edges = np.arange(after + 1) * before / after
    first = np.floor(edges[:-1]).astype(int)
    span = int(np.max(np.ceil(edges[1:]) - first))
    places = first[:, None] + np.arange(span)
    overlap = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    inside = (overlap > 0) & (places < before)
    part = np.repeat(np.arange(after), inside.sum(1))
    return sparse.csr_array((overlap[inside] * after / before, (part, places[inside])), shape=(after, before))


def pad(frames: np.ndarray, multiple: int = 16) -> np.ndarray:
    """Return frames whose height and width are multiples of `multiple`, edges repeated at the bottom and on the right.

    Pixels keep their row and column, so a warp needs no shift: `unpad` it.

    Args:
        frames: `(T, H, W, ...)`.
        multiple: pixels.
    """
    rows, columns = (-size % multiple for size in frames.shape[1:3])
    return np.pad(frames, [(0, 0), (0, rows), (0, columns)] + [(0, 0)] * (frames.ndim - 3), mode="edge")


def unpad(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the part of `array` that `pad` was given: its exact inverse.

    Args:
        array: `(T, H', W', ...)`: frames or warps.
        shape: `(H, W)` before `pad`.
    """
    return array[:, : shape[0], : shape[1]]
