"""Standard deviations that a few outliers do not change (NumPy only)."""

from __future__ import annotations

import numpy as np

NORMAL_QUARTILE = 0.6745  # half of a normal distribution lies within as many standard deviations


def robust_deviation(errors: np.ndarray) -> float:
    """Return the standard deviation of errors about 0 by their median size.

        robust_deviation = median(|errors|) / 0.6745

    Args:
        errors: any shape, at least one.
    """
    return float(np.median(np.abs(errors)) / NORMAL_QUARTILE)
