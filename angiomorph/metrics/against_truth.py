"""What a registration is judged by: with the truth of a simulated run, and without any (no TensorFlow).

Frames are in ln units and iodine is negative. The level of a frame is no motion but gain, and no warp can change it. A
difference therefore counts from its median over the anatomy, frame by frame:

    subtract_level(d) = d - median(d over roi)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity

ROUNDS, FOUND = 30, 0.01  # of a fixed-point iteration, and the pixels within which it must have ended
DATA_RANGE = 1.0  # ln units, of PSNR and SSIM: an attenuation to 1/e, about that of a large artery


def subtract_level(difference: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Return frames minus their median over roi, frame by frame.

    Args:
        difference: `(T, H, W)`, ln units.
        roi: `(T, H, W)` bool; frames without any are returned as they are.

    Returns:
        `(T, H, W)`, type of `difference`.
    """
    level = [np.median(frame[field]) if field.any() else 0 for frame, field in zip(difference, roi, strict=True)]
    return difference - np.asarray(level, difference.dtype)[:, None, None]


def error_energy(found: np.ndarray, truth: np.ndarray, roi: np.ndarray, region: np.ndarray | None = None) -> float:
    """Return the mean squared error apart from the frames' levels.

        error_energy = mean(subtract_level(found - truth)**2 over region)

    Of the noise-free, moved background against the true one this is the energy of the motion artefact that is left.

    Args:
        found: `(T, H, W)` or `(H, W)`, ln units.
        truth: `(T, H, W)`, ln units.
        roi: `(T, H, W)` bool, the anatomy, which says the level.
        region: `(T, H, W)` bool, where to look, e.g. inside vessels; None for all of roi.

    Returns:
        ln units squared; nan where there is nothing to look at.
    """
    looked = roi if region is None else region & roi
    inside = subtract_level(found - truth, roi)[looked].astype(np.float64)
    return float(np.mean(inside**2)) if inside.size else math.nan


def contrast_kept(bsa: np.ndarray, vessel: np.ndarray, vessel_mask: np.ndarray, roi: np.ndarray) -> float:
    """Return the iodine contrast kept in vessels: the slope of bsa on the true vessel layer.

        contrast_kept = <subtract_level(bsa - vessel) + vessel, vessel> / <vessel, vessel> over vessel_mask

    Args:
        bsa: `(T, H, W)`, ln units, iodine negative.
        vessel: `(T, H, W)`, the true, noise-free vessel layer, ln units, <= 0.
        vessel_mask: `(T, H, W)` bool, the vessels.
        roi: `(T, H, W)` bool, the anatomy.

    Returns:
        1 where all contrast is kept, less where it was eaten, more where it was invented; nan where there is no vessel.
    """
    inside = vessel_mask & roi
    true = vessel[inside].astype(np.float64)
    squares = float(np.dot(true, true))
    return 1 + float(np.dot(subtract_level(bsa - vessel, roi)[inside], true)) / squares if squares > 0 else math.nan


def ring(vessels: np.ndarray) -> np.ndarray:
    """Return what surrounds vessels: farther than 1/256 and not farther than 1/64 of the frame's side from any of them.

    Args:
        vessels: `(H, W)` bool.

    Returns:
        `(H, W)` bool; all False where there is no vessel.
    """
    if not vessels.any():
        return np.zeros_like(vessels)
    side = max(vessels.shape)
    distance = ndimage.distance_transform_edt(~vessels)
    return (distance > side / 256) & (distance <= side / 64)


def local_contrast(bsa: np.ndarray, vessel: np.ndarray, vessel_mask: np.ndarray, roi: np.ndarray) -> float:
    """Return the contrast kept between vessels and what lies right beside them.

        local_contrast = sum(beside(bsa) over vessel_mask) / sum(beside(vessel) over vessel_mask)
        beside(d)(x) = d(x) - mean(d over the pixels of the ring in the window about x)

    with `ring` about the vessels and a square window of 1/16 of the frame's side. This is the mean of the shares that single
    pixels keep, each weighted by its true contrast. A pixel without any of the ring in its window is left out.

    Args:
        bsa: `(T, H, W)`, ln units, iodine negative.
        vessel: `(T, H, W)`, the true, noise-free vessel layer, ln units, <= 0.
        vessel_mask: `(T, H, W)` bool, the vessels.
        roi: `(T, H, W)` bool, the anatomy.

    Returns:
        1 where all is kept, less where vessels became fainter or their surroundings darker; nan where there is no vessel.
    """
    found, true = 0.0, 0.0
    for frame, layer, vessels, field in zip(bsa, vessel, vessel_mask, roi, strict=True):
        beside = _beside(vessels, field)
        found += beside(frame)
        true += beside(layer)
    return found / true if true < 0 else math.nan


def _beside(vessels: np.ndarray, field: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return the function of a frame that sums over vessels its difference to the ring about each pixel."""
    near = (ring(vessels) & field).astype(np.float64)
    window = 2 * (max(vessels.shape) // 32) + 1
    share = ndimage.uniform_filter(near, window, mode="constant")
    # Of a running sum nothing may be left but its rounding.
    inside = vessels & field & (share > 0.5 / window**2)

    def total(frame: np.ndarray) -> float:
        about = ndimage.uniform_filter(near * frame, window, mode="constant")[inside] / share[inside]
        return float(np.sum(frame[inside] - about))

    return total


def thin_darkness(found: np.ndarray, truth: np.ndarray, vessel_mask: np.ndarray, roi: np.ndarray) -> float:
    """Return the energy of thin darkness where no iodine is: what a reader may take for a vessel.

        dark = max(subtract_level(found - truth), 0), thin = dark - opening(dark)
        thin_darkness = mean(thin**2 over roi without vessels and their 1/256 of the frame's side)

    BSA is frame minus found, so that a background that is too light darkens it. The grey opening by a square of 1/32 of the
    frame's side keeps broad shades. So they are not in thin, as they look like no vessel.

    Args:
        found: `(T, H, W)`, the moved, noise-free background, ln units.
        truth: `(T, H, W)`, the true one.
        vessel_mask: `(T, H, W)` bool, the vessels.
        roi: `(T, H, W)` bool, the anatomy.

    Returns:
        ln units squared; nan where there is nothing but vessels.
    """
    side = max(roi.shape[1:])
    dark = np.where(roi, np.maximum(subtract_level(found - truth, roi), 0), 0)
    width = 2 * (side // 64) + 1
    energies = []
    for frame, vessels, field in zip(dark, vessel_mask, roi, strict=True):
        thin = frame - ndimage.grey_opening(frame, (width, width))
        clear = field if not vessels.any() else field & (ndimage.distance_transform_edt(~vessels) > side / 256)
        energies.append(thin[clear].astype(np.float64) ** 2)
    looked = np.concatenate(energies)
    return float(np.mean(looked)) if looked.size else math.nan


def contrast_to_noise(bsa: np.ndarray, vessel_mask: np.ndarray, roi: np.ndarray) -> float:
    """Return the contrast of vessels over the spread of what surrounds them, noise and motion artefacts alike.

        contrast_to_noise = mean over frames of (mean(bsa over ring) - mean(bsa over vessels)) / std(bsa over ring)

    Args:
        bsa: `(T, H, W)`, any unit, iodine negative.
        vessel_mask: `(T, H, W)` bool, the true vessels; `ring` is what surrounds them.
        roi: `(T, H, W)` bool, the anatomy.

    Returns:
        nan where no frame has both vessels and surroundings.
    """
    ratios = []
    for frame, vessels, field in zip(bsa, vessel_mask, roi, strict=True):
        about = ring(vessels) & field
        if (vessels & field).any() and about.any() and np.std(frame[about]) > 0:
            ratios.append((np.mean(frame[about]) - np.mean(frame[vessels & field])) / np.std(frame[about]))
    return float(np.mean(ratios)) if ratios else math.nan


def similarity(bsa: np.ndarray, vessel: np.ndarray, roi: np.ndarray) -> float:
    """Return the mean structural similarity of bsa to the true vessel layer over roi, the data range 1 ln unit.

    Args:
        bsa: `(T, H, W)`, ln units, iodine negative.
        vessel: `(T, H, W)`, the true vessel layer, ln units.
        roi: `(T, H, W)` bool, the anatomy; outside of it both count as 0.

    Returns:
        1 where they are equal; nan where roi is empty.

    Source: Wang et al., IEEE Transactions on Image Processing 13, 2004: Gaussian window of 1.5 pixels.
    """
    if not roi.any():
        return math.nan
    found = np.where(roi, subtract_level(bsa - vessel, roi) + vessel, 0).astype(np.float32)
    true = np.where(roi, vessel, 0).astype(np.float32)
    options = {"data_range": DATA_RANGE, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [structural_similarity(one, other, full=True, **options)[1] for one, other in zip(found, true, strict=True)]
    return float(np.mean(np.stack(maps)[roi]))


def peak_ratio(energy: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error in ln units, the data range 1 ln unit.

        peak_ratio = 10 log10(1 / energy) dB

    Args:
        energy: error energy of one frame or run, from `error_energy`, >= 0.
    """
    return math.inf if energy == 0 else 10 * math.log10(DATA_RANGE**2 / energy)


def warp_between(
    displacement: np.ndarray, defined: np.ndarray, frame: int, background: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the true warp from the grid of one frame to another frame, from where both lie in the first.

        z - x, where z + displacement[background](z) = x + displacement[frame](x)

    by fixed-point iteration over z, which converges where displacements change by less than their distance.

    Args:
        displacement: `(T, h, w, 2)`, pixels, row and column, at the centres of blocks of pixels: from a pixel x of a frame to
            where its material lies in the first frame.
        defined: `(T, h, w)` bool, where a single displacement says it.
        frame: index of the fixed frame.
        background: index of the moving frame.
        block: pixels along a side of a block.

    Returns:
        `(h, w, 2)` pixels and `(h, w)` bool: where it is defined, that is where z is inside the frame, defined and found.
    """
    rows, columns = displacement.shape[1:3]
    x = np.moveaxis(np.indices((rows, columns)), 0, -1) * block + (block - 1) / 2
    goal = x + displacement[frame]
    nearest = ndimage.distance_transform_edt(~defined[background], return_distances=False, return_indices=True)
    there = displacement[background][tuple(nearest)] if defined[background].any() else displacement[background]

    def at(z: np.ndarray) -> np.ndarray:
        place = [(z[..., axis] - (block - 1) / 2) / block for axis in (0, 1)]
        parts = [ndimage.map_coordinates(there[..., axis], place, order=1, mode="nearest") for axis in (0, 1)]
        return np.stack(parts, axis=-1)

    z = goal
    for _ in range(ROUNDS):
        z = goal - at(z)
    found = np.linalg.norm(z + at(z) - goal, axis=-1) < FOUND
    cell = np.floor(z / block).astype(int)
    inside = ((cell >= 0) & (cell < (rows, columns))).all(-1)
    row, column = np.moveaxis(cell.clip(0, (rows - 1, columns - 1)), -1, 0)
    return z - x, defined[frame] & defined[background][row, column] & inside & found


def endpoint_error(warp: np.ndarray, true: np.ndarray, defined: np.ndarray) -> float:
    """Return the mean distance of a warp to the true one, both averaged over the blocks of the true one.

        endpoint_error = mean(|blocks(warp) - true| over defined)

    Args:
        warp: `(T, H, W, 2)`, pixels, ij order.
        true: `(T, h, w, 2)`, pixels, see `warp_between`; blocks of H // h pixels a side.
        defined: `(T, h, w)` bool.

    Returns:
        pixels; nan where it is defined nowhere.
    """
    if not defined.any():
        return math.nan
    count, rows, columns = defined.shape
    block = warp.shape[1] // rows
    cropped = warp[:, : rows * block, : columns * block]
    blocks = cropped.reshape(count, rows, block, columns, block, 2).mean((2, 4), dtype=np.float64)
    return float(np.mean(np.linalg.norm(blocks - true, axis=-1)[defined]))


def folding(warp: np.ndarray) -> float:
    """Return the fraction of pixels where x + warp(x) folds: Jacobian determinant <= 0 by forward differences.

    Args:
        warp: `(..., H, W, 2)`, pixels, ij order.

    Returns:
        0 to 1.
    """
    return float(np.mean(_jacobian(warp) <= 0))


def smallest_jacobian(warp: np.ndarray) -> float:
    """Return the smallest Jacobian determinant of x + warp(x): 1 where nothing is stretched, at most 0 where it folds.

    Args:
        warp: `(..., H, W, 2)`, pixels, ij order.
    """
    return float(np.min(_jacobian(warp)))


def _jacobian(warp: np.ndarray) -> np.ndarray:
    rows, columns = np.ascontiguousarray(warp[..., 0]), np.ascontiguousarray(warp[..., 1])
    own = (1 + np.diff(rows, axis=-2)[..., :-1]) * (1 + np.diff(columns, axis=-1)[..., :-1, :])
    return np.asarray(own - np.diff(columns, axis=-2)[..., :-1] * np.diff(rows, axis=-1)[..., :-1, :])


def largest_shift(warp: np.ndarray) -> float:
    """Return the length of the largest displacement, pixels.

    Args:
        warp: `(..., 2)`, pixels.
    """
    return float(np.sqrt(np.max(warp[..., 0] ** 2 + warp[..., 1] ** 2)))


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
