"""How sure it is that a warp removes motion and not noise, and what weight that gives it over a run (NumPy and SciPy only).

What moves shows at the strongest edges of the background. There the energy that a warp takes from the subtraction is compared
with the noise. A warp that follows noise can take no more than the noise that there is:

    evidence = mean((dsa**2 - bsa**2) / noise**2 over edges) <= mean(dsa**2 / noise**2 over edges) = 1 where nothing moves

with a standard deviation of sqrt(2 / n) for n independent pixels. Evidence above `LEAST` is therefore no noise, however closely
the network follows it. With the 500 independent pixels of an ordinary frame that is a false alarm in a thousand.

A warp may follow iodine too, which is no noise: then much energy goes in a few places, beside vessels. A patient's motion shows
at most edges. Hence the mean is taken tile by tile, and `MOST_TILES` of the tiles with edges must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import ndimage

from angiomorph.preprocessing.resizing import average_blocks

SIZE = 256  # pixels a side at which frames are compared
FINE, COARSE = 0.8, 6.0  # pixels: the band in which edges stand out from noise and from exposure
EDGES, FLAT = 0.9, 0.5  # quantiles of the background's gradient
DARKER = 2.5  # standard deviations from which what is darker may be iodine
BESIDE = 6  # pixels around it, as far as the band makes iodine show
TILE, FEWEST_IN_TILE = 32, 20  # pixels a side, edge pixels in it: tiles with less say nothing
MOST_TILES = 0.6  # quantile of the tiles that speaks for the frame
LEVELS = 8  # of the background's intensity, each with a noise of its own
LEAST, FULL = 1.2, 2.2  # evidence from which a warp counts, and from which it counts whole
GOES_ON = 1.0  # evidence down to which what has begun goes on: the most that following noise can give
MEMORY = 5.0  # frames over which evidence falls to 1/e
FADE = 3  # frames over which weights come and go
FEWEST = 200  # edge pixels, below which nothing can be said


def find_evidence(dsa: np.ndarray, bsa: np.ndarray, background: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the evidence of motion in each frame of a run.

        evidence = 0.6 quantile over tiles of mean((dsa**2 - bsa**2) / noise**2 over edges)

    in a band of spatial frequencies, outside of what is darker after the warp, which may be iodine, and of what lies beside it.

    Args:
        dsa: `(T, H, W)`, frames minus the background.
        bsa: `(T, H, W)`, frames minus the warped background.
        background: `(H, W)`, same unit.
        known: `(T, H, W)` bool, where frame and background are exposed and not saturated.

    Returns:
        `(T,)`, in units of the noise's variance; 0 where less than 200 edge pixels are known.
    """
    of_frame = evidence_finder(background)
    return np.array([of_frame(*parts) for parts in zip(dsa, bsa, known, strict=True)])


def evidence_finder(background: np.ndarray) -> Callable[[np.ndarray, np.ndarray, np.ndarray], float]:
    """Return what finds the evidence of one frame after the other of the same background, see `find_evidence`."""
    still = average_blocks(background[None], SIZE)[0]
    smooth = ndimage.gaussian_filter(still, 1.0)
    return partial(_of_frame, smooth=smooth, slope=np.hypot(*np.gradient(smooth)))


def _of_frame(dsa: np.ndarray, bsa: np.ndarray, known: np.ndarray, *, smooth: np.ndarray, slope: np.ndarray) -> float:
    before, after = average_blocks(np.stack([dsa, bsa]), SIZE)
    inside = ndimage.binary_erosion(average_blocks(known[None], SIZE)[0] == 1, iterations=2)
    before, after = _band(before), _band(after)
    region = inside & ~_dark(before, after, inside)
    if not region.any():
        return 0.0
    edges = region & (slope > np.quantile(slope[region], EDGES))
    if edges.sum() < FEWEST:
        return 0.0
    variance = _noise_variance(before, smooth, slope, region)
    return _of_most_tiles((before**2 - after**2) / variance, edges)


def _of_most_tiles(evidence: np.ndarray, edges: np.ndarray) -> float:
    """Return the `MOST_TILES` quantile of the means over the edge pixels of tiles; 0 where no tile has enough of them."""
    rows, columns = np.nonzero(edges)
    tiles = rows // TILE * edges.shape[1] + columns // TILE
    _, tile, count = np.unique(tiles, return_inverse=True, return_counts=True)
    means = np.bincount(tile, evidence[edges]) / count
    enough = count >= FEWEST_IN_TILE
    return float(np.quantile(means[enough], MOST_TILES)) if enough.any() else 0.0


def _band(subtracted: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(subtracted, FINE) - ndimage.gaussian_filter(subtracted, COARSE))


def _dark(before: np.ndarray, after: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return where both subtractions are darker, with a margin: it may be iodine, which no warp should remove."""
    if not inside.any():
        return ~inside
    spread = np.median(np.abs(after[inside])) / 0.6745
    dark = (ndimage.gaussian_filter(after, 0.7) < -DARKER * spread) & (before < -spread)
    return np.asarray(ndimage.binary_dilation(dark, iterations=BESIDE))


def _noise_variance(before: np.ndarray, still: np.ndarray, slope: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return the noise's variance at each pixel: of what is lighter, so without iodine, at flat pixels of its intensity."""
    limits = np.quantile(still[region], np.linspace(0, 1, LEVELS + 1)[1:-1])
    level = np.searchsorted(limits, still)
    variance = np.full(LEVELS, np.nan)
    for number in range(LEVELS):
        there = region & (level == number)
        if not there.any():
            continue
        flat = before[there & (slope <= np.quantile(slope[there], FLAT))]
        lighter = flat[flat > 0]
        if lighter.size:
            variance[number] = (np.median(lighter) / 0.6745) ** 2
    usual = np.nanmedian(variance) if np.isfinite(variance).any() else 1.0
    return np.maximum(np.where(np.isfinite(variance), variance, usual), 1e-12 + 1e-3 * usual)[level]


def weigh_warps(evidence: np.ndarray) -> np.ndarray:
    """Return the weight of each frame's warp; a run is judged as one, so that no frame among warped ones comes back unwarped.

        lasting(t) = max over s of evidence(s) exp(-|t - s| / MEMORY)
        weight(t) = x**2 (3 - 2 x) fade(t),  x = (max(lasting) - LEAST) / (FULL - LEAST) within [0, 1]

    The maximum is over the stretch of frames about t whose lasting evidence is at least `GOES_ON`; elsewhere the weight is 0.
    Towards a stretch's end, but not the run's, weights fade by a third a frame. No weight falls when evidence rises anywhere.
    So a weight of 1 by the frames up to now, the later ones taken as 0, is final.

    Args:
        evidence: `(T,)`, from `find_evidence`.

    Returns:
        `(T,)` in [0, 1]: 0 leaves a frame as it is, 1 warps it whole.
    """
    apart = np.abs(np.subtract.outer(np.arange(len(evidence)), np.arange(len(evidence))))
    lasting = (np.maximum(evidence, 0) * np.exp(-apart / MEMORY)).max(1)
    stretches, count = ndimage.label(lasting >= GOES_ON)
    if not count:
        return np.zeros(len(evidence))
    most = np.array([0.0, *ndimage.maximum(lasting, stretches, range(1, count + 1))])[stretches]
    x = np.clip((most - LEAST) / (FULL - LEAST), 0, 1)
    outside = apart[:, stretches == 0]
    fade = np.minimum(outside.min(1) / FADE, 1) if outside.size else 1.0
    return np.asarray(x * x * (3 - 2 * x) * fade)
