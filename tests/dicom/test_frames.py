"""Some of a run's frames: what counts frames follows, and what does not stays."""

import numpy as np
import pytest
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from tests.dicom.headers import setting, write
from tests.dicom_tools import dciodvfy_errors
from tests.runs import moving_frames


def test_kept_frames_are_those_of_the_whole_run(xa_file, tmp_path):
    source = read_series(xa_file(frames=moving_frames((5, 16, 12))))
    whole = write(tmp_path / "whole.dcm", source)
    kept = write(tmp_path / "kept.dcm", source, kept=[2, 3, 5])
    np.testing.assert_array_equal(kept.pixel_array, whole.pixel_array[[1, 2, 4]])
    assert kept.NumberOfFrames == 3
    assert kept.FrameTimeVector == [0, 40, 80]
    assert "FrameTime" not in kept
    run, background = kept.SourceImageSequence
    assert (run.ReferencedFrameNumber, background.ReferencedFrameNumber) == ([2, 3, 5], 1)
    assert whole.SOPInstanceUID != kept.SOPInstanceUID
    assert dciodvfy_errors(tmp_path / "kept.dcm") == []


def test_neighbouring_frames_keep_their_time(xa_file, tmp_path):
    kept = write(tmp_path / "kept.dcm", read_series(xa_file()), kept=[2, 3, 4])
    assert kept.FrameTime == 40
    assert "FrameTimeVector" not in kept


def test_what_counts_frames_follows(xa_file, tmp_path):
    change = setting(
        RepresentativeFrameNumber=4,
        RWavePointer=[1, 3],
        StartTrim=1,
        StopTrim=4,
        FrameDelay=10,
        EffectiveDuration=0.16,
        PositionerPrimaryAngleIncrement=[0, 0.1, 0.2, 0.3],
        TableVerticalIncrement=0,
        FrameLabelVector=["A", "B", "C", "D"],
        FrameNumbersOfInterest=[2, 3],
        FrameOfInterestDescription=["early", "late"],
    )
    kept = write(tmp_path / "kept.dcm", read_series(xa_file(change=change)), kept=[3, 4])
    assert (kept.RepresentativeFrameNumber, kept.RWavePointer, kept.StopTrim) == (2, 1, 2)
    assert "StartTrim" not in kept
    assert "EffectiveDuration" not in kept
    assert kept.FrameDelay == 90
    assert kept.PositionerPrimaryAngleIncrement == [0.2, 0.3]
    assert (kept.TableVerticalIncrement, kept.FrameLabelVector) == (0, ["C", "D"])
    assert (kept.FrameNumbersOfInterest, kept.FrameOfInterestDescription) == (1, "late")


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([1, 2], ["early", "late"]), ([1, 3], ["early"]), (4, ["early", "late"])],
    ids=["of no kept frame", "too few", "too many"],
)
def test_words_that_belong_to_no_kept_frame_go(xa_file, tmp_path, numbers, words):
    change = setting(FrameNumbersOfInterest=numbers, FrameOfInterestDescription=words)
    kept = write(tmp_path / "kept.dcm", read_series(xa_file(change=change)), kept=[3, 4])
    assert "FrameOfInterestDescription" not in kept


def test_single_frames_that_are_not_kept_are_no_source(xa_folder, tmp_path):
    source = read_series(xa_folder(moving_frames((4, 8, 6))))
    kept = write(tmp_path / "kept.dcm", source, background_numbers=[1], kept=[3, 4])
    names = [part.ReferencedSOPInstanceUID for part in kept.SourceImageSequence]
    assert names == [source.headers[index].SOPInstanceUID for index in (2, 3, 0)]
    assert all("ReferencedFrameNumber" not in part for part in kept.SourceImageSequence)


def test_one_frame_is_a_run_of_one(xa_file, tmp_path):
    kept = write(tmp_path / "kept.dcm", read_series(xa_file()), kept=[4])
    assert (kept.NumberOfFrames, kept.FrameTime) == (1, 40)
    assert dciodvfy_errors(tmp_path / "kept.dcm") == []


def test_one_captured_frame_has_no_time(xa_file, tmp_path):
    change = setting(SOPClassUID=MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    kept = write(tmp_path / "kept.dcm", read_series(xa_file(change=change)), kept=[4])
    assert not {"FrameTime", "FrameIncrementPointer"} & {*kept.dir()}
    assert dciodvfy_errors(tmp_path / "kept.dcm") == []


@pytest.mark.parametrize("kept", [[0, 1], [4, 5], [2, 2], [3, 1]])
def test_frames_that_are_not_there_are_refused(xa_file, tmp_path, kept):
    with pytest.raises(InputError, match=r"expected rising frame numbers of 1 to 4, got .*; keep frames of the run"):
        write(tmp_path / "kept.dcm", read_series(xa_file()), kept=kept)
