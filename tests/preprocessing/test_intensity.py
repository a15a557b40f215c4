"""Domain, scale and padding: hand-computed values, round trips, and runs that could break them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import (
    UNITS,
    Normalisation,
    choose_mode,
    exposed_range,
    level,
    normalisation,
    normalise,
    resolve_mode,
    stored_normalisation,
    to_domain,
    to_ln,
)
from tests.tools import shared_data

DTYPES = st.sampled_from([np.uint8, np.uint16, np.float32])


@pytest.mark.parametrize(
    ("relation", "intensity", "mode"),
    [
        ("LIN", "auto", "log"),
        ("LOG", "auto", "linear"),
        ("DISP", "auto", "linear"),
        ("LIN", "linear", "linear"),
        ("DISP", "log", "log"),
        ("LOG", "linear", "linear"),
    ],
)
def test_mode_follows_the_relation_unless_told(relation, intensity, mode):
    assert resolve_mode(relation, intensity) == mode


@pytest.mark.parametrize(
    ("relation", "trained_on", "wanted", "mode"),
    [
        ("LIN", "log", None, "log"),
        ("LOG", "log", None, "linear"),
        ("DISP", "log", None, "log"),
        ("LIN", "auto", "linear", "linear"),
        ("LIN", "linear", "auto", "log"),
    ],
)
def test_a_network_sees_runs_as_it_was_trained(relation, trained_on, wanted, mode):
    assert choose_mode(relation, trained_on, wanted) == mode
    assert UNITS[mode] == {"log": "ln(intensity)", "linear": "stored value"}[mode]


def test_mode_refuses_what_makes_no_sense():
    with pytest.raises(InputError, match="logarithmic already"):
        resolve_mode("LOG", "log")
    with pytest.raises(InputError, match="got cubic"):
        resolve_mode("LIN", "cubic")
    with pytest.raises(InputError, match="got auto"):
        to_domain(np.zeros((1, 1, 1)), "auto")
    with pytest.raises(InputError, match=r"\(2, 3\) and None"):
        normalisation(np.zeros((2, 3)), None, "log")
    with pytest.raises(InputError, match=r"\(2, 3, 3\) and \(2, 3\)"):
        normalisation(np.zeros((2, 3, 3)), np.ones((2, 3), bool), "log")


def test_exposed_range_without_outliers_and_blades():
    """A ramp of 0 to 1000 in 1001 columns: 0.5 and 99.5 percentiles at 5 and 995."""
    ramp = np.broadcast_to(np.arange(1001, dtype=np.uint16), (3, 2, 1001)).copy()
    everywhere = np.ones((2, 1001), bool)
    assert exposed_range(ramp, everywhere, "linear") == pytest.approx(990)
    ramp[:, 1] = 9999
    upper = everywhere & ([True], [False])
    assert exposed_range(ramp, upper, "linear") == pytest.approx(990)
    blades = np.full((3, 2, 1001), 1000, np.uint16)
    blades[:, 0], blades[:, 1, :300] = 500, 1  # of which 1 is more than 64 times darker than the bright end
    assert exposed_range(blades, everywhere, "log") == pytest.approx(math.log(2), rel=1e-5)
    assert exposed_range(blades, everywhere, "linear") == pytest.approx(999)
    assert exposed_range(np.full((2, 4, 4), 7, np.uint8), np.ones((4, 4), bool), "log") == 0
    with pytest.raises(InputError, match="got auto"):
        exposed_range(ramp, everywhere, "auto")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_domain_by_hand(dtype):
    frames = np.array([0, 1, 2, 255], dtype)
    np.testing.assert_allclose(to_domain(frames, "log"), [0, 0, math.log(2), math.log(255)], rtol=1e-6)
    np.testing.assert_array_equal(to_domain(frames, "linear"), [0, 1, 2, 255])
    assert to_domain(frames, "log").dtype == to_domain(frames, "linear").dtype == np.float32
    np.testing.assert_array_equal(frames, np.array([0, 1, 2, 255], dtype))


@pytest.mark.parametrize(("relation", "expected"), [("LIN", [0, math.log(200)]), ("LOG", [0, 4]), ("DISP", [0, 4])])
def test_ln_units_by_hand(relation, expected):
    found = to_ln(np.array([[[0, 200]]], np.uint16), relation, 1.0 if relation == "LIN" else 50.0)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_linear_scale_is_minimum_and_maximum():
    values = np.array([[[3.0, 5.0]], [[7.0, 11.0]]])
    scale = normalisation(values, np.array([[True, False]]), "linear")
    assert scale == Normalisation(3.0, 11.0)
    np.testing.assert_allclose(normalise(values, scale), [[[0, 0.25]], [[0.5, 1]]])
    assert normalise(np.array([-100.0, 100.0]), scale).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("shuttered", [True, False])
def test_blades_do_not_take_up_the_range(shuttered):
    rng = np.random.default_rng(0)
    frames = rng.integers(200, 900, (5, 40, 40)).astype(np.uint16)
    inside = to_domain(frames, "log")[:, :, 12:]
    frames[:, :, :12] = 2
    roi = np.zeros((40, 40), bool)
    roi[:, 12:] = True
    scale = normalisation(to_domain(frames, "log"), roi if shuttered else None, "log")
    assert (scale.lo, scale.hi) == pytest.approx(np.percentile(inside, [0.5, 99.5]).tolist(), abs=0.02)


def test_bright_pixels_behind_the_shutter_do_not_count():
    frames = np.full((3, 10, 10), 100, np.uint16)
    frames[:, :5] = 200
    frames[:, :, 0] = 4000
    roi = np.ones((10, 10), bool)
    roi[:, 0] = False
    scale = normalisation(to_domain(frames, "log"), roi, "log")
    assert (scale.lo, scale.hi) == pytest.approx((math.log(100), math.log(200)))


def test_vessel_in_front_of_bright_background_stays_in_range():
    frames = np.full((20, 50, 50), 800, np.uint16)
    frames[10:, 20:25, :] = 80
    scale = normalisation(to_domain(frames, "log"), None, "log")
    assert (scale.lo, scale.hi) == pytest.approx((math.log(80), math.log(800)))


def test_scale_of_a_long_run_is_that_of_all_its_values():
    frames = np.random.default_rng(1).gamma(20, 30, (70, 120, 121)).astype(np.uint16) + 60
    values = to_domain(frames, "log")
    scale = normalisation(values, None, "log")
    assert (scale.lo, scale.hi) == pytest.approx(np.percentile(values, [0.5, 99.5]).tolist(), abs=0.02)


@pytest.mark.parametrize("mode", ["log", "linear"])
@pytest.mark.parametrize("level", [0, 1, 255])
def test_constant_run_becomes_zero_and_not_nan(mode, level):
    values = to_domain(np.full((3, 4, 5), level, np.uint8), mode)
    result = normalise(values, normalisation(values, np.zeros((4, 5), bool), mode))
    np.testing.assert_array_equal(result, np.zeros((3, 4, 5), np.float32))
    assert result.dtype == np.float32


@given(data=st.data(), mode=st.sampled_from(["log", "linear"]))
def test_normalised_values_are_finite_ordered_and_within_0_and_1(data, mode):
    shape = data.draw(arrays.array_shapes(min_dims=3, max_dims=3, max_side=6))
    frames = data.draw(arrays.arrays(data.draw(st.sampled_from([np.uint8, np.uint16])), shape))
    values = to_domain(frames, mode)
    result = normalise(values, normalisation(values, None, mode))
    assert np.isfinite(result).all()
    assert result.min() >= 0
    assert result.max() <= 1
    order = np.argsort(frames, axis=None, kind="stable")
    assert (np.diff(result.ravel()[order]) >= 0).all()


@pytest.mark.slow
def test_real_run_uses_its_range():
    series = read_series(shared_data("xa/fodicom_HasFragmentSequence.dcm"))
    values = to_domain(series.frames, "log")
    scaled = normalise(values, normalisation(values, series.shutter, "log"))
    inside = scaled[:, 100:400, 60:480]
    assert np.ptp(np.percentile(inside, [1, 99])) > 0.7
    assert np.mean((inside == 0) | (inside == 1)) < 0.02


@pytest.mark.parametrize("mode", ["log", "linear"])
@pytest.mark.parametrize("shape", [(3, 20, 30), (70, 50, 40)])
def test_the_scale_of_stored_values_is_that_of_their_domain(monkeypatch, mode, shape):
    monkeypatch.setattr("angiomorph.preprocessing.intensity.SAMPLES", 5000)
    frames = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    assert stored_normalisation(list(frames), mode) == normalisation(to_domain(frames, mode), None, mode)


def exposures(gain, offset, *, iodine=0.0, noise=0.005, seed=0):
    """Return (frame, reference): the same texture with another exposure, a tenth of it darkened by iodine."""
    rng = np.random.default_rng(seed)
    reference = np.clip(0.5 + 0.12 * ndimage.gaussian_filter(rng.normal(size=(96, 96)), 3) * 10, 0.2, 0.8)
    frame = gain * reference + offset + noise * rng.normal(size=reference.shape)
    frame[20:30] -= iodine
    return frame.astype(np.float32), (reference + noise * rng.normal(size=reference.shape)).astype(np.float32)


@pytest.mark.parametrize("iodine", [0.0, 0.15])
@pytest.mark.parametrize("offset", [-0.1, 0.0, 0.08])
def test_levelling_takes_an_offset_off_whatever_iodine_there_is(offset, iodine):
    frame, reference = exposures(1.0, offset, iodine=iodine)
    (levelled,) = level(frame[None], reference, np.ones(frame.shape, bool), gain=False)
    np.testing.assert_allclose(levelled, frame - offset, atol=2e-3)


@pytest.mark.parametrize("gain", [0.85, 1.0, 1.2])
def test_levelling_takes_a_gain_off_stored_values(gain):
    frame, reference = exposures(gain, 0.02, iodine=0.1)
    (levelled,) = level(frame[None], reference, np.ones(frame.shape, bool), gain=True)
    np.testing.assert_allclose(levelled, (frame - 0.02) / gain, atol=6e-3)


def test_levelling_looks_at_what_is_exposed_and_not_saturated():
    frame, reference = exposures(1.0, 0.05)
    frame[:40], reference[:40] = 1.0, 0.9
    field = np.ones(frame.shape, bool)
    field[-30:], frame[-30:] = False, 0.9
    (levelled,) = level(frame[None], reference, field, gain=False)
    np.testing.assert_allclose(levelled[40:-30], frame[40:-30] - 0.05, atol=2e-3)


def test_levelling_leaves_alone_what_it_cannot_compare():
    frame, reference = exposures(1.0, 0.05)
    nothing = np.zeros(frame.shape, bool)
    np.testing.assert_array_equal(level(frame[None], reference, nothing, gain=True)[0], frame)
    np.testing.assert_allclose(level(reference[None], reference, ~nothing, gain=True)[0], reference, atol=1e-6)
