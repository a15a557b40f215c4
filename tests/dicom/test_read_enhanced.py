"""Enhanced objects: places and order of frames, tables, shutters, concatenations."""

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedXAImageStorage

from angiomorph.dicom import find_series, read_series, write_dsa_run, write_dsa_state
from angiomorph.errors import InputError
from tests.dicom.headers import deleting, item, write
from tests.dicom_tools import dciodvfy_errors
from tests.runs import moving_frames

SAMPLE = Path(__file__).parents[2] / "data/sample_enhanced.dcm"


def enhanced(contents=None, shared=None, per_frame=None):
    """Return a change to an enhanced run of four frames; `contents` and `per_frame` say something of each."""

    def change(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedXAImageStorage
        properties = item(PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)
        dataset.SharedFunctionalGroupsSequence = [shared or item(FramePixelDataPropertiesSequence=[properties])]
        groups = []
        for index in range(4):
            group = item(**(per_frame(index) if per_frame else {}))
            group.FrameContentSequence = [item(**(contents(index) if contents else {}))]
            groups.append(group)
        dataset.PerFrameFunctionalGroupsSequence = groups
        deleting("PixelIntensityRelationship", "FrameTime", "FrameIncrementPointer")(dataset)

    return change


def clock(order):
    return lambda index: {"FrameAcquisitionDateTime": f"20200102101112.{order[index]}"}


def indices(order):
    return lambda index: {"TemporalPositionIndex": order[index]}


def dimension(order):
    return lambda index: {"DimensionIndexValues": [order[index]]}


@pytest.mark.parametrize("contents", [clock, indices, dimension])
def test_frames_are_put_in_order(xa_file, tmp_path, contents):
    mask = item(MaskOperation="AVG_SUB", MaskFrameNumbers=2, ApplicableFrameRange=[1, 4])

    def change(dataset):
        enhanced(contents([2, 4, 1, 3]))(dataset)
        dataset.MaskSubtractionSequence = [mask]

    source = read_series(xa_file(change=change))
    np.testing.assert_array_equal(source.frames, moving_frames()[[2, 0, 3, 1]])
    assert source.background_numbers == (4,)  # stored as frame 2
    assert "frames are put in order of" in source.warnings[0]
    assert "frame 1 is stored as 3" in source.warnings[0]
    written = write(tmp_path / "bsa.dcm", source, background_numbers=[1, 4])
    assert written.SourceImageSequence[1].ReferencedFrameNumber == [2, 3]
    if contents is clock:
        np.testing.assert_allclose(source.frame_times, [0, 100, 200, 300])


@pytest.mark.parametrize("contents", [clock, indices, dimension])
@pytest.mark.parametrize("order", [[1, 2, 3, 4], [1, 2, 3, 3]])
def test_frames_in_order_or_of_none_stay_as_they_are(xa_file, contents, order):
    told = read_series(xa_file(change=enhanced(contents(order)))).warnings
    assert not [line for line in told if "are put in order" in line]


def test_times_of_the_stored_order_are_not_those_of_another(xa_file):
    def change(dataset):
        enhanced(indices([2, 4, 1, 3]))(dataset)
        dataset.FrameTimeVector = [0, 10, 20, 30]

    source = read_series(xa_file(change=change))
    np.testing.assert_array_equal(source.frames, moving_frames()[[2, 0, 3, 1]])
    assert "FrameTimeVector" not in source.headers[0]


def test_mask_frames_have_the_numbers_of_their_own_object(xa_file, tmp_path):
    source = read_series(xa_file(change=enhanced(clock([2, 4, 1, 3]))))  # frames 3, 1, 4, 2 as stored
    write_dsa_run(tmp_path / "dsa.dcm", source, [1, 4])
    written = read_series(tmp_path / "dsa.dcm")
    np.testing.assert_array_equal(written.frames, moving_frames()[[2, 0, 3, 1]])
    assert written.background_numbers == (1, 4)
    write_dsa_state(tmp_path / "state.dcm", source, [1, 4])
    assert pydicom.dcmread(tmp_path / "state.dcm").MaskSubtractionSequence[0].MaskFrameNumbers == [2, 3]


@pytest.mark.parametrize(
    "contents",
    [
        lambda index: clock([1, 2, 3, 4])(index) | indices([2, 1, 3, 4])(index),
        lambda index: clock([1, 2, 3, 4])(index) | dimension([2, 1, 3, 3])(index),
        indices([2, 1, 3, 3]),
    ],
)
def test_an_order_in_doubt_is_refused(xa_file, contents):
    with pytest.raises(InputError, match=r"expected frames of one order in time, found frame \d to be earlier .*\. Have the"):
        read_series(xa_file(change=enhanced(contents)))


def test_a_dimension_that_is_not_of_time_orders_nothing(xa_file):
    def change(dataset):
        enhanced(lambda index: {"DimensionIndexValues": [4 - index, index + 1]})(dataset)
        dataset.DimensionIndexSequence = [
            item(DimensionIndexPointer=0x00209056),  # StackID
            item(DimensionIndexPointer=0x00209128),  # TemporalPositionIndex
        ]

    np.testing.assert_array_equal(read_series(xa_file(change=change)).frames, moving_frames())


def test_other_numbers_outvote_the_acquisition_number(xa_file):
    def contents(index):
        return clock([1, 2, 3, 4])(index) | numbered(index)

    def numbered(index):
        return {"FrameAcquisitionNumber": 4 - index}

    np.testing.assert_array_equal(read_series(xa_file(change=enhanced(contents))).frames, moving_frames())
    np.testing.assert_array_equal(read_series(xa_file(change=enhanced(numbered))).frames, moving_frames()[::-1])


@pytest.mark.parametrize(
    ("macro", "keyword"),
    [("PositionerPositionSequence", "PositionerPrimaryAngle"), ("TablePositionSequence", "TableTopLongitudinalPosition")],
)
def test_frames_of_several_places_are_refused(xa_file, macro, keyword):
    def moving(step):
        return enhanced(per_frame=lambda index: {macro: [item(**{keyword: float(step * index)})]})

    with pytest.raises(InputError, match=rf"found frames of {keyword} \(\w+,\w+\) 0 to 30\. No frame is the background"):
        read_series(xa_file(change=moving(10)))
    assert len(read_series(xa_file(change=moving(0.1))).frames) == 4


def test_geometry_and_shutter_of_shared_groups(xa_file, tmp_path):
    shared = item(
        FramePixelDataPropertiesSequence=[
            item(PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1, ImagerPixelSpacing=[0.2, 0.2])
        ],
        XRayGeometrySequence=[item(DistanceSourceToDetector=1200)],
        FieldOfViewSequence=[item(FieldOfViewShape="RECTANGLE", FieldOfViewDimensionsInFloat=[300.4, 200.0])],
        FrameDisplayShutterSequence=[
            item(
                ShutterShape="RECTANGULAR",
                ShutterLeftVerticalEdge=2,
                ShutterRightVerticalEdge=11,
                ShutterUpperHorizontalEdge=3,
                ShutterLowerHorizontalEdge=14,
            )
        ],
    )
    source = read_series(xa_file(change=enhanced(clock([1, 2, 3, 4]), shared)))
    exposed = np.zeros((16, 12), bool)
    exposed[2:14, 1:11] = True
    np.testing.assert_array_equal(source.shutter, exposed)
    written = write(tmp_path / "bsa.dcm", source)
    assert written.ImagerPixelSpacing == [0.2, 0.2]
    assert (written.DistanceSourceToDetector, written.FieldOfViewShape) == (1200, "RECTANGLE")
    assert written.FieldOfViewDimensions == [300, 200]
    assert (written.ShutterShape, written.ShutterLeftVerticalEdge, written.FrameTime) == ("RECTANGULAR", 2, 100)
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []
    assert pydicom.dcmread(tmp_path / "bsa.dcm").SOPClassUID != EnhancedXAImageStorage


def test_frames_of_several_kinds_are_refused(xa_file):
    def per_frame(index):
        return {"FramePixelDataPropertiesSequence": [item(PixelIntensityRelationship="LOG" if index else "LIN")]}

    with pytest.raises(InputError, match=r"one PixelIntensityRelationship \(0028,1040\) in all frames, found 2"):
        read_series(xa_file(change=enhanced(clock([1, 2, 3, 4]), item(), per_frame)))


def test_several_shutters_leave_what_all_frames_show(xa_file, tmp_path):
    def per_frame(index):
        edges = {"ShutterLeftVerticalEdge": index + 1, "ShutterRightVerticalEdge": 12 - index}
        edges |= {"ShutterUpperHorizontalEdge": 1, "ShutterLowerHorizontalEdge": 16}
        return {"FrameDisplayShutterSequence": [item(ShutterShape="RECTANGULAR", **edges)]}

    source = read_series(xa_file(change=enhanced(clock([1, 2, 3, 4]), per_frame=per_frame)))
    exposed = np.zeros((16, 12), bool)
    exposed[:, 3:9] = True
    np.testing.assert_array_equal(source.shutter, exposed)
    assert "frames have 4 display shutters" in source.warnings[0]
    assert "ShutterShape" not in write(tmp_path / "bsa.dcm", source)


STORED = np.arange(4096)


@pytest.mark.parametrize(
    ("function", "table", "relation"),
    [
        ("TO_LOG", 500 * np.log(STORED + 1), "LIN"),
        ("TO_LOG", 16 * STORED, "LOG"),
        ("TO_LINEAR", 16 * STORED, "LIN"),
        ("TO_LINEAR", 65535 * np.exp((STORED - 4095) / 1000), "LOG"),
        ("TO_LOG", 65535 * np.sin(STORED / 300) ** 2, "DISP"),
        ("TO_LOG", np.zeros(4096), "DISP"),
        ("TO_LOG", STORED[:-1], "DISP"),  # shorter than it says
        ("SOMETHING", STORED, "DISP"),
    ],
)
@pytest.mark.parametrize("kind", ["US", "OW"])
def test_tables_say_what_the_values_are(xa_file, function, table, relation, kind):
    lut = item(LUTFunction=function)
    lut.add_new("LUTDescriptor", "US", [4096, 0, 16])
    data = np.rint(table).astype("<u2")
    lut.add_new("LUTData", kind, data.tobytes() if kind == "OW" else data.tolist())
    shared = item(
        FramePixelDataPropertiesSequence=[item(PixelIntensityRelationship="OTHER", PixelIntensityRelationshipSign=1)],
        PixelIntensityRelationshipLUTSequence=[lut],
    )
    assert read_series(xa_file(change=enhanced(clock([1, 2, 3, 4]), shared))).relation == relation
    shared.FramePixelDataPropertiesSequence[0].PixelIntensityRelationship = "LOG"
    assert read_series(xa_file(change=enhanced(clock([1, 2, 3, 4]), shared))).relation == "LOG"


@pytest.fixture
def parts(tmp_path):
    """Return a folder with the enhanced sample in three parts, whose names are in another order than they are."""
    folder = tmp_path / "parts"
    folder.mkdir()
    whole = pydicom.dcmread(SAMPLE)
    count = whole.NumberOfFrames
    groups, frames = list(whole.PerFrameFunctionalGroupsSequence), whole.pixel_array
    limits = [0, 1, 3, count]
    for number, (first, last) in enumerate(itertools.pairwise(limits), 1):
        part = pydicom.dcmread(SAMPLE)
        part.PerFrameFunctionalGroupsSequence = groups[first:last]
        part.NumberOfFrames = last - first
        part.set_pixel_data(frames[first:last], "MONOCHROME2", part.BitsStored)
        part.ConcatenationUID, part.SOPInstanceUIDOfConcatenationSource = "1.2.3.4", whole.SOPInstanceUID
        part.InConcatenationNumber, part.InConcatenationTotalNumber = number, 3
        part.ConcatenationFrameOffsetNumber = first
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
        part.save_as(folder / f"{9 - number}.dcm")
    return folder


def test_parts_of_a_concatenation_are_joined(parts, tmp_path):
    whole, (found,) = read_series(SAMPLE), find_series([parts])
    joined = read_series(found)
    np.testing.assert_array_equal(joined.frames, whole.frames)
    np.testing.assert_array_equal(joined.frame_times, whole.frame_times)
    np.testing.assert_array_equal(joined.shutter, whole.shutter)
    assert (joined.background_numbers, joined.relation) == (whole.background_numbers, whole.relation)
    assert [line.partition(": ")[2] for line in joined.warnings] == [
        "3 files, the parts of a concatenation, are read as one run"
    ]
    assert (found.name, len(read_series(sorted(parts.iterdir())).frames)) == ("8", len(whole.frames))
    written = write(tmp_path / "bsa.dcm", joined, background_numbers=[1, 3])
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []
    assert "ConcatenationUID" not in written
    named = [(item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")) for item in written.SourceImageSequence]
    assert named == [("1.2.3.4.1", None), ("1.2.3.4.2", None), ("1.2.3.4.3", None), ("1.2.3.4.1", 1), ("1.2.3.4.2", 2)]


def test_plain_dsa_of_a_concatenation_names_all_parts(parts, tmp_path):
    joined = read_series(parts)
    write_dsa_run(tmp_path / "dsa.dcm", joined, [1, 3])
    written = pydicom.dcmread(tmp_path / "dsa.dcm")
    named = [item.ReferencedSOPInstanceUID for item in written.SourceImageSequence]
    assert (named, written.MaskSubtractionSequence[0].MaskFrameNumbers) == (["1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"], [1, 3])
    np.testing.assert_array_equal(written.pixel_array, joined.frames)
    assert dciodvfy_errors(tmp_path / "dsa.dcm") == []
    with pytest.raises(InputError, match="for `kinds` dsa-state, got a run of several files, whose mask frames"):
        write_dsa_state(tmp_path / "state.dcm", joined, [1, 3])


@pytest.mark.parametrize("missing", ["8.dcm", "7.dcm", "6.dcm"])
def test_a_missing_part_is_refused(parts, missing):
    with pytest.raises(
        InputError, match=r"all parts of a concatenation, InConcatenationNumber \(\w+,\w+\) 1 to 3, found 3; give"
    ):
        read_series(parts / "6.dcm")
    (parts / missing).unlink()
    with pytest.raises(InputError, match=r"1 to 3, found \d, \d; give a folder that has all files of the run"):
        read_series(parts)


def test_a_part_that_begins_elsewhere_is_refused(parts):
    part = pydicom.dcmread(parts / "7.dcm")
    part.ConcatenationFrameOffsetNumber = 2
    part.save_as(parts / "7.dcm")
    with pytest.raises(
        InputError, match=r"part that begins after 1 frames, found ConcatenationFrameOffsetNumber \(\w+,\w+\) 2"
    ):
        read_series(parts)


def test_a_concatenation_without_total_and_a_copy(parts):
    for path in parts.iterdir():
        part = pydicom.dcmread(path)
        del part.InConcatenationTotalNumber
        part.save_as(path)
    (parts / "8 (1).dcm").write_bytes((parts / "8.dcm").read_bytes())
    (found,) = find_series([parts])
    told = read_series(found).warnings
    assert len(found.paths) == 3
    assert "copies of the run's files are left out" in told[0]
    assert "is absent, so that more may be missing" in told[1]


def test_written_of_the_sample_without_error(tmp_path):
    written = write(tmp_path / "bsa.dcm", read_series(SAMPLE))
    assert (written.ExposureTime, written.XRayTubeCurrent, written.ImageLaterality) == (10, 100, "U")
    for keyword in ("ExposureTimeInms", "XRayTubeCurrentInmA", "Laterality"):
        assert keyword not in written
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize(
    ("framed", "own", "classic", "expected"),
    [(99.6, 50.0, None, 100), (None, 50.4, None, 50), (-1.0, 50.4, None, 50), (99.6, 50.0, 7, 7), (3e9, -1.0, None, None)],
)
def test_the_surest_usable_exposure_is_written(xa_file, tmp_path, framed, own, classic, expected):
    def change(dataset):
        acquired = item() if framed is None else item(XRayTubeCurrentInmA=framed)
        enhanced(clock([1, 2, 3, 4]), item(FrameAcquisitionSequence=[acquired]))(dataset)
        dataset.XRayTubeCurrent, dataset.XRayTubeCurrentInmA = classic, own

    written = write(tmp_path / "bsa.dcm", read_series(xa_file(change=change)))
    assert (written.XRayTubeCurrent, "XRayTubeCurrentInmA" in written) == (expected, False)
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize("keyword", ["NumberOfFrames", "SeriesInstanceUID", "InstanceCreationTime", "PixelSpacing"])
@pytest.mark.parametrize(("kind", "value"), [("FD", 1.5), ("SQ", []), ("OB", b"\0\1")])
def test_attributes_of_another_type_are_replaced_or_left_out(parts, tmp_path, keyword, kind, value):
    part = pydicom.dcmread(parts / "8.dcm")
    part.NumberOfFrames = 2
    part.add_new(keyword, kind, value)
    part.ConcatenationUID, part.InConcatenationTotalNumber = "1.2.3.5", 1
    for path in parts.iterdir():
        path.unlink()
    part.PerFrameFunctionalGroupsSequence = 2 * list(part.PerFrameFunctionalGroupsSequence)
    part.PixelData = 2 * part.PixelData
    part.save_as(parts / "8.dcm")
    written = write(tmp_path / "bsa.dcm", read_series(parts / "8.dcm"))
    assert written.NumberOfFrames == 2
    assert keyword not in written or pydicom.datadict.dictionary_VR(keyword) == written[keyword].VR


def test_a_radius_beyond_all_numbers_hides_nothing(xa_file):
    shutter = item(ShutterShape="CIRCULAR", CenterOfCircularShutter=[8, 6])
    shutter.add_new("RadiusOfCircularShutter", "FD", 1e300)
    shared = item(FrameDisplayShutterSequence=[shutter])
    assert read_series(xa_file(change=enhanced(clock([1, 2, 3, 4]), shared))).shutter.all()
