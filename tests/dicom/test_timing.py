"""Frame times by hand: from whatever tells, never 0, negative or no number."""

import numpy as np
import pydicom
import pytest

from angiomorph.dicom.attributes import without_warnings
from angiomorph.dicom.timing import frame_times


def dataset(**attributes):
    result = pydicom.Dataset()
    with without_warnings():  # pydicom's, of values that break their type
        for keyword, value in attributes.items():
            result.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), value)
    return result


VECTOR = "FrameTimeVector (0018,1065)"
UNKNOWN = "nothing tells the time between frames"


@pytest.mark.parametrize(
    ("attributes", "times", "told"),
    [
        ({"FrameTime": 40}, [0, 40, 80, 120], ""),
        ({"FrameTimeVector": [0, 100, 300, 100]}, [0, 100, 400, 500], ""),
        ({"FrameTimeVector": [100, 100, 300, 100]}, [0, 100, 400, 500], ""),  # the first is no interval
        ({"FrameTimeVector": [100, 300, 100]}, [0, 100, 400, 500], f"{VECTOR}: expected 4 numbers, found one less"),
        ({"FrameTimeVector": [5, 5], "FrameTime": 10}, [0, 10, 20, 30], f"{VECTOR}: expected 4 numbers, one a frame, found 2"),
        ({"FrameTimeVector": [0, 0, 0, 0], "FrameTime": 10}, [0, 10, 20, 30], f"{VECTOR}: expected increments above 0"),
        ({"FrameTimeVector": [0, 9, -9, 9], "CineRate": 25}, [0, 40, 80, 120], f"{VECTOR}: expected increments above 0"),
        ({"FrameTime": 0, "CineRate": 25}, [0, 40, 80, 120], ""),
        ({"FrameTime": -33, "RecommendedDisplayFrameRate": 10}, [0, 100, 200, 300], ""),
        ({"ActualFrameDuration": 66}, [0, 66, 132, 198], ""),
        ({"FrameTime": -33}, [0, 0, 0, 0], UNKNOWN),
        ({"CineRate": 0}, [0, 0, 0, 0], UNKNOWN),
        ({}, [0, 0, 0, 0], UNKNOWN),
    ],
)
def test_of_a_multiframe_file(attributes, times, told):
    found, lines = frame_times([dataset(**attributes)], 4)
    np.testing.assert_allclose(found, times)
    assert len(lines) == bool(told)
    assert not told or lines[0].startswith(told)


@pytest.mark.parametrize(
    ("clocks", "times"),
    [
        ([{"AcquisitionTime": "235959.5"}, {"AcquisitionTime": "000000.0"}], [0, 500]),
        (
            [
                {"AcquisitionDate": "20200131", "AcquisitionTime": "235959.5"},
                {"AcquisitionDate": "20200201", "AcquisitionTime": "000000.0"},
            ],
            [0, 500],
        ),
        ([{"AcquisitionDateTime": "20200102101112.25"}, {"AcquisitionDateTime": "20200102101113"}], [0, 750]),
        ([{"ContentTime": "10:11:12.5"}, {"ContentTime": "10:11:14"}], [0, 1500]),
        ([{"AcquisitionTime": "1011"}, {"AcquisitionTime": "1012"}], [0, 60_000]),
        ([{"AcquisitionTime": "101112"}, {"AcquisitionTime": "101112"}], [0, 0]),
        ([{"AcquisitionTime": "995959"}, {"AcquisitionTime": "996000"}], [0, 0]),
        ([{"AcquisitionTime": "noon"}, {"AcquisitionTime": "101112"}], [0, 0]),
        ([{"AcquisitionDate": "20209999", "AcquisitionTime": "101112"}, {"AcquisitionTime": "101113"}], [0, 1000]),
        ([{"AcquisitionTime": "101112"}, {"AcquisitionDate": "20200131", "AcquisitionTime": "101113"}], [0, 0]),  # no interval
        ([{"AcquisitionTime": "10"}, {"AcquisitionTime": "11"}], [0, 3_600_000]),
    ],
)
def test_of_single_frames_by_their_clock(clocks, times):
    found, lines = frame_times([dataset(**clock) for clock in clocks], 2)
    np.testing.assert_allclose(found, times, rtol=1e-12)
    assert bool(lines) == (not found.any())


def test_enhanced_frames_go_by_clock_not_by_pulse_width():
    whole = dataset()
    whole.PerFrameFunctionalGroupsSequence = []
    for number in range(3):
        group = dataset()
        group.FrameContentSequence = [
            dataset(FrameAcquisitionDateTime=f"20200102101112.{number}", FrameAcquisitionDuration=8.0)
        ]
        whole.PerFrameFunctionalGroupsSequence.append(group)
    np.testing.assert_allclose(frame_times([whole], 3)[0], [0, 100, 200], rtol=1e-12)
    for group in whole.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence[0].FrameAcquisitionDateTime
    assert not frame_times([whole], 3)[0].any()
