"""What a network is given of a run: normalised frames, their exposed field, and the background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from angiomorph.dicom import Series
from angiomorph.networks.baked import load_any
from angiomorph.networks.warp import warp_frames
from angiomorph.preprocessing.arrival import Arrival, find_arrival
from angiomorph.preprocessing.background import Background, choose_background
from angiomorph.preprocessing.field import fill_outside, find_field
from angiomorph.preprocessing.intensity import Normalisation, level, normalisation, normalise, resolve_mode, to_domain
from angiomorph.preprocessing.resizing import fitted_shape
from angiomorph.registration.model_defaults import SHIPPED, read_model_defaults
from angiomorph.registration.pyramid import Predictor, resize

ARRIVAL_SIZE, ARRIVAL_LEVELS = 256, 2  # at which iodine is looked for: a quarter of the time of a registration


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What a network is given of a run.

    Args:
        frames: `(T, H, W)` float32, normalised, [0, 1]; outside the field the nearest value inside.
        moving: `(H, W)` float32, the mean of the background frames, [0, 1]; of several backgrounds, that of most frames.
        background: the chosen background frames.
        intensity: "log" or "linear", of `frames`.
        scale: of `frames`.
        field: `(H, W)` bool, the exposed field, see `field.find_field`.
    """

    frames: np.ndarray
    moving: np.ndarray
    background: Background
    intensity: str
    scale: Normalisation
    field: np.ndarray

    def levelled(self, indices: Sequence[int] | np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return frames, by their indices from 0, with the exposure of the background: what a network registers it to."""
        return level(self.frames[indices], self.moving, self.field, gain=self.intensity == "linear")


@lru_cache(maxsize=1)
def _shipped() -> Predictor:
    return Predictor(load_any(SHIPPED))


def find_iodine(frames: np.ndarray, field: np.ndarray, mode: str) -> Arrival:
    """Return when iodine arrives in a run, by the shipped model whatever model registers: all see the same background.

    Args:
        frames: `(T, H, W)` float32, normalised, [0, 1], iodine dark; T >= 2.
        field: `(H, W)` bool, the exposed field.
        mode: "log" or "linear", of `frames`.
    """
    shape = fitted_shape(field.shape, ARRIVAL_SIZE)
    small = resize(frames, shape)
    inside = resize(field[None].astype(np.float32), shape)[0] > 1 - 1e-3
    inside &= small.min(0) > 0
    if not inside.any():
        return Arrival(None, np.zeros(len(frames)), np.zeros(len(frames)))
    levelled = level(small, small[0], inside, gain=mode == "linear")
    warps = np.concatenate(list(_shipped().warps(small[0], levelled, read_model_defaults().hyper, levels=ARRIVAL_LEVELS)))
    moved = warp_frames(np.repeat(small[:1], len(small), 0), warps).numpy()
    return find_arrival(levelled, moved, warps, inside)


def prepare_input(
    series: Series, trained_on: str, *, background: str = "auto", intensity: str | None = None, check: bool = False
) -> NetworkInput:
    """Return what a network is given of a run.

    Args:
        series: the run.
        trained_on: "auto", "log" or "linear", the network's own intensity.
        background: see `background.choose_background`.
        intensity: "auto", "log" or "linear"; None for `trained_on`, as far as the run has it.
        check: whether to look for iodine in a background that the user or DICOM named.

    Raises:
        InputError: an intensity that the run cannot have, or a background that is not there.
    """
    own = "auto" if trained_on == "log" and series.relation == "LOG" else trained_on
    mode = resolve_mode(series.relation, intensity or own)
    values = to_domain(series.frames, mode)
    scale = normalisation(values, series.shutter, mode)
    field = find_field(series.frames, series.shutter)
    frames = fill_outside(normalise(values, scale), field)
    find = partial(find_iodine, field=field, mode=mode)
    chosen = choose_background(background, frames, series.background_numbers, field, find, steps=series.steps, check=check)
    return NetworkInput(frames, average_frames(frames, chosen.main), chosen, mode, scale, field)


def average_frames(values: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Return the mean of the frames of some numbers, from 1, `(H, W)` float32, of all frames `(T, H, W)`."""
    return values[[number - 1 for number in numbers]].mean(0, dtype=np.float64).astype(np.float32)
