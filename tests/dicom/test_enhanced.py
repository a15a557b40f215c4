"""Enhanced objects whose frames move, or lie in another order than they were taken."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedXAImageStorage

from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from tests.conftest import moving_frames
from tests.dicom.test_read import deleting, item
from tests.dicom.test_write import write
from tests.dicom_tools import dciodvfy_errors


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


@pytest.mark.parametrize("contents", [clock, indices])
def test_frames_out_of_order_are_refused(xa_file, contents):
    with pytest.raises(InputError, match=r"found frame 3 to be earlier than the one before it by \w+ \(00\d\d,\d+\); have the"):
        read_series(xa_file(change=enhanced(contents([1, 4, 2, 3]))))
    for order in ([1, 2, 3, 4], [1, 2, 3, 3]):
        np.testing.assert_array_equal(read_series(xa_file(change=enhanced(contents(order)))).frames, moving_frames())


def test_a_clock_outvotes_numbers(xa_file):
    def contents(index):
        return clock([1, 2, 3, 4])(index) | {"FrameAcquisitionNumber": 4 - index}

    assert len(read_series(xa_file(change=enhanced(contents))).frames) == 4


@pytest.mark.parametrize(
    ("macro", "keyword"),
    [("PositionerPositionSequence", "PositionerPrimaryAngle"), ("TablePositionSequence", "TableTopLongitudinalPosition")],
)
def test_frames_of_several_places_are_refused(xa_file, macro, keyword):
    def moving(step):
        return enhanced(per_frame=lambda index: {macro: [item(**{keyword: float(step * index)})]})

    with pytest.raises(InputError, match=rf"found frames of {keyword} \(\w+,\w+\) 0 to 30: no frame is the background"):
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
