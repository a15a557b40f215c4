"""The sample runs of data/: each is read as its truth says, by this program and by others, and is what its SHA-256 says."""

import hashlib
import json
import re
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedXAImageStorage

from angiomorph.dicom import read_series
from angiomorph.storage.store import read_arrays
from angiomorph.storage.truth import read_truth
from benchmarks.dicom import samples
from tests.runs import moving_frames
from tests.tools import REPOSITORY, require_tool

DATA = REPOSITORY / "data"
TRUTH = json.loads((DATA / "samples.json").read_text())
NAMES = sorted(TRUTH)


def source(name):
    """Return what is read: the file, or the folder of single frames."""
    first = DATA / TRUTH[name]["files"][0]
    return first if len(TRUTH[name]["files"]) == 1 else first.parent


def shown(shutter, rows, columns):
    """Return where a shutter of one shape lets the picture be seen; positions count from 1, edges are seen."""
    row, column = np.indices((rows, columns)) + 1
    if shutter["ShutterShape"] == "RECTANGULAR":
        upper, lower = shutter["ShutterUpperHorizontalEdge"], shutter["ShutterLowerHorizontalEdge"]
        left, right = shutter["ShutterLeftVerticalEdge"], shutter["ShutterRightVerticalEdge"]
        return (row >= upper) & (row <= lower) & (column >= left) & (column <= right)
    if shutter["ShutterShape"] == "CIRCULAR":
        centre = shutter["CenterOfCircularShutter"]
        return (row - centre[0]) ** 2 + (column - centre[1]) ** 2 <= shutter["RadiusOfCircularShutter"] ** 2
    corners = np.reshape(shutter["VerticesOfThePolygonalShutter"], (-1, 2))
    sides = [
        (b[0] - a[0]) * (column - a[1]) - (b[1] - a[1]) * (row - a[0])
        for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)
    ]
    return np.all(np.array(sides) >= 0, 0) | np.all(np.array(sides) <= 0, 0)  # convex: on the same side of each


def test_there_is_a_run_of_each_kind():
    assert sorted(sample.name for sample in samples.SAMPLES) == NAMES
    found = {name: pydicom.dcmread(DATA / TRUTH[name]["files"][0], stop_before_pixels=True) for name in NAMES}
    assert found["sample_enhanced"].SOPClassUID == EnhancedXAImageStorage
    assert [TRUTH[name]["relation"] for name in ("sample_lin", "sample_disp")] == ["LIN", "DISP"]
    assert len(TRUTH["sample_single_frames"]["files"]) == TRUTH["sample_single_frames"]["shape"][0] == 6
    assert {TRUTH[name]["shutter"]["ShutterShape"] for name in NAMES} == {"RECTANGULAR", "CIRCULAR", "POLYGONAL"}
    assert {str(dataset.PatientName) for dataset in found.values()} == {"SIMULATED^RUN"}


@pytest.mark.parametrize("name", NAMES)
def test_frames_times_and_mask_are_read_as_they_were_made(name):
    truth, series = TRUTH[name], read_series(source(name))
    assert list(series.frames.shape) == truth["shape"]
    assert hashlib.sha256(series.frames.astype("<u2").tobytes()).hexdigest() == truth["frames_sha256"]
    np.testing.assert_allclose(series.frame_times, truth["frame_times_ms"])
    assert (series.relation, series.bits_stored) == (truth["relation"], truth["bits_stored"])
    assert list(series.background_numbers) == truth["mask_frames"]
    assert series.warnings == ()


@pytest.mark.parametrize("name", NAMES)
def test_the_shutter_is_read_as_it_was_made(name):
    truth, series = TRUTH[name], read_series(source(name))
    expected = shown(truth["shutter"], *truth["shape"][1:])
    assert 0.5 < expected.mean() < 0.98
    # A polygon's edge may count a pixel in or out.
    assert np.mean(series.shutter != expected) <= (0.001 if truth["shutter"]["ShutterShape"] == "POLYGONAL" else 0)


def test_the_enhanced_run_says_the_same_in_its_functional_groups():
    truth = TRUTH["sample_enhanced"]
    dataset = pydicom.dcmread(DATA / "sample_enhanced.dcm")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shutter = shared.FrameDisplayShutterSequence[0]
    assert {keyword: samples.simplify(shutter[keyword].value) for keyword in truth["shutter"]} == truth["shutter"]
    assert shared.FramePixelDataPropertiesSequence[0].PixelIntensityRelationship == truth["relation"]
    times = [
        float(group.FrameContentSequence[0].FrameAcquisitionDateTime[10:]) * 1000
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    np.testing.assert_allclose(np.array(times) - times[0], truth["frame_times_ms"])
    assert list(dataset.MaskSubtractionSequence[0].MaskFrameNumbers) == truth["mask_frames"]


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_fits_the_frames(name):
    series = read_series(source(name))
    frames, truth = series.frames.astype(float), read_truth(DATA / f"{name}_truth.h5")
    clean = truth.clean_values(series.relation)
    seen = read_arrays(DATA / f"{name}_truth.h5")[0]["shutter"]
    assert np.mean(seen != shown(TRUTH[name]["shutter"], *frames.shape[1:])) < 0.001
    assert not truth.vessel_mask[:2].any()
    assert truth.vessel_mask[-1][seen].mean() > 0.02
    vessels = truth.vessel_mask[-1] & seen
    # Without contrast agent and noise a frame is brighter in the vessels and alike elsewhere.
    differs = frames[-1] - clean[-1]
    assert np.mean(differs[vessels]) < -2 * abs(np.mean(differs[~truth.vessel_mask[-1] & seen]))
    assert np.corrcoef(frames[0][seen], clean[0][seen].astype(float))[0, 1] > 0.95
    assert np.abs(truth.pose).max() > 0.5
    assert truth.displacement_defined.any()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_truth_says_how_good_a_registration_is(name):
    from angiomorph.evaluation.score import score

    series, truth = read_series(source(name)), read_truth(DATA / f"{name}_truth.h5")
    found = score(series, [1, 2], np.zeros((*series.frames.shape, 2), np.float32), truth, 0.0)
    assert found.artefact_left == pytest.approx(1, abs=1e-6)
    assert found.warp_error > 0.1  # pixels; the head has moved


def test_the_files_are_those_of_the_readme():
    written = dict(re.findall(r"([0-9a-f]{64})  (sample\S+)", (DATA / "README.md").read_text()))
    found = {path.relative_to(DATA).as_posix(): path for path in DATA.rglob("sample*") if path.is_file()}
    found |= {path.relative_to(DATA).as_posix(): path for path in (DATA / "sample_single_frames").iterdir()}
    assert {hashlib.sha256(path.read_bytes()).hexdigest(): name for name, path in found.items()} == written


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_and_its_truth_are_small(name):
    assert sum((DATA / file).stat().st_size for file in TRUTH[name]["files"]) <= 1e6
    assert (DATA / f"{name}_truth.h5").stat().st_size <= 1e6


@pytest.mark.parametrize("path", [path.relative_to(DATA).as_posix() for path in sorted(DATA.rglob("*.dcm"))])
def test_another_program_finds_no_error_in_them(path):
    said = subprocess.run([require_tool("dciodvfy"), DATA / path], capture_output=True, text=True)
    assert "Error" not in said.stderr + said.stdout


@pytest.mark.parametrize("convert", [samples.enhanced, samples.single_frames])
def test_other_runs_are_converted_too(tmp_path, xa_file, convert):
    frames = moving_frames((3, 20, 24))
    attributes = {
        "MaskFrameNumbers": [1],
        "ImagerPixelSpacing": [0.3, 0.3],
        "PositionerPrimaryAngle": 10.0,
        "PositionerSecondaryAngle": -5.0,
        "KVP": 80.0,
    }
    dataset = pydicom.dcmread(xa_file("source.dcm", frames=frames, attributes=attributes))
    files = convert(dataset, tmp_path / "out" / "made")
    series = read_series([tmp_path / "out" / file for file in files])
    np.testing.assert_array_equal(series.frames, frames)
    np.testing.assert_allclose(series.frame_times, samples.FRAME_TIME * np.arange(3))
    assert series.background_numbers == ((1,) if len(files) == 1 else ())
