"""Runs made from real frames: their truth, by what can be counted, and what registration reads of them."""

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from angiomorph.cli import main as angiomorph
from angiomorph.dicom import read_series, write_run
from angiomorph.networks.warp import warp_frames
from angiomorph.storage import store
from angiomorph.storage.truth import read_truth, truth_path
from benchmarks.simulator import real_heads

pytestmark = pytest.mark.slow

SIDE = 128


@pytest.fixture
def frame(tmp_path):
    """A file of one 10-bit frame of 256 x 256: a texture with the noise of quanta, a dark rim behind a round collimator."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=(2 * SIDE, 2 * SIDE)), 8)
    values = np.clip(rng.poisson(400 * np.exp(0.3 * texture / texture.std())), 1, 1023)
    place = np.indices(values.shape) - SIDE
    values[np.hypot(*place) > SIDE - 8] = 0
    path = tmp_path / "frame.dcm"
    write_run(path, values[None].astype(np.uint16), BitsStored=10, relation="LIN", frame_time=1.0)
    return path


@pytest.fixture
def vessels(tmp_path):
    """The truth of a run in which a bar fills from the third frame on."""
    layer = np.zeros((7, 2 * SIDE, 2 * SIDE), np.float32)
    layer[2:, :, SIDE : SIDE + 6] = -0.3
    empty = np.zeros_like(layer)
    truth = {"background": empty, "vessel": layer, "vessel_mask": layer < 0, "anatomy": empty == 0, "pose": np.zeros((7, 6))}
    path = tmp_path / "some_truth.h5"
    store.write_arrays(path, truth, {})
    return path


def test_the_truth_beside_a_run_is_that_of_its_frames(frame, vessels, tmp_path, capsys):
    out = tmp_path / "out"
    assert real_heads.main([str(frame), "--vessels", str(vessels), "--out", str(out), "--runs", "2"]) == 0
    paths = sorted(out.glob("*.dcm"))
    assert capsys.readouterr().out.splitlines() == list(map(str, paths))
    assert [path.name for path in paths] == ["head-1-1.dcm", "head-1-2.dcm"]
    series, truth = read_series(paths[0]), read_truth(truth_path(paths[0]))
    assert series.frames.shape == (6, 2 * SIDE, 2 * SIDE)
    assert series.bits_stored == 12
    inside = truth.anatomy
    error = np.log(np.maximum(series.frames, 1)) - truth.background - truth.vessel
    assert 0.01 < error[inside].std() < 0.06  # quanta of 400 a pixel have 0.05
    assert abs(error[inside].mean()) < 0.003
    assert truth.vessel[2:].min() == pytest.approx(-0.3)
    assert not truth.vessel[:2].any()
    # The displacement of the truth, at the middle of its blocks, moves the first background onto the others.
    warp = truth.displacement.repeat(4, 1).repeat(4, 2)
    moved = np.concatenate([warp_frames(truth.background[:1], each[None]).numpy() for each in warp[2:]])
    left, before = ((part - truth.background[2:])[inside[2:]] for part in (moved, truth.background[:1].repeat(4, 0)))
    assert np.square(left).mean() < 0.05 * np.square(before).mean()
    with pydicom.dcmread(paths[0]) as header:
        assert header.PatientName == "SIMULATED^RUN"  # and not that of the frame


def test_a_run_can_be_evaluated(frame, vessels, tmp_path, capsys):
    real_heads.main([str(frame), "--vessels", str(vessels), "--out", str(tmp_path / "out"), "--runs", "1"])
    assert angiomorph(["evaluate", str(tmp_path / "out"), "--refine", "0"]) == 0
    assert "moving (1): artefact left" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["text", "run"])
def test_what_is_no_single_frame_is_refused(kind, vessels, tmp_path, capsys):
    path = tmp_path / "x.dcm"
    if kind == "text":
        path.write_text("no DICOM")
    else:
        write_run(path, np.ones((2, 16, 16), np.uint16), BitsStored=10, relation="LIN", frame_time=1.0)
    assert real_heads.main([str(path), "--vessels", str(vessels), "--out", str(tmp_path / "out")]) == 2
    assert f"{path}: expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_vessels_without_iodine_are_refused(frame, tmp_path, capsys):
    empty = np.zeros((3, 16, 16), np.float32)
    truth = {"background": empty, "vessel": empty, "vessel_mask": empty < 0, "anatomy": empty == 0, "pose": np.zeros((3, 6))}
    store.write_arrays(tmp_path / "t.h5", truth, {})
    assert real_heads.main([str(frame), "--vessels", str(tmp_path / "t.h5"), "--out", str(tmp_path / "out")]) == 2
    assert "expected at least 4 frames with iodine, found 0" in capsys.readouterr().err
