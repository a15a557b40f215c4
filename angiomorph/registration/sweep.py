"""One run at many λ, by a few of its frames: pictures and figures without truth, from which people choose λ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from angiomorph.dicom import Series
from angiomorph.metrics import against_truth, without_truth
from angiomorph.preprocessing.spacing import spread_indices
from angiomorph.registration.model import Model
from angiomorph.registration.one_by_one import OneByOne
from angiomorph.registration.options import USUAL, RegistrationOptions, SweepOptions
from angiomorph.registration.page_answers import in_unit
from angiomorph.registration.suggestion import Suggestion, suggest_hyper

MANY = SweepOptions()
MARGIN = 6  # pixels from the field's edge, where background comes in that no frame shows


@dataclass(frozen=True)
class SweptFrame:
    """What is said of one frame at one λ, without truth.

    Args:
        hyper: λ.
        frame: its number, from 1.
        residue: `against_truth.bright_residue` of BSA, in the unit of the subtraction.
        residue_dsa: the same of plain DSA.
        residue_left: the first over the second: 1 if nothing was gained, less is better.
        edge_left: see `without_truth.NoReference`.
        contrast_left: mean darkness of BSA in the `without_truth.vessel_core` over that of plain DSA there: 1 where the warp
            left vessels alone, less where it took iodine for motion; nan where there is no core.
        cnr_estimated: see `without_truth.NoReference`.
        folding: `against_truth.folding`.
        smallest_jacobian: smallest Jacobian of the warp, see `against_truth.smallest_jacobian`.
        largest_shift: pixels.
    """

    hyper: float
    frame: int
    residue: float
    residue_dsa: float
    residue_left: float
    edge_left: float
    contrast_left: float
    cnr_estimated: float
    folding: float
    smallest_jacobian: float
    largest_shift: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """A run at many λ.

    Args:
        hypers: λ, rising.
        frames: numbers of the frames that were registered, from 1, rising.
        figures: figures of each λ and each frame.
        key_frame: number of the frame whose pictures are here, of the most iodine.
        dsa: `(H, W)` float32, that frame minus the unregistered background.
        bsa: `(L, H, W)` float32, the same minus the background as moved at each λ.
        field: `(H, W)` bool, the exposed field.
        own: λ of the model.
        warnings: warnings about the background.
    """

    hypers: tuple[float, ...]
    frames: tuple[int, ...]
    figures: tuple[SweptFrame, ...]
    key_frame: int
    dsa: np.ndarray
    bsa: np.ndarray
    field: np.ndarray
    own: float
    warnings: tuple[str, ...] = ()

    def table(self, name: str) -> np.ndarray:
        """Return one figure as `(L, F)`, by λ and frame.

        Args:
            name: name of a field of `SweptFrame`.
        """
        return np.array([getattr(each, name) for each in self.figures]).reshape(len(self.hypers), len(self.frames))

    def medians(self, name: str) -> np.ndarray:
        """Return the median of one figure over the frames where it is defined, `(L,)`; nan where it is in none.

        Args:
            name: name of a field of `SweptFrame`.
        """
        known = [row[np.isfinite(row)] for row in self.table(name)]
        return np.array([np.median(row) if row.size else math.nan for row in known])

    @property
    def suggestion(self) -> Suggestion:
        """Which λ to look at first, and how sure that is."""
        plain = self.table("residue_dsa")[0]
        return suggest_hyper(self.hypers, self.table("residue"), plain, self.table("contrast_left"), self.own)


class _Frame:
    """A frame of a run, ready to be registered at any λ."""

    def __init__(self, run: OneByOne, frame: int, numbers: tuple[int, ...], refine: int) -> None:
        self._run, self._frame, self._numbers, self._refine = run, frame, numbers, refine
        self._values, self._reference = in_unit(run.series, run.series.frames[frame - 1]), run.reference(numbers)
        self.dsa = self._values - self._reference
        inside = ndimage.binary_erosion(run.seen.field, iterations=MARGIN, border_value=1)
        self._inside = inside if inside.any() else run.seen.field
        self._core = without_truth.vessel_core(self._values[None], self._reference, run.seen.field)[0] & self._inside

    def register(self, hyper: float) -> tuple[np.ndarray, SweptFrame]:
        warp = self._run.register(self._frame, self._numbers, hyper, self._refine, judge=False).warp
        moved = self._run.move(self._reference, warp)
        bsa = self._values - moved
        before, after = (against_truth.bright_residue(each[None], self._inside) for each in (self.dsa, bsa))
        judged = without_truth.judge(self._values[None], self._reference, moved[None], self._run.seen.field)
        return bsa, SweptFrame(
            hyper=hyper,
            frame=self._frame,
            residue=after,
            residue_dsa=before,
            residue_left=_ratio(after, before),
            edge_left=judged.edge_left,
            contrast_left=_ratio(self._darkness(bsa), self._darkness(self.dsa)),
            cnr_estimated=judged.cnr_estimated,
            folding=against_truth.folding(warp),
            smallest_jacobian=against_truth.smallest_jacobian(warp),
            largest_shift=against_truth.largest_shift(warp),
        )

    def _darkness(self, subtracted: np.ndarray) -> float:
        if not self._core.any():
            return math.nan
        return float(np.median(subtracted[self._inside]) - subtracted[self._core].mean(dtype=np.float64))


def sweep(
    series: Series,
    model: Model,
    options: RegistrationOptions = USUAL,
    many: SweepOptions = MANY,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sweep:
    """Register a few frames of a run at many λ, and say which λ to look at first; nothing is chosen for anyone.

        >>> tried = am.sweep(run, model, many=am.SweepOptions(hypers=(0, 0.5, 1), frames=2))
        >>> tried.hypers, len(tried.frames), tried.table("residue_left").shape
        ((0, 0.5, 1), 2, (3, 2))

    The frame of most iodine in plain DSA is one of them; the others are spaced evenly behind the background. The guard does not
    act.

    Args:
        series: the run, from `read_series` or `dicom.open_series`.
        model: model that registers it, at any λ.
        options: how; their `hyper` does not count.
        many: at which λ, and how many frames.
        progress: called with (registrations done, registrations).

    Raises:
        InputError: a baked model, and as `Model.register`.
    """
    model.defaults.check_free()
    how = model.defaults.complete(options)
    run = OneByOne(series, model, how)
    background_of = {frame: step.numbers for step in run.background.split(len(series.frames)) for frame in step.frames}
    frames, key_frame = _choose_frames(run, background_of, many.frames)
    hypers = tuple(sorted(set(many.hypers)))
    figures, shown = [], []
    for count, frame in enumerate(frames):
        of_frame = _Frame(run, frame, background_of[frame], how.refine)
        for hyper in hypers:
            bsa, swept = of_frame.register(hyper)
            figures.append(swept)
            if frame == key_frame:
                shown.append(bsa)
            progress(count * len(hypers) + hypers.index(hyper) + 1, len(frames) * len(hypers))
        if frame == key_frame:
            dsa = of_frame.dsa
    figures.sort(key=lambda each: (each.hyper, each.frame))
    return Sweep(
        hypers=hypers,
        frames=tuple(frames),
        figures=tuple(figures),
        key_frame=key_frame,
        dsa=dsa,
        bsa=np.stack(shown),
        field=run.seen.field,
        own=model.defaults.hyper,
        warnings=run.background.warnings,
    )


def _choose_frames(run: OneByOne, background_of: dict[int, tuple[int, ...]], count: int) -> tuple[list[int], int]:
    """Return the numbers of the frames to register, rising, and of them the one of most iodine in plain DSA."""
    others = [frame for frame, numbers in background_of.items() if frame not in numbers] or list(background_of)
    behind = [frame for frame in others if frame > background_of[frame][-1]] or others
    inside = run.seen.field
    darkness = {}
    for frame in sorted(behind):
        values = in_unit(run.series, run.series.frames[frame - 1])[inside] - run.reference(background_of[frame])[inside]
        darkness[frame] = float(np.minimum(values - np.median(values), 0).mean())
    fullest = min(darkness, key=darkness.__getitem__)
    chosen = [list(darkness)[index] for index in spread_indices(len(darkness), count)]
    if fullest not in chosen:  # instead of the one nearest to it
        chosen[int(np.argmin([abs(frame - fullest) for frame in chosen]))] = fullest
    return sorted(chosen), fullest


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else math.nan
