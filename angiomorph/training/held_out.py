"""Runs that a training does not see: what the network is given of them, and a few frames of each, ready to be scored."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from angiomorph.dicom import Series, SeriesFiles, read_series
from angiomorph.errors import InputError
from angiomorph.evaluation.score import Case, Score, check_same_frames
from angiomorph.preprocessing.field import clamp_warp, fill_outside
from angiomorph.preprocessing.intensity import normalise, to_domain
from angiomorph.preprocessing.resizing import fit_frames, shrink_frames
from angiomorph.preprocessing.spacing import centre_indices
from angiomorph.registration.inputs import NetworkInput, prepare_input
from angiomorph.registration.pyramid import Predictor
from angiomorph.storage.store import StoredRun
from angiomorph.storage.truth import RunTruth, find_truth
from angiomorph.training.draws import Draw
from angiomorph.training.source import Pairs

FRAMES = 8  # scored of a run: one of a hundred frames is to take no longer than one of ten


@dataclass(frozen=True, eq=False)
class HeldOut:
    """One run.

    Args:
        name: for people.
        seen: frames that the network is given.
        frames: indices, from 0, of the frames that are registered: the background's and those that are scored.
        case: scores warps of `frames`.
        clean: a simulated run's frames as the network would see them without noise and contrast agent.
    """

    name: str
    seen: NetworkInput
    frames: tuple[int, ...]
    case: Case
    clean: np.ndarray | None = None

    def score(self, predictor: Predictor, hyper: float) -> Score:
        """Return what the network's own warps are worth, without refinement and guard.

        Args:
            predictor: the network.
            hyper: λ, [0, 1].

        Raises:
            InputError: a warp is not finite.
        """
        start = time.perf_counter()
        fixed = self.seen.level_frames(list(self.frames))
        warp = clamp_warp(np.concatenate(list(predictor.warps(self.seen.moving, fixed, hyper))), self.seen.field)
        if not np.isfinite(warp).all():
            raise not_finite(f"validation on {self.name}", hyper)
        return self.case.score(warp, time.perf_counter() - start)

    def read(self, draw: Draw, size: int) -> Pairs:
        """Return the frames of a draw as training would see them.

        Args:
            draw: indices of frames.
            size: side of the network's frames, pixels.
        """
        kinds = draw.background, draw.contrast
        moving, fixed = (fit_frames(self.seen.frames[indices], size) for indices in kinds)
        clean = () if self.clean is None else tuple(fit_frames(self.clean[indices], size) for indices in kinds)
        return Pairs(moving, fixed, clean)


def not_finite(subject: str, hyper: float) -> InputError:
    """Return the error that tells of a warp that is not finite."""
    return InputError(f"{subject} at λ {hyper:g}: expected finite warps, found one that is not a number; lower `lr`")


def hold_out(series: Series, truth: RunTruth | None, trained_on: str) -> HeldOut:
    """Select the background and up to `FRAMES` evenly spaced other frames of a run for scoring.

    Args:
        series: the run.
        truth: the run's truth, or None.
        trained_on: the network's intensity, see `inputs.prepare_input`.

    Raises:
        InputError: the truth is one of other frames, the run has an intensity that the network was not trained on, or no
            frame beside the background's.
    """
    if truth is not None:
        check_same_frames(series, truth)
    seen = prepare_input(series, trained_on)
    background = [number - 1 for number in seen.background.numbers]
    others = [index for index in range(len(series.frames)) if index not in background]
    if not others:
        raise InputError(
            f"{series.name}: expected frames beside the background's to validate on, found none; take the run out of "
            "`validation`"
        )
    frames = sorted([*background, *(others[index] for index in centre_indices(len(others), FRAMES))])
    part = dataclasses.replace(series, frames=series.frames[frames], frame_times=series.frame_times[frames])
    numbers = [frames.index(index) + 1 for index in background]
    case = Case(part, numbers, None if truth is None else truth.select_frames(frames))
    return HeldOut(series.name, seen, tuple(frames), case, None if truth is None else _clean(series, truth, seen))


def _clean(series: Series, truth: RunTruth, seen: NetworkInput) -> np.ndarray:
    return fill_outside(normalise(to_domain(truth.clean_values(series.relation), seen.intensity), seen.scale), seen.field)


def read_held_out(name: str, files: SeriesFiles, trained_on: str) -> HeldOut:
    """Return a DICOM run at its full size, with the truth beside it where it is simulated.

    Args:
        name: for people.
        files: the run's files.
        trained_on: the network's intensity.

    Raises:
        InputError: run or truth cannot be read, or as `hold_out` has it.
    """
    series = dataclasses.replace(read_series(files), name=name)
    return hold_out(series, find_truth(files.paths[0]), trained_on)


def hold_out_stored(name: str, run: StoredRun, size: int, trained_on: str) -> HeldOut:
    """Return a stored run at the network's size.

    Args:
        name: for people.
        run: run of the store.
        size: side of the network's frames, to which larger ones shrink, pixels.
        trained_on: the network's intensity.

    Raises:
        InputError: as `hold_out` has it.
    """
    frames = shrink_frames(run.frames, size)
    series = Series(
        frames=frames,
        relation=run.relation,
        bits_stored=run.bits_stored,
        frame_times=run.frame_time * np.arange(len(frames)),
        background_numbers=run.background,
        name=name,
        shutter=np.ones(frames.shape[1:], bool),
        headers=(),
    )
    return hold_out(series, None, trained_on)
