"""What a warp is worth, on runs made by hand whose perfect warp is known."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from angiomorph.evaluation.score import Case, Score, score
from angiomorph.storage.truth import read_truth, truth_path
from tests.benchmarks.made import BACKGROUND, FRAMES, SIDE, make_run

SHIFT = (3, -2)
NUMBERS = tuple(range(1, BACKGROUND + 1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("made") / "run.dcm", SHIFT)
    return read_series(path), read_truth(truth_path(path))


def warp(down: float, right: float) -> np.ndarray:
    made = np.zeros((FRAMES, SIDE, SIDE, 2), np.float32)
    made[BACKGROUND:] = down, right
    return made


def test_the_perfect_warp_leaves_nothing_and_keeps_all(run):
    found = score(run[0], NUMBERS, warp(*SHIFT), run[1], 1.2)
    assert found.runs == "moving"
    assert found.artefact_left == pytest.approx(0, abs=1e-6)
    assert found.artefact_in_vessels == pytest.approx(0, abs=1e-6)
    assert found.contrast_kept == pytest.approx(1, abs=1e-3)
    assert found.local_contrast == pytest.approx(1, abs=1e-3)
    assert found.invented == pytest.approx(0, abs=1e-6)
    assert found.rmse_over_floor == pytest.approx(1, abs=0.02)
    assert found.warp_error == pytest.approx(0, abs=1e-3)
    assert found.folding == 0
    assert found.ms_per_frame == pytest.approx(1200 / FRAMES)
    assert math.isnan(found.harm)
    assert math.isnan(found.harm_invented)


def test_no_warp_leaves_all_with_and_without_truth(run):
    found = score(run[0], NUMBERS, warp(0, 0), run[1], 0.0)
    assert found.artefact_left == found.invented == found.edge_left == found.deviation_left == 1
    assert found.warp_error == pytest.approx(math.hypot(*SHIFT), rel=1e-3)


def test_a_better_warp_is_better_by_every_figure(run):
    case = Case(run[0], NUMBERS, run[1])
    none, half, perfect = (case.score(warp(part * SHIFT[0], part * SHIFT[1]), 0.0) for part in (0.0, 0.5, 1.0))
    for name in ("artefact_left", "invented", "rmse", "rmse_over_floor", "warp_error", "edge_left", "deviation_left"):
        assert getattr(perfect, name) < getattr(half, name) < getattr(none, name), name
    for name in ("cnr", "ssim", "psnr", "cnr_estimated"):
        assert getattr(perfect, name) > getattr(half, name) > getattr(none, name), name


def test_without_truth_only_its_own_figures_are_known(run):
    found = score(run[0], NUMBERS, warp(*SHIFT), None, 0.0)
    known = {part.name for part in fields(Score) if not math.isnan(getattr(found, part.name))}
    assert found.runs == "real"
    assert known == {"folding", "largest_shift", "edge_left", "deviation_left", "cnr_estimated", "ms_per_frame"}
    with_truth = score(run[0], NUMBERS, warp(*SHIFT), run[1], 0.0)
    assert all(getattr(found, name) == getattr(with_truth, name) for name in known)


def test_on_a_still_run_a_warp_can_only_harm(tmp_path):
    path = make_run(tmp_path / "still.dcm", (0, 0))
    case = Case(read_series(path), NUMBERS, read_truth(truth_path(path)))
    kept = case.score(warp(0, 0), 0.0)
    assert kept.harm == kept.harm_invented == 0
    assert kept.local_contrast == pytest.approx(1, abs=1e-3)
    moved = case.score(warp(1, 0), 0.0)
    assert moved.runs == "still"
    assert moved.harm > 1
    assert 0 < moved.harm_invented < moved.harm
    assert math.isnan(moved.artefact_left)
    assert math.isnan(moved.invented)


def test_a_warp_that_fills_the_vessel_eats_contrast(run):
    """Push the vessel's darkness into the background: a warp that follows iodine keeps less of it."""
    series, truth = run
    darker = replace(truth, background=truth.background.copy())
    eaten = replace(series, frames=series.frames.copy())
    eaten.frames[:BACKGROUND, :, 30:34] = (eaten.frames[:BACKGROUND, :, 30:34] * math.exp(-0.15)).astype(np.uint16)
    darker.background[:BACKGROUND, :, 30:34] -= 0.15
    found = score(eaten, NUMBERS, warp(0, 0), darker, 0.0)
    kept = score(series, NUMBERS, warp(0, 0), truth, 0.0)
    assert found.contrast_kept == pytest.approx(kept.contrast_kept - 0.5, abs=0.05)


def test_darkening_beside_a_vessel_costs_local_contrast(run):
    """Lighten the background that is subtracted beside the vessel, by half of the vessel's contrast."""
    series, truth = run
    lighter = replace(truth, background=truth.background.copy())
    lighter.background[:BACKGROUND, :, [29, 34]] += 0.15
    found = score(series, NUMBERS, warp(0, 0), lighter, 0.0)
    kept = score(series, NUMBERS, warp(0, 0), truth, 0.0)
    assert found.contrast_kept == pytest.approx(kept.contrast_kept, abs=0.05)  # the level has moved a little
    assert found.local_contrast == pytest.approx(kept.local_contrast - 0.5, abs=0.02)


def test_a_truth_of_other_frames_is_refused(run):
    series, truth = run
    with pytest.raises(InputError, match=r"run: expected the truth of .* frames, found .*; simulate run and truth together"):
        Case(series, NUMBERS, replace(truth, background=truth.background[:2]))


@pytest.mark.parametrize(
    ("kept", "left", "artefact"),
    [(1.0, 0.0, 0.0), (0.4, 0.0, None), (1.0, 1.0, 1.0), (1.0, 0.5, 0.25)],
)
def test_a_subtraction_without_warp_is_scored_by_what_it_shows(run, kept, left, artefact):
    """Of the vessels a share is kept, and of the motion's difference a share is left."""
    series, truth = run
    contrast = slice(BACKGROUND, None)
    moved = truth.background[:BACKGROUND].mean(0) - truth.background[contrast]
    bsa = kept * truth.vessel[contrast] - left * moved
    found = Case(series, NUMBERS, truth).score_subtraction(bsa.astype(np.float32), 1.0)
    if artefact is not None:
        assert found.artefact_left == pytest.approx(artefact, abs=1e-3)
    if not left:
        assert found.contrast_kept == pytest.approx(kept, abs=1e-3)
    assert found.ms_per_frame == pytest.approx(1000 / (FRAMES - BACKGROUND))
    assert math.isnan(found.warp_error)
    assert math.isnan(found.folding)


def test_a_subtraction_without_truth_is_refused(run):
    with pytest.raises(InputError, match="expected a run with its truth"):
        Case(run[0], NUMBERS, None).score_subtraction(np.zeros((FRAMES - BACKGROUND, SIDE, SIDE), np.float32), 1.0)
