"""A rigid start for displacements beyond a network's reach, found by phase correlation (NumPy and SciPy only)."""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

SIZE = 128  # pixels, of the frames that are searched; the figures in pixels below are theirs
ANGLES = range(-8, 9, 2)  # degrees
FINE = 3.0  # pixels, standard deviation of the mean that is taken away as coarse structure
REACH = 0.25  # of the frame's sides, the largest shift
LEAST = 2.0  # pixels, the smallest displacement to start from: the network finds less by itself
WORTHWHILE = 0.7  # of the bright residue at most, or the start is not taken
ROUNDING = 1e-6  # of float32 in [0, 1], which is all that frames without structure differ by
KNOWN = 0.5  # of the frame at least, where both frames show something


class RigidSearch:
    """Finds rigid warps of one background onto frames, where these are displaced by more than a network finds.

    Args:
        moving: background `(h, w)` float32 in [0, 1], about `SIZE` pixels a side.
    """

    def __init__(self, moving: np.ndarray) -> None:
        self._moving = moving
        fine = _fine(moving, moving > 0)
        self._spectra = np.stack([_spectrum(_warp_image(fine, rigid_warp(moving.shape, angle, (0, 0)))) for angle in ANGLES])

    def warps(self, fixed: np.ndarray) -> np.ndarray:
        """Return for each frame the rigid warp at the highest peak of phase correlation, or zeros where it is not worthwhile.

        A warp is worthwhile if it moves any pixel by 2 or more and leaves at most 0.7 of the bright residue. Iodine,
        being dark, hardly adds to it. Only pixels count that are lit, not behind a collimator, in both frames.

        Args:
            fixed: `(B, h, w)` float32 in [0, 1].

        Returns:
            `(B, h, w, 2)` float32, pixels, ij order: moved(x) = moving(x + warp(x)).
        """
        found = [rigid_warp(frame.shape, *self._peak(frame)) for frame in fixed]
        taken = [self._worthwhile(warp, frame) for warp, frame in zip(found, fixed, strict=True)]
        return np.where(np.array(taken)[:, None, None, None], np.stack(found), np.float32(0))

    def _peak(self, fixed: np.ndarray) -> tuple[float, tuple[float, float]]:
        """Return the angle, degrees, and the shift, pixels, of the highest peak."""
        cross = _spectrum(_fine(fixed, fixed > 0)) * self._spectra.conj()
        size = np.abs(cross)
        down, across = fft.fftfreq(fixed.shape[0])[:, None], fft.rfftfreq(fixed.shape[1])
        smooth = np.exp(-2 * np.pi**2 * (down**2 + across**2)).astype(np.float32)  # a Gaussian peak of 1 pixel
        correlation = fft.irfft2(cross * (smooth / (size + np.float32(1e-3) * size.max() + np.float32(1e-12))), fixed.shape)
        rows, columns = (np.rint(fft.fftfreq(side) * side) for side in fixed.shape)
        within = np.logical_and.outer(*(np.abs(shifts) <= REACH * len(shifts) for shifts in (rows, columns)))
        angle, row, column = np.unravel_index(np.argmax(np.where(within, correlation, -np.inf)), correlation.shape)
        return float(ANGLES[angle]), (float(rows[row]), float(columns[column]))

    def _worthwhile(self, warp: np.ndarray, fixed: np.ndarray) -> bool:
        if np.abs(warp).max() < LEAST:
            return False
        place = np.moveaxis(_places(warp), -1, 0)
        inside = ((place >= 0) & (place <= np.array(fixed.shape)[:, None, None] - 1)).all(0)
        moved = _warp_image(self._moving, warp)
        known = inside & (fixed > 0) & (self._moving > 0) & (moved > 0)
        if known.mean() < KNOWN:
            return False
        return _bright(fixed - moved, known) + ROUNDING <= WORTHWHILE * _bright(fixed - self._moving, known)


def rigid_warp(shape: tuple[int, ...], angle: float, shift: tuple[float, float]) -> np.ndarray:
    """Return the warp that turns a frame about its centre and then shifts it.

        warp(x) = R (x - centre - shift) + centre - x, R = [[cos angle, -sin angle], [sin angle, cos angle]]

    Args:
        shape: (rows, columns).
        angle: degrees.
        shift: pixels, (down, right).

    Returns:
        `(rows, columns, 2)` float32, pixels, ij order.
    """
    grid = np.moveaxis(np.indices(shape), 0, -1)
    centre = (np.array(shape) - 1) / 2
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.asarray((grid - centre - shift) @ turn.T + centre - grid, np.float32)


def _places(warp: np.ndarray) -> np.ndarray:
    """Return x + warp(x), `(h, w, 2)`."""
    return np.moveaxis(np.indices(warp.shape[:2]), 0, -1) + warp


def _warp_image(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    moved: np.ndarray = ndimage.map_coordinates(image, np.moveaxis(_places(warp), -1, 0), order=1, mode="nearest")
    return moved


def _fine(image: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Return the fine structure of what is lit, and 0 elsewhere: a collimator stays where it is whatever moves."""
    share = np.maximum(ndimage.gaussian_filter(lit.astype(np.float32), FINE), 1e-6)
    return np.where(lit, image - ndimage.gaussian_filter(image * lit, FINE) / share, np.float32(0))


def _spectrum(fine: np.ndarray) -> np.ndarray:
    """Return the spectrum of fine structure, clipped so that no single edge decides, and faded out towards the border."""
    clipped = np.clip(fine / max(float(fine.std()), 1e-9), -3, 3)
    down, right = (np.minimum(1, 8 * np.minimum(each, each[::-1])) for each in ((np.arange(n) + 0.5) / n for n in fine.shape))
    return np.asarray(fft.rfft2(clipped * np.float32(np.outer(down, right))))


def _bright(difference: np.ndarray, known: np.ndarray) -> float:
    """Return the mean of how much the fine structure of a difference is lighter than its median."""
    fine = _fine(difference, known)[known]
    return float(np.maximum(fine - np.median(fine), 0).mean())
