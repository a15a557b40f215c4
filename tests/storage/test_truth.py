"""The truth of simulated runs and its file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiomorph.errors import InputError
from angiomorph.storage.store import read_arrays, write_arrays
from angiomorph.storage.truth import ARRAYS, RunTruth, find_truth, read_truth, truth_path, write_truth


def make_truth(frames=3, rows=8, columns=12, stored_per_ln=1.0, seed=0):
    rng = np.random.default_rng(seed)
    blocks = frames, rows // 4, columns // 4
    return RunTruth(
        background=rng.normal(6, 1, (frames, rows, columns)).astype(np.float32),
        vessel=-rng.random((frames, rows, columns)).astype(np.float32),
        vessel_mask=rng.random((frames, rows, columns)) < 0.5,
        anatomy=rng.random((frames, rows, columns)) < 0.5,
        pose=rng.normal(size=(frames, 6)),
        displacement=rng.normal(size=(*blocks, 2)).astype(np.float32),
        displacement_defined=rng.random(blocks) < 0.5,
        stored_per_ln=stored_per_ln,
    )


def assert_equal(one, other):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.stored_per_ln == other.stored_per_ln


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(4, 9), st.integers(4, 9), st.floats(1, 1e4), st.integers(0, 99))
def test_what_is_written_is_read(tmp_path_factory, frames, rows, columns, stored_per_ln, seed):
    truth, path = make_truth(frames, rows, columns, stored_per_ln, seed), tmp_path_factory.mktemp("t") / "a_truth.h5"
    write_truth(path, truth, {"version": "1"})
    assert_equal(read_truth(path), truth)
    assert read_arrays(path)[1]["version"] == "1"


def test_it_lies_beside_the_run(tmp_path):
    assert truth_path(tmp_path / "a.b.dcm") == tmp_path / "a.b_truth.h5"
    assert find_truth(tmp_path / "a.dcm") is None
    write_truth(tmp_path / "a_truth.h5", make_truth())
    assert_equal(find_truth(tmp_path / "a.dcm"), make_truth())


def test_a_file_without_displacements_has_none_defined(tmp_path):
    arrays = {name: array for name, array in make_truth().arrays().items() if not name.startswith("displacement")}
    write_arrays(tmp_path / "a_truth.h5", arrays, {})
    found = read_truth(tmp_path / "a_truth.h5")
    assert found.displacement.shape == (3, 2, 3, 2)
    assert not found.displacement_defined.any()
    assert found.stored_per_ln == 1.0


@pytest.mark.parametrize("name", ["background", "vessel", "vessel_mask", "anatomy", "pose"])
def test_a_file_without_an_array_is_refused(tmp_path, name):
    arrays = make_truth().arrays()
    del arrays[name]
    write_arrays(tmp_path / "a_truth.h5", arrays, {})
    with pytest.raises(InputError, match=f"a_truth.h5: expected the truth of a simulated run, found no {name} in it"):
        find_truth(tmp_path / "a.dcm")


def test_clean_values_by_hand():
    truth = RunTruth(**make_truth(1, 4, 4).arrays() | {"background": np.full((1, 4, 4), 2.0, np.float32)}, stored_per_ln=50.0)
    np.testing.assert_allclose(truth.clean_values("LIN"), np.e**2, rtol=1e-6)
    np.testing.assert_array_equal(truth.clean_values("LOG"), 100.0)
    np.testing.assert_array_equal(truth.clean_values("DISP"), 100.0)


@pytest.mark.parametrize("chosen", [[2, 0], slice(1, None)])
def test_the_truth_of_some_frames(chosen):
    truth = make_truth(stored_per_ln=7.0)
    part = truth.select_frames(chosen)
    np.testing.assert_array_equal(part.pose, truth.pose[chosen])
    np.testing.assert_array_equal(part.displacement, truth.displacement[chosen])
    assert part.stored_per_ln == 7.0
