"""What a registration leaves where the background lies farther and farther away.

    python -m benchmarks.registration.reach OUT/moving

Of simulated runs the last background frame is turned and shifted, and registered onto each frame with iodine, with the
shipped model and without its rigid start (`angiomorph.registration.coarse`). For each displacement it prints the energy of
the motion artefact that is left, noise-free, over what the run has undisplaced and unregistered, and the contrast kept:
means over the runs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np

from angiomorph.dicom import Series, read_series
from angiomorph.evaluation.find import find_runs
from angiomorph.evaluation.score import check_same_frames
from angiomorph.metrics import against_truth
from angiomorph.networks.warp import warp_frames
from angiomorph.registration import coarse
from angiomorph.registration.inputs import prepare_input
from angiomorph.registration.model import Model
from angiomorph.storage.truth import RunTruth, read_truth, truth_path

FULL = 512  # pixels, of the frames in which displacements are named
DIRECTION = 0.6, 0.8  # of a shift, (down, right)


@dataclass(frozen=True)
class Displacement:
    """A turn about the frame's centre and then a shift.

    Args:
        shift: pixels of 512.
        turn: degrees.
    """

    shift: float
    turn: float

    def warp(self, shape: Sequence[int]) -> np.ndarray:
        """Return its warp of frames of a shape, `(H, W, 2)`; the shift is one of whole pixels."""
        down, right = (float(np.rint(part * self.shift * max(shape) / FULL)) for part in DIRECTION)
        return coarse.rigid_warp(tuple(shape), self.turn, (down, right))


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each displacement."""
    parser = argparse.ArgumentParser(description="Artefact left by the displacement of the background.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="simulated runs, or folders of them")
    parser.add_argument("--shift", type=float, nargs="+", default=[0, 8, 16, 24, 32], metavar="PX", help="pixels of 512")
    parser.add_argument("--turn", type=float, nargs="+", default=[3, 5], metavar="DEG", help="degrees, without shift")
    arguments = parser.parse_args(argv)
    wanted = [*(Displacement(shift, 0) for shift in arguments.shift), *(Displacement(0, turn) for turn in arguments.turn)]
    files = find_runs(arguments.runs).values()
    runs = [(read_series(each), read_truth(truth_path(each.paths[0]))) for each in files]
    model = Model()
    print("| displacement | artefact left | contrast kept | artefact left without start | contrast kept without start |")
    print("| --- | --- | --- | --- | --- |")
    for displacement in wanted:
        rows = [[*left(*run, model, displacement, wanted), *without_start(*run, model, displacement, wanted)] for run in runs]
        figures = " | ".join(f"{mean:.3f}" for mean in np.nanmean(rows, axis=0))
        print(f"| {displacement.shift:g} px, {displacement.turn:g}° | {figures} |", flush=True)


def without_start(
    series: Series, truth: RunTruth, model: Model, displacement: Displacement, wanted: Sequence[Displacement]
) -> tuple[float, float]:
    """Return the same as `left`, of the network by itself."""
    with patch.object(coarse, "LEAST", math.inf):
        return left(series, truth, model, displacement, wanted)


def left(
    series: Series, truth: RunTruth, model: Model, displacement: Displacement, wanted: Sequence[Displacement]
) -> tuple[float, float]:
    """Return the artefact left of a run and the contrast kept.

    Args:
        series: the run.
        truth: of it.
        model: the network.
        displacement: of the background.
        wanted: all displacements, which say how far from the border the figures are taken.

    Raises:
        InputError: the truth is one of other frames.
    """
    check_same_frames(series, truth)
    number = prepare_input(series, model.defaults.intensity).background.numbers[-1]
    iodine = np.flatnonzero(truth.vessel_mask.any((1, 2)))
    warp = displacement.warp(series.frames.shape[1:])[None]
    frames, clean = series.frames.copy(), truth.background[number - 1]
    frames[number - 1] = np.rint(warp_frames(frames[None, number - 1].astype(np.float32), warp).numpy()[0])
    seen = prepare_input(replace(series, frames=frames), model.defaults.intensity, background=str(number))
    warps = np.concatenate(list(model.predictor.warps(seen.moving, seen.frames[iodine], model.defaults.hyper)))
    there = warp_frames(clean[None], warp)
    moved = np.concatenate([warp_frames(there, each[None]).numpy() for each in warps])
    part = truth.select_frames(iodine.tolist())
    margin = max(math.ceil(np.abs(each.warp(clean.shape)).max()) for each in wanted)
    inside = np.zeros(clean.shape, bool)
    inside[margin : clean.shape[0] - margin, margin : clean.shape[1] - margin] = True
    roi = part.anatomy & inside
    before = against_truth.error_energy(np.broadcast_to(clean, part.background.shape), part.background, roi)
    kept = against_truth.contrast_kept(part.background + part.vessel - moved, part.vessel, part.vessel_mask, roi)
    return against_truth.error_energy(moved, part.background, roi) / before, kept


if __name__ == "__main__":
    main()
