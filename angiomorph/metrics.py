"""What a registration is judged by where the truth is known, and folding where it is not (NumPy only)."""

from __future__ import annotations

import math

import numpy as np


def artefact_left(moved: np.ndarray, background: np.ndarray, truth: np.ndarray, roi: np.ndarray) -> float:
    """Return the motion-artefact energy left, as a fraction of the unregistered.

        artefact_left = ||moved - truth||**2 / ||background - truth||**2 over roi

    Args:
        moved: `(T, H, W)`, the morphed background, ln of intensity.
        background: `(H, W)` or `(T, H, W)`, the unregistered background, ln of intensity.
        truth: `(T, H, W)`, the noise-free background at the pose of each frame, ln of intensity.
        roi: `(T, H, W)` bool, where to look.

    Returns:
        0 for a perfect registration of a noise-free background, 1 for none, nan where the unregistered has no error.
    """
    left = np.sum((moved - truth)[roi].astype(np.float64) ** 2)
    before = np.sum((np.broadcast_to(background, truth.shape) - truth)[roi].astype(np.float64) ** 2)
    return float(left / before) if before > 0 else math.nan


def contrast_kept(bsa: np.ndarray, vessel: np.ndarray, vessel_mask: np.ndarray, roi: np.ndarray) -> float:
    """Return the iodine contrast kept in vessels: the slope of bsa on the true vessel layer.

        contrast_kept = <bsa - level, vessel> / <vessel, vessel> over vessel_mask, level = median(bsa - vessel over roi)

    Args:
        bsa: `(T, H, W)`, ln units, iodine negative.
        vessel: `(T, H, W)`, the true, noise-free vessel layer, ln units, <= 0.
        vessel_mask: `(T, H, W)` bool, the vessels.
        roi: `(T, H, W)` bool, the anatomy; its level, which gain drift moves, is taken frame by frame.

    Returns:
        1 where all contrast is kept, less where it was eaten, more where it was invented; nan where there is no vessel.
    """
    products, squares = 0.0, 0.0
    for frame, true, inside, field in zip(bsa, vessel, vessel_mask & roi, roi, strict=True):
        if not inside.any():
            continue
        level = np.median((frame - true)[field])
        products += float(np.dot(frame[inside] - level, true[inside].astype(np.float64)))
        squares += float(np.dot(true[inside].astype(np.float64), true[inside]))
    return products / squares if squares > 0 else math.nan


def folding(warp: np.ndarray) -> float:
    """Return the fraction of pixels where x + warp(x) folds: Jacobian determinant <= 0 by forward differences.

    Args:
        warp: `(..., H, W, 2)`, pixels, ij order.

    Returns:
        0 to 1.
    """
    down = np.diff(warp, axis=-3)[..., :-1, :]
    right = np.diff(warp, axis=-2)[..., :-1, :, :]
    determinant = (1 + down[..., 0]) * (1 + right[..., 1]) - down[..., 1] * right[..., 0]
    return float(np.mean(determinant <= 0))


def bright_residue(bsa: np.ndarray, roi: np.ndarray) -> float:
    """Return how much subtracted frames are lighter than their level: motion and noise, never iodine, which only darkens.

        bright_residue = sqrt(mean(max(bsa - median(bsa), 0)**2)) over roi, the median frame by frame

    Args:
        bsa: `(T, H, W)`, any unit, iodine negative.
        roi: `(H, W)` bool, the exposed field.

    Returns:
        in the unit of `bsa`; the noise's share remains where nothing moved.
    """
    inside = bsa[:, roi].astype(np.float64)
    lighter = np.maximum(inside - np.median(inside, axis=1, keepdims=True), 0)
    return float(np.sqrt(np.mean(lighter**2)))
