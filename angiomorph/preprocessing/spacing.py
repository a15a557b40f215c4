"""Some of many things in order, evenly spaced (NumPy only)."""

from __future__ import annotations

import numpy as np


def spread_indices(count: int, most: int) -> np.ndarray:
    """Return ascending indices of at most `most` of `count` things: the first, the last, and others evenly between.

    >>> spread_indices(9, 3)
    array([0, 4, 8])

    Args:
        count: number of things, at least 1.
        most: at least 1.
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def centre_indices(count: int, most: int) -> list[int]:
    """Return ascending indices of at most `most` of `count` things: the middle of each of as many equal parts.

    >>> centre_indices(9, 3)
    [1, 4, 7]

    Args:
        count: number of things, from 0.
        most: at least 1.
    """
    parts = min(count, most)
    return [int((part + 0.5) * count / parts) for part in range(parts)]
