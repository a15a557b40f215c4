from dataclasses import replace

import numba
import numpy as np
import pytest

from angiomorph.simulate.run import simulate_run
from angiomorph.simulate.scene.phantom import procedural_head
from tests.simulate.settings import SETTINGS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head():
    return procedural_head(7)


@pytest.fixture(scope="module")
def run(head):
    return simulate_run(head, None, replace(SETTINGS, size=128, still=0.0, motion_mm=(3, 5)), 11)


def test_shapes_types_and_ranges(run):
    assert run.frames.shape == run.truth.background.shape == run.truth.vessel.shape == run.truth.anatomy.shape == (6, 128, 128)
    assert run.frames.dtype == np.uint16
    assert run.truth.background.dtype == run.truth.vessel.dtype == np.float32
    assert run.frames.max() < 4096
    assert run.truth.displacement.shape == (6, 32, 32, 2)
    assert run.truth.displacement_defined.shape == (6, 32, 32)
    np.testing.assert_allclose(run.truth.displacement[0], 0, atol=1e-4)
    assert run.truth.vessel.max() == 0
    np.testing.assert_array_equal(run.truth.vessel_mask, run.truth.vessel < -0.02)
    assert 0.2 < run.truth.anatomy.mean() < 1


def test_contrast_arrives_after_the_background_frames(run):
    assert run.truth.vessel[:2].min() == 0
    assert run.truth.vessel[-1].min() < -0.15
    assert 0.003 < run.truth.vessel_mask[-1].mean() < 0.6


def test_frames_are_background_and_vessel_and_noise_alone(run):
    """Noise averages out within the anatomy, in frames without and with contrast agent and inside vessels."""
    noise = np.log(np.maximum(run.frames, 1)) - run.truth.background - run.truth.vessel
    for frame in (0, 5):
        inside = run.truth.anatomy[frame] & (run.truth.background[frame] > np.log(100))
        deviation = noise[frame][inside].std()
        assert 0.002 < deviation < 0.2
        assert abs(noise[frame][inside].mean()) < 5 * deviation / np.sqrt(inside.sum()) + deviation**2
    vessel = run.truth.vessel_mask[5] & run.truth.anatomy[5] & (run.truth.background[5] > np.log(100))
    assert abs(noise[5][vessel].mean()) < 5 * noise[5][vessel].std() / np.sqrt(vessel.sum()) + noise[5][vessel].var()


def test_the_background_moves_with_the_pose(run, head):
    still = simulate_run(head, None, replace(SETTINGS, size=128, still=1.0, motion_mm=(3, 5)), 11)
    assert np.abs(run.truth.pose[1:]).max() > 0
    np.testing.assert_array_equal(still.truth.pose, 0)
    gain = np.median(still.truth.background - still.truth.background[0], axis=(1, 2))
    artefact = np.abs(still.truth.background - still.truth.background[0] - gain[:, None, None])[still.truth.anatomy].max()
    assert artefact < 1e-3
    moved = np.abs(run.truth.background - run.truth.background[0])[run.truth.anatomy]
    assert np.percentile(moved, 99) > 0.05


def test_the_same_seed_gives_the_same_bits_whatever_the_threads(head):
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    one = simulate_run(head, None, SETTINGS, (3, 1))
    numba.set_num_threads(before)
    again, other = (simulate_run(head, None, SETTINGS, seed) for seed in ((3, 1), (3, 2)))
    np.testing.assert_array_equal(one.frames, again.frames)
    for name, array in one.truth.arrays().items():
        np.testing.assert_array_equal(array, again.truth.arrays()[name])
    assert one.arm == again.arm != other.arm


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_the_size_is_the_mean_of_two_by_two_pixels(head, seed):
    settings = replace(SETTINGS, frames=2, background=2, still=1.0, dose=(1e3, 1e3))
    full, half = (simulate_run(head, None, replace(settings, size=size), seed) for size in (512, 256))
    binned = np.exp(full.truth.background).reshape(2, 256, 2, 256, 2).mean(axis=(2, 4))
    inside = half.truth.anatomy & (half.truth.background > np.log(30))
    assert np.median(np.abs(np.log(binned) - half.truth.background)[inside]) < 0.01
    noise = full.frames.reshape(2, 256, 2, 256, 2).mean(axis=(2, 4)) / binned - 1
    other = half.frames / np.exp(half.truth.background) - 1
    assert other[inside].std() == pytest.approx(noise[inside].std(), rel=0.1)
