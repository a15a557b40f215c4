"""What users say of images is checked."""

import pytest

from angiomorph.errors import InputError
from angiomorph.images import ImageOptions, choose_kinds

USUAL = ("dicom", "h5")


@pytest.mark.parametrize("given", [("lin", 0.0), ("LIN", -1.0), ("LIN", float("nan")), ("LIN", float("inf"))])
def test_wrong_options(given):
    with pytest.raises(InputError, match=r"`(relation|frame_time)` .*: expected"):
        ImageOptions(*given)


@pytest.mark.parametrize(("wanted", "kinds"), [(USUAL, ("h5",)), (("png", "nifti"), ("png", "nifti")), (("h5",), ("h5",))])
def test_kinds_without_headers(wanted, kinds):
    assert choose_kinds(wanted, USUAL) == kinds


@pytest.mark.parametrize("wanted", [("dicom",), ("h5", "dsa"), ("dsa-state", "png")])
def test_kinds_that_need_headers_are_refused(wanted):
    with pytest.raises(InputError, match=r"expected none of dicom, dsa, .*, key for images, got (dicom|dsa)"):
        choose_kinds(wanted, USUAL)
