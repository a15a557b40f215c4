"""Figures without truth ranked beside the true ones."""

import math

import numpy as np
import pytest
from scipy import stats

from angiomorph.evaluation.score import Score
from benchmarks.peers.scores import FIGURES
from benchmarks.peers.validation import PAIRS, correlation, validation


def score(**given: float) -> Score:
    return Score(**dict.fromkeys(FIGURES, 0.0) | {"harm": math.nan} | given)


def test_correlation_is_spearmans_of_what_is_known():
    rng = np.random.default_rng(0)
    one = rng.normal(size=30)
    other = one**3 + rng.normal(size=30)
    assert correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert correlation([1, 2, math.nan, 4], [1, 2, 9, 4]) == 1
    assert correlation([1, 2, 3], [3, 2, -9]) == -1
    assert math.isnan(correlation([1, 2], [1, 2]))
    assert math.isnan(correlation([1, 1, 1], [1, 2, 3]))


def test_the_table_ranks_within_runs_and_over_moving_ones():
    # In each run alike, but the second's level is another: a figure that ranks methods need not rank runs.
    levels = (0.0, 10.0)
    compared = {
        str(method): [
            *(score(artefact_left=0.1 * method, edge_left=level + method, deviation_left=-method) for level in levels),
            score(harm=0.5, artefact_left=math.nan, edge_left=99.0),
        ]
        for method in range(4)
    }
    _, _, *rows = [line.strip("| ").split(" | ") for line in validation(compared).splitlines()]
    assert len(rows) == len(PAIRS)
    table = {tuple(row[:2]): row[2:] for row in rows}
    assert table["edge_left", "artefact_left"][1:] == ["1.00 [1.00, 1.00]", "1.00"]
    assert 0 < float(table["edge_left", "artefact_left"][0]) < 1
    assert table["deviation_left", "artefact_left"] == ["-1.00", "-1.00 [-1.00, -1.00]", "-1.00"]
    assert table["folding", "warp_error"] == ["nan", "-", "-"]


def test_without_moving_runs_there_is_nothing_to_rank():
    text = validation({name: [score(harm=0.1)] for name in "abc"})
    assert text.count("| nan | - | - |") == len(PAIRS)
