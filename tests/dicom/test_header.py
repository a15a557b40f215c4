"""What headers say of the detector, in either kind of object."""

from __future__ import annotations

import pytest

from angiomorph.dicom import imager_spacing
from tests.dicom.headers import item


@pytest.mark.parametrize(
    ("header", "spacing"),
    [
        (item(ImagerPixelSpacing=[0.3, 0.2]), (0.3, 0.2)),
        (item(ImagerPixelSpacing=[0.3, 0]), None),
        (item(ImagerPixelSpacing=None), None),
        (item(), None),
        (
            item(
                SharedFunctionalGroupsSequence=[
                    item(FramePixelDataPropertiesSequence=[item(ImagerPixelSpacing=[0.4, 0.5])]),
                ]
            ),
            (0.4, 0.5),
        ),
    ],
)
def test_spacing_is_that_of_rows_and_columns_or_unknown(header, spacing):
    assert imager_spacing(header) == spacing
