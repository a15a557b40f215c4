"""Whether methods differ, and whether readers agree (NumPy and SciPy only)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

EXACT = 13  # differences of which all 8,192 signs are tried
MOST = 50  # differences of which SciPy's exact test is quick


def friedman(table: np.ndarray) -> tuple[float, float]:
    """Return Friedman's chi-squared and its p: whether any method differs.

    Args:
        table: `(cases, methods)`, at least 3 methods and 2 cases; ties are corrected for.

    Returns:
        (chi-squared, p); (0, 1) where no case tells any methods apart, (nan, nan) of fewer methods or cases.
    """
    cases, methods = table.shape
    if methods < 3 or cases < 2:
        return math.nan, math.nan
    if (table == table[:, :1]).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*table.T)
    return float(found.statistic), float(found.pvalue)


def wilcoxon(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test: whether two methods differ.

    Exact of up to 13 cases that differ, and of up to 50 without ties; else by the normal approximation, corrected for ties.
    Cases of no difference are left out.

    Args:
        one: `(cases,)`.
        other: `(cases,)`, of the same.
    """
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    difference = difference[np.abs(difference) > 1e-9]  # means over readers have rounding errors
    if not len(difference):
        return 1.0
    difference = np.round(difference, 9)  # so that ties are ties
    tied = len(np.unique(np.abs(difference))) < len(difference)
    if len(difference) > EXACT:
        method = "approx" if tied or len(difference) > MOST else "exact"
        return float(stats.wilcoxon(difference, method=method).pvalue)
    ranks = stats.rankdata(np.abs(difference))  # SciPy 1.13 has no exact test with ties
    signs = np.array(np.meshgrid(*[(0, 1)] * len(ranks), indexing="ij")).reshape(len(ranks), -1)
    sums, observed = ranks @ signs, ranks[difference > 0].sum()
    half = ranks.sum() / 2
    return float(np.mean(np.abs(sums - half) >= abs(observed - half) - 1e-9))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's steps.

        corrected(i) = max over j <= i of min(1, (n - j + 1) p(j)), p sorted upwards from 1

    Args:
        values: p of each test.
    """
    corrected, highest = [0.0] * len(values), 0.0
    for step, index in enumerate(np.argsort(values, kind="stable")):
        highest = max(highest, min(1.0, (len(values) - step) * values[index]))
        corrected[index] = highest
    return corrected


def kendall_w(ranks: np.ndarray) -> float:
    """Return Kendall's W, the agreement of readers who rank the same methods: 1 all alike, 0 none.

        W = 12 S / (m^2 (n^3 - n)), S = sum of squared deviations of the methods' sums of ranks from their mean

    Args:
        ranks: `(readers, methods)`, each row 1 to n once; at least two of both, else nan.
    """
    readers, methods = ranks.shape
    if readers < 2 or methods < 2:
        return math.nan
    sums = ranks.sum(0)
    return float(12 * np.sum((sums - sums.mean()) ** 2) / (readers**2 * (methods**3 - methods)))


def weighted_kappa(one: np.ndarray, other: np.ndarray, points: int) -> float:
    """Return Cohen's kappa of two readers with quadratic weights: 1 all alike, 0 what chance gives.

        kappa = 1 - mean (a - b)^2 / mean over all pairs (a, b') of (a - b')^2

    Args:
        one: `(n,)` whole numbers from 1 to `points`.
        other: `(n,)`, of the same panels.
        points: number of points of the scale.

    Returns:
        kappa; nan where chance alone gives no difference.
    """
    if not len(one):
        return math.nan
    first, second = (np.bincount(each, minlength=points + 1)[1:] / len(each) for each in (one, other))
    scale = np.arange(points)
    by_chance = float(first @ (scale[:, None] - scale) ** 2 @ second)
    return 1 - float(np.mean((one - other) ** 2)) / by_chance if by_chance else math.nan
