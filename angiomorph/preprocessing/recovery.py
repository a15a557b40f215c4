"""The frames of a run out of its result: what was subtracted, moved anew, and what was left (NumPy only)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.lazy_frames import Frames

BSA, NUMBERS, MOVED, WARP, IMAGE, PAIRS = "bsa", "background", "moved", "warp", "background_image", "background_of_frame"

ROWS = 16  # moved at once


class Recovery:
    """The frames of a run, one at a time.

        frame = bsa + moved, moved(x) = background(x + warp(x))

    Args:
        arrays: a result's arrays, by name; those of each frame are read when they are asked for.
        subject: the result's name, for messages.

    Raises:
        InputError: an array is absent, or arrays do not fit each other.
    """

    def __init__(self, arrays: Mapping[str, Frames], subject: str) -> None:
        either = (MOVED,) if MOVED in arrays else (WARP, IMAGE)
        if missing := [name for name in (BSA, NUMBERS, *either) if name not in arrays]:
            raise InputError(
                f"{subject}: expected a result of `register --save h5` that leads back to its frames, found no {missing[-1]} "
                "in it; register the run again. Files of format version 2 need `moved`"
            )
        self._arrays = arrays
        self.shape = tuple(arrays[BSA].shape)
        if not (self._fits(BSA, 3) and self._fits(NUMBERS, 1) and (PAIRS not in arrays or self._fits(PAIRS, 2, 2))):
            raise self._refuse(subject)
        self.numbers = tuple(int(number) for number in np.asarray(arrays[NUMBERS]))
        self.steps = read_steps(np.asarray(arrays[PAIRS])) if PAIRS in arrays else ()
        steps = self.steps or (Step(self.numbers, tuple(range(1, self.shape[0] + 1))),)
        self._place = {frame - 1: place for place, step in enumerate(steps) for frame in step.frames}
        self._of_place = [step.numbers for step in steps]
        self._images: dict[int, np.ndarray] = {}
        named = {number for numbers in (self.numbers, *self._of_place) for number in numbers}
        fitting = {MOVED: self.shape, WARP: (*self.shape, 2), IMAGE: (len(steps), *self.shape[1:])}
        fit = all(tuple(arrays[name].shape) == shape for name, shape in fitting.items() if name in arrays)
        if not (fit and named <= set(range(1, self.shape[0] + 1)) and set(self._place) == set(range(self.shape[0]))):
            raise self._refuse(subject)

    def _fits(self, name: str, axes: int, last: int | None = None) -> bool:
        shape = self._arrays[name].shape
        return len(shape) == axes and shape[0] > 0 and last in (None, shape[-1])

    def _refuse(self, subject: str) -> InputError:
        return InputError(f"{subject}: expected arrays of one run, found some that do not fit bsa; register the run again")

    def values(self, index: int) -> np.ndarray:
        """Return a frame, by its index from 0, in the unit of its subtraction, `(H, W)` float64."""
        bsa, moved = self._arrays[BSA][index], self._arrays.get(MOVED)
        return bsa.astype(np.float64) + (self._move(index) if moved is None else moved[index])

    def background(self, index: int) -> np.ndarray:
        """Return the unregistered background of a frame, by its index from 0, `(H, W)` float32."""
        place = self._place[index]
        if place not in self._images:
            self._images[place] = self._arrays[IMAGE][place] if IMAGE in self._arrays else self._average(self._of_place[place])
        return self._images[place]

    def _move(self, index: int) -> np.ndarray:
        warp = self._arrays[WARP][index]
        return move_image(self.background(index), warp) if warp.any() else self.background(index)

    def _average(self, numbers: Sequence[int]) -> np.ndarray:
        return np.mean([self.values(number - 1) for number in numbers], axis=0).astype(np.float32)


def read_steps(pairs: np.ndarray) -> tuple[Step, ...]:
    """Return which frames have which background, by their first frames.

    Args:
        pairs: `(N, 2)`, a frame's number and that of a background frame of it.
    """
    of_frame = defaultdict(list)
    for frame, number in pairs.tolist():
        of_frame[frame].append(number)
    frames = defaultdict(list)
    for frame in sorted(of_frame):
        frames[tuple(sorted(of_frame[frame]))].append(frame)
    return tuple(Step(numbers, tuple(each)) for numbers, each in frames.items())


def move_image(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Return an image as a warp moves it, bilinearly; beyond the border the edge pixels go on.

        moved(x) = image(x + warp(x))

    It equals `networks.warp.warp_arrays` to float32's rounding, places to the last bit, and needs no TensorFlow.

    Args:
        image: `(H, W)` float32.
        warp: `(H, W, 2)` float32, pixels, ij order.

    Returns:
        `(H, W)` float32; nan where the warp is not finite.
    """
    moved = np.empty_like(image)
    with np.errstate(invalid="ignore"):
        for first in range(0, len(image), ROWS):
            moved[first : first + ROWS] = _move_rows(image, warp[first : first + ROWS], first)
    return moved


def _move_rows(image: np.ndarray, warp: np.ndarray, first: int) -> np.ndarray:
    """Return some rows of the moved image, from the first on; few, so that they stay in the processor's cache."""
    rows, columns = image.shape
    down = np.clip(warp[..., 0] + np.arange(first, first + len(warp), dtype=np.float32)[:, None], 0, np.float32(rows - 1))
    right = np.clip(warp[..., 1] + np.arange(columns, dtype=np.float32), 0, np.float32(columns - 1))
    row, column = down.astype(np.int32), right.astype(np.int32)
    down -= row
    right -= column
    here = row * columns + column
    below, beside = (np.minimum(row + 1, rows - 1) - row) * columns, np.minimum(column + 1, columns - 1) - column

    def sample(place: np.ndarray) -> np.ndarray:
        return image.ravel().take(place, mode="clip")

    upper = sample(here) * (1 - right) + sample(here + beside) * right
    lower = sample(here + below) * (1 - right) + sample(here + below + beside) * right
    return np.asarray(upper * (1 - down) + lower * down)
