"""Which frames of a run are its background: named by the user, by DICOM, or the last ones before iodine arrives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from angiomorph.errors import InputError

WORKING_SIZE = 128
NEIGHBOURHOOD = 7
STRUCTURE = 8.0
ARRIVAL_FRACTION = 0.01
LEAST_RISE = 1e-3  # of the noise: what stray pixels alone reach is no iodine
MOST_FRAMES = 3


@dataclass(frozen=True)
class Background:
    """The chosen background frames.

    Args:
        numbers: frame numbers from 1, ascending.
        choice: who chose: the user's number, DICOM's tag, the arrival of iodine, or "first" where no arrival was found.
    """

    numbers: tuple[int, ...]
    choice: Literal["number", "tag", "arrival", "first"]


def choose_background(wanted: str, values: np.ndarray, tagged: Sequence[int], roi: np.ndarray) -> Background:
    """Return the background frames of a run.

    Args:
        wanted: "auto": of DICOM's MaskFrameNumbers, if the run has them, the last and those that show the same, else the last
            frames before iodine arrives; "tag": all MaskFrameNumbers; "N" or "N-M": frame numbers as DICOM counts them, from 1.
        values: `(T, H, W)` normalised frames, [0, 1], iodine dark.
        tagged: MaskFrameNumbers; empty if the run has none.
        roi: `(H, W)` bool, the exposed field.

    Returns:
        the frame numbers and who chose them.

    Raises:
        InputError: `wanted` is none of these, names a frame that is not there, or "tag" and the run has none.
    """
    named = named_frames(wanted)
    if named is not None:
        if named.stop > len(values) + 1:
            raise InputError(f"--background {wanted}: expected frame numbers from 1 to {len(values)}, the run's last")
        return Background(tuple(named), "number")
    if tagged:
        numbers = sorted(set(tagged))
        if wanted == "auto":
            small, small_roi = shrink(values, roi)
            numbers = _alike(small, small_roi, noise_deviation(small, small_roi), numbers)
        return Background(tuple(numbers), "tag")
    if wanted == "tag":
        raise InputError(
            "--background tag: expected MaskSubtractionSequence with MaskFrameNumbers in the run, found none; "
            "use --background auto or name a frame"
        )
    return before_arrival(values, roi)


def named_frames(wanted: str) -> range | None:
    """Return the frame numbers that "N" or "N-M" names, or None for "auto" and "tag".

    Raises:
        InputError: another word, or numbers that do not ascend from 1.
    """
    if wanted in ("auto", "tag"):
        return None
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", wanted.strip())
    named = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
    if not named or named.start < 1:
        raise InputError(f"--background {wanted}: expected auto, tag, a frame number N or a range N-M, counted from 1")
    return named


def before_arrival(values: np.ndarray, roi: np.ndarray) -> Background:
    """Return the last frames before iodine arrives; up to three, as far as they show the same as the very last one.

    Args:
        values: `(T, H, W)`, normalised, iodine dark.
        roi: `(H, W)` bool, the exposed field.
    """
    small, small_roi = shrink(values, roi)
    noise = noise_deviation(small, small_roi)
    settled = _settled(small, small_roi)
    arrival = _arrival(darkening_curve(small[settled:], small_roi, noise), LEAST_RISE * noise)
    if arrival is None:
        return Background((settled + 1,), "first")
    latest = range(settled + 1, settled + arrival + 1)[-MOST_FRAMES:]
    return Background(tuple(_alike(small, small_roi, noise, latest)), "arrival")


def _alike(values: np.ndarray, roi: np.ndarray, noise: float, numbers: Sequence[int]) -> list[int]:
    """Return the last of the frame numbers and those that show the same: an average over motion would be blurred."""
    last = numbers[-1]
    return [number for number in numbers if number == last or _same(values, roi, noise, number - 1, last - 1)]


def darkening_curve(values: np.ndarray, roi: np.ndarray, noise: float) -> np.ndarray:
    """Return how much each frame is darker than the earliest ones in a way that motion cannot explain.

        darkening(t) = mean(max(low - values(t) - 3 noise, 0)) - mean(max(values(t) - high - 3 noise, 0))

    `values` first lose their coarse structure, that of `roi` alone, and with it exposure ramps. `low` and `high` are the least
    and greatest value in a neighbourhood of the first frame: motion within it counts for nothing, motion beyond it lightens
    about as much as it darkens, iodine only darkens.

    Args:
        values: `(T, h, w)`, normalised, iodine dark, at the working size.
        roi: `(h, w)` bool.
        noise: standard deviation of `values`' noise.

    Returns:
        `(T,)`, same unit as `values`.
    """
    inside = np.maximum(ndimage.gaussian_filter(roi.astype(np.float64), STRUCTURE), 1e-6)
    fine = values - ndimage.gaussian_filter(values * roi, (0, STRUCTURE, STRUCTURE)) / inside
    low = ndimage.minimum_filter(fine[0], NEIGHBOURHOOD)
    high = ndimage.maximum_filter(fine[0], NEIGHBOURHOOD)
    darker = np.maximum(low - fine - 3 * noise, 0)[:, roi].mean(1)
    lighter = np.maximum(fine - high - 3 * noise, 0)[:, roi].mean(1)
    return darker - lighter


def _settled(values: np.ndarray, roi: np.ndarray) -> int:
    """Return the index of the first frame after an exposure ramp: the first whose level is an ordinary one of the run."""
    levels = np.median(values[:, roi], axis=1)
    off = np.abs(levels - np.median(levels))
    ordinary = off <= 3 * np.median(off) / 0.6745 + 0.01
    return int(np.argmax(ordinary))


def _arrival(darkening: np.ndarray, least: float) -> int | None:
    """Return the index of the first frame of the rise to a peak above `least`, or None where no frame precedes a rise."""
    peak = int(np.argmax(darkening))
    if peak == 0 or darkening[peak] <= least:
        return None
    below = np.flatnonzero(darkening[:peak] <= ARRIVAL_FRACTION * darkening[peak])
    return int(below[-1]) + 1 if below.size else None


def shrink(values: np.ndarray, roi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frames averaged over blocks down to about 128 pixels, and where they are lit.

    Args:
        values: `(T, H, W)`, normalised, [0, 1].
        roi: `(H, W)` bool, the exposed field.

    Returns:
        `(T, h, w)` float64 and `(h, w)` bool: inside `roi` and away from pixels that are 0 in any frame, as collimator blades.
    """
    factor = max(1, min(values.shape[1:]) // WORKING_SIZE)
    rows, columns = (side // factor for side in values.shape[1:])
    cropped = values[:, : rows * factor, : columns * factor]
    small = cropped.reshape(len(values), rows, factor, columns, factor).mean((2, 4), dtype=np.float64)
    blocks = roi[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    inside = np.asarray(blocks.all((1, 3)))
    # The edge of collimator blades, clipped to 0, follows the exposure and not the anatomy.
    lit = inside & (ndimage.minimum_filter(small.min(0), NEIGHBOURHOOD) > 0)
    if lit.any():
        return small, lit
    return small, inside if inside.any() else np.ones_like(inside)


def noise_deviation(values: np.ndarray, roi: np.ndarray) -> float:
    """Return the noise's standard deviation from the median absolute response to a mask that cancels smooth structure.

    Args:
        values: `(T, h, w)`, any unit.
        roi: `(h, w)` bool, where to look.

    Returns:
        in the unit of `values`, the median over the frames.

    Source: Immerkær, Computer Vision and Image Understanding 64, 1996 (mask); median absolute deviation for robustness.
    """
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    response = [np.median(np.abs(ndimage.convolve(frame, mask)[roi])) for frame in values]
    return float(np.median(response) / 0.6745)


def _same(values: np.ndarray, roi: np.ndarray, noise: float, one: int, other: int) -> bool:
    difference = (values[one] - values[other])[roi]
    spread = np.sqrt(np.mean((difference - np.median(difference)) ** 2))
    return bool(spread <= 2 * np.sqrt(2) * noise)
