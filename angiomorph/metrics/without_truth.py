"""What a registration is judged by on real runs, of which no truth is known (no TensorFlow).

What moved shows as pairs of lighter and darker edges, iodine as darkening alone. Figures are therefore taken outside of what is
darker than motion and noise explain. They are divided by those of the unregistered run, so runs of any dose and anatomy
compare: 1 if nothing was gained, less is better. Noise stays, so 0 is not reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from angiomorph.metrics import against_truth

SMOOTHING = 1.5  # pixels: of white noise 3 % of the variance passes, and of its gradient's energy less
DARKER = 3.0  # standard deviations below the level, from which darkening is taken for iodine
NEIGHBOURHOOD = 64  # of the frame's side: its share that may have moved
MARGIN = 3  # pixels about iodine and about blades that are left out too


@dataclass(frozen=True)
class NoReference:
    """What can be said of a registered run without its truth; nan where a figure is not defined.

    Args:
        edge_left: `edge_energy` of BSA over that of DSA, both outside the vessel layers of both.
        deviation_left: `temporal_deviation` of BSA over that of DSA, both where neither shows iodine in any frame.
        cnr_estimated: `against_truth.contrast_to_noise` of BSA, the `vessel_core` taken for the vessels.
    """

    edge_left: float
    deviation_left: float
    cnr_estimated: float


def smooth_frames(bsa: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Return subtracted frames about their level, smoothed by a Gaussian of 1.5 pixels.

    Args:
        bsa: `(T, H, W)`, any unit.
        roi: `(H, W)` bool, the exposed field; 0 outside of it.
    """
    field = np.broadcast_to(roi, bsa.shape)
    inside = np.where(field, against_truth.subtract_level(bsa, field), 0)
    return np.asarray(ndimage.gaussian_filter(inside, (0, SMOOTHING, SMOOTHING), mode="nearest"))


def spread(smooth: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Return the standard deviation of motion and noise in subtracted frames: of what is lighter than the level.

        spread = 1.4826 * median(smooth where smooth > 0)

    Args:
        smooth: `(T, H, W)`, from `smooth_frames`, iodine negative, so that it is not counted.
        roi: `(H, W)` bool, the exposed field.

    Returns:
        `(T,)`; infinite where nothing is lighter.
    """
    lighter = (frame[roi & (frame > 0)] for frame in smooth)
    return np.array([1.4826 * np.median(part) if part.size else np.inf for part in lighter])


def find_vessels(smooth: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Return where subtracted frames are darker than motion and noise explain.

        find_vessels = smooth < -3 * spread

    Args:
        smooth: `(T, H, W)`, from `smooth_frames`, iodine negative.
        roi: `(H, W)` bool, the exposed field.

    Returns:
        `(T, H, W)` bool.
    """
    return np.asarray(roi & (smooth < -DARKER * spread(smooth, roi)[:, None, None]))


def vessel_core(frames: np.ndarray, background: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """Return where frames are darker than all of the unregistered background about: vessels, whatever the warp.

        vessel_core = smooth(frames) < min_pool(smooth(background)) - 3 * spread(smooth(frames - background))

    apart from the frames' levels, the neighbourhood 1/64 of the frame's side to each side.

    Args:
        frames: `(T, H, W)`, ln units.
        background: `(H, W)`, ln units.
        roi: `(H, W)` bool, the exposed field.

    Returns:
        `(T, H, W)` bool.
    """
    smooth = smooth_frames(frames - background, roi)
    still = ndimage.gaussian_filter(background, SMOOTHING, mode="nearest")
    reach = max(max(background.shape) // NEIGHBOURHOOD, 1)
    above = still - ndimage.minimum_filter(still, 2 * reach + 1, mode="nearest")
    return np.asarray(roi & (smooth + above < -DARKER * spread(smooth, roi)[:, None, None]))


def edge_energy(smooth: np.ndarray, region: np.ndarray) -> float:
    """Return the mean squared gradient, by central differences.

        edge_energy = mean(|grad smooth|**2 over region)

    Args:
        smooth: `(T, H, W)`, from `smooth_frames`.
        region: `(T, H, W)` bool, where to look: away from the vessel layer.

    Returns:
        squared unit of `smooth` a squared pixel; nan where there is nothing to look at.
    """
    squared = sum(np.square(part) for part in np.gradient(smooth, axis=(1, 2)))
    return float(np.mean(squared[region], dtype=np.float64)) if region.any() else math.nan


def temporal_deviation(smooth: np.ndarray, region: np.ndarray) -> float:
    """Return the standard deviation over time, as root mean square over pixels.

        temporal_deviation = sqrt(mean(var(smooth over t) over region))

    Args:
        smooth: `(T, H, W)`, from `smooth_frames`.
        region: `(H, W)` bool, where to look: where no frame shows iodine.

    Returns:
        unit of `smooth`; nan where there is nothing to look at.
    """
    return float(np.sqrt(np.mean(np.var(smooth[:, region], axis=0, dtype=np.float64)))) if region.any() else math.nan


def judge(frames: np.ndarray, background: np.ndarray, moved: np.ndarray, roi: np.ndarray) -> NoReference:
    """Return what can be said of a registered run without its truth.

    Args:
        frames: `(T, H, W)`, ln units.
        background: `(H, W)`, ln units, unregistered.
        moved: `(T, H, W)`, ln units, the background warped onto each frame.
        roi: `(H, W)` bool, the exposed field.
    """
    inside = ndimage.binary_erosion(roi, iterations=2 * MARGIN, border_value=1)
    after, before = smooth_frames(frames - moved, roi), smooth_frames(frames - background, roi)
    beside = inside & ~_widen(find_vessels(after, roi) | find_vessels(before, roi))
    never = beside.all(0)
    core = vessel_core(frames, background, roi)
    return NoReference(
        edge_left=_ratio(edge_energy(after, beside), edge_energy(before, beside)),
        deviation_left=_ratio(temporal_deviation(after, never), temporal_deviation(before, never)),
        cnr_estimated=against_truth.contrast_to_noise(frames - moved, core, np.broadcast_to(inside, frames.shape)),
    )


def _ratio(one: float, other: float) -> float:
    return one / other if other > 0 else math.nan


def _widen(layer: np.ndarray) -> np.ndarray:
    within = ndimage.generate_binary_structure(3, 1)[[1]]  # neighbours of the same frame
    return np.asarray(ndimage.binary_dilation(layer, within, iterations=MARGIN))
