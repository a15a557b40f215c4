"""The sizes at which frames are seen, and frames made smaller by means over areas (NumPy and SciPy only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse


def fitted_shape(shape: Sequence[int], size: int) -> tuple[int, int]:
    """Return the frame's shape shrunk so that its longer side is at most `size`; smaller frames keep theirs."""
    return _scaled(shape, min(1.0, size / max(shape)))


def level_shapes(shape: Sequence[int], size: int, levels: int, own: int) -> list[tuple[int, int]]:
    """Return the frame's shapes from coarse to fine: the longer side is `size`, then twice that and so on.

    Frames smaller than the network's own levels are enlarged for them, as it has learned structure and motion in pixels of
    that size. Levels beyond its own go up to the frame's pixels. A frame that `size` holds whole keeps its shape alone.

    Args:
        shape: (rows, columns) of the frame.
        size: of the longer side at the first level, pixels.
        levels: at most how many, at least 1.
        own: levels that the network was trained for, at least 1.
    """
    longer = max(shape)
    if longer <= size:
        return [(shape[0], shape[1])]
    finest = max(longer, size * 2 ** (own - 1))
    sides = dict.fromkeys(min(size * 2**level, finest) for level in range(levels))
    return [_scaled(shape, side / longer) for side in sides]


def _scaled(shape: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def shrink_frames(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames whose longer side is at most `size`, stored values of the same scale, rounded to integers.

        new(i, j) = rint(mean of frames over [i H / h, (i + 1) H / h] x [j W / w, (j + 1) W / w])

    with (h, w) = `fitted_shape((H, W), size)`; pixels that lie partly inside count by their part. The mean is that of stored
    values, as a detector with larger pixels forms it where they are linear in intensity.

    Args:
        frames: `(T, H, W)` uint8 or uint16.
        size: pixels, at least 1.

    Returns:
        `(T, h, w)` of the same type; `frames` itself if it is small enough.
    """
    rows, columns = frames.shape[1:]
    shape = fitted_shape((rows, columns), size)
    if shape == (rows, columns):
        return frames
    down, across = _means(rows, shape[0]), _means(columns, shape[1])
    small = np.empty((len(frames), *shape), frames.dtype)
    for target, frame in zip(small, frames, strict=True):
        target[:] = np.rint((across @ (down @ frame.astype(np.float64)).T).T)
    return small


def _means(before: int, after: int) -> sparse.csr_array:
    """Return the `(after, before)` matrix whose row i is the mean over the i-th of `after` equal parts of `before` pixels."""
    edges = np.arange(after + 1) * before / after
    first = np.floor(edges[:-1]).astype(int)
    span = int(np.max(np.ceil(edges[1:]) - first))
    places = first[:, None] + np.arange(span)
    overlap = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    inside = (overlap > 0) & (places < before)
    part = np.repeat(np.arange(after), inside.sum(1))
    return sparse.csr_array((overlap[inside] * after / before, (part, places[inside])), shape=(after, before))
