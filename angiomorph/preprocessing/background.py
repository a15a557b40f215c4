"""Which frames of a run are its background: named by the user, by DICOM, or the last ones before iodine arrives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import numpy as np
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.preprocessing.arrival import Arrival
from angiomorph.preprocessing.frame_numbers import named_frames
from angiomorph.preprocessing.lazy_frames import Frames, LazyFrames, select_frames
from angiomorph.preprocessing.noise import cancel_structure, robust_deviation
from angiomorph.preprocessing.resizing import average_blocks

# Chosen by eye on simulated runs; `benchmarks.registration.backgrounds` measures what they give.
WORKING_SIZE = 128  # pixels at least of the shorter side, on which frames are compared
NEIGHBOURHOOD = 7  # pixels at that size about a pixel that is 0, which may be a collimator blade's edge
MOST_FRAMES = 3  # of a background: more of them add motion rather than take noise away
ORDINARY, ORDINARY_LEAST = 3.0, 0.01  # deviations, and share of the range, by which levels of frames differ after a ramp
ALIKE = 2.0  # deviations of the difference of two noisy frames up to which they show the same
MOST_LOOKED_AT = 40  # frames; of longer runs every second or third
PASSED_OVER = 1  # frames looked at, before the one that shows iodine; one more where more than RESOLVED could go unnoticed
RESOLVED = 0.01  # of the vessels' later darkness
SURE = 3  # index of the first frame with iodine from which on the frames before it can be compared

Finder = Callable[[LazyFrames], Arrival]
Shrink = Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Step:
    """Frames of a run that have a background of their own.

    Args:
        numbers: frame numbers of the background, from 1, ascending.
        frames: numbers of the frames that are registered from them, ascending.
    """

    numbers: tuple[int, ...]
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Background:
    """The chosen background frames.

    Args:
        numbers: frame numbers from 1, ascending; of several backgrounds, of all of them.
        choice: who chose: the user's number, DICOM's tag, the arrival of iodine, or "first" where no arrival was found.
        iodine_from: number of the first frame that shows iodine; None where none does, or where nobody looked.
        sure: False where iodine comes so early that it may have been there from the first frame on; True of a background that
            was named.
        steps: which frames have which background, where there are several; none where one serves the whole run.
    """

    numbers: tuple[int, ...]
    choice: Literal["number", "tag", "arrival", "first"]
    iodine_from: int | None = None
    sure: bool = True
    steps: tuple[Step, ...] = ()

    @property
    def main(self) -> tuple[int, ...]:
        """Return the background frames of most frames."""
        return main_step(self.steps).numbers if self.steps else self.numbers

    def split(self, count: int) -> tuple[Step, ...]:
        """Return which frames of a run of `count` have which background."""
        return self.steps or (Step(self.numbers, tuple(range(1, count + 1))),)

    @property
    def shows_iodine(self) -> bool:
        """Whether a background frame shows iodine itself."""
        return self.iodine_from is not None and self.numbers[-1] >= self.iodine_from

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of this choice."""
        if self.shows_iodine:
            return (
                f"background frame {self.numbers[-1]}, chosen by {self.choice}, shows iodine, or motion like it, which begins "
                f"with frame {self.iodine_from}: vessels may be missing; look at it, or name an earlier frame with "
                "`background` N",
            )
        if self.choice == "arrival" and not self.sure:
            return (
                f"iodine or motion is there from frame {self.iodine_from} on, so that nothing tells whether background frame "
                f"{self.numbers[-1]} is clean; look at it, or name another with `background` N",
            )
        return ()


def main_step(steps: Sequence[Step]) -> Step:
    """Return the step of most frames beside its background, the first of equals."""
    return max(steps, key=lambda step: len(set(step.frames) - set(step.numbers)))


def choose_background(
    wanted: str,
    values: Frames,
    tagged: Sequence[int],
    roi: np.ndarray,
    find: Finder,
    *,
    steps: Sequence[Step] = (),
    check: bool = False,
) -> Background:
    """Return the background frames of a run.

    Args:
        wanted: "auto": of DICOM's MaskFrameNumbers, if the run has them, the last and those that show the same, else the last
            frames before iodine arrives; "tag": all MaskFrameNumbers; "N" or "N-M": frame numbers as DICOM counts them, from 1.
        values: `(T, H, W)` normalised frames, [0, 1], iodine dark.
        tagged: MaskFrameNumbers; empty if the run has none.
        roi: `(H, W)` bool, the exposed field.
        find: says when iodine arrives in frames `(T, H, W)`.
        steps: MaskFrameNumbers of each range of frames, where the run has several; "auto" and "tag" follow them.
        check: whether to look for iodine in frames that the user or DICOM named, too.

    Returns:
        the frame numbers and who chose them.

    Raises:
        InputError: `wanted` is none of these, names a frame that is not there, or "tag" and the run has none.
    """
    shrink = cache(partial(_shrink, values, roi))  # frames may be decoded for it, so once at most
    named = _named_background(wanted, len(values), tagged, shrink, steps)
    if named is None:
        return _before_arrival(values, shrink, find)
    if not check:
        return named
    return replace(named, iodine_from=_before_arrival(values, shrink, find).iodine_from)


def _named_background(
    wanted: str, count: int, tagged: Sequence[int], shrink: Shrink, steps: Sequence[Step]
) -> Background | None:
    """Return the background that the user or DICOM names, or None where neither does."""
    named = named_frames(wanted)
    if named is not None:
        if named.stop > count + 1:
            raise InputError(f"`background` {wanted}: expected frame numbers from 1 to {count}, the run's last")
        return Background(tuple(named), "number")
    if tagged:
        by_step = steps or (Step(tuple(sorted(set(tagged))), ()),)
        if wanted == "auto":
            small, small_roi = shrink()
            noise = noise_deviation(small, small_roi)
            by_step = [replace(step, numbers=tuple(_alike(small, small_roi, noise, step.numbers))) for step in by_step]
        numbers = {number for step in by_step for number in step.numbers}
        return Background(tuple(sorted(numbers)), "tag", steps=tuple(by_step) if steps else ())
    if wanted == "tag":
        raise InputError(
            "`background` tag: expected MaskSubtractionSequence with MaskFrameNumbers in the run, found none; "
            "use `background` auto or name a frame"
        )
    return None


def before_arrival(values: Frames, roi: np.ndarray, find: Finder) -> Background:
    """Return the last frames before iodine arrives; up to three, as far as they show the same as the very last one.

    The frame just before the arrival is skipped, and one more where noise or motion would hide 1 % of the iodine. A skipped
    clean frame costs a little motion; a filled frame costs vessels.

    Args:
        values: `(T, H, W)`, normalised, iodine dark.
        roi: `(H, W)` bool, the exposed field.
        find: says when iodine arrives in frames `(T, H, W)`.
    """
    return _before_arrival(values, partial(_shrink, values, roi), find)


def _before_arrival(values: Frames, shrink: Shrink, find: Finder) -> Background:
    small, small_roi = shrink()
    settled = _find_settled(small, small_roi)
    looked_at = range(settled, len(values), math.ceil((len(values) - settled) / MOST_LOOKED_AT))
    arrival = find(select_frames(values, looked_at)) if len(looked_at) > 1 else None
    if arrival is None or arrival.index is None:
        return Background((settled + 1,), "first")
    index = arrival.index
    if index == 1 and settled:  # the ramp's last frame may be the only clean one
        return Background((settled,), "arrival", looked_at[1] + 1, sure=False)
    passed_over = PASSED_OVER + (arrival.resolved > RESOLVED)
    last = looked_at[max(index - 1 - passed_over, 0)]
    latest = range(settled + 1, last + 2)[-MOST_FRAMES:]
    numbers = _alike(small, small_roi, noise_deviation(small, small_roi), latest)
    return Background(tuple(numbers), "arrival", looked_at[index] + 1, index >= SURE)


def _alike(values: np.ndarray, roi: np.ndarray, noise: float, numbers: Sequence[int]) -> list[int]:
    """Return the last of the frame numbers and those that show the same: an average over motion would be blurred."""
    last = numbers[-1]
    return [number for number in numbers if number == last or _same(values, roi, noise, number - 1, last - 1)]


def _find_settled(values: np.ndarray, roi: np.ndarray) -> int:
    """Return the index of the first frame after an exposure ramp: the first whose level is an ordinary one of the run."""
    levels = np.array([np.median(frame[roi]) for frame in values])
    off = np.abs(levels - np.median(levels))
    ordinary = off <= ORDINARY * robust_deviation(off) + ORDINARY_LEAST
    return int(np.argmax(ordinary))


def _shrink(values: Frames, roi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frames averaged over blocks down to about `WORKING_SIZE` pixels, and where they are lit.

    Args:
        values: `(T, H, W)`, normalised, [0, 1].
        roi: `(H, W)` bool, the exposed field.

    Returns:
        `(T, h, w)` float64 and `(h, w)` bool: inside `roi` and away from pixels that are 0 in any frame, as collimator blades.
    """
    small = average_blocks(values, WORKING_SIZE)
    inside = average_blocks(roi[None], WORKING_SIZE)[0] == 1
    # The edge of collimator blades, clipped to 0, follows the exposure and not the anatomy.
    lit = inside & (ndimage.minimum_filter(small.min(0), NEIGHBOURHOOD) > 0)
    if lit.any():
        return small, lit
    return small, inside if inside.any() else np.ones_like(inside)


def noise_deviation(values: np.ndarray, roi: np.ndarray) -> float:
    """Return the noise's standard deviation from the median absolute response of `cancel_structure`.

    Args:
        values: `(T, h, w)`, any unit.
        roi: `(h, w)` bool, where to look.

    Returns:
        in the unit of `values`, the median over the frames.

    """
    response = [np.median(np.abs(cancel_structure(frame)[roi])) for frame in values]
    return robust_deviation(np.array(response))


def _same(values: np.ndarray, roi: np.ndarray, noise: float, one: int, other: int) -> bool:
    difference = (values[one] - values[other])[roi]
    spread = np.sqrt(np.mean((difference - np.median(difference)) ** 2))
    return bool(spread <= ALIKE * np.sqrt(2) * noise)
