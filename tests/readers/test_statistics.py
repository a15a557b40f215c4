"""The statistics, against values by hand, exact enumeration and other programs' functions."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from angiomorph.readers.statistics import friedman, holm, kendall_w, weighted_kappa, wilcoxon

POINTS = st.lists(st.integers(1, 5), min_size=8, max_size=8)


def test_friedman_by_hand():
    """Ranks 1 2 3, 1 2 3, 1 3 2, 1 2 3: sums 4, 9, 11; chi2 = 12 / (4 * 3 * 4) * (16 + 81 + 121) - 3 * 4 * 4 = 6.5."""
    chi, p = friedman(np.array([[1, 2, 3], [1, 2, 3], [1, 3, 2], [1, 2, 3]]))
    assert chi == pytest.approx(6.5)
    assert p == pytest.approx(math.exp(-6.5 / 2))  # chi-squared with 2 degrees of freedom


def test_friedman_tells_nothing_of_equals_and_of_too_few():
    assert friedman(np.full((5, 3), 2.0)) == (0.0, 1.0)
    assert all(math.isnan(value) for value in friedman(np.ones((5, 2))))
    assert all(math.isnan(value) for value in friedman(np.array([[1.0, 2.0, 3.0]])))


def test_wilcoxon_by_hand():
    """Five differences of one sign: 2 of 32 sign patterns are as extreme."""
    assert wilcoxon(np.array([2, 4, 6, 8, 10]), np.array([1, 2, 3, 4, 5])) == pytest.approx(2 / 32)
    # 1, 1, 1 and -2: ranks 2, 2, 2, 4, W+ 6 of 10; no signs come nearer to 5, the middle.
    assert wilcoxon(np.array([1.0, 1, 1, 0]), np.array([0.0, 0, 0, 2])) == pytest.approx(1.0)
    assert wilcoxon(np.ones(6), np.ones(6)) == 1.0


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_wilcoxon_counts_all_signs(differences):
    there = [value for value in differences if value]
    ranks = stats.rankdata(np.abs(there)) if there else np.zeros(0)
    observed = abs(sum(rank * np.sign(value) for rank, value in zip(ranks, there, strict=True)))
    signed = [
        abs(sum(rank * sign for rank, sign in zip(ranks, signs, strict=True))) for signs in product((-1, 1), repeat=len(there))
    ]
    expected = np.mean([value >= observed - 1e-9 for value in signed])
    assert wilcoxon(np.array(differences), np.zeros(len(differences))) == pytest.approx(expected)


def test_wilcoxon_of_many_is_exact_or_close_with_ties():
    difference = np.random.default_rng(1).normal(0.2, 1, 30)
    exact = wilcoxon(difference, np.zeros(30))
    assert exact == pytest.approx(stats.wilcoxon(difference, method="exact").pvalue)
    assert 0.05 < exact < 0.5
    assert wilcoxon(np.round(difference, 1), np.zeros(30)) == pytest.approx(exact, rel=0.1)


def test_holm_by_hand():
    """0.01 x 3, 0.02 x 2, 0.04 x 1, and none below the one before."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_kendall_w_by_hand():
    """Sums 3, 3, 6 of two readers deviate by -1, -1, 2 from 4: S 6, W = 12 * 6 / (4 * 24) = 0.75."""
    assert kendall_w(np.array([[1, 2, 3], [2, 1, 3]])) == pytest.approx(0.75)
    assert kendall_w(np.array([[1, 2, 3]] * 4)) == pytest.approx(1.0)
    assert kendall_w(np.array(list(permutations((1, 2, 3))))) == pytest.approx(0.0)
    assert math.isnan(kendall_w(np.array([[1, 2, 3]])))


def test_kappa_by_hand():
    """a 1 2 3, b 1 2 1: mean square 4/3; by chance over 9 pairs (0 + 1 + 0 + 1 + 0 + 1 + 4 + 1 + 4) / 9 = 12/9: kappa 0."""
    assert weighted_kappa(np.array([1, 2, 3]), np.array([1, 2, 1]), 5) == pytest.approx(0.0)
    assert weighted_kappa(np.array([1, 5, 3]), np.array([1, 5, 3]), 5) == pytest.approx(1.0)
    # a 1 5, b 5 1: mean square 16, by chance 8.
    assert weighted_kappa(np.array([1, 5]), np.array([5, 1]), 5) == pytest.approx(-1.0)
    assert math.isnan(weighted_kappa(np.array([3, 3]), np.array([3, 3]), 5))
    assert math.isnan(weighted_kappa(np.zeros(0, int), np.zeros(0, int), 5))


@given(POINTS, POINTS)
def test_kappa_is_that_of_the_table_of_counts(one, other):
    """Fleiss and Cohen's form: 1 - sum(w O) / sum(w E) over the table of observed and expected counts."""
    table = np.zeros((5, 5))
    for a, b in zip(one, other, strict=True):
        table[a - 1, b - 1] += 1
    weights = np.subtract.outer(np.arange(5), np.arange(5)) ** 2
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    found = weighted_kappa(np.array(one), np.array(other), 5)
    if not (weights * expected).any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(1 - (weights * table).sum() / (weights * expected).sum())


def test_friedman_errs_as_often_as_it_says():
    """Of 500 studies of 20 cases without any difference about 5 % are called significant."""
    random = np.random.default_rng(3)
    called = sum(friedman(random.permuted(np.tile(np.arange(1, 5), (20, 1)), axis=1))[1] < 0.05 for _ in range(500))
    low, high = stats.binom.interval(0.999, 500, 0.05)
    assert low <= called <= high


def test_wilcoxon_errs_no_more_often_than_it_says():
    random = np.random.default_rng(4)
    called = sum(wilcoxon(random.normal(size=12), random.normal(size=12)) < 0.05 for _ in range(400))
    low, high = stats.binom.interval(0.999, 400, 0.05)
    assert low <= called <= high
