"""When iodine arrives: the first frame that shows what is thin, dark, new and stays (NumPy and SciPy only).

The first frame is registered to all others and subtracted, so that bone which moves is not taken for vessels. What later stays
dark, thin and connected is the run's vessel map. Each frame is then asked, in turn, for how much of that map it shows beyond
the frames before it. The same question, asked at places beside the vessels, says how much noise and motion would answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from angiomorph.preprocessing.noise import robust_deviation

# Chosen by eye on simulated runs; `benchmarks.registration.backgrounds` measures what they give.
FINE, COARSE = 0.8, 6.0  # pixels at the working size: between these lie the widths of vessels
GRADIENT = 0.5  # pixels of registration error that count as noise
DARK = 2.0  # standard deviations by which a vessel is darker
STAYS = 3  # frames for which it stays dark
LEAST_AREA = 20  # connected pixels of a vessel
EDGE = 6  # pixels from the field's edge, where frames cannot be compared
SHIFT, SHIFTS = 40, 32  # pixels at most, and how many copies of the vessel map lie beside the vessels
LEAST_COPY = 0.05  # of the map's energy that a copy must have left beside the vessels to be asked
FEWEST_COPIES = 4  # below which nothing is known of the noise
LEAST_DEVIATION = 1e-6  # of frames without any noise, in their unit
CERTAIN = 4.0  # standard deviations above which a frame shows iodine: one frame in 30,000 by chance
LEAST_SHARE = 0.004  # of the vessels' later darkness that counts as iodine however low the noise
JERK = 0.15  # share up to which a step that does not go on rising is motion
JERK_FRAMES = 3  # for which it must not
FIRST_SHARE = 0.1  # share by which the second frame differs from the first one where iodine came between them


@dataclass(frozen=True)
class Arrival:
    """When iodine arrives in a run.

    Args:
        index: number of the first frame that shows iodine, from 1; None where no frame does.
        share: `(T,)` what each frame shows beyond the frames before it, as a share of the vessels' later darkness.
        deviation: `(T,)` standard deviation of `share` by noise and motion.
    """

    index: int | None
    share: np.ndarray
    deviation: np.ndarray

    @property
    def resolved(self) -> float:
        """The share that would have been noticed before iodine arrived: four standard deviations."""
        before = self.deviation[1 : self.index]
        return CERTAIN * float(np.median(before)) if before.size else float("inf")


def find_arrival(frames: np.ndarray, moved: np.ndarray, warps: np.ndarray, field: np.ndarray) -> Arrival:
    """Return when iodine arrives.

    Args:
        frames: `(T, h, w)`, iodine dark, any unit; T >= 2, about 256 pixels a side.
        moved: `(T, h, w)`, the first frame warped onto each frame: moved(x) = first(x + warps(x)).
        warps: `(T, h, w, 2)`, pixels, ij order.
        field: `(h, w)` bool, the exposed field.
    """
    inside = np.asarray(ndimage.binary_erosion(field, iterations=EDGE))
    if not inside.any():
        inside = field
    darker, deviation = _darkening(frames, moved, warps, inside)
    vessel = _vessel_map(darker, deviation, inside)
    if not vessel.any():
        return Arrival(None, np.zeros(len(frames)), np.zeros(len(frames)))
    places, weight = _places(vessel, inside)
    return _first_rise(darker.reshape(len(darker), -1), deviation.ravel() ** 2, places, weight)


def _darkening(frames: np.ndarray, moved: np.ndarray, warps: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what is darker and thin, `(T, h, w)`, on the first frame's grid, and its standard deviation there, `(h, w)`."""
    darker, deviations = [], []
    for frame, first, warp in zip(frames, moved, warps, strict=True):
        subtracted = first - frame
        subtracted = subtracted - np.median(subtracted[inside])
        thin = ndimage.gaussian_filter(subtracted, FINE) - ndimage.gaussian_filter(subtracted, COARSE)
        noise = robust_deviation(thin[inside])
        slope = GRADIENT * np.hypot(*np.gradient(ndimage.gaussian_filter(first, 1.0)))
        back = _inverse(warp)
        darker.append(_look_up(thin, back))
        deviations.append(_look_up(np.sqrt(noise**2 + slope**2), back))
    return np.stack(darker), np.maximum(np.median(deviations, axis=0), LEAST_DEVIATION)


def _inverse(warp: np.ndarray) -> np.ndarray:
    """Return the warp that leads back, to first order: back(x) = -warp(x - warp(x)), `(2, h, w)`."""
    planes = np.moveaxis(warp, -1, 0).astype(np.float32)
    return -np.stack([_look_up(plane, -planes) for plane in planes])


def _look_up(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    at = np.indices(image.shape, np.float32) + warp
    return np.asarray(ndimage.map_coordinates(image.astype(np.float32), at, order=1, mode="nearest"))


def _vessel_map(darker: np.ndarray, deviation: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return how dark vessels become, `(h, w)`, and 0 elsewhere: the darkness that some frames in a row all reach."""
    later = darker[1:]
    stays = min(STAYS, len(later))
    lasting = np.stack([later[start : start + stays].min(0) for start in range(len(later) - stays + 1)]).max(0)
    labels, _ = ndimage.label((lasting > DARK * deviation) & inside, np.ones((3, 3)))
    area = np.bincount(labels.ravel())
    area[0] = 0
    return np.where(area[labels] >= LEAST_AREA, lasting, 0)


def _places(vessel: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of the vessel map and of its copies beside the vessels, and what each pixel of a copy counts.

    Returns:
        `(1 + SHIFTS, n)` indices into the flattened frame, the first row the map itself; `(1 + SHIFTS, n)` the map's values, 0
        where a copy lies on vessels or outside of the field.
    """
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(vessel)
    shifts = np.concatenate([np.zeros((1, 2), int), rng.integers(-SHIFT, SHIFT + 1, (SHIFTS, 2))])
    at = (rows + shifts[:, :1]) % vessel.shape[0], (columns + shifts[:, 1:]) % vessel.shape[1]
    free = inside & ~ndimage.binary_dilation(vessel > 0, iterations=2)
    counts = free[at]
    counts[0] = True
    return at[0] * vessel.shape[1] + at[1], np.where(counts, vessel[rows, columns], 0)


def _first_rise(darker: np.ndarray, variance: np.ndarray, places: np.ndarray, vessel: np.ndarray) -> Arrival:
    """Return the first frame that shows more of the vessel map than the frames before it, and noise and motion, explain."""
    share, deviation = np.zeros(len(darker)), np.zeros(len(darker))
    share[1], deviation[1] = _share(darker[1] - darker[0], variance, places, vessel)
    # The map favours pixels where the first frame's noise is bright: its share of the map's energy.
    chance = float(np.count_nonzero(vessel[0]) / (vessel[0] ** 2 / variance[places[0]]).sum())
    if share[1] > FIRST_SHARE + chance or len(darker) == 2:
        return Arrival(1, share, deviation)
    start = 1  # of the frames compared with; after a jerk they begin anew
    for t in range(2, len(darker)):
        past = darker[start:t]
        share[t], deviation[t] = _share(darker[t] - past.mean(0), variance + past.var(0), places, vessel)
        least = max(CERTAIN * float(np.median(deviation[start : max(t, start + 1)])), LEAST_SHARE)
        if share[t] <= least:
            continue
        if not _is_jerk(share[t], darker[t : t + 1 + JERK_FRAMES], variance, places, vessel, least):
            return Arrival(t, share, deviation)
        start = t
    return Arrival(None if share.max() <= JERK else int(np.argmax(share > JERK)), share, deviation)


def _is_jerk(
    share: float, following: np.ndarray, variance: np.ndarray, places: np.ndarray, vessel: np.ndarray, least: float
) -> bool:
    """Return whether a small step does not go on: what moved stays where it is, while iodine goes on rising."""
    if share > JERK or len(following) <= JERK_FRAMES:
        return False
    return all(_share(frame - following[0], variance, places, vessel)[0] <= least for frame in following[1:])


def _share(change: np.ndarray, variance: np.ndarray, places: np.ndarray, vessel: np.ndarray) -> tuple[float, float]:
    """Return how much of the vessel map a change shows, by weighted least squares, and the standard deviation beside it.

    share = sum(vessel change / variance) / sum(vessel**2 / variance)
    """
    weight = vessel / variance[places]
    length = (weight * vessel).sum(1)
    projected = (weight * change[places]).sum(1)
    beside = length[1:] > LEAST_COPY * length[0]
    # A copy that lost pixels is less certain than the map is, by the root of what it lost.
    copies = projected[1:][beside] / np.sqrt(length[1:][beside] * length[0])
    deviation = robust_deviation(copies) if beside.sum() >= FEWEST_COPIES else float("inf")
    return float(projected[0] / length[0]), deviation
