"""Plain DSA for viewers that subtract: the run as acquired with its mask named, and a presentation state."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage, JPEGLSLossless, XRayAngiographicImageStorage

from angiomorph.dicom import find_series, read_series, write_dsa_run, write_dsa_state
from angiomorph.errors import InputError
from benchmarks.dicom.conformance import SOURCES, cases, make_source
from tests.dicom.headers import deleting
from tests.dicom_tools import dciodvfy_errors, run_tool
from tests.runs import moving_frames

KINDS = [case for case in cases()[::5] if case.source != "captured"]


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case.name)
def test_the_run_is_valid_and_reads_as_its_source_with_the_mask(tmp_path, case):
    source = make_source(case, tmp_path)
    path = tmp_path / "dsa.dcm"
    write_dsa_run(path, source, [1, 3])
    assert dciodvfy_errors(path) == []
    series = read_series(path)
    np.testing.assert_array_equal(series.frames, source.frames)
    np.testing.assert_allclose(series.frame_times, source.frame_times)
    np.testing.assert_array_equal(series.shutter, source.shutter)
    assert (series.relation, series.background_numbers) == (source.relation, (1, 3))


def test_what_the_run_says(xa_file, tmp_path):
    frames = moving_frames((4, 16, 12))
    source = read_series(xa_file(frames=frames, attributes={"SeriesNumber": 3, "MaskFrameNumbers": [4]}))
    write_dsa_run(tmp_path / "dsa.dcm", source, [1, 2], compression="jpeg-ls")
    dataset = pydicom.dcmread(tmp_path / "dsa.dcm")
    (mask,) = dataset.MaskSubtractionSequence
    assert (mask.MaskOperation, mask.MaskFrameNumbers, dataset.RecommendedViewingMode) == ("AVG_SUB", [1, 2], "SUB")
    assert (dataset.SOPClassUID, dataset.BitsStored) == (XRayAngiographicImageStorage, 12)
    assert dataset.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert dataset.ImageType == ["DERIVED", "PRIMARY", "SINGLE PLANE"]
    assert (dataset.SeriesNumber, dataset.SeriesDescription) == (302, "Simulated run mask (angiomorph)")
    assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.headers[0].SOPInstanceUID
    assert dataset.StudyInstanceUID == source.headers[0].StudyInstanceUID
    # What a viewer shows: each frame minus the mean of the mask frames.
    numbers = np.array(mask.MaskFrameNumbers) - 1
    np.testing.assert_array_equal(dataset.pixel_array - dataset.pixel_array[numbers].mean(0), frames - frames[:2].mean(0))


@pytest.mark.parametrize(("bits", "stored"), [(9, 10), (11, 12), (13, 16), (14, 16)])
def test_bits_that_may_not_be_written_become_the_next_that_may(xa_file, tmp_path, bits, stored):
    def change(dataset):
        dataset.BitsStored, dataset.HighBit = bits, bits - 1

    frames = moving_frames((3, 8, 6), 9)
    source = read_series(xa_file(frames=frames, change=change))
    write_dsa_run(tmp_path / "dsa.dcm", source, [1])
    dataset = pydicom.dcmread(tmp_path / "dsa.dcm")
    assert dataset.BitsStored == stored
    np.testing.assert_array_equal(dataset.pixel_array, frames)
    assert dciodvfy_errors(tmp_path / "dsa.dcm") == []


@pytest.mark.parametrize("case", [case for case in KINDS if case.source != "single frames"], ids=lambda case: case.name)
def test_the_state_is_valid_and_names_source_and_mask(tmp_path, case):
    source = make_source(case, tmp_path)
    path = tmp_path / "state.dcm"
    write_dsa_state(path, source, [1, 3])
    said = run_tool("dciodvfy", path)
    lines = (said.stdout + said.stderr).splitlines()
    assert "GrayscaleSoftcopyPresentationState" in lines
    assert [line for line in lines if line.startswith("Error")] == []
    dataset, header = pydicom.dcmread(path), source.headers[0]
    assert (dataset.SOPClassUID, dataset.Modality) == (GrayscaleSoftcopyPresentationStateStorage, "PR")
    (series,) = dataset.ReferencedSeriesSequence
    (image,) = series.ReferencedImageSequence
    assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (header.SOPClassUID, header.SOPInstanceUID)
    assert (series.SeriesInstanceUID, dataset.StudyInstanceUID) == (header.SeriesInstanceUID, header.StudyInstanceUID)
    assert dataset.PresentationLUTShape == ("INVERSE" if case.photometric == "MONOCHROME1" else "IDENTITY")
    (mask,) = dataset.MaskSubtractionSequence
    assert (mask.MaskOperation, mask.MaskFrameNumbers, mask.ContrastFrameAveraging) == ("AVG_SUB", [1, 3], 1)
    (area,) = dataset.DisplayedAreaSelectionSequence
    assert (area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner) == ([1, 1], [32, 48])


def test_uids_are_those_of_source_and_mask(xa_file, tmp_path):
    source = read_series(xa_file())
    found = []
    for writer in (write_dsa_run, write_dsa_state):
        for numbers in ([1], [1], [2]):
            writer(tmp_path / "out.dcm", source, numbers)
            dataset = pydicom.dcmread(tmp_path / "out.dcm")
            found.append((dataset.SOPInstanceUID, dataset.SeriesInstanceUID))
    assert found[0] == found[1]
    assert found[3] == found[4]
    assert len({uid for pair in found for uid in pair}) == 8
    assert source.headers[0].SOPInstanceUID not in {uid for pair in found for uid in pair}


def test_both_are_passed_over_in_folders(xa_file, tmp_path):
    source = read_series(xa_file("in/run.dcm"))
    write_dsa_run(tmp_path / "in" / "run_dsa.dcm", source, [1])
    write_dsa_state(tmp_path / "in" / "run_dsa_state.dcm", source, [1])
    assert [files.name for files in find_series([tmp_path / "in"])] == ["run"]


def test_a_captured_run_allows_neither(tmp_path):
    captured = make_source(next(case for case in cases() if case.source == SOURCES[-1]), tmp_path)
    with pytest.raises(InputError, match=r"expected a run of class XA or XRF for `kinds` dsa, got a captured one"):
        write_dsa_run(tmp_path / "out.dcm", captured, [1])
    with pytest.raises(InputError, match="for `kinds` dsa-state, got a captured run"):
        write_dsa_state(tmp_path / "out.dcm", captured, [1])
    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.parametrize(("kind", "found"), [("bare", "a run without SOPInst"), ("single", "single frames")])
def test_sources_that_allow_no_state(xa_file, xa_folder, tmp_path, kind, found):
    make = {
        "bare": lambda: xa_file("bare.dcm", change=deleting("SeriesInstanceUID")),
        "single": lambda: xa_folder(moving_frames((3, 8, 6))),
    }
    with pytest.raises(InputError, match=f"for `kinds` dsa-state, got {found}"):
        write_dsa_state(tmp_path / "out.dcm", read_series(make[kind]()), [1])
    assert not (tmp_path / "out.dcm").exists()
