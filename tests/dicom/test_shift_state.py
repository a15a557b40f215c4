"""The state that shifts the mask: by frame, in the standard's directions, of the class that can hold this."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from angiomorph.dicom import anonymize, find_series, read_series, write_shift_state
from angiomorph.errors import InputError
from tests.dicom.headers import setting
from tests.dicom_tools import run_tool
from tests.runs import moving_frames
from tests.tools import REPOSITORY

SHIFTS = np.array([[0, 0], [2, -3], [0.5, 0.25], [-1.25, 0]])


def written(path, series, shifts=SHIFTS, background=(1,)):
    write_shift_state(path, series, background, shifts)
    return pydicom.dcmread(path)


def as_viewers_do(image, row, column):
    """Move an image down by `row` and to the left by `column`, whole pixels, as PS3.3 C.7.6.10.1.2 describes a mask's shift."""
    return np.roll(image, (int(row), -int(column)), axis=(0, 1))


def test_shifts_by_hand(xa_file, tmp_path):
    state = written(tmp_path / "state.dcm", read_series(xa_file()), background=(1, 3))
    (mask,) = state.MaskSubtractionSequence
    assert (mask.MaskOperation, mask.MaskFrameNumbers, mask.ContrastFrameAveraging) == ("AVG_SUB", [1, 3], 1)
    assert [item.PixelShiftFrameRange for item in mask.PixelShiftSequence] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    moves = [item.RegionPixelShiftSequence[0].MaskSubPixelShift for item in mask.PixelShiftSequence]
    assert moves == [[0, 0], [-2, -3], [-0.5, 0.25], [1.25, 0]]
    assert not any(np.signbit(moves[0]))
    assert all("VerticesOfTheRegion" not in item.RegionPixelShiftSequence[0] for item in mask.PixelShiftSequence)


def test_viewers_move_the_background_as_we_do(xa_file, tmp_path):
    state = written(tmp_path / "state.dcm", read_series(xa_file()))
    background = np.random.default_rng(0).random((16, 12))
    rows, columns = np.indices((16, 12))
    moved = background[(rows + 2) % 16, (columns - 3) % 12]  # background(x + shift), of frame 2
    move = state.MaskSubtractionSequence[0].PixelShiftSequence[1].RegionPixelShiftSequence[0].MaskSubPixelShift
    np.testing.assert_array_equal(as_viewers_do(background, *move), moved)


def test_what_the_state_names(xa_file, tmp_path):
    source = read_series(xa_file(attributes={"SeriesNumber": 3}))
    state = written(tmp_path / "state.dcm", source)
    assert state.SOPClassUID == UID("1.2.840.10008.5.1.4.1.1.11.5")
    assert (state.Modality, state.RecommendedViewingMode, state.SeriesNumber) == ("PR", "SUB", 304)
    assert (state.ManufacturerModelName, state.DeviceSerialNumber) == ("simulator", "unknown")
    image = state.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    assert image.ReferencedSOPInstanceUID == source.headers[0].SOPInstanceUID
    assert run_tool("dcmdump", "+Ep", tmp_path / "state.dcm").returncode == 0


def test_frames_bear_the_numbers_of_the_file(tmp_path):
    path = REPOSITORY / "data" / "sample_enhanced.dcm"
    dataset = pydicom.dcmread(path)
    groups, frames = dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array
    dataset.PerFrameFunctionalGroupsSequence = list(groups)[::-1]
    dataset.PixelData = frames[::-1].tobytes()
    dataset.save_as(tmp_path / "turned.dcm")
    shifts = np.arange(12.0).reshape(6, 2)
    state = written(tmp_path / "state.dcm", read_series(tmp_path / "turned.dcm"), shifts, background=(1, 2))
    (mask,) = state.MaskSubtractionSequence
    assert mask.MaskFrameNumbers == [5, 6]
    first = mask.PixelShiftSequence[0]
    assert (first.PixelShiftFrameRange, first.RegionPixelShiftSequence[0].MaskSubPixelShift) == ([6, 6], [0, 1])


def test_uids_are_those_of_source_mask_and_shifts(xa_file, tmp_path):
    source = read_series(xa_file())
    found = [written(tmp_path / "state.dcm", source).SOPInstanceUID for _ in range(2)]
    found.append(written(tmp_path / "state.dcm", source, SHIFTS + 1).SOPInstanceUID)
    found.append(written(tmp_path / "state.dcm", source, background=(2,)).SOPInstanceUID)
    assert found[0] == found[1]
    assert len({*found}) == 3


def test_states_are_anonymous_and_passed_over(xa_file, tmp_path):
    source = anonymize(read_series(xa_file("in/run.dcm", change=setting(DeviceSerialNumber="Q4711", PatientName="Doe^Jane"))))
    state = written(tmp_path / "in" / "state.dcm", source)
    content = (tmp_path / "in" / "state.dcm").read_bytes()
    assert not [mark for mark in (b"Q4711", b"Doe", b"Jane") if mark in content]
    assert state.PresentationCreationDate == "19000101"
    assert [files.name for files in find_series([tmp_path / "in"])] == ["run"]


@pytest.mark.parametrize("shifts", [SHIFTS[:3], SHIFTS.T, np.full((4, 2), np.nan)], ids=["fewer", "turned", "non-finite"])
def test_illegal_shifts_leave_nothing(xa_file, tmp_path, shifts):
    with pytest.raises(InputError, match="one finite shift of row and column for each of 4 frames"):
        written(tmp_path / "state.dcm", read_series(xa_file()), shifts)
    assert not (tmp_path / "state.dcm").exists()


def test_single_frames_leave_nothing(xa_folder, tmp_path):
    single = read_series(xa_folder(moving_frames((4, 8, 6))))
    with pytest.raises(InputError, match=r"for `kinds` shift-state, got single frames.*Leave shift-state out"):
        written(tmp_path / "state.dcm", single)
    assert not (tmp_path / "state.dcm").exists()
