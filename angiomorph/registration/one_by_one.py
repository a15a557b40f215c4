"""Registration of single frames, at any λ and from any background, as someone asks for them."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from angiomorph.dicom import Series
from angiomorph.preprocessing.background import Background
from angiomorph.preprocessing.field import warp_clamp
from angiomorph.registration.evidence import evidence_finder
from angiomorph.registration.inputs import average_frames, prepare_input
from angiomorph.registration.model import Model
from angiomorph.registration.options import MONTAGE, CompleteOptions, OutputOptions
from angiomorph.registration.outputs import forget_masks
from angiomorph.registration.page_answers import in_unit

KEPT = 4  # backgrounds
VIDEOS = ("mp4", "gif")


@dataclass(frozen=True, eq=False)
class FrameWarp:
    """The registration of one frame.

    Args:
        warp: `(H, W, 2)` float32, pixels, ij order, not yet scaled by the guard.
        evidence: evidence of motion, see `evidence.find_evidence`; None where it was not judged.
    """

    warp: np.ndarray
    evidence: float | None = None


@dataclass(frozen=True, eq=False)
class _Reference:
    """A background: its values in the unit of the subtraction, and as the network sees it, both `(H, W)`."""

    values: np.ndarray
    moving: np.ndarray


class OneByOne:
    """A run whose frames are registered one at a time; each as `register_series` does it.

    Args:
        series: the run.
        model: model that registers it.
        how: the options, complete.

    Raises:
        InputError: as of `register_series`.
    """

    def __init__(self, series: Series, model: Model, how: CompleteOptions) -> None:
        self._whole, self._model, self._how = series, model, how
        self.series = forget_masks(series, how.background)
        self.seen = prepare_input(
            self.series,
            model.predictor.intensity,
            background=how.background,
            intensity=how.intensity,
            check=True,
            how=model.predictor.how,
        )
        self.move = model.predictor.move
        self._clamp = warp_clamp(self.seen.field)
        self._references: OrderedDict[tuple[int, ...], _Reference] = OrderedDict()

    @property
    def background(self) -> Background:
        """The background with which the run was opened."""
        return self.seen.background

    def reference(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return the mean of background frames, `(H, W)` float32, in the unit of the subtraction.

        Args:
            numbers: frame numbers, from 1.
        """
        return self._reference(numbers).values

    def _reference(self, numbers: tuple[int, ...]) -> _Reference:
        if numbers not in self._references:
            chosen = np.stack([self.series.frames[number - 1] for number in numbers])
            values = average_frames(in_unit(self.series, chosen), range(1, len(numbers) + 1))
            self._references[numbers] = _Reference(values, average_frames(self.seen.frames, numbers))
        self._references.move_to_end(numbers)
        while len(self._references) > KEPT:
            self._references.popitem(last=False)
        return self._references[numbers]

    def register(self, frame: int, numbers: tuple[int, ...], hyper: float, refine: int, *, judge: bool = True) -> FrameWarp:
        """Register one frame.

        Args:
            frame: its number, from 1.
            numbers: numbers of its background frames, from 1.
            hyper: λ, [0, 1].
            refine: steps of refinement after the network.
            judge: whether to find the evidence, too, which takes a third of the time.
        """
        reference, how = self._reference(numbers), self._how
        fixed = self.seen.level_to(reference.moving, [frame - 1])[0][None]
        warps = self._model.predictor.warps(reference.moving, fixed, hyper, 1, how.levels, how.rounds)
        if refine:
            warps = self._model.refine(reference.moving, fixed, warps, hyper, refine)
        warp = self._clamp(np.concatenate(list(warps)))[0]
        if not judge:
            return FrameWarp(warp)
        return FrameWarp(warp, self._judge(frame, numbers, warp) if frame not in numbers else 0.0)

    def _judge(self, frame: int, numbers: tuple[int, ...], warp: np.ndarray) -> float:
        """Return the evidence of motion in a frame, where frame and background are exposed and not saturated."""
        reference, highest = self._reference(numbers), 2**self.series.bits_stored - 1
        stored = self.series.frames[frame - 1]
        full = np.any([self.series.frames[number - 1] >= highest for number in numbers], axis=0) | (stored >= highest)
        known = self.seen.field & ~full & (reference.moving > 0) & (self.seen.frames[frame - 1] > 0)
        values = in_unit(self.series, stored)
        return evidence_finder(reference.values)(values - reference.values, values - self.move(reference.values, warp), known)

    def save(
        self,
        kind: str,
        background: str,
        hyper: float,
        refine: int,
        *,
        guard: bool,
        window: tuple[float, float] | None = None,
    ) -> bytes:
        """Register the whole run and return its file, see `Registration.save`.

        Args:
            kind: kind of file, one of `options.ENDINGS`.
            background: see `RegistrationOptions`.
            hyper: λ, [0, 1].
            refine: steps of refinement after the network.
            guard: whether to scale warps by the evidence of motion.
            window: grey window of a video, see `Registration.write_video`.
        """
        how = replace(self._how, background=background, hyper=hyper, refine=refine, guard=guard)
        output = OutputOptions(kinds=(kind,))
        with tempfile.TemporaryDirectory() as folder:
            result = self._model.register(self._whole, how, hypers=MONTAGE if kind == "html" else ())
            if kind in VIDEOS:
                video = Path(folder) / f"run.{kind}"
                result.write_video(video, window)
                return video.read_bytes()
            (path,) = result.save(Path(folder) / "run", output=output)
            return path.read_bytes()
