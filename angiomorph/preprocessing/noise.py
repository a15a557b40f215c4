"""Standard deviations that a few outliers do not change, and noise without the structure that it lies on."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

NORMAL_QUARTILE = 0.6745  # half of a normal distribution lies within as many standard deviations
# The difference of two Laplacians. Source: Immerkær, Computer Vision and Image Understanding 64, 1996, 300-302.
MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6


def robust_deviation(errors: np.ndarray) -> float:
    """Return the standard deviation of errors about 0 by their median size.

        robust_deviation = median(|errors|) / 0.6745

    Args:
        errors: any shape, at least one.
    """
    return float(np.median(np.abs(errors)) / NORMAL_QUARTILE)


def cancel_structure(frame: np.ndarray) -> np.ndarray:
    """Return a frame filtered so that smooth structure becomes 0 and white noise keeps its standard deviation.

        cancel_structure = frame convolved with ((1, -2, 1), (-2, 4, -2), (1, -2, 1)) / 6

    Args:
        frame: `(H, W)` float, any unit.

    Returns:
        `(H, W)` in the same unit.
    """
    return np.asarray(ndimage.convolve(frame, MASK))
