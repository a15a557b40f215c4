"""Masks that the source names: which are taken, and what is told of the others."""

import pydicom
import pytest

from angiomorph.dicom.masks import find_masks, name_other_images
from angiomorph.preprocessing.background import Step

AVERAGE = {"MaskOperation": "AVG_SUB"}
ALL = tuple(range(1, 9))


def item(**attributes):
    result = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(result, keyword, value)
    return result


@pytest.mark.parametrize(
    ("masks", "steps", "told"),
    [
        ([], {}, []),
        ([AVERAGE | {"MaskFrameNumbers": 3}], {(3,): ALL}, []),
        ([AVERAGE | {"MaskFrameNumbers": [3, 2, 3]}], {(2, 3): ALL}, []),
        ([{"MaskOperation": "NONE"}], {}, []),
        ([{"MaskOperation": "NONE"}, AVERAGE | {"MaskFrameNumbers": 2, "ApplicableFrameRange": [4, 8]}], {(2,): ALL}, []),
        ([{"MaskOperation": "TID", "TIDOffset": 1}], {}, ["TID (each frame's mask is a frame some frames before it)"]),
        ([{"MaskOperation": "REV_TID"}], {}, ["REV_TID (masks run against the frames) is not followed"]),
        ([AVERAGE], {}, ["expected frame numbers, found none"]),
        ([AVERAGE | {"MaskFrameNumbers": [2, 0, 99]}], {(2,): ALL}, ["names frame 0, 99, which this run does not have"]),
        ([AVERAGE | {"MaskFrameNumbers": 99}], {}, ["names no frame of this run; MaskFrameNumbers (0028,6110) names frame 99"]),
        ([AVERAGE | {"MaskFrameNumbers": 99}, AVERAGE | {"MaskFrameNumbers": 2}], {(2,): ALL}, ["names frame 99"]),
        (
            [
                AVERAGE | {"MaskFrameNumbers": 2, "ApplicableFrameRange": [1, 3]},
                AVERAGE | {"MaskFrameNumbers": 4, "ApplicableFrameRange": [4, 8]},
            ],
            {(2,): (1, 2, 3), (4,): (4, 5, 6, 7, 8)},
            ["has 2 masks: frame 2 for frames 1, 2, 3; frame 4 for frames 4, 5, 6, 7, 8"],
        ),
        (  # of a frame in two ranges the first item counts; frames in none go with those before them, the first with the first
            [
                AVERAGE | {"MaskFrameNumbers": [1, 3], "ApplicableFrameRange": [2, 4, 7, 7]},
                AVERAGE | {"MaskFrameNumbers": 5, "ApplicableFrameRange": [4, 5]},
            ],
            {(1, 3): (1, 2, 3, 4, 7, 8), (5,): (5, 6)},
            ["has 2 masks: frame 1, 3 for frames 1, 2, 3, 4, 7, 8; frame 5 for frames 5, 6"],
        ),
        (  # both for the whole run
            [AVERAGE | {"MaskFrameNumbers": 2}, AVERAGE | {"MaskFrameNumbers": 5}],
            {(2,): ALL},
            ["has another mask, frame 5, for frames 1, 2, 3, 4, 5, 6, 7, 8, which have one before it"],
        ),
        (  # one mask for two stretches
            [
                AVERAGE | {"MaskFrameNumbers": 2, "ApplicableFrameRange": [1, 4]},
                AVERAGE | {"MaskFrameNumbers": 2, "ApplicableFrameRange": [6, 8]},
            ],
            {(2,): ALL},
            [],
        ),
    ],
)
def test_of_a_multiframe_file(masks, steps, told):
    header = item(MaskSubtractionSequence=[item(**mask) for mask in masks])
    found, lines = find_masks([header], 8)
    assert {step.numbers: step.frames for step in found} == steps
    assert len(lines) == len(told)
    for line, part in zip(lines, told, strict=True):
        assert part in line


def test_of_single_frames_by_instance_number_and_else_by_place():
    headers = [
        item(InstanceNumber=number, MaskSubtractionSequence=[item(**AVERAGE, MaskFrameNumbers=6)]) for number in (5, 6, 7)
    ]
    found, lines = find_masks(headers, 3)
    assert found == (Step((2,), (1, 2, 3)),)
    assert lines == ["MaskFrameNumbers (0028,6110) of single-frame files taken as InstanceNumber (0020,0013)"]
    for header in headers:
        header.MaskSubtractionSequence[0].MaskFrameNumbers = 3
    assert find_masks(headers, 3)[0] == (Step((3,), (1, 2, 3)),)
    assert find_masks([item()] * 3, 3) == ((), [])


@pytest.mark.parametrize("keyword", ["ReferencedImageSequence", "SourceImageSequence"])
def test_other_images_that_are_named_for_masks(keyword):
    reference = item(ReferencedSOPInstanceUID="1.2.3", ReferencedFrameNumber=[2, 3])
    header = item(SOPInstanceUID="1.2.4", **{keyword: [reference, item(ReferencedSOPInstanceUID="1.2.5")]})
    assert name_other_images(header) == {}
    reference.PurposeOfReferenceCodeSequence = [item(CodeValue="121321", CodingSchemeDesignator="DCM")]
    assert name_other_images(header) == {"1.2.3": (2, 3)}
    del reference.ReferencedFrameNumber
    assert name_other_images(header) == {"1.2.3": ()}
    header.SOPInstanceUID = "1.2.3"
    assert name_other_images(header) == {}


@pytest.mark.parametrize("nested", [True, False])
def test_frame_numbers_of_another_image_are_not_those_of_the_run(nested):
    reference = {"ReferencedSOPInstanceUID": "1.2.3"}
    named = {"ReferencedImageSequence": [item(**reference)]} if nested else reference
    header = item(SOPInstanceUID="1.2.4", MaskSubtractionSequence=[item(**AVERAGE, MaskFrameNumbers=2, **named)])
    assert name_other_images(header) == {"1.2.3": (2,)}
    assert find_masks([header], 8) == ((), [])
    header.SOPInstanceUID = "1.2.3"
    assert name_other_images(header) == {}
    assert find_masks([header], 8) == ((Step((2,), ALL),), [])


def test_of_frames_that_are_put_in_order():
    masks = [
        item(**AVERAGE, MaskFrameNumbers=[4, 1], ApplicableFrameRange=[2, 3]),
        item(**AVERAGE, MaskFrameNumbers=3, ApplicableFrameRange=[1, 1]),
    ]
    found, lines = find_masks([item(MaskSubtractionSequence=masks)], 4, [3, 2, 4, 1])
    assert found == (Step((3, 4), (1, 2, 3)), Step((1,), (4,)))  # 3 and 4 are stored as 4 and 1
    assert lines == ["MaskSubtractionSequence (0028,6100) has 2 masks: frame 3, 4 for frames 1, 2, 3; frame 1 for frames 4"]


def test_text_where_numbers_belong():
    mask = item(**AVERAGE)
    mask.add_new("MaskFrameNumbers", "LO", "2")
    assert find_masks([item(MaskSubtractionSequence=[mask])], 8) == ((Step((2,), ALL),), [])
    mask.add_new("MaskFrameNumbers", "LO", "second")
    found, lines = find_masks([item(MaskSubtractionSequence=[mask])], 8)
    assert found == ()
    assert lines == ["MaskFrameNumbers (0028,6110): expected whole numbers, found 'second'; passed over"]
