"""What a warp of a run is worth, whatever method it came from: against the truth of a simulated run, and without any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.metrics import against_truth, without_truth
from angiomorph.networks.warp import warp_frames
from angiomorph.preprocessing.intensity import to_ln
from angiomorph.storage.truth import BLOCK, RunTruth

Runs = Literal["moving", "still", "real"]

STILL = 0.01  # of the noise's energy: an unregistered artefact below it is none, and the run counts as still


@dataclass(frozen=True)
class Score:
    """What a registration of one run is worth: its frames other than the background, inside the anatomy.

        >>> score.runs
        'real'
        >>> print(score.edge_left < 1)
        True

    nan where a figure is not defined. All that need the truth are nan without it; figures of vessels, without vessels. What is
    left of the artefact or invented is nan where nothing moved; harm, where something did. The warp's error needs a
    displacement that is defined.

    Args:
        artefact_left: `against_truth.error_energy` of the true, noise-free background moved by the warp, over that of it
            unmoved. 0: nothing is left of the motion artefact; 1: nothing was gained.
        artefact_in_vessels: the same inside vessels.
        contrast_kept: `against_truth.contrast_kept`; 1 for all.
        local_contrast: `against_truth.local_contrast`, noise-free as contrast_kept is; 1 for all.
        invented: `against_truth.thin_darkness`, over that of the background unmoved: 0 nothing looks like a
            vessel that is none, 1 as much as in plain DSA.
        cnr: `against_truth.contrast_to_noise` of BSA.
        rmse: root of `against_truth.error_energy` of BSA against the true vessel layer, ln units.
        rmse_over_floor: rmse over that of a perfect warp, which leaves the noise of the frame and of the background alone.
        ssim: `against_truth.similarity` of BSA to the true vessel layer.
        psnr: `against_truth.peak_ratio` of BSA's error, dB.
        harm: on still runs, the artefact energy that the warp made over the energy of the noise floor; 0 for none.
        harm_invented: on still runs, `against_truth.thin_darkness` that the warp made over the energy of the noise
            floor; 0 for none.
        warp_error: `against_truth.endpoint_error`, pixels.
        folding: `against_truth.folding` of all frames.
        largest_shift: `against_truth.largest_shift`, pixels.
        edge_left: share from `without_truth.judge`, as the two below; these three need no truth.
        deviation_left: over time.
        cnr_estimated: contrast-to-noise ratio of BSA, from `without_truth.judge`.
        ms_per_frame: wall time of the registration, ms a frame.
    """

    artefact_left: float
    artefact_in_vessels: float
    contrast_kept: float
    local_contrast: float
    invented: float
    cnr: float
    rmse: float
    rmse_over_floor: float
    ssim: float
    psnr: float
    harm: float
    harm_invented: float
    warp_error: float
    folding: float
    largest_shift: float
    edge_left: float
    deviation_left: float
    cnr_estimated: float
    ms_per_frame: float

    @property
    def runs(self) -> Runs:
        """Which figures a run has: of one that moves, of a still one, or of one without truth."""
        if not math.isnan(self.harm):
            return "still"
        return "real" if math.isnan(self.rmse) else "moving"

    @property
    def cost(self) -> float:
        """artefact_left + (1 - contrast_kept)**2: of the artefact what is left, of the vessels what is lost or invented."""
        return self.artefact_left + (1 - self.contrast_kept) ** 2


def check_same_frames(series: Series, truth: RunTruth) -> None:
    """Make sure that a truth is one of these frames.

    Raises:
        InputError: it is one of more, fewer or other ones.
    """
    if truth.background.shape != series.frames.shape:
        raise InputError(
            f"{series.name}: expected the truth of {series.frames.shape} frames, found {truth.background.shape}; "
            "simulate run and truth together"
        )


class Case:
    """A run with its chosen background, ready to score any number of warps.

    Args:
        series: the run.
        background_numbers: frame numbers, from 1, of the frames whose mean is warped.
        truth: the run's truth, or None.

    Raises:
        InputError: the truth is one of other frames.
    """

    def __init__(self, series: Series, background_numbers: Sequence[int], truth: RunTruth | None) -> None:
        if truth is not None:
            check_same_frames(series, truth)
        self._truth = truth
        self._chosen = [number - 1 for number in background_numbers]
        others = np.setdiff1d(np.arange(len(series.frames)), self._chosen)
        self._scored = others.tolist() or list(range(len(series.frames)))
        values = to_ln(series.frames, series.relation, 1.0 if truth is None else truth.stored_per_ln)
        self._values = values[self._scored]
        self._reference = _mean(values, self._chosen)
        self._field = series.shutter
        self.moves = False  # where it does, there is an artefact of which something can be left
        if truth is not None:
            self._take(truth)

    def _take(self, truth: RunTruth) -> None:
        parts = (truth.background, truth.vessel, truth.vessel_mask, truth.anatomy)
        self._background, self._vessel, self._vessel_mask, self._roi = (part[self._scored] for part in parts)
        self._clean = _mean(truth.background, self._chosen)
        self._before, self._before_in_vessels = self._artefact(np.broadcast_to(self._clean, self._background.shape))
        self._before_invented = self._measure_invented(np.broadcast_to(self._clean, self._background.shape))
        self._floor = against_truth.error_energy(self._values, self._background + self._vessel, self._roi)
        self._floor += against_truth.error_energy(
            np.broadcast_to(self._reference, self._roi.shape), self._clean[None], self._roi
        )
        self.moves = self._before > STILL * self._floor
        self._true_warp, self._warp_defined = _true_warps(truth, self._scored, self._chosen)

    def _artefact(self, moved: np.ndarray) -> tuple[float, float]:
        """Return the energy of the motion artefact in all of the anatomy and inside vessels."""
        everywhere = against_truth.error_energy(moved, self._background, self._roi)
        return everywhere, against_truth.error_energy(moved, self._background, self._roi, self._vessel_mask)

    def _measure_invented(self, moved: np.ndarray) -> float:
        return against_truth.thin_darkness(moved, self._background, self._vessel_mask, self._roi)

    def score(self, warp: np.ndarray, seconds: float) -> Score:
        """Return what a warp of the run is worth.

        Args:
            warp: `(T, H, W, 2)`, pixels, ij order, of all frames of the run.
            seconds: wall time that all of it took.
        """
        used = warp[self._scored]
        moved = _move_background(self._reference, used)
        common = {
            "folding": against_truth.folding(warp),
            "largest_shift": against_truth.largest_shift(warp),
            **asdict(without_truth.judge(self._values, self._reference, moved, self._field)),
            "ms_per_frame": 1e3 * seconds / len(warp),
        }
        unknown = dict.fromkeys((field.name for field in fields(Score)), math.nan)
        if self._truth is None:
            return Score(**unknown | common)
        true = self._against_truth(_move_background(self._clean, used), self._values - moved)
        return Score(**unknown | common | true | {"warp_error": self._warp_error(used)})

    def score_subtraction(self, bsa: np.ndarray, seconds: float) -> Score:
        """Return what a subtraction is worth that no warp has made, as of a network that puts it out.

            moved = background + vessel - bsa, both noise-free: what differs from the true vessels counts as artefact

        Figures of warps, and those without truth, are nan.

        Args:
            bsa: `(F, H, W)` float32, ln units, iodine negative, of all frames but the background's.
            seconds: wall time that all of it took.

        Raises:
            InputError: the run has no truth.
        """
        if self._truth is None:
            raise InputError("expected a run with its truth, which alone tells vessels from artefact; simulate one")
        unknown = dict.fromkeys((field.name for field in fields(Score)), math.nan)
        true = self._against_truth(self._background + self._vessel - bsa, bsa)
        return Score(**unknown | true | {"ms_per_frame": 1e3 * seconds / len(bsa)})

    def _warp_error(self, warp: np.ndarray) -> float:
        return against_truth.endpoint_error(warp, self._true_warp, self._warp_defined)

    def _against_truth(self, clean: np.ndarray, bsa: np.ndarray) -> dict[str, float]:
        left, in_vessels = self._artefact(clean)
        invented = self._measure_invented(clean)
        energy = against_truth.error_energy(bsa, self._vessel, self._roi)
        vessels = (self._background + self._vessel - clean, self._vessel, self._vessel_mask, self._roi)
        return {
            "artefact_left": left / self._before if self.moves else math.nan,
            "artefact_in_vessels": in_vessels / self._before_in_vessels if self.moves else math.nan,
            "contrast_kept": against_truth.contrast_kept(*vessels),
            "local_contrast": against_truth.local_contrast(*vessels),
            "invented": invented / self._before_invented if self.moves and self._before_invented else math.nan,
            "cnr": against_truth.contrast_to_noise(bsa, self._vessel_mask, self._roi),
            "rmse": math.sqrt(energy),
            "rmse_over_floor": math.sqrt(energy / self._floor),
            "ssim": against_truth.similarity(bsa, self._vessel, self._roi),
            "psnr": against_truth.peak_ratio(energy),
            "harm": math.nan if self.moves else (left - self._before) / self._floor,
            "harm_invented": math.nan if self.moves else (invented - self._before_invented) / self._floor,
        }


def score(series: Series, background_numbers: Sequence[int], warp: np.ndarray, truth: RunTruth | None, seconds: float) -> Score:
    """Return what a warp of one run is worth, whatever method it came from.

        moved = mean(ln(frames of background_numbers))(x + warp(x)), BSA = ln(frame) - moved

    Args:
        series: the run.
        background_numbers: frame numbers, from 1, of the frames whose mean was registered.
        warp: `(T, H, W, 2)` float32, pixels, ij order, on the grid of each frame.
        truth: the run's truth, or None for a real run.
        seconds: wall time of the registration of all frames.

    Raises:
        InputError: the truth is one of other frames.
    """
    return Case(series, background_numbers, truth).score(warp, seconds)


def _mean(values: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    return np.asarray(values[list(indices)].mean(0, dtype=np.float64), np.float32)


def _move_background(reference: np.ndarray, warp: np.ndarray) -> np.ndarray:
    return np.concatenate([warp_frames(reference[None], part[None]).numpy() for part in warp])


def _true_warps(truth: RunTruth, frames: Sequence[int], background: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the true warps to the mean place in the background frames, and where all of them are defined."""
    warps, defined = [], []
    for frame in frames:
        pairs = [
            against_truth.warp_between(truth.displacement, truth.displacement_defined, frame, number, BLOCK)
            for number in background
        ]
        warps.append(np.mean([warp for warp, _ in pairs], axis=0))
        defined.append(np.all([where for _, where in pairs], axis=0))
    return np.stack(warps), np.stack(defined)
