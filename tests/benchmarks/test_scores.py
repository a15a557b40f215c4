"""Scores that outlive the process that made them."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from angiomorph.scoring import Score
from benchmarks.scores import FIGURES, ScoreFile, key

SAMPLE = SimpleNamespace(name="run-000001", digest="ab", frames=(3, 5))
SCORE = Score(**{name: 0.1 * (number + 1) for number, name in enumerate(FIGURES)} | {"harm": math.nan})


@pytest.fixture
def kept(tmp_path):
    """Return a file with one score, and the score's key."""
    of = key(SAMPLE, "DIS flow", {"alpha": 20.0, "iterations": (40, 20)}, 2)
    ScoreFile(tmp_path / "out" / "scores.csv").add(of, SCORE)
    return tmp_path / "out" / "scores.csv", of


def same(one: Score, other: Score) -> bool:
    return replace(one, harm=0) == replace(other, harm=0) and math.isnan(one.harm) == math.isnan(other.harm)


def test_score_comes_back_exactly(kept):
    path, of = kept
    assert of in ScoreFile(path)
    assert same(ScoreFile(path)[of], SCORE)


@pytest.mark.parametrize(
    "other",
    [
        key(SAMPLE, "DIS flow", {"alpha": 21.0, "iterations": (40, 20)}, 2),
        key(SAMPLE, "DIS flow", {"alpha": 20.0, "iterations": (40, 20)}, 1),
        key(SAMPLE, "TV-L1 flow", {"alpha": 20.0, "iterations": (40, 20)}, 2),
        key(
            SimpleNamespace(name="run-000001", digest="ac", frames=(3, 5)),
            "DIS flow",
            {"alpha": 20.0, "iterations": (40, 20)},
            2,
        ),
        key(
            SimpleNamespace(name="run-000001", digest="ab", frames=(3,)), "DIS flow", {"alpha": 20.0, "iterations": (40, 20)}, 2
        ),
    ],
    ids=["parameters", "threads", "method", "run", "frames"],
)
def test_score_of_something_else_is_not_used(kept, other):
    assert other not in ScoreFile(kept[0])


def test_line_cut_short_is_left_out_and_the_file_goes_on(kept):
    path, of = kept
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[1][:-30])
    scores = ScoreFile(path)
    assert of in scores
    another = replace(of, method="none")
    scores.add(another, SCORE)
    assert {of, another} <= set(ScoreFile(path)._scores)
    assert len(path.read_text().splitlines()) == 3


def test_file_of_other_figures_is_begun_anew(kept):
    path, of = kept
    path.write_text(path.read_text().replace("contrast_kept", "contrast"))
    assert of not in ScoreFile(path)
