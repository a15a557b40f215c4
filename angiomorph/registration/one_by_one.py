"""Registration of single frames, at any λ and from any background, as someone asks for them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np

from angiomorph.dicom import Series
from angiomorph.networks.warp import warp_frames
from angiomorph.pictures import subtraction_window
from angiomorph.preprocessing.background import Background, Step
from angiomorph.preprocessing.intensity import to_domain
from angiomorph.registration.inputs import NetworkInput, average_frames, prepare_input
from angiomorph.registration.model import Model
from angiomorph.registration.options import CompleteOptions
from angiomorph.registration.outputs import forget_masks
from angiomorph.registration.series import find_step_evidence, find_warps

KEPT = 4  # backgrounds


@dataclass(frozen=True, eq=False)
class FrameWarp:
    """The registration of one frame.

    Args:
        warp: `(H, W, 2)` float32, pixels, ij order, not yet scaled by the guard.
        evidence: of motion, see `evidence.find_evidence`.
        window: (black, white) for the subtracted frame about its own level.
    """

    warp: np.ndarray
    evidence: float
    window: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Reference:
    values: np.ndarray
    seen: NetworkInput


class OneByOne:
    """A run whose frames are registered one at a time; each as `register_series` does it.

    Args:
        series: the run.
        model: that registers it.
        how: the options, complete.

    Raises:
        InputError: as of `register_series`.
    """

    def __init__(self, series: Series, model: Model, how: CompleteOptions) -> None:
        self.series = forget_masks(series, how.background)
        self._model, self._how = model, replace(how, batch_size=1)
        seen = prepare_input(
            self.series, model.predictor.intensity, background=how.background, intensity=how.intensity, check=True
        )
        self.seen = seen
        self._references: OrderedDict[tuple[int, ...], _Reference] = OrderedDict()

    @property
    def background(self) -> Background:
        """The background with which the run was opened."""
        return self.seen.background

    def values(self, frames: np.ndarray) -> np.ndarray:
        """Return stored values in the unit of the subtraction, float32."""
        return to_domain(frames, "log" if self.series.relation == "LIN" else "linear")

    def reference(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return the mean of background frames, `(H, W)` float32, in the unit of the subtraction.

        Args:
            numbers: of the frames, from 1.
        """
        return self._reference(numbers).values

    def _reference(self, numbers: tuple[int, ...]) -> _Reference:
        if numbers not in self._references:
            chosen = self.series.frames[[number - 1 for number in numbers]]
            values = average_frames(self.values(chosen), range(1, len(numbers) + 1))
            seen = replace(self.seen, moving=average_frames(self.seen.frames, numbers))
            self._references[numbers] = _Reference(values, seen)
        self._references.move_to_end(numbers)
        while len(self._references) > KEPT:
            self._references.popitem(last=False)
        return self._references[numbers]

    def register(self, frame: int, numbers: tuple[int, ...], hyper: float, refine: int) -> FrameWarp:
        """Register one frame.

        Args:
            frame: its number, from 1.
            numbers: of its background frames.
            hyper: λ, [0, 1].
            refine: steps of refinement after the network.
        """
        reference = self._reference(numbers)
        how = replace(self._how, hyper=hyper, refine=refine)
        warp = find_warps(self._model.predictor, self._model.similarity, how, reference.seen, np.array([frame - 1]))
        values = self.values(self.series.frames[frame - 1 : frame])
        moved = warp_frames(reference.values[None], warp).numpy()
        dsa, bsa = values - reference.values, values - moved
        step = Step(numbers, (frame,))
        evidence = find_step_evidence(dsa, bsa, reference.values, reference.seen, self.series, step)
        inside = bsa[0][self.seen.field]
        return FrameWarp(warp[0], float(evidence[0]), subtraction_window(inside - np.median(inside)))
