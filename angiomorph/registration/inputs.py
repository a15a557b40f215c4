"""What a network is given of a run: normalised frames, their exposed field, and the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from angiomorph.dicom import Series
from angiomorph.preprocessing.arrival import Arrival, find_arrival
from angiomorph.preprocessing.background import Background, choose_background
from angiomorph.preprocessing.field import filler, find_field
from angiomorph.preprocessing.intensity import (
    Normalisation,
    choose_mode,
    level,
    leveller,
    normalise,
    stored_normalisation,
    to_domain,
)
from angiomorph.preprocessing.lazy_frames import Frames, LazyFrames
from angiomorph.preprocessing.resizing import average_areas, fitted_shape
from angiomorph.registration.engines import find_searcher
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import BY_TENSORFLOW, EngineOptions

ARRIVAL_SIZE, ARRIVAL_LEVELS = 256, 2  # at which iodine is looked for: a quarter of the time of a registration


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What a network is given of a run.

    Args:
        frames: `(T, H, W)` float32, normalised, [0, 1]; outside the field the nearest value inside. They are made when they are
            asked for.
        moving: `(H, W)` float32, the mean of the background frames, [0, 1]; of several backgrounds, that of most frames.
        background: the chosen background frames.
        intensity: "log" or "linear", of `frames`.
        scale: scale of `frames`.
        field: `(H, W)` bool, the exposed field, see `field.find_field`.
    """

    frames: LazyFrames
    moving: np.ndarray
    background: Background
    intensity: str
    scale: Normalisation
    field: np.ndarray

    def level_frames(self, indices: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return frames, by their indices from 0, with the exposure of the background: what a network registers it to."""
        return level(self.frames[indices], self.moving, self.field, gain=self.intensity == "linear")

    def level_to(self, moving: np.ndarray, indices: Sequence[int]) -> LazyFrames:
        """Return frames, by their indices from 0, with the exposure of one of several backgrounds, none of them made yet."""
        of_frame = leveller(moving, self.field, gain=self.intensity == "linear")
        return LazyFrames((len(indices), *self.field.shape), np.float32, lambda index: of_frame(self.frames[indices[index]]))


def find_iodine(frames: Frames, field: np.ndarray, mode: str, how: EngineOptions = BY_TENSORFLOW) -> Arrival:
    """Return when iodine arrives in a run, by the shipped model whatever model registers: all see the same background.

    Args:
        frames: `(T, H, W)` float32, normalised, [0, 1], iodine dark; T >= 2.
        field: `(H, W)` bool, the exposed field.
        mode: "log" or "linear", of `frames`.
        how: engine that computes the model, and its options.
    """
    shape = fitted_shape(field.shape, ARRIVAL_SIZE)
    small = np.concatenate([average_areas(frame[None], shape) for frame in frames])
    inside = average_areas(field[None].astype(np.float32), shape)[0] > 1 - 1e-3
    inside &= small.min(0) > 0
    if not inside.any():
        return Arrival(None, np.zeros(len(frames)), np.zeros(len(frames)))
    levelled = level(small, small[0], inside, gain=mode == "linear")
    searcher = find_searcher(how)
    warps = np.concatenate(list(searcher.warps(small[0], levelled, read_model_defaults().hyper, levels=ARRIVAL_LEVELS)))
    moved = np.stack([searcher.move(small[0], warp) for warp in warps])
    return find_arrival(levelled, moved, warps, inside)


def prepare_input(
    series: Series,
    trained_on: str,
    *,
    background: str = "auto",
    intensity: str | None = None,
    check: bool = False,
    how: EngineOptions = BY_TENSORFLOW,
) -> NetworkInput:
    """Return what a network is given of a run.

    Args:
        series: the run.
        trained_on: "auto", "log" or "linear", the network's own intensity.
        background: see `background.choose_background`.
        intensity: "auto", "log" or "linear"; None for `trained_on`, as far as the run has it.
        check: whether to look for iodine in a background that the user or DICOM named.
        how: engine of the model that looks for iodine, and its options.

    Raises:
        InputError: an intensity that the run cannot have, or a background that is not there.
    """
    mode = choose_mode(series.relation, trained_on, intensity)
    scale = stored_normalisation(series.frames, mode, series.shutter)
    field = find_field(series.frames, series.shutter)
    fill = filler(field)

    def make(index: int) -> np.ndarray:
        return fill(normalise(to_domain(series.frames[index], mode), scale))

    frames = LazyFrames(series.frames.shape, np.float32, make)
    find = partial(find_iodine, field=field, mode=mode, how=how)
    chosen = choose_background(background, frames, series.background_numbers, field, find, steps=series.steps, check=check)
    return NetworkInput(frames, average_frames(frames, chosen.main), chosen, mode, scale, field)


def average_frames(values: Frames, numbers: Sequence[int]) -> np.ndarray:
    """Return the mean of the frames of some numbers, from 1, `(H, W)` float32, of all frames `(T, H, W)`."""
    total = np.zeros(values.shape[1:])
    for number in numbers:
        total += values[number - 1]
    return (total / len(numbers)).astype(np.float32)
