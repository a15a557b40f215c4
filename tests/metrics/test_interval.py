"""Means and their bootstrap intervals, against ones computed by hand and by SciPy."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from angiomorph.metrics.interval import Interval, interval


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Of two draws the mean is 1, 2 and 3 in 1/4, 1/2 and 1/4 of all cases.
        ([1, 3], Interval(2, 1, 3, 2)),
        # A mean is the number of tens drawn, binomial of 10 and 1/10: up to 2 are 0.930 of all, up to 3 are 0.987.
        ([0] * 9 + [10], Interval(1, 0, 3, 10)),
        # Mirrored.
        ([0] * 9 + [-10], Interval(-1, -3, 0, 10)),
    ],
    ids=["two", "one of ten", "mirrored"],
)
def test_interval_computed_by_hand(values, expected):
    assert interval(values) == expected


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]], ids=["none", "nan alone"])
def test_no_value_has_no_interval(values):
    found = interval(values)
    assert found.count == 0
    assert all(math.isnan(part) for part in (found.mean, found.low, found.high))


def test_one_value_has_an_interval_without_width():
    assert interval([0.7]) == Interval(0.7, 0.7, 0.7, 1)


def test_equal_values_have_an_interval_without_width():
    found = interval([0.1] * 7)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.count == 7


def test_absent_values_do_not_count_and_others_are_scaled():
    assert interval([1.0, math.nan, 3.0], scale=100) == Interval(200, 100, 300, 2)


def test_interval_is_that_of_another_percentile_bootstrap():
    values = np.random.default_rng(1).gamma(2, size=20)
    found = interval(values.tolist())
    other = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2))
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(tuple(other.confidence_interval), abs=0.03)


def test_same_values_give_the_same_interval():
    assert interval([0.2, 0.5, 0.9]) == interval([0.2, 0.5, 0.9])


@pytest.mark.slow
def test_interval_holds_the_true_mean_as_often_as_it_says():
    samples = np.random.default_rng(3).normal(2, 0.5, (500, 20))
    found = [interval(sample.tolist()) for sample in samples]
    held = np.mean([part.low <= 2 <= part.high for part in found])
    assert 0.90 < held < 0.97  # the percentile bootstrap of 20 values falls a little short of 0.95


def test_imports_without_tensorflow():
    code = "import sys, angiomorph.metrics.interval; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
