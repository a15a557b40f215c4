"""Refinement lowers the training's objective frame by frame, and finds a known shift."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.backend import tf
from angiomorph.networks.losses import VLE, GradientPenalty
from angiomorph.networks.warp import warp_frames
from angiomorph.registration.refinement import refine

LOSS = VLE(image_sigma=0.1)


def textured(seed: int, shift: tuple[float, float]) -> tuple[tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.random((64, 64)), 3)
    moving = (texture - texture.min()) / np.ptp(texture)
    fixed = ndimage.shift(moving, shift, order=3, mode="nearest")
    return tuple(tf.constant(frame[None, ..., None], tf.float32) for frame in (moving, fixed))


def objective(moving, fixed, warp, hyper):
    moved = warp_frames(moving[..., 0], warp)[..., None]
    return ((1 - hyper) * LOSS.call(fixed, moved) + hyper * GradientPenalty().call(None, warp)).numpy()


def test_it_finds_a_shift_from_no_warp():
    moving, fixed = textured(0, (1.5, -0.8))
    refined = refine(moving, fixed, tf.zeros([1, 64, 64, 2]), 0.5, 60, LOSS).numpy()
    inner = refined[0, 12:-12, 12:-12]
    # moved(x) = moving(x + warp) and the fixed frame lies 1.5 rows further down: the warp points up.
    np.testing.assert_allclose(inner.mean((0, 1)), [-1.5, 0.8], atol=0.1)


@pytest.mark.parametrize("hyper", [0.2, 0.7])
def test_it_lowers_the_objective_it_states(hyper):
    moving, fixed = textured(1, (1.0, 1.0))
    warp = tf.fill([1, 64, 64, 2], 0.5)
    refined = refine(moving, fixed, warp, hyper, 30, LOSS)
    assert objective(moving, fixed, refined, hyper) < 0.5 * objective(moving, fixed, warp, hyper)


def test_a_frame_does_not_depend_on_its_company():
    pairs = [textured(seed, (seed, 0.5)) for seed in (1, 2)]
    moving, fixed = (tf.concat(frames, 0) for frames in zip(*pairs, strict=True))
    together = refine(moving, fixed, tf.zeros([2, 64, 64, 2]), 0.5, 10, LOSS)
    alone = refine(*pairs[1], tf.zeros([1, 64, 64, 2]), 0.5, 10, LOSS)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)


def test_no_step_changes_nothing_and_constant_frames_stay_finite():
    moving, fixed = textured(3, (1.0, 0.0))
    warp = tf.random.stateless_normal([1, 64, 64, 2], seed=(0, 1))
    assert refine(moving, fixed, warp, 0.5, 0, LOSS) is warp
    flat = tf.fill([1, 64, 64, 1], 0.5)
    assert np.isfinite(refine(flat, flat, tf.zeros([1, 64, 64, 2]), 0.5, 5, LOSS)).all()
