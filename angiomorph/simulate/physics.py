"""From line integrals to stored pixel values: scatter, blur, noise, exposure, collimation, encoding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

LEAK = 0.004  # open-beam share that passes the collimator's blades


@dataclass(frozen=True)
class Detector:
    """What one acquisition's beam and detector do.

    Args:
        photons: detected in an open pixel in one frame, mean.
        scatter: scattered over primary intensity, mean behind the head, after the grid.
        blur: standard deviation of the detector's point spread, pixels.
        electronic: standard deviation of electronic noise, photons.
        exposure: stored value of an open pixel before saturation.
        bits_stored: BitsStored; larger values saturate.
        aperture: `(H, W)` float32, share of the beam that the collimator passes, `LEAK`..1.
        gain: `(T,)` relative exposure of each frame.
    """

    photons: float
    scatter: float
    blur: float
    electronic: float
    exposure: float
    bits_stored: int
    aperture: np.ndarray
    gain: np.ndarray


def intensity(integral: np.ndarray, scatter: float, aperture: np.ndarray) -> np.ndarray:
    """Beam intensity at the detector: `P = aperture * exp(-integral)` and smooth scatter `scatter * smooth(P)`.

    Args:
        integral: `(H, W)` line integrals.
        scatter: mean scattered over primary.
        aperture: `(H, W)` share passed by the collimator.

    Returns:
        `(H, W)` float32 relative to the open beam.
    """
    primary = aperture * np.exp(-integral, dtype=np.float32)
    return primary + np.float32(scatter) * _smooth(np.minimum(primary, 0.3))


def _smooth(image: np.ndarray) -> np.ndarray:
    """Gaussian of a tenth of the image's width, computed on blocks of 8 by 8 pixels."""
    rows, columns = image.shape
    small = ndimage.uniform_filter(image, 8)[4::8, 4::8]
    small = ndimage.gaussian_filter(small, columns / 80, mode="nearest")
    return ndimage.zoom(small, (rows / small.shape[0], columns / small.shape[1]), order=1, mode="nearest", grid_mode=True)


def expected(integral: np.ndarray, detector: Detector, frame: int) -> np.ndarray:
    """Noise-free stored value, before rounding: `min(exposure * gain * blur(intensity), 2^bits - 1)`, not below 1.

    Args:
        integral: `(H, W)` line integrals.
        detector: of the run.
        frame: index from 0.

    Returns:
        `(H, W)` float32; its logarithm is what truth files keep.
    """
    signal = ndimage.gaussian_filter(intensity(integral, detector.scatter, detector.aperture), detector.blur, mode="nearest")
    stored = signal * np.float32(detector.exposure * detector.gain[frame])
    return np.clip(stored, 1, 2**detector.bits_stored - 1)


def measured(integral: np.ndarray, detector: Detector, frame: int, rng: np.random.Generator) -> np.ndarray:
    """Stored values of one frame: Poisson photons, then the detector's blur, which also correlates them, and electronic noise.

    Args:
        integral: `(H, W)` line integrals.
        detector: of the run.
        frame: index from 0.
        rng: of this frame's noise.

    Returns:
        `(H, W)` uint16 (uint8 up to 8 bits).
    """
    beam = intensity(integral, detector.scatter, detector.aperture)
    photons = rng.poisson(beam * (detector.photons * detector.gain[frame])).astype(np.float32)
    signal = ndimage.gaussian_filter(photons, detector.blur, mode="nearest")
    signal += np.float32(detector.electronic) * rng.standard_normal(signal.shape, np.float32)
    stored = np.rint(signal * np.float32(detector.exposure / detector.photons))
    kind = np.uint8 if detector.bits_stored <= 8 else np.uint16
    return np.clip(stored, 0, 2**detector.bits_stored - 1).astype(kind)


def draw_aperture(rng: np.random.Generator, rows: int, columns: int, collimated: bool) -> np.ndarray:
    """Draw a collimator: a circle, a rectangle or the whole field.

    Args:
        rng: source.
        rows: of the detector.
        columns: of the detector.
        collimated: False for the whole field.

    Returns:
        `(H, W)` float32 share passed, its edge a few pixels wide.
    """
    if not collimated:
        return np.ones((rows, columns), np.float32)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    if rng.random() < 0.5:
        inside = rng.uniform(0.97, 1.05) - np.hypot(x, y)
    else:
        left, right, top, bottom = 1 - rng.uniform(0.02, 0.25, 4)
        inside = np.minimum(np.minimum(x + left, right - x), np.minimum(y + top, bottom - y))
    edge = rng.uniform(0.003, 0.008)
    return (LEAK + (1 - LEAK) / (1 + np.exp(-np.clip(inside / edge, -50, 50)))).astype(np.float32)


def draw_gain(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Draw each frame's relative exposure: steady, or drifting slowly, or rising over the first frames.

    Args:
        rng: source.
        frames: count.

    Returns:
        `(T,)` float64 about 1.
    """
    index = np.arange(frames)
    drift = rng.normal(0, 0.01) * index / max(frames - 1, 1) if rng.random() < 0.4 else 0 * index
    ramp = -rng.uniform(0.02, 0.2) * np.exp(-index / rng.uniform(0.3, 1)) if rng.random() < 0.25 else 0 * index
    flicker = rng.normal(0, 0.002, frames)
    return (1 + drift) * (1 + ramp) * (1 + flicker)
