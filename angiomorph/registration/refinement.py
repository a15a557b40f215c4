"""Refinement: the network's warp improved on the frames at hand, by the objective that the network was trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from angiomorph.backend import tf
from angiomorph.networks.losses import GradientPenalty, Similarity
from angiomorph.networks.warp import resize_frames, resize_warp, warp_frames
from angiomorph.preprocessing.resizing import fitted_shape

SIZE = 256  # pixels a side at most, of the working frames
SPACING = 8  # pixels of the working frames between the control points of the correction
STEP = 0.25  # pixels, the first steps of Adam
DECAY = 0.1  # of the step, from first to last
# Of Adam's means; that of squares looks back over 100 steps and not over its usual 1000, as a refinement has some 40.
BETA_MEAN, BETA_SQUARE = 0.9, 0.99


@tf.function(reduce_retracing=True)
def _descend(
    moving: tf.Tensor, fixed: tf.Tensor, warp: tf.Tensor, hyper: tf.Tensor, steps: tf.Tensor, similarity: Similarity
) -> tf.Tensor:
    shape = tf.shape(warp)
    size = shape[1:3]
    control = tf.zeros([shape[0], -(-shape[1] // SPACING), -(-shape[2] // SPACING), 2])
    mean, square = tf.zeros_like(control), tf.zeros_like(control)
    penalty = GradientPenalty()
    for step in tf.range(steps):
        with tf.GradientTape() as tape:
            tape.watch(control)
            refined = warp + tf.image.resize(control, size)
            moved = warp_frames(moving[..., 0], refined)[..., None]
            # Summed, not averaged, over frames: a frame's correction does not depend on its company.
            loss = tf.reduce_sum((1 - hyper) * similarity.call(fixed, moved) + hyper * penalty.call(None, refined))
        gradient = tape.gradient(loss, control)
        mean = BETA_MEAN * mean + (1 - BETA_MEAN) * gradient
        square = BETA_SQUARE * square + (1 - BETA_SQUARE) * tf.square(gradient)
        time = tf.cast(step + 1, tf.float32)
        rate = STEP * DECAY ** (tf.cast(step, tf.float32) / tf.cast(steps, tf.float32))
        corrected = (mean / (1 - BETA_MEAN**time)) / (tf.sqrt(square / (1 - BETA_SQUARE**time)) + 1e-12)
        control -= rate * corrected
    return warp + tf.image.resize(control, size)


def refine(moving: tf.Tensor, fixed: tf.Tensor, warp: tf.Tensor, hyper: float, steps: int, similarity: Similarity) -> tf.Tensor:
    """Return the warp plus a coarse correction that lowers the objective on these very frames.

        minimise (1 - hyper) * L_sim(fixed, moving(x + refined)) + hyper * L_smooth(refined), refined = warp + resize(control)

    by `steps` steps of Adam on control points 8 pixels apart, from zero correction, the step falling tenfold.

    Args:
        moving: background, `(B, H, W, 1)`, [0, 1].
        fixed: contrast frames, `(B, H, W, 1)`, [0, 1].
        warp: `(B, H, W, 2)`, pixels, ij order.
        hyper: λ, [0, 1].
        steps: 0 returns `warp` as it is.
        similarity: the loss that the network was trained with.

    Returns:
        `(B, H, W, 2)`, pixels.

    Source: the objective is Zhou et al. 2024, Eq. 1; Adam: Kingma and Ba, ICLR 2015.
    """
    if steps == 0:
        return warp
    return _descend(moving, fixed, warp, tf.constant(hyper, tf.float32), tf.constant(steps), similarity)


def refine_warps(
    similarity: Similarity, moving: np.ndarray, fixed: np.ndarray, warps: Iterator[np.ndarray], hyper: float, steps: int
) -> Iterator[np.ndarray]:
    """Yield the refined warps, batch by batch as they come.

    Args:
        similarity: the loss that the network was trained with.
        moving: background `(H, W)` float32, [0, 1].
        fixed: frames `(T, H, W)` float32, [0, 1].
        warps: `(B, H, W, 2)` a batch, pixels.
        hyper: λ, [0, 1].
        steps: see `refine`; frames are at most 256 pixels a side for it.
    """
    shape = fixed.shape[1:]
    working = fitted_shape(shape, SIZE)
    moving_working = resize_frames(tf.constant(moving[None]), working)
    start = 0
    for warp in warps:
        fixed_working = resize_frames(tf.constant(fixed[start : start + len(warp)]), working)
        start += len(warp)
        repeated = tf.repeat(moving_working, len(warp), axis=0)
        coarse = resize_warp(tf.constant(warp), working)
        refined = refine(repeated[..., None], fixed_working[..., None], coarse, hyper, steps, similarity)
        # Only the correction is resampled, so that the network's warp keeps its own detail.
        yield warp + resize_warp(refined - coarse, shape).numpy()
