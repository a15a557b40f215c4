"""Figures without truth on cases whose answer is plain, and against the truth they stand for."""

import math

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.metrics import without_truth as nr

SIDE = 96
EVERYWHERE = np.ones((SIDE, SIDE), bool)


def scene(noise: float = 0.004, shift: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames with a vessel over an anatomy that has moved, the background before, and the vessel's place."""
    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3, mode="wrap")
    background = 6 + 0.3 * texture / texture.std()
    vessel = np.zeros((SIDE, SIDE))
    vessel[:, 44:50] = -1.5
    frames = np.stack([ndimage.shift(background, (shift, t), order=3, mode="grid-wrap") + vessel for t in range(4)])
    return frames + rng.normal(0, noise, frames.shape), background, vessel < 0


def test_a_step_has_the_edge_energy_of_its_gradient():
    ramp = np.broadcast_to(0.5 * np.arange(8.0), (2, 8, 8))
    assert nr.edge_energy(ramp, np.ones(ramp.shape, bool)) == pytest.approx(0.25)
    assert nr.edge_energy(3 * ramp, np.ones(ramp.shape, bool)) == pytest.approx(9 * 0.25)
    assert math.isnan(nr.edge_energy(ramp, np.zeros(ramp.shape, bool)))


def test_temporal_deviation_is_that_of_each_pixel():
    smooth = np.zeros((4, 2, 2))
    smooth[:, 0, 0] = [1, -1, 1, -1]
    smooth[:, 0, 1] = 5
    assert nr.temporal_deviation(smooth, np.ones((2, 2), bool)) == pytest.approx(0.5)
    assert nr.temporal_deviation(smooth, np.array([[True, False], [False, False]])) == pytest.approx(1)
    assert math.isnan(nr.temporal_deviation(smooth, np.zeros((2, 2), bool)))


def test_the_spread_is_that_of_noise_and_does_not_count_iodine():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, (2, SIDE, SIDE))
    noise[1, :, :20] -= 5
    assert nr.spread(noise, EVERYWHERE) == pytest.approx([0.02, 0.02], rel=0.05)
    assert np.isinf(nr.spread(-np.abs(noise), EVERYWHERE)).all()


def test_levels_and_what_lies_outside_the_field_do_not_count():
    frames, background, _ = scene()
    field = EVERYWHERE.copy()
    field[:30] = False
    brighter = frames + np.array([0.0, 0.4, -0.2, 0.1])[:, None, None]
    brighter[:, :30] = 99
    one = nr.judge(frames, background, 0.5 * (frames + background), field)
    other = nr.judge(brighter, background, 0.5 * (brighter + background), field)
    assert one.deviation_left == pytest.approx(other.deviation_left, rel=1e-6)
    assert one.edge_left == pytest.approx(other.edge_left, rel=1e-6)


def test_none_leaves_all_and_the_true_background_only_noise():
    frames, background, vessels = scene()
    unmoved = nr.judge(frames, background, np.broadcast_to(background, frames.shape), EVERYWHERE)
    assert unmoved.edge_left == unmoved.deviation_left == 1
    true = nr.judge(frames, background, frames - np.where(vessels, -1.5, 0), EVERYWHERE)
    assert true.edge_left < 0.01  # the vessel's own slopes beyond the margin
    assert true.deviation_left < 0.01
    half = nr.judge(frames, background, 0.5 * (background + frames - np.where(vessels, -1.5, 0)), EVERYWHERE)
    assert 0.1 < half.edge_left < 0.5
    assert 0.4 < half.deviation_left < 0.6
    assert half.cnr_estimated > unmoved.cnr_estimated


def test_vessels_and_core_lie_in_the_vessel():
    frames, background, vessels = scene(shift=1.0)
    core = nr.vessel_core(frames, background, EVERYWHERE)
    assert ndimage.binary_dilation(vessels, iterations=3)[core.any(0)].all()
    assert core[:, vessels].mean() > 0.5
    layer = nr.find_vessels(nr.smooth_frames(frames - background, EVERYWHERE), EVERYWHERE)
    assert layer[:, vessels].mean() > 0.9


def test_a_run_without_iodine_or_motion_has_no_figures():
    still = np.zeros((3, SIDE, SIDE))
    found = nr.judge(still, still[0], still, EVERYWHERE)
    assert math.isnan(found.edge_left)
    assert math.isnan(found.deviation_left)
    assert math.isnan(found.cnr_estimated)
