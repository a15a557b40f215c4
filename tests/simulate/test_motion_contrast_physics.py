import numpy as np
import pytest

from angiomorph.simulate.contrast import Bolus, draw_bolus
from angiomorph.simulate.motion import trajectory

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
