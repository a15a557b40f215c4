"""Held-out runs: which of their frames are scored, by what, and what cannot be."""

import numpy as np
import pytest

from angiomorph import networks
from angiomorph.dicom import find_series, read_series
from angiomorph.errors import InputError
from angiomorph.evaluation.find import find_runs
from angiomorph.evaluation.score import score
from angiomorph.registration.model import Model
from angiomorph.registration.options import RegistrationOptions
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.tensorflow_engine import TensorFlowEngine
from angiomorph.storage.store import StoredRun
from angiomorph.storage.truth import read_truth, truth_path
from angiomorph.training.draws import Draw
from angiomorph.training.held_out import FRAMES, hold_out, hold_out_stored, read_held_out
from tests.benchmarks.made import make_run
from tests.runs import SIZE, TINY, phantom, save_tiny_model, series


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(save_tiny_model(tmp_path_factory.mktemp("model") / "model.h5"))


@pytest.mark.slow
def test_the_background_and_evenly_spaced_frames_are_scored(model):
    frames = phantom((30, 64, 64), filled=6)
    run = series(frames, background_numbers=(2,))
    found = hold_out(run, None, "auto")
    assert FRAMES == 8
    # 29 others, from each eighth of them the middle one
    assert found.frames == (1, 2, 6, 10, 13, 17, 20, 24, 28)
    warp = model.register(run, RegistrationOptions(hyper=0.3, refine=0, guard=False)).warp[list(found.frames)]
    expected = score(series(frames[list(found.frames)]), [1], warp, None, 0.0)
    scored = found.score(model.predictor, 0.3)
    for name in ("edge_left", "deviation_left", "largest_shift"):
        assert getattr(scored, name) == pytest.approx(getattr(expected, name), rel=1e-3), name


def test_all_frames_of_a_short_run_are_scored_against_the_truth(tmp_path, model):
    path = make_run(tmp_path / "run.dcm")
    found = read_held_out("sub/run", find_series([path])[0], "auto")
    assert (found.name, found.frames, found.case.moves) == ("sub/run", tuple(range(6)), True)
    result = model.register(read_series(path), RegistrationOptions(hyper=0.5, refine=0, guard=False))
    expected = score(read_series(path), result.background.numbers, result.warp, read_truth(truth_path(path)), 0.0)
    scored = found.score(model.predictor, 0.5)
    assert scored.runs == "moving"
    for name in ("artefact_left", "contrast_kept", "warp_error", "edge_left", "folding"):
        assert getattr(scored, name) == pytest.approx(getattr(expected, name), rel=1e-4), name


@pytest.mark.slow
def test_a_stored_run_is_seen_at_the_networks_size():
    frames = np.repeat(np.repeat(phantom((5, 32, 48)), 2, 1), 2, 2)
    found = hold_out_stored("run-1 of x.h5", StoredRun(frames, "LIN", 12, (1, 2)), 48, "auto")
    np.testing.assert_array_equal(found.seen.frames, hold_out(series(frames[:, ::2, ::2]), None, "auto").seen.frames)
    assert not found.case.moves
    pairs = found.read(Draw(0, np.array([0, 1]), np.array([3, 4])), 48)
    assert pairs.moving.shape == pairs.fixed.shape == (2, 48, 48)
    np.testing.assert_allclose(pairs.moving[:, :32], found.seen.frames[[0, 1]], atol=1e-6)
    np.testing.assert_allclose(pairs.fixed[:, :32], found.seen.frames[[3, 4]], atol=1e-6)


@pytest.mark.slow
def test_what_cannot_be_scored_is_named(tmp_path):
    path = make_run(tmp_path / "run.dcm")
    truth = read_truth(truth_path(path))
    with pytest.raises(InputError, match=r"run: expected the truth of \(5, 64, 64\) frames, found \(6, 64, 64\)"):
        hold_out(series(phantom()), truth, "auto")
    with pytest.raises(InputError, match="run: expected frames beside the background's to validate on"):
        hold_out(series(np.repeat(phantom()[:1], 2, 0), background_numbers=(1, 2)), None, "auto")
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    with pytest.raises(InputError, match=r"validation on run at λ 0\.25: expected finite warps.*lower `lr`"):
        hold_out(series(phantom()), None, "auto").score(Predictor(TensorFlowEngine(network)), 0.25)


def test_clean_frames_are_on_the_scale_of_the_runs_frames(tmp_path):
    run = read_held_out("a", find_runs([str(make_run(tmp_path / "a.dcm"))])["a"], "auto")
    quiet = np.s_[:, :, :28]  # beside the vessel
    assert np.abs(run.clean - run.seen.frames)[quiet].mean() < 0.01
    pairs = run.read(Draw(0, np.array([0]), np.array([3])), 64)
    np.testing.assert_array_equal(pairs.clean[0], run.clean[:1])
    np.testing.assert_array_equal(pairs.clean[1], run.clean[3:4])
    (tmp_path / "a_truth.h5").unlink()
    real = read_held_out("a", find_runs([str(tmp_path / "a.dcm")])["a"], "auto")
    assert real.clean is None
    assert real.read(Draw(0, np.array([0]), np.array([3])), 64).clean == ()
