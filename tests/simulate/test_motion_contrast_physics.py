import numpy as np
import pytest
from scipy import ndimage

from angiomorph.simulate.contrast import Bolus, draw_bolus
from angiomorph.simulate.motion import trajectory
from angiomorph.simulate.physics import LEAK, Detector, draw_aperture, draw_gain, expected, intensity, measured

TIMES = np.arange(15) * 0.4


@pytest.mark.parametrize("seed", range(12))
def test_motion_starts_at_rest_and_reaches_its_amplitudes(seed):
    pose = trajectory(TIMES, np.random.default_rng(seed), 4.0, 2.5)
    assert pose.shape == (15, 6)
    np.testing.assert_array_equal(pose[0], 0)
    assert np.linalg.norm(pose[:, 3:], axis=1).max() == pytest.approx(4.0)
    assert np.linalg.norm(pose[:, :3], axis=1).max() == pytest.approx(2.5)


def test_no_amplitude_is_no_motion_and_one_frame_cannot_move():
    np.testing.assert_array_equal(trajectory(TIMES, np.random.default_rng(0), 0.0, 0.0), np.zeros((15, 6)))
    np.testing.assert_array_equal(trajectory(TIMES[:1], np.random.default_rng(0), 4.0, 2.0), np.zeros((1, 6)))


def test_motion_differs_between_seeds_and_repeats_with_one():
    one, again, other = (trajectory(TIMES, np.random.default_rng(seed), 3.0, 2.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("bolus", [Bolus(1.0, 2.0, 0.2), Bolus(3.0, 1.5, 0.1), draw_bolus(np.random.default_rng(4))])
def test_all_that_is_injected_passes_every_point(bolus):
    time = np.arange(-2, 20, 0.002)
    share = bolus.concentration(time)
    assert share[time < 0].max() == 0
    assert 0 <= share.min() <= share.max() <= 1
    assert share.sum() * 0.002 == pytest.approx(bolus.duration, rel=2e-3)


def test_bolus_is_the_injection_smeared_by_the_gamma_variate():
    """Shape 2: g = t exp(-t/s) / s^2, whose integral is 1 - (1 + t/s) exp(-t/s)."""
    share = Bolus(duration=1.0, shape=2.0, scale=0.25).concentration(np.array((0.5, 1.5)))
    passed = [1 - (1 + t / 0.25) * np.exp(-t / 0.25) for t in (0.5, 1.5)]
    np.testing.assert_allclose(share, (passed[0], passed[1] - passed[0]), atol=1e-6)


def detector(size=256, **changes):
    values = {
        "photons": 4000.0, "scatter": 0.0, "blur": 0.0, "electronic": 0.0, "exposure": 3000.0, "bits_stored": 12,
        "aperture": np.ones((size, size), np.float32), "gain": np.ones(3),
    }  # fmt: skip
    return Detector(**(values | changes))


def test_without_scatter_and_blur_the_expected_value_is_the_exposure_times_the_exponential():
    integral = np.linspace(0, 4, 64 * 64, dtype=np.float32).reshape(64, 64)
    values = expected(integral, detector(64, gain=np.array((1.0, 0.5))), 1)
    np.testing.assert_allclose(values, 1500 * np.exp(-integral), rtol=1e-5)


def test_values_saturate_at_the_stored_bits_and_never_fall_below_one():
    integral = np.repeat(np.array((0.0, 12.0), np.float32), 32).reshape(2, 32).repeat(16, axis=0)
    values = expected(integral, detector(32, exposure=9000.0, bits_stored=10), 0)
    assert values.max() == 1023
    assert values.min() == 1
    frame = measured(integral, detector(32, exposure=9000.0, bits_stored=10), 0, np.random.default_rng(0))
    assert frame.dtype == np.uint16
    assert frame.max() == 1023
    assert measured(integral, detector(32, bits_stored=8), 0, np.random.default_rng(0)).dtype == np.uint8


def test_noise_in_ln_units_is_that_of_the_photons():
    """Behind an integral of 2, N = 40000 e^-2 = 5413 photons: sigma of ln = 1 / sqrt(N) = 0.0136."""
    beam = detector(photons=40000.0, exposure=4000.0)
    frame = measured(np.full((256, 256), 2.0, np.float32), beam, 0, np.random.default_rng(1)).astype(float)
    rounding = 1 / 12 / (4000 * np.exp(-2)) ** 2
    assert np.log(frame).std() == pytest.approx(np.sqrt(np.exp(2) / 40000 + rounding), rel=0.02)
    assert frame.mean() == pytest.approx(4000 * np.exp(-2), rel=1e-3)


def test_blur_correlates_the_noise_and_lowers_it_as_the_kernel_says():
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1
    kernel = ndimage.gaussian_filter(impulse, 0.8)
    beam = detector(photons=1e4, exposure=4000.0, blur=0.8)
    frame = measured(np.zeros((256, 256), np.float32), beam, 0, np.random.default_rng(2)).astype(float) / 4000
    assert frame.var() == pytest.approx((kernel**2).sum() / 1e4, rel=0.03)
    lag = np.mean((frame[:, 1:] - 1) * (frame[:, :-1] - 1)) / frame.var()
    assert lag == pytest.approx((kernel[:, 1:] * kernel[:, :-1]).sum() / (kernel**2).sum(), abs=0.02)


def test_electronic_noise_adds_its_variance():
    beam = detector(photons=1000.0, exposure=4000.0, electronic=20.0)
    frame = measured(np.full((256, 256), 1.0, np.float32), beam, 0, np.random.default_rng(3)).astype(float) / 4
    assert frame.var() == pytest.approx(1000 * np.exp(-1) + 400, rel=0.03)


def test_scatter_adds_its_share_and_is_smooth():
    integral = np.full((128, 128), 2.0, np.float32)
    np.testing.assert_allclose(intensity(integral, 0.4, np.ones_like(integral)), 1.4 * np.exp(-2), rtol=1e-5)
    integral[60:68, 60:68] = 30
    behind_lead = intensity(integral, 0.4, np.ones_like(integral))[62:66, 62:66]
    assert 0.2 * np.exp(-2) < behind_lead.mean() < 0.4 * np.exp(-2)
    assert np.ptp(behind_lead) < 0.02 * np.exp(-2)


@pytest.mark.parametrize("seed", range(8))
def test_collimators_pass_the_middle_and_stop_the_corner(seed):
    aperture = draw_aperture(np.random.default_rng(seed), 128, 128, True)
    assert aperture[64, 64] > 0.999
    assert LEAK <= aperture[0, 0] < 0.2
    assert draw_aperture(np.random.default_rng(seed), 128, 128, False).min() == 1


def test_gain_stays_near_one_and_its_ramp_is_over_in_ten_frames():
    gains = np.array([draw_gain(np.random.default_rng(seed), 30) for seed in range(60)])
    assert gains[:, 10:].min() > 0.95
    assert gains.max() < 1.05
    assert gains[:, 0].min() < 0.9
