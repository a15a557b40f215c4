"""Registration of simulated runs measured against their truth, as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from angiomorph import metrics, store
from angiomorph.dicom import find_series, read_series
from angiomorph.errors import InputError
from angiomorph.layers import warp_frames
from angiomorph.registration import Model, register_series


@dataclass(frozen=True)
class Score:
    """What one registered run, or the mean of several, is worth; frames with iodine only, inside the anatomy.

    Args:
        artefact_left: see `metrics.artefact_left`; the noise of the background frames is in what is left and in what was.
        noise_free: the same of the true, noise-free background of the chosen frames, moved by the same warp.
        contrast_dsa: `metrics.contrast_kept` of plain DSA.
        contrast_bsa: the same of BSA.
        rmse_dsa: root mean square difference of plain DSA to the true vessel layer, ln units.
        rmse_bsa: the same of BSA.
        folding: see `metrics.folding`.
        ms_per_frame: wall time of the registration, ms a frame.
    """

    artefact_left: float
    noise_free: float
    contrast_dsa: float
    contrast_bsa: float
    rmse_dsa: float
    rmse_bsa: float
    folding: float
    ms_per_frame: float


def truth_path(run: Path) -> Path:
    """Return where `angiomorph simulate` writes the truth of a run."""
    return run.with_name(f"{run.stem}_truth.h5")


def evaluate_run(
    run: Path, model: Model, hyper: float, background: str = "auto", refine_steps: int = 0, guard: bool = True
) -> Score:
    """Register a simulated run and compare it with its truth.

    Args:
        run: DICOM file with `<name>_truth.h5` beside it.
        model: the network.
        hyper: λ, [0, 1].
        background: as `registration.register_series`.
        refine_steps: as `registration.register_series`.
        guard: as `registration.register_series`.

    Raises:
        InputError: no truth, a truth of other frames than the run's, or a run without iodine.
    """
    series = read_series(run)
    truth, _ = store.read_arrays(truth_path(run))
    if truth["background"].shape != series.frames.shape:
        raise InputError(
            f"{truth_path(run)}: expected the truth of {series.frames.shape} frames, found {truth['background'].shape}; "
            "simulate run and truth together"
        )
    start = time.perf_counter()
    result = register_series(series, model, hyper=hyper, background=background, refine_steps=refine_steps, guard=guard)
    seconds = time.perf_counter() - start
    contrast = np.flatnonzero(truth["vessel_mask"].any((1, 2)))
    if not contrast.size:
        raise InputError(f"{truth_path(run)}: expected a run with iodine, found none in any frame; simulate more frames")
    moved, bsa, dsa, warp = (array[contrast] for array in (result.moved, result.bsa, result.dsa, result.warp))
    vessel, vessel_mask, roi = (truth[name][contrast] for name in ("vessel", "vessel_mask", "anatomy"))
    clean = truth["background"][[number - 1 for number in result.background.numbers]].mean(0)
    clean_moved = np.concatenate([warp_frames(clean[None], part[None]).numpy() for part in warp])
    return Score(
        artefact_left=metrics.artefact_left(moved, moved + bsa - dsa, truth["background"][contrast], roi),
        noise_free=metrics.artefact_left(clean_moved, clean, truth["background"][contrast], roi),
        contrast_dsa=metrics.contrast_kept(dsa, vessel, vessel_mask, roi),
        contrast_bsa=metrics.contrast_kept(bsa, vessel, vessel_mask, roi),
        rmse_dsa=_rmse(dsa, vessel, roi),
        rmse_bsa=_rmse(bsa, vessel, roi),
        folding=metrics.folding(result.warp),
        ms_per_frame=1e3 * seconds / len(series.frames),
    )


def _rmse(subtracted: np.ndarray, vessel: np.ndarray, roi: np.ndarray) -> float:
    return float(np.sqrt(np.mean((subtracted - vessel)[roi].astype(np.float64) ** 2)))


def simulated_runs(paths: Sequence[str]) -> list[Path]:
    """Return the DICOM files under `paths` that have a truth beside them.

    Raises:
        InputError: there is none.
    """
    runs = [files.paths[0] for files in find_series(paths) if truth_path(files.paths[0]).exists()]
    if not runs:
        raise InputError(
            f"{', '.join(map(str, paths))}: expected simulated runs with <name>_truth.h5 beside them, found none; "
            "make some with `angiomorph simulate --out DIR`"
        )
    return runs


def mean(scores: Sequence[Score]) -> Score:
    """Return the mean of each figure over the runs."""
    return Score(*(float(np.mean(column)) for column in zip(*map(astuple, scores), strict=True)))


def table(rows: Sequence[tuple[str, Score]]) -> str:
    """Return a Markdown table, one named row a score."""
    head = ["run", *(field.name for field in fields(Score))]
    formats = (".3f", ".3f", ".3f", ".3f", ".4f", ".4f", ".5f", ".0f")
    lines = [head, ["---"] * len(head)]
    lines += [
        [name, *(format(value, style) for value, style in zip(astuple(score), formats, strict=True))] for name, score in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
