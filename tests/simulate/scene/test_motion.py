import numpy as np
import pytest

from angiomorph.simulate.scene.motion import beat, draw_pulse, draw_trajectory

TIMES = np.arange(15) * 0.4


@pytest.mark.parametrize("seed", range(12))
def test_motion_starts_at_rest_and_reaches_its_amplitudes(seed):
    pose = draw_trajectory(TIMES, np.random.default_rng(seed), 4.0, 2.5)
    assert pose.shape == (15, 6)
    np.testing.assert_array_equal(pose[0], 0)
    assert np.linalg.norm(pose[:, 3:], axis=1).max() == pytest.approx(4.0)
    assert np.linalg.norm(pose[:, :3], axis=1).max() == pytest.approx(2.5)


def test_no_amplitude_is_no_motion_and_one_frame_cannot_move():
    np.testing.assert_array_equal(draw_trajectory(TIMES, np.random.default_rng(0), 0.0, 0.0), np.zeros((15, 6)))
    np.testing.assert_array_equal(draw_trajectory(TIMES[:1], np.random.default_rng(0), 4.0, 2.0), np.zeros((1, 6)))


def test_motion_differs_between_seeds_and_repeats_with_one():
    one, again, other = (draw_trajectory(TIMES, np.random.default_rng(seed), 3.0, 2.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_a_beat_rises_in_a_quarter_of_its_cycle():
    """Half way up after an eighth, at the top after a quarter, half way down after 5/8."""
    np.testing.assert_allclose(beat(np.array((0, 0.125, 0.25, 0.625, 1, 7.25, -0.75))), (0, 0.5, 1, 0.5, 0, 1, 1), atol=1e-12)
    assert np.abs(np.diff(beat(np.linspace(0, 2, 2001)))).max() < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_the_pulse_starts_at_0_and_repeats_about_once_a_second(seed):
    times = 3.0 + np.arange(400) * 0.01
    wave = draw_pulse(times, np.random.default_rng(seed))
    assert wave[0] == 0
    assert np.ptp(wave) == pytest.approx(1, abs=0.01)
    difference = [np.abs(wave[lag:] - wave[:-lag]).max() for lag in range(70, 121)]
    assert 80 <= 70 + int(np.argmin(difference)) <= 110
    assert min(difference) < 0.1
