"""How much of the artefact no warp removes: a registration that is told the truth, as a line of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from angiomorph.preprocessing.field import clamp_warp, fill_outside

if TYPE_CHECKING:
    from benchmarks.peers.runs import Sample

MODULES = ("benchmarks.peers.floor", "angiomorph.registration.refinement")  # whose code makes these warps
STEPS = 150


def improve_warps(sample: Sample, warps: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """Return warps that leave less of the artefact, found on the noise-free frames without iodine.

        minimise mean((background(x + warp) - frame - level)**2)

    over control points 8 pixels apart, from the given warps on, without any smoothness beyond theirs. What these leave is from
    bones at several depths that move apart, from what comes into the field, and from what 8 pixels are too coarse for.

    Args:
        sample: with its truth.
        warps: `(F, H, W, 2)` float32, pixels, ij order, of the sample's frames.
        steps: of `refinement.refine`.

    Returns:
        `(F, H, W, 2)` float32, pixels.
    """
    from angiomorph.backend import tf
    from angiomorph.networks.losses import Truth
    from angiomorph.registration.refinement import refine

    clean = fill_outside(sample.truth.background.astype(np.float32), sample.field)
    count = len(sample.numbers)
    background = tf.constant(clean[:count].mean(0)[None, ..., None])
    warps = clamp_warp(warps, sample.field)
    frames = clean[count : count + len(warps), None, ..., None]
    pairs = zip(frames, warps, strict=True)
    return np.concatenate(
        [refine(background, tf.constant(frame), tf.constant(warp[None]), 0.0, steps, Truth(1.0)) for frame, warp in pairs]
    )
