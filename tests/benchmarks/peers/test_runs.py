"""Runs cut down to the frames that are registered, and the sets that they come from."""

import numpy as np
import pytest

from angiomorph.errors import InputError
from benchmarks.peers import runs
from tests.benchmarks.made import SIDE, make_run


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return runs.read_sample(make_run(tmp_path_factory.mktemp("sample") / "run.dcm"), 2)


def constant(sample, down: float, right: float) -> np.ndarray:
    return np.broadcast_to(np.float32([down, right]), (len(sample.frames), SIDE, SIDE, 2)).copy()


def test_sample_holds_contrast_frames_and_the_mean_background(sample):
    assert sample.numbers == (1, 2)
    assert sample.frames == (3, 5)  # of 2, 3, 4, 5: the middles of the halves, the later where there is none
    assert sample.fixed.shape == (2, SIDE, SIDE)
    assert sample.moving.dtype == sample.fixed.dtype == np.float32
    assert sample.truth.background.shape == (4, SIDE, SIDE)
    correlation = np.corrcoef(np.roll(sample.moving, (-3, 2), (0, 1))[:, :28].ravel(), sample.fixed[0][:, :28].ravel())[0, 1]
    assert correlation > 0.999


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, (4,)), (2, (3, 5)), (3, (2, 4, 5)), (4, (2, 3, 4, 5)), (9, (2, 3, 4, 5))], ids=str
)
def test_frames_are_spread_over_the_filled_ones(tmp_path, count, chosen):
    assert runs.read_sample(make_run(tmp_path / "run.dcm"), count).frames == chosen


def test_true_warp_scores_best_and_no_warp_one(sample):
    exact = sample.score(constant(sample, 3, -2), 0.5)
    nothing = sample.score(constant(sample, 0, 0), 0.5)
    assert exact.artefact_left < 1e-6
    assert exact.rmse_over_floor == pytest.approx(1, abs=0.02)
    assert exact.warp_error == pytest.approx(0, abs=1e-5)
    assert nothing.artefact_left == pytest.approx(1)
    assert nothing.warp_error == pytest.approx(np.hypot(3, 2), abs=1e-5)
    assert nothing.ms_per_frame == pytest.approx(500)


def test_folding_is_of_the_registered_frames_alone(sample):
    folded = constant(sample, 0, 0)
    folded[..., 1] = -2 * np.arange(SIDE)  # x + warp(x) runs backwards everywhere
    assert sample.score(folded, 1.0).folding == pytest.approx(1)


def test_first_has_one_frame(sample):
    first = sample.first()
    assert first.frames == sample.frames[:1]
    np.testing.assert_array_equal(first.fixed, sample.fixed[:1])


def test_runs_of_one_name_are_told_apart(tmp_path):
    one, other = (runs.read_sample(make_run(tmp_path / str(seed) / "run.dcm", seed=seed), 1) for seed in (0, 1))
    assert one.name == other.name
    assert one.digest != other.digest


@pytest.fixture
def simulate(monkeypatch):
    """Replace the simulator by one that writes runs made by hand, and return the list of its calls."""
    calls = []

    def fake(folder, *, runs, **given):
        calls.append(given)
        for number in range(1, runs + 1):
            make_run(folder / f"run-{number:06d}.dcm", seed=number)

    monkeypatch.setattr("angiomorph.simulate.write.simulate", fake)
    return calls


GIVEN = {"runs": 2, "seed": 5, "still": False, "ct": None, "vessels": None, "workers": 1}


def test_set_is_simulated_once(tmp_path, simulate):
    first = runs.simulated(tmp_path / "moving", **GIVEN)
    assert [path.name for path in first] == ["run-000001.dcm", "run-000002.dcm"]
    assert runs.simulated(tmp_path / "moving", **GIVEN) == first
    assert len(simulate) == 1
    assert simulate[0]["seed"] == 5
    assert simulate[0]["settings"].motion_mm == (1.0, 5.0)
    assert simulate[0]["settings"].still == 0


def test_still_set_moves_nothing(tmp_path, simulate):
    runs.simulated(tmp_path, **GIVEN | {"still": True})
    assert simulate[0]["settings"].still == 1


def test_interrupted_set_is_simulated_again(tmp_path, simulate):
    runs.simulated(tmp_path, **GIVEN)
    (tmp_path / "set.json").unlink()
    runs.simulated(tmp_path, **GIVEN)
    assert len(simulate) == 2


def test_other_set_in_the_folder_is_refused(tmp_path, simulate):
    runs.simulated(tmp_path, **GIVEN)
    with pytest.raises(InputError, match=r"expected the set that is asked for.*name another --out"):
        runs.simulated(tmp_path, **GIVEN | {"seed": 6})
    assert len(simulate) == 1


def test_set_of_another_simulator_is_refused(tmp_path, simulate, monkeypatch):
    runs.simulated(tmp_path, **GIVEN)
    monkeypatch.setattr(runs, "digest", lambda *modules: f"of {modules} after a change")
    with pytest.raises(InputError, match=r"expected the set that is asked for.*name another --out"):
        runs.simulated(tmp_path, **GIVEN)
    assert len(simulate) == 1


def test_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected simulated runs"):
        runs.run_paths([tmp_path])
