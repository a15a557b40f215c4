"""A displaced frame is found again, and no other one is touched."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.registration.coarse import RigidSearch, rigid_warp


def texture(seed=0, side=128):
    made = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2)
    return np.float32(0.5 + 0.12 * made / made.std()).clip(0.05, 1)


def displaced(image, angle, shift):
    """Return the image turned by SciPy about its centre and then shifted, edges replicated."""
    turned = ndimage.rotate(image, angle, reshape=False, order=1, mode="nearest")
    return ndimage.shift(turned, shift, order=1, mode="nearest").astype(np.float32)


def test_a_rigid_warp_by_hand():
    quarter = rigid_warp((3, 3), 90, (0, 0))  # the centre stays; below it comes what was right of it, or left
    np.testing.assert_allclose(quarter[1, 1], [0, 0], atol=1e-6)
    np.testing.assert_allclose(quarter[2, 1], [-1, 1], atol=1e-6)  # to (1, 2)
    np.testing.assert_allclose(quarter[0, 0], [2, 0], atol=1e-6)  # to (2, 0)
    np.testing.assert_array_equal(rigid_warp((4, 5), 0, (2, -3)), np.tile(np.float32([-2, 3]), (4, 5, 1)))
    np.testing.assert_allclose(rigid_warp((3, 3), 90, (1, 0))[1, 1], [0, -1], atol=1e-6)  # R (-1, 0)


@pytest.mark.parametrize("shift", [(7, -5), (-3, 0), (0, 31)])
def test_a_shift_is_found_to_the_pixel(shift):
    image = texture()
    (warp,) = RigidSearch(image).warps(displaced(image, 0, shift)[None])
    np.testing.assert_array_equal(warp, np.tile(-np.float32(shift), (128, 128, 1)))


@pytest.mark.parametrize(("angle", "shift"), [(4, (5, -3)), (-5, (0, 0)), (7, (-8, 2))])
def test_a_turn_is_found_to_a_degree(angle, shift):
    image = texture()
    frame = displaced(image, angle, shift)
    (warp,) = RigidSearch(image).warps(frame[None])
    moved = ndimage.map_coordinates(image, np.indices(image.shape) + np.moveaxis(warp, -1, 0), order=1, mode="nearest")
    inner = np.s_[24:-24, 24:-24]
    assert np.abs(moved - frame)[inner].mean() < 0.35 * np.abs(image - frame)[inner].mean()
    # One degree at the corner, 64 sqrt(2) pixels from the centre, and the shift to a pixel.
    across = np.linalg.norm(warp[0, 0] - warp[-1, -1])
    assert across == pytest.approx(2 * 127 / np.sqrt(2) * 2 * np.sin(np.deg2rad(abs(angle)) / 2), abs=2 * 1.58 + 0.1)
    np.testing.assert_allclose(warp[63:65, 63:65].mean((0, 1)), -_turned(shift, warp), atol=1.1)


def _turned(shift, warp):
    """Return R shift, R read from the warp itself: its rows are the steps of x + warp(x)."""
    place = np.moveaxis(np.indices(warp.shape[:2]), 0, -1) + warp
    turn = np.stack([place[1, 0] - place[0, 0], place[0, 1] - place[0, 0]], axis=1)
    return turn @ np.array(shift)


def test_iodine_does_not_mislead_and_each_frame_has_a_warp():
    image = texture()
    frames = np.stack([displaced(image, 0, shift) for shift in ((6, 4), (0, 0), (-9, 3))])
    frames[:, 40:46] *= 0.5
    frames[:, :, 70:74] *= 0.3
    warps = RigidSearch(image).warps(frames)
    np.testing.assert_array_equal(warps[:, 0, 0], [[-6, -4], [0, 0], [9, -3]])


def test_a_collimator_that_stays_does_not_hold_the_anatomy():
    image, rows = texture(), np.arange(128) - 63.5
    lit = np.hypot(rows[:, None], rows) < 55
    (warp,) = RigidSearch(image * lit).warps((displaced(image, 0, (5, 6)) * lit)[None])
    np.testing.assert_array_equal(warp[64, 64], [-5, -6])


def test_still_frames_and_noise_and_other_anatomy_are_left():
    rng = np.random.default_rng(3)
    image = texture()
    noisy = image + rng.normal(0, 0.05, (4, 128, 128)).astype(np.float32)
    noise = 0.5 + rng.normal(0, 0.05, (4, 128, 128)).astype(np.float32)
    assert not RigidSearch(image).warps(noisy).any()
    assert not RigidSearch(noise[0]).warps(noise).any()
    assert not RigidSearch(image).warps(np.stack([texture(seed) for seed in (1, 2)])).any()


def test_a_motion_of_a_pixel_is_left_to_the_network():
    image = texture()
    assert not RigidSearch(image).warps(np.stack([displaced(image, 0, (1, 1)), displaced(image, 0, (0, -1))])).any()


@pytest.mark.parametrize("value", [0, 0.5])
@pytest.mark.parametrize("shape", [(128, 85), (20, 16), (3, 5)])
def test_frames_of_any_shape_even_without_structure(shape, value):
    flat = np.full(shape, value, np.float32)
    warps = RigidSearch(flat).warps(np.stack([flat, flat]))
    assert warps.shape == (2, *shape, 2)
    assert warps.dtype == np.float32
    assert not warps.any()
