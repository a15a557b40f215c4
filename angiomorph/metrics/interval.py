"""The mean of a figure over runs, with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """The mean of a figure over the runs that have it, and how well these runs determine it.

    Args:
        mean: nan where no run has the figure, as low and high are then.
        low: lower end of the 95 % confidence interval.
        high: upper end of the 95 % confidence interval.
        count: runs that have the figure.
    """

    mean: float
    low: float
    high: float
    count: int


def interval(values: Sequence[float], scale: float = 1.0) -> Interval:
    """Return the mean of the values that are there, and its 95 % interval by the bootstrap over runs (percentiles).

        mean = scale * sum(values) / n, low and high are the 2.5th and 97.5th percentile of the means of n values drawn from
        these with replacement

    The draws are the same each time, so that equal values give equal intervals. One value gives an interval without width. Few
    values give one that is too narrow: with 20 normal ones it holds the true mean some 93 times in a hundred.

    Args:
        values: one a run; finite, or nan where a run has none.
        scale: multiplies all.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    there = scale * np.array([value for value in values if not math.isnan(value)])
    if not there.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    draws = np.random.default_rng(0).choice(there, (DRAWS, there.size)).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(there.mean()), float(low), float(high), there.size)
