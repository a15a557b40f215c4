import numpy as np
import pydicom
import pytest

from angiomorph.dicom import read_series, write_run
from angiomorph.simulate.xray.aperture import LEAK, SHAPES, draw_aperture
from tests.dicom_tools import dciodvfy_errors


def drawn(seed, size=128):
    return draw_aperture(np.random.default_rng(seed), size, size, True)


@pytest.mark.parametrize("seed", range(12))
def test_collimators_pass_the_middle_and_stop_the_corner(seed):
    share = drawn(seed).share
    assert share[64, 64] > 0.999
    assert LEAK <= share[0, 0] < 0.25
    assert share.dtype == np.float32


def test_the_whole_field_is_open_and_says_nothing():
    aperture = draw_aperture(np.random.default_rng(0), 32, 48, False)
    assert aperture.share.shape == (32, 48)
    assert aperture.share.min() == 1
    assert aperture.attributes == {}


def test_every_shape_is_drawn_and_some_headers_are_silent():
    told = [drawn(seed, 32).attributes.get("CollimatorShape") for seed in range(60)]
    assert set(told) == {*SHAPES, None}


@pytest.mark.parametrize("seed", range(40))
def test_the_header_says_what_the_picture_shows(tmp_path, seed):
    """Read back as a display shutter, by the reader that registration uses, it hides what the collimator stopped."""
    aperture = drawn(seed)
    if not aperture.attributes:
        assert aperture.share.min() < 0.5
        return
    frames = np.full((2, 128, 128), 500, np.uint16)
    write_run(tmp_path / "r.dcm", frames, BitsStored=12, relation="LIN", frame_time=40, attributes=aperture.attributes)
    hidden = ~read_series(tmp_path / "r.dcm").shutter
    assert np.mean(hidden != (aperture.share < 0.5)) < 0.02
    assert np.mean(hidden & (aperture.share > 0.99)) < 0.005


@pytest.mark.parametrize("shape", SHAPES)
def test_dciodvfy_finds_no_error_in_any_shape(tmp_path, shape):
    seed = next(seed for seed in range(200) if drawn(seed, 64).attributes.get("CollimatorShape") == shape)
    frames = np.full((2, 64, 64), 500, np.uint16)
    attributes = drawn(seed, 64).attributes
    write_run(tmp_path / "r.dcm", frames, BitsStored=12, relation="LIN", frame_time=40, attributes=attributes)
    assert dciodvfy_errors(tmp_path / "r.dcm") == []
    assert pydicom.dcmread(tmp_path / "r.dcm").CollimatorShape == shape
