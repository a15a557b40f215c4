"""Single-frame files into runs: each rule by frames of which the right answer is known, each doubt refused."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angiomorph.dicom import find_series, read_series
from angiomorph.dicom.grouping import DAY, PAUSE, SECOND, Frame, describe_frame, find_difference, finite, group_frames, whole
from angiomorph.errors import InputError
from tests.runs import moving_frames

STEP = SECOND // 4


def clocked(microseconds, *, acquired=True, day=1):
    """Return a frame's moments: AcquisitionTime, or ContentTime alone."""
    moment = (day, microseconds)
    return (None, moment, None) if acquired else (None, None, moment)


def frame(name, **said):
    return Frame(Path("f", name), "f", 1, **said)


def names(runs):
    return [[one.path.name for one in run.frames] for run in runs]


def only(frames):
    (run,) = group_frames(frames)
    return run


def ordered(frames):
    run = only(frames)
    assert run.refusal == ""
    return [one.path.name for one in run.frames], run.warnings


def refused(frames):
    run = only(frames)
    assert len(run.frames) == len(list(frames))
    assert "\n" not in run.refusal
    return run.refusal


@given(st.permutations(range(12)), st.sampled_from(["time", "number", "both", "temporal"]))
def test_times_and_numbers_decide_the_order_not_file_names(order, given_by):
    """Independent statement: the file of moment t comes t-th."""
    frames = []
    for moment, name in enumerate(order):
        said = {"moments": clocked(moment * STEP)} if given_by in ("time", "both") else {}
        said |= {"number": moment + 5} if given_by in ("number", "both") else {}
        said |= {"temporal": moment + 1} if given_by == "temporal" else {}
        frames.append(frame(f"{name}.dcm", **said))
    found, warnings = ordered(frames)
    assert found == [f"{name}.dcm" for name in order]
    assert warnings == ()


def test_equal_numbers_go_by_time_and_equal_times_by_number():
    by_time = [frame(f"{name}.dcm", number=1, moments=clocked(t * STEP)) for t, name in enumerate("cab")]
    assert ordered(by_time) == (["c.dcm", "a.dcm", "b.dcm"], ())
    seconds = [frame(f"{name}.dcm", number=t + 1, moments=clocked(t // 2 * SECOND)) for t, name in enumerate("dcab")]
    assert ordered(seconds) == (["d.dcm", "c.dcm", "a.dcm", "b.dcm"], ())


def test_times_go_on_over_midnight_with_and_without_dates():
    late = [DAY - 2 * STEP, DAY - STEP, 0, STEP]
    undated = [frame(f"{name}.dcm", moments=(None, (None, time), None)) for name, time in zip("dcba", late, strict=True)]
    dated = [
        frame(f"{name}.dcm", moments=clocked(time, day=1 + (time < DAY // 2))) for name, time in zip("dcba", late, strict=True)
    ]
    assert ordered(undated)[0] == ordered(dated)[0] == ["d.dcm", "c.dcm", "b.dcm", "a.dcm"]


def test_acquisition_times_outvote_numbers_and_say_so():
    frames = [frame(f"{t}.dcm", number=9 - t, moments=clocked(t * STEP)) for t in range(4)]
    found, (warning,) = ordered(frames)
    assert found == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    assert "InstanceNumber (0020,0013) runs against AcquisitionTime (0008,0032); ordered by AcquisitionTime" in warning


@pytest.mark.parametrize(
    "moments",
    [
        lambda t: clocked(t * STEP, acquired=False),  # of an export
        lambda t: clocked(t // 2 * SECOND),  # whose clock is too coarse to order all
    ],
)
def test_times_that_do_not_decide_do_not_outvote_the_number(moments):
    frames = [frame(f"{t}.dcm", number=9 - t, moments=moments(t)) for t in range(4)]
    assert "InstanceNumber (0020,0013) runs against" in refused(frames)


def test_one_clock_does_not_outvote_two_that_agree():
    frames = [frame(f"{t}.dcm", number=t + 1, moments=(None, (1, (9 - t) * STEP), (1, t * STEP))) for t in range(4)]
    assert "runs against AcquisitionTime" in refused(frames)


def test_names_that_count_are_the_last_resort_and_told():
    found, (warning,) = ordered([frame(f"IM_{number}.dcm") for number in (8, 9, 10, 11)])
    assert found == ["IM_8.dcm", "IM_9.dcm", "IM_10.dcm", "IM_11.dcm"]
    assert "4 frames ordered by the numbers in their file names" in warning


def test_names_fill_in_where_times_tie_but_never_contradict_them():
    seconds = [frame(f"{t + 8}.dcm", moments=clocked(t // 2 * SECOND)) for t in range(4)]
    assert ordered(seconds)[0] == ["8.dcm", "9.dcm", "10.dcm", "11.dcm"]
    against = [frame(f"{11 - t}.dcm", moments=clocked(t // 2 * SECOND)) for t in range(4)]
    assert "expected an InstanceNumber (0020,0013) or AcquisitionTime (0008,0032) that orders it" in refused(against)


@pytest.mark.parametrize(
    "given_names",
    [("left.dcm", "right.dcm"), ("2.25.981237461.dcm", "2.25.112358132.dcm"), ("1.2.3", "1.3.2"), ("5.dcm", "005.dcm")],
)
def test_names_that_do_not_count_order_nothing(given_names):
    assert "name the files by their order, 001.dcm, 002.dcm" in refused([frame(name) for name in given_names])


def test_two_frames_of_one_number_and_time_are_refused():
    frames = [frame(f"{t}.dcm", number=number, moments=clocked(number * STEP)) for t, number in enumerate((1, 2, 2, 3))]
    assert "2.dcm: expected an InstanceNumber (0020,0013) of its own, found 2, which 1.dcm has too" in refused(frames)


def test_each_plane_is_a_run_and_misses_no_frame():
    frames = [
        frame(f"{2 * t + plane}.dcm", number=2 * t + plane + 1, plane=f"BIPLANE {'AB'[plane]}", moments=clocked(t * STEP))
        for t, plane in itertools.product(range(3), range(2))
    ]
    runs = group_frames(frames)
    assert names(runs) == [["0.dcm", "2.dcm", "4.dcm"], ["1.dcm", "3.dcm", "5.dcm"]]
    assert [run.refusal for run in runs] == ["", ""]
    assert [len(run.warnings) for run in runs] == [1, 1]
    assert "told apart from 3 other frames of its series by ImageType (0008,0008)" in runs[0].warnings[0]


def test_two_frames_at_a_moment_need_planes_or_a_coarse_clock():
    def pairs(resolution, step):
        return [frame(f"{n}.dcm", number=n, moments=clocked((n // 2 * step) // resolution * resolution)) for n in range(8)]

    assert "expected one frame at a time, found 2 at each AcquisitionTime" in refused(pairs(1000, STEP))
    assert only(pairs(SECOND, SECOND)).refusal == ""


def test_acquisitions_separate_runs_unless_each_frame_has_one():
    two = [frame(f"{t}.dcm", number=t, acquisition=1 + t // 3) for t in range(6)]
    assert names(group_frames(two)) == [["0.dcm", "1.dcm", "2.dcm"], ["3.dcm", "4.dcm", "5.dcm"]]
    assert [run.warnings for run in group_frames(two)] == [(), ()]
    each = [frame(f"{t}.dcm", number=t, acquisition=t) for t in range(6)]
    assert "expected one AcquisitionNumber (0020,0012) in the frames of a run, found 6 in 6 frames" in refused(each)
    exported = [replace(one, moments=clocked(t * STEP, acquired=False)) for t, one in enumerate(each)]
    assert "no AcquisitionTime (0008,0032) that says whether they are one run" in refused(exported)
    timed = [replace(one, moments=clocked(t * STEP)) for t, one in enumerate(each)]
    found, (warning,) = ordered(timed)
    assert found == [f"{t}.dcm" for t in range(6)]
    assert "AcquisitionNumber (0020,0012) changes from frame to frame" in warning


def test_a_frame_of_another_acquisition_is_kept_out_and_told():
    run, single = group_frames([frame(f"{t}.dcm", number=t, acquisition=1 + t // 5) for t in range(6)])
    assert (len(run.frames), run.refusal) == (5, "")
    assert "found one frame, told apart from 5 others of its series by AcquisitionNumber (0020,0012)" in single.refusal


def at(primary, secondary=0.0, distance=1000.0, table=0.0):
    return {"positions": (primary, secondary, distance, None, 700.0, None, table, None)}


def test_positions_of_the_c_arm_are_runs_of_their_own():
    frames = [frame(f"{t}.dcm", number=t, **at(30.0 * (t // 3) + 0.2 * (t % 2))) for t in range(6)]
    assert [len(run.frames) for run in group_frames(frames)] == [3, 3]
    assert only([replace(one, **at(0.3 * (t % 3))) for t, one in enumerate(frames)]).refusal == ""
    assert only([replace(one, **at(None if t else 12.0)) for t, one in enumerate(frames)]).refusal == ""
    nearer = [replace(one, **at(0.0, 0.0, 900.0 + 100.0 * (t // 3))) for t, one in enumerate(frames)]
    assert [len(run.frames) for run in group_frames(nearer)] == [3, 3]
    still = [replace(one, **at(0.0)) for one in frames]
    assert only([replace(one, field=("", "200" if t else "", "0.2")) for t, one in enumerate(still)]).refusal == ""
    stepped = [replace(one, **at(0.0, table=300.0 * (t // 3) + t % 2)) for t, one in enumerate(frames)]
    assert [len(run.frames) for run in group_frames(stepped)] == [3, 3]
    wider = [replace(one, field=("", f"{200 * (1 + t // 3)}", "0.2")) for t, one in enumerate(still)]
    assert [len(run.frames) for run in group_frames(wider)] == [3, 3]


@pytest.mark.parametrize("step", [10.0, 0.9])
def test_a_turning_c_arm_is_refused_however_slowly_it_turns(step):
    frames = [frame(f"{t}.dcm", number=t, **at(step * t)) for t in range(8)]
    found = f"found 8 frames with PositionerPrimaryAngle (0018,1510) from 0 to {7 * step:g}: no frame is"
    assert f"expected frames of a resting C-arm and table, {found}" in refused(frames)


def test_a_field_that_changes_with_each_frame_is_refused():
    frames = [frame(f"{t}.dcm", number=t, field=("", f"{200 + 10 * t}", "0.2"), **at(0.0)) for t in range(6)]
    assert "found 6 frames with IntensifierSize (0018,1162) or " in refused(frames)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, ""),
        ({"size": (8, 6)}, "Rows and Columns (8, 6) beside (8, 8)"),
        ({"field": ("", "160", "0.2")}, "FieldOfViewDimensions (0018,1149) 160 beside 200"),
        ({"plane": "BIPLANE B"}, "BIPLANE B beside BIPLANE A"),
        (at(30.0), "PositionerPrimaryAngle (0018,1510) 30 beside 0"),
    ],
)
def test_what_tells_that_frames_were_not_taken_alike(said, told):
    alike = {"size": (8, 8), "field": ("", "200", "0.2"), "plane": "BIPLANE A", **at(0.0)}
    assert find_difference(frame("a.dcm", **alike), frame("b.dcm", **alike | said)) == told


def test_a_pause_separates_runs_but_scattered_exposures_fail():
    later = [frame(f"{t}.dcm", number=t, moments=clocked(t * STEP + (t // 4) * PAUSE)) for t in range(8)]
    runs = group_frames(later)
    assert names(runs) == [["0.dcm", "1.dcm", "2.dcm", "3.dcm"], ["4.dcm", "5.dcm", "6.dcm", "7.dcm"]]
    assert "told apart from 4 other frames of its series by a pause of 30 s or more" in runs[1].warnings[0]
    slow = [frame(f"{t}.dcm", moments=clocked(t * (PAUSE - 1))) for t in range(3)]
    assert only(slow).refusal == ""
    spots = [frame(f"{t}.dcm", moments=clocked(t * PAUSE)) for t in range(3)]
    assert "found 3 frames of which most are 30 s or more from the next" in refused(spots)


def test_pixels_of_two_kinds_are_refused_but_no_silent_frame():
    frames = [frame(f"{t}.dcm", number=t, kind=("ORIGINAL\\PRIMARY", "LIN", "")) for t in range(4)]
    mixed = [*frames[:3], replace(frames[3], kind=("DERIVED\\PRIMARY", "LIN", ""))]
    assert "3.dcm: expected the ImageType (0008,0008) of 0.dcm, ORIGINAL\\PRIMARY, found DERIVED" in refused(mixed)
    silent = replace(frames[0], kind=("", "", "1"))
    assert only([silent, *frames[1:]]).refusal == ""
    assert "found DERIVED" in refused([silent, *mixed[1:]])


def test_numbers_that_no_file_of_the_series_has_are_told():
    (run,) = group_frames([frame(f"{n}.dcm", number=n) for n in (2, 3, 7, 8)])
    assert run.warnings == (
        f"{Path('f', '2.dcm')}: missing from this run between InstanceNumber (0020,0013) 2 and 8: 3 frames",
    )
    first, second = group_frames(
        [frame(f"{a}-{n}.dcm", number=n, acquisition=a) for a in (1, 2) for n in ((1, 2, 3), (1, 3))[a - 1]]
    )
    assert first.warnings == ()
    assert "missing from this run between InstanceNumber (0020,0013) 1 and 3: 1 frame" in second.warnings[0]


@pytest.mark.parametrize("written", ["word", "1,5", "\\2", "NaN", "1e999", "9" * 400, ""])
def test_what_is_no_number_counts_as_absent(written):
    dataset = pydicom.Dataset()
    for keyword in ("InstanceNumber", "PositionerPrimaryAngle", "NumberOfFrames"):
        dataset.add_new(keyword, "UT", written)
    assert whole(dataset, "InstanceNumber") is None
    assert finite(dataset, "PositionerPrimaryAngle") is None
    assert describe_frame(Path("x"), dataset, ".", "x").count == 1


@pytest.mark.parametrize(
    ("attributes", "moment"),
    [
        ({"AcquisitionDateTime": "20200102101112.25+0100"}, (737426, 36672250000)),
        ({"AcquisitionDate": "20200102", "AcquisitionTime": "101112.250000"}, (737426, 36672250000)),
        ({"AcquisitionDate": "2020.01.02", "AcquisitionTime": "10:11:12"}, (737426, 36672000000)),
        ({"AcquisitionTime": "10"}, (None, 36000000000)),
        ({"ContentDate": "noon", "ContentTime": "1011"}, (None, 36660000000)),
        ({"AcquisitionTime": "soon"}, None),
        ({"AcquisitionTime": "101299"}, None),
        ({"AcquisitionTime": "2512"}, None),
        ({"AcquisitionTime": "1011512"}, None),
    ],
)
def test_times_as_archives_have_them(attributes, moment):
    dataset = pydicom.Dataset()
    for keyword, written in attributes.items():
        dataset.add_new(keyword, "LO", written)
    known = [found for found in describe_frame(Path("x"), dataset, ".", "x").moments if found is not None]
    assert known == ([] if moment is None else [moment])


def setting(single, **attributes):
    for keyword, written in attributes.items():
        setattr(single, keyword, written)


def test_files_without_numbers_are_read_by_their_times(xa_folder):
    frames = moving_frames((12, 8, 6))
    folder = xa_folder(
        frames, change=lambda single, index: setting(single, InstanceNumber=None, AcquisitionTime=f"1200{index:02d}.5")
    )
    np.testing.assert_array_equal(read_series(folder).frames, frames)
    np.testing.assert_array_equal(read_series(sorted(folder.iterdir())).frames, frames)


def test_planes_in_one_folder_are_read_apart(xa_folder):
    frames = moving_frames((6, 8, 6))
    folder = xa_folder(
        frames, change=lambda single, index: setting(single, ImageType=["ORIGINAL", "PRIMARY", f"BIPLANE {'AB'[index % 2]}"])
    )
    first, second = (read_series(run) for run in find_series([folder]))
    np.testing.assert_array_equal(first.frames, frames[::2])
    np.testing.assert_array_equal(second.frames, frames[1::2])
    assert "told apart from 3 other frames" in first.warnings[0]
    with pytest.raises(InputError, match=r"expected frames of the run of 99\.dcm, found 2 runs of one series"):
        read_series(sorted(folder.iterdir(), reverse=True))


def test_a_folder_of_projections_is_refused_in_one_paragraph(xa_folder):
    folder = xa_folder(
        moving_frames((5, 8, 6)), change=lambda single, index: setting(single, PositionerPrimaryAngle=10 * index)
    )
    (run,) = find_series([folder])
    with pytest.raises(InputError, match=r"95\.dcm: expected frames of a resting C-arm and table, found 5 frames") as error:
        read_series(run)
    assert "\n" not in str(error.value)


def some(values):
    return st.none() | st.sampled_from(values)


ANY_FRAME = st.builds(
    lambda number, acquisition, temporal, moments, plane, primary: {
        "number": number,
        "acquisition": acquisition,
        "temporal": temporal,
        "moments": moments,
        "plane": plane,
        **at(primary),
    },
    some([1, 2, 3, 4, 5, 6]),
    some([1, 2]),
    some([1, 2, 3]),
    st.tuples(*[some([(None, 0), (1, 0), (1, STEP), (1, 2 * STEP), (1, SECOND), (1, 3 * PAUSE)])] * 3),
    st.sampled_from(["", "BIPLANE A", "BIPLANE B"]),
    some([0.0, 0.5, 30.0]),
)


@settings(deadline=None)
@given(st.lists(ANY_FRAME, min_size=1, max_size=8), st.randoms())
def test_every_file_is_in_one_run_in_the_order_frames_say(said, random):
    frames = [frame(f"{index}.dcm", **one) for index, one in enumerate(said)]
    runs = group_frames(frames)
    assert sorted(one.path for run in runs for one in run.frames) == sorted(one.path for one in frames)
    shuffled = list(frames)
    random.shuffle(shuffled)
    assert group_frames(shuffled) == runs
    for run in runs:
        if run.refusal or any("runs against" in warning for warning in run.warnings):
            continue
        assert len({one.plane for one in run.frames}) == 1
        columns = [[one.number for one in run.frames], [one.temporal for one in run.frames]]
        columns += [[one.moments[index] for one in run.frames] for index in range(3)]
        for column in columns:
            if None not in column and not {(None, 0)} & set(column):
                assert column == sorted(column)


def test_what_a_header_says_of_its_run():
    dataset = pydicom.Dataset()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "BIPLANE B", "DSA"]
    dataset.ImagerPixelSpacing = ["0.20", "0.2000"]
    dataset.IntensifierSize = 300
    dataset.PixelIntensityRelationship = "LIN"
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 3, 4, 5
    dataset.TableHeight, dataset.TemporalPositionIdentifier = -7.5, 6
    found = describe_frame(Path("x"), dataset, "place", "")
    assert (found.plane, found.kind) == ("BIPLANE B", ("ORIGINAL\\PRIMARY", "LIN", ""))
    assert found.field == ("300", "", "0.2\\0.2")
    assert (found.size, found.count, found.temporal, found.positions[4]) == ((3, 4), 5, 6, -7.5)
    assert (found.shown, found.place) == ("x", "place")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.add_new("FieldOfViewDimensions", "LO", "wide")
    assert describe_frame(Path("x"), dataset, "", "").plane == ""
    assert describe_frame(Path("x"), dataset, "", "").field[1] == ""
