"""Registration of single frames, at any λ and from any background, as someone asks for them."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from angiomorph.dicom import Series
from angiomorph.networks.warp import warp_frames
from angiomorph.preprocessing.background import Background, Step
from angiomorph.registration.inputs import NetworkInput, average_frames, prepare_input
from angiomorph.registration.looks import in_unit
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
        evidence: of motion, see `evidence.find_evidence`; None where it was not judged.
    """

    warp: np.ndarray
    evidence: float | None = None


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
        self._whole, self._model, self._how = series, model, how
        seen = prepare_input(
            self.series, model.predictor.intensity, background=how.background, intensity=how.intensity, check=True
        )
        self.seen = seen
        self._references: OrderedDict[tuple[int, ...], _Reference] = OrderedDict()

    @property
    def background(self) -> Background:
        """The background with which the run was opened."""
        return self.seen.background

    def reference(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return the mean of background frames, `(H, W)` float32, in the unit of the subtraction.

        Args:
            numbers: of the frames, from 1.
        """
        return self._reference(numbers).values

    def _reference(self, numbers: tuple[int, ...]) -> _Reference:
        if numbers not in self._references:
            chosen = self.series.frames[[number - 1 for number in numbers]]
            values = average_frames(in_unit(self.series, chosen), range(1, len(numbers) + 1))
            seen = replace(self.seen, moving=average_frames(self.seen.frames, numbers))
            self._references[numbers] = _Reference(values, seen)
        self._references.move_to_end(numbers)
        while len(self._references) > KEPT:
            self._references.popitem(last=False)
        return self._references[numbers]

    def register(self, frame: int, numbers: tuple[int, ...], hyper: float, refine: int, *, judge: bool = True) -> FrameWarp:
        """Register one frame.

        Args:
            frame: its number, from 1.
            numbers: of its background frames.
            hyper: λ, [0, 1].
            refine: steps of refinement after the network.
            judge: whether to look at the subtracted frame, too, which takes a third of the time.
        """
        reference = self._reference(numbers)
        how = replace(self._how, hyper=hyper, refine=refine, batch_size=1)
        warp = find_warps(self._model.predictor, self._model.similarity, how, reference.seen, np.array([frame - 1]))
        if not judge:
            return FrameWarp(warp[0])
        values = in_unit(self.series, self.series.frames[frame - 1 : frame])
        moved = warp_frames(reference.values[None], warp).numpy()
        dsa, bsa = values - reference.values, values - moved
        step = Step(numbers, (frame,))
        evidence = find_step_evidence(dsa, bsa, reference.values, reference.seen, self.series, step)
        return FrameWarp(warp[0], float(evidence[0]))

    def save(self, kind: str, background: str, hyper: float, refine: int, *, guard: bool) -> bytes:
        """Register the whole run and return its file, see `Registration.save`.

        Args:
            kind: of the file.
            background: see `RegistrationOptions`.
            hyper: λ, [0, 1].
            refine: steps of refinement after the network.
            guard: whether to scale warps by the evidence of motion.
        """
        how = replace(self._how, background=background, hyper=hyper, refine=refine, guard=guard)
        with tempfile.TemporaryDirectory() as folder:
            (path,) = self._model.register(self._whole, how).save(Path(folder) / "run", kinds=(kind,))
            return path.read_bytes()
