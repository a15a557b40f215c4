"""A network that subtracts learns the vessel layer of a store, and its output counts in ln units."""

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.storage import store
from benchmarks.peers.runs import read_sample
from benchmarks.peers.subtraction import MULTIPLE, Subtraction, build, main, train
from tests.benchmarks.made import SIDE, make_run


def make_store(path, clean=True):
    """Write a run whose frames show a dark bar at another place each, over a flat field."""
    flat = np.full((12, 32, 32), 3000, np.uint16)
    frames = flat.copy()
    for number in range(2, 12):
        frames[number, :, 2 * number : 2 * number + 4] = 1200
    with store.create(path) as file:
        store.append(file, "run", store.StoredRun(frames, "LIN", 12, clean=flat if clean else None))
    return path


def test_the_output_has_the_size_of_the_frames():
    frames = np.zeros((1, 2 * MULTIPLE, 3 * MULTIPLE, 2), np.float32)
    assert build()(frames).shape == (1, 2 * MULTIPLE, 3 * MULTIPLE, 1)


@pytest.mark.slow
def test_vessels_are_learned_from_a_store(tmp_path, capsys):
    train([make_store(tmp_path / "s.h5")], tmp_path / "u.h5", steps=60, batch_size=2, size=32)
    assert "step 60/60: loss" in capsys.readouterr().out
    sample = read_sample(make_run(tmp_path / "run.dcm"), 2)
    found, seconds = Subtraction(tmp_path / "u.h5").subtract(sample)
    assert found.shape == (2, SIDE, SIDE)
    assert seconds > 0
    vessel = sample.truth.vessel_mask[-1]
    assert found[-1][vessel].mean() < found[-1][~vessel].mean() - 0.02
    assert sample.score(found, seconds).contrast_kept > 0.05


def test_output_counts_in_ln_units(tmp_path):
    """The run's normalised range over its values' range in ln."""
    sample = read_sample(make_run(tmp_path / "run.dcm"), 1)
    ln = np.log(sample.series.frames[list(sample.frames)].astype(float))
    slope = np.polyfit(sample.fixed.ravel(), ln.ravel(), 1)[0]
    assert sample.ln_per_unit == pytest.approx(slope, rel=0.01)


def test_an_absent_network_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--subtraction .*: expected a network"):
        Subtraction(tmp_path / "u.h5")


def test_a_store_without_truth_is_refused(tmp_path, capsys):
    assert main([str(make_store(tmp_path / "s.h5", clean=False)), "--out", str(tmp_path / "u.h5"), "--steps", "1"]) == 2
    assert "subtraction: " in capsys.readouterr().err
    assert not (tmp_path / "u.h5").exists()
