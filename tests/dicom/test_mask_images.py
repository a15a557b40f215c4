"""Masks in another image than the run: found, put before its frames, or told why not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from angiomorph.dicom import find_series, open_series, read_series, write_bsa, write_dsa_run
from tests.dicom_tools import dciodvfy_errors
from tests.runs import moving_frames

FRAMES = moving_frames((6, 16, 12))
CLEAN, FILLED = FRAMES[:2], FRAMES[2:]


@pytest.fixture
def pair(xa_file):
    """Return a writer of an image of two mask frames and a run of four that names it; `options` change the mask's image."""

    def write(folder="in", frames=None, reference=None, change=None, **options):
        mask = xa_file(f"{folder}/mask.dcm", frames=CLEAN, change=change, **options)

        def refer(dataset):
            purpose, image = pydicom.Dataset(), pydicom.Dataset()
            purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "121321", "DCM", "Mask image"
            image.ReferencedSOPClassUID = dataset.SOPClassUID
            image.ReferencedSOPInstanceUID = reference or pydicom.dcmread(mask).SOPInstanceUID
            if frames:
                image.ReferencedFrameNumber = frames
            image.PurposeOfReferenceCodeSequence = [purpose]
            dataset.ReferencedImageSequence = [image]
            dataset.FrameLabelVector = ["A", "B", "C", "D"]

        return mask, xa_file(f"{folder}/run.dcm", frames=FILLED, change=refer)

    return write


@pytest.mark.parametrize("given", ["the run", "both", "the folder"])
def test_mask_frames_are_put_before_the_run(pair, given):
    mask, run = pair()
    passed_over = Counter()
    (files,) = find_series({"the run": [run], "both": [mask, run], "the folder": [run.parent]}[given], passed_over=passed_over)
    series = read_series(files)
    np.testing.assert_array_equal(series.frames, FRAMES)
    assert (series.name, series.background_numbers) == ("run", (1, 2))
    np.testing.assert_allclose(series.frame_times, 40.0 * np.arange(6))
    assert series.warnings == (
        f"{run}: mask frames are named in another image, mask.dcm; they are put before the run's own, so that frame 1 of the "
        "run is counted as 3",
    )
    assert passed_over == ({} if given == "the run" else {"mask frames of runs that are taken": 1})
    assert read_series(run).background_numbers == (1, 2)


def test_masks_stand_before_frames_that_are_read_later(pair, tmp_path):
    _, run = pair()
    series = open_series(run, folder=tmp_path)
    assert series.background_numbers == (1, 2)
    np.testing.assert_array_equal(series.frames[:], FRAMES)


def test_masks_in_a_folder_that_may_not_be_listed_are_told(pair, monkeypatch):
    def closed(folder):
        raise PermissionError(13, "Permission denied")

    _, run = pair()
    monkeypatch.setattr(Path, "iterdir", closed)
    series = read_series(run)
    np.testing.assert_array_equal(series.frames, FILLED)
    assert "in another image that is not here; frames of this run take their place" in series.warnings[0]


def test_some_frames_of_a_run_of_its_own(pair):
    _, run = pair(frames=[2])
    files = {each.name: each for each in find_series([run.parent])}
    assert set(files) == {"mask", "run"}
    series = read_series(files["run"])
    np.testing.assert_array_equal(series.frames, np.concatenate([CLEAN[1:], FILLED]))
    assert series.background_numbers == (1,)
    assert [series.place(frame) for frame in (1, 2, 5)] == [(0, 2), (1, 1), (1, 4)]


def test_what_is_written_names_both_images(pair, tmp_path):
    mask, run = pair()
    series = read_series(run)
    bsa = np.zeros(FRAMES.shape, np.float32)
    about = {"model_name": "reg", "model_sha256": "0" * 64, "hyper": 0.5, "background_numbers": [1, 2]}
    write_bsa(tmp_path / "bsa.dcm", series, bsa, units="ln(intensity)", **about)
    write_dsa_run(tmp_path / "dsa.dcm", series, [1, 2])
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in (mask, run)]
    for name in ("bsa", "dsa"):
        dataset = pydicom.dcmread(tmp_path / f"{name}.dcm")
        assert [image.ReferencedSOPInstanceUID for image in dataset.SourceImageSequence[:2]] == uids
        assert "FrameLabelVector" not in dataset
        assert dciodvfy_errors(tmp_path / f"{name}.dcm") == []
    assert dataset.MaskSubtractionSequence[0].MaskFrameNumbers == [1, 2]
    np.testing.assert_array_equal(dataset.pixel_array, FRAMES)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"reference": "1.2.3"}, "in another image that is not here; frames of this run take their place"),
        ({"relation": "DISP"}, "mask.dcm: expected frames taken as the run's, found DISP of 12 bits beside LIN of 12 bits"),
        ({"frames": [3]}, "mask.dcm: expected frame 3 there, found 2 frames"),
        ({"change": lambda dataset: setattr(dataset, "Rows", 15)}, "mask.dcm: expected"),
    ],
)
def test_masks_that_cannot_be_had_are_told(pair, options, told):
    _, run = pair(**options)
    series = read_series(run)
    np.testing.assert_array_equal(series.frames, FILLED)
    assert series.background_numbers == ()
    (warning,) = series.warnings
    assert told in warning
    assert "look at the background, or name it with `background` N" in warning


def test_a_mask_of_another_projection_does_not_serve(pair):
    mask, run = pair()
    for path, angle in ((mask, 30.0), (run, 0.0)):
        dataset = pydicom.dcmread(path)
        dataset.PositionerPrimaryAngle = angle
        dataset.save_as(path)
    (warning,) = read_series(run).warnings
    assert "found PositionerPrimaryAngle (0018,1510) 30 beside 0; frames of this run take their place" in warning


def test_masks_of_the_run_itself_come_first(pair):
    _, run = pair()
    dataset = pydicom.dcmread(run)
    mask = pydicom.Dataset()
    mask.MaskOperation, mask.MaskFrameNumbers = "AVG_SUB", 1
    dataset.MaskSubtractionSequence = [mask]
    dataset.save_as(run)
    series = read_series(run)
    assert (len(series.frames), series.background_numbers) == (4, (1,))
    assert series.warnings == (f"{run}: mask frames are named in another image, and in this run, whose own are taken",)
