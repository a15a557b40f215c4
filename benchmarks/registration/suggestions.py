"""How near the λ that `angiomorph sweep` suggests is to the λ of least artefact, on simulated runs.

    python -m benchmarks.registration.suggestions RUN... --model truth vle

It sweeps each run with each model, without refinement, and measures the same frames by the run's truth. A row has the artefact
left and the contrast kept, at the suggested λ and at that of the least artefact, of all frames of a run together.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from angiomorph.dicom import Series, read_series
from angiomorph.evaluation.find import find_runs
from angiomorph.evaluation.score import STILL, check_same_frames
from angiomorph.metrics import against_truth
from angiomorph.registration.model import Model
from angiomorph.registration.one_by_one import OneByOne
from angiomorph.registration.options import RegistrationOptions, SweepOptions
from angiomorph.registration.streaming import move
from angiomorph.registration.sweep import Sweep, sweep
from angiomorph.storage.truth import RunTruth, read_truth, truth_path

HEADS = (
    "model",
    "run",
    "suggested",
    "how sure",
    "artefact left",
    "contrast kept",
    "least artefact at",
    "artefact left",
    "contrast kept",
)
NETWORK_ALONE = RegistrationOptions(refine=0)


@dataclass(frozen=True, eq=False)
class Measured:
    """A sweep beside its truth.

    Args:
        swept: the sweep.
        artefact_left: `(L,)`, of all its frames together; nan where nothing moves.
        contrast_kept: `(L,)`, the same.
    """

    swept: Sweep
    artefact_left: np.ndarray
    contrast_kept: np.ndarray

    def cells(self) -> list[str]:
        """Return the cells of the table behind model and run."""
        said = self.swept.suggestion
        at = self.swept.hypers.index(said.hyper)
        if np.isnan(self.artefact_left).any():
            return [f"{said.hyper:g}", said.sure, "nothing moves", f"{self.contrast_kept[at]:.3f}", "-", "-", "-"]
        best = int(self.artefact_left.argmin())
        figures = [(f"{self.artefact_left[index]:.3f}", f"{self.contrast_kept[index]:.3f}") for index in (at, best)]
        return [f"{said.hyper:g}", said.sure, *figures[0], f"{self.swept.hypers[best]:g}", *figures[1]]


@dataclass(frozen=True)
class _OfFrame:
    """A frame by its truth: energies of artefact and noise unregistered; artefact left and contrast kept by λ; its weight."""

    before: float
    noise: float
    left: list[float]
    kept: list[float]
    weight: float


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each model and run."""
    parser = argparse.ArgumentParser(description="The suggested lambda beside that of the least artefact.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="simulated runs, or folders of them")
    parser.add_argument("--model", nargs="+", default=["truth"], metavar="M.h5", help="models, or names of shipped ones")
    parser.add_argument("--frames", type=int, default=SweepOptions.frames, metavar="N", help="of each run")
    arguments = parser.parse_args(argv)
    many = SweepOptions(frames=arguments.frames)
    print(f"| {' | '.join(HEADS)} |\n|{' --- |' * len(HEADS)}")
    for name in arguments.model:
        model = Model(name)
        for run, files in find_runs(arguments.runs).items():
            series, truth = read_series(files), read_truth(truth_path(files.paths[0]))
            check_same_frames(series, truth)
            print(f"| {' | '.join([name, run, *measure(series, truth, model, many).cells()])} |", flush=True)


def measure(series: Series, truth: RunTruth, model: Model, many: SweepOptions) -> Measured:
    """Sweep a run, and measure its frames by their truth at each λ.

    Args:
        series: the run.
        truth: of the same frames.
        model: that registers it.
        many: λ and frames.
    """
    swept = sweep(series, model, NETWORK_ALONE, many)
    run = OneByOne(series, model, model.defaults.complete(NETWORK_ALONE))
    background_of = {frame: step.numbers for step in run.background.split(len(series.frames)) for frame in step.frames}
    parts = [_measure_frame(run, truth, frame, background_of[frame], swept.hypers) for frame in swept.frames]
    before, noise = sum(part.before for part in parts), sum(part.noise for part in parts)
    left = np.sum([part.left for part in parts], axis=0)
    kept = [np.nan_to_num(part.kept, nan=1.0) for part in parts]  # without vessels
    weights = [max(part.weight, 1e-12) for part in parts]
    moves = before > STILL * noise
    return Measured(swept, left / before if moves else np.full(len(left), np.nan), np.average(kept, axis=0, weights=weights))


def _measure_frame(run: OneByOne, truth: RunTruth, frame: int, numbers: tuple[int, ...], hypers: Sequence[float]) -> _OfFrame:
    background, vessel, mask, roi = (
        part[frame - 1][None] for part in (truth.background, truth.vessel, truth.vessel_mask, truth.anatomy)
    )
    clean = np.asarray(np.mean([truth.background[number - 1] for number in numbers], axis=0), np.float32)
    left, kept = [], []
    for hyper in hypers:
        moved = move(clean, run.register(frame, numbers, hyper, 0, judge=False).warp)[None]
        left.append(against_truth.error_energy(moved, background, roi))
        kept.append(against_truth.contrast_kept(background + vessel - moved, vessel, mask, roi))
    seen = run.reference(numbers)[None] - clean[None]
    noise = against_truth.error_energy(seen, np.zeros_like(seen), roi)
    before = against_truth.error_energy(clean[None], background, roi)
    return _OfFrame(before, noise, left, kept, float(np.sum(vessel[mask & roi] ** 2)))


if __name__ == "__main__":
    main()
