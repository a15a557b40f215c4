"""Frames that are made when they are asked for, so that a run of any length fits into memory (NumPy only)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsIndex

import numpy as np

Key = SupportsIndex | slice | Sequence[int] | np.ndarray


class LazyFrames:
    """Frames of one shape and type of which none is kept, read by index as an array is along its first axis.

        >>> frames = LazyFrames((3, 2, 2), np.uint8, lambda index: np.full((2, 2), index))
        >>> len(frames), int(frames.max()), frames[1:].shape
        (3, 2, (2, 2, 2))

    Args:
        shape: `(T, H, W)`, or with further axes.
        dtype: type of each frame's values.
        make: returns the frame of an index from 0, `shape[1:]`.
    """

    def __init__(self, shape: Sequence[int], dtype: Any, make: Callable[[int], np.ndarray]) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self._make = make

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self._frame, range(len(self)))

    def __getitem__(self, key: Key) -> np.ndarray:
        """Return the frame of an index, or the array of those of a slice or of indices."""
        if isinstance(key, SupportsIndex) and not isinstance(key, np.ndarray):
            return self._frame(range(len(self))[operator.index(key)])
        chosen = np.arange(len(self))[key]
        found = np.empty((len(chosen), *self.shape[1:]), self.dtype)
        for target, index in zip(found, chosen, strict=True):
            target[...] = self._frame(int(index))
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all frames as an array."""
        return np.asarray(self[:], dtype)

    def min(self) -> Any:
        """Return the least value of all frames."""
        return min(frame.min() for frame in self)

    def max(self) -> Any:
        """Return the greatest value of all frames."""
        return max(frame.max() for frame in self)

    def _frame(self, index: int) -> np.ndarray:
        return np.asarray(self._make(index), self.dtype)


Frames = np.ndarray | LazyFrames


def select_frames(frames: Frames, indices: Sequence[int]) -> LazyFrames:
    """Return some frames, in the order of their indices, none of them made yet.

    Args:
        frames: `(T, ...)`.
        indices: frame indices, from 0.
    """
    return LazyFrames((len(indices), *frames.shape[1:]), frames.dtype, lambda index: frames[indices[index]])


def join_frames(parts: Sequence[Frames]) -> LazyFrames:
    """Return the frames of several parts one after the other, none of them made yet.

    Args:
        parts: `(T, ...)` each, alike but for their number.
    """
    places = [(part, index) for part in parts for index in range(len(part))]

    def make(index: int) -> np.ndarray:
        part, place = places[index]
        return np.asarray(part[place])

    return LazyFrames((len(places), *parts[0].shape[1:]), parts[0].dtype, make)
