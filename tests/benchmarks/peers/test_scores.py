"""Scores that outlive the process that made them."""

import csv
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from angiomorph.evaluation.score import Score
from benchmarks import source
from benchmarks.peers.scores import FIGURES, JUDGES, ScoreFile, key
from benchmarks.source import digest

SAMPLE = SimpleNamespace(name="run-000001", digest="ab", frames=(3, 5))
PARAMETERS = {"alpha": 20.0, "iterations": (40, 20)}
MODULES = ("benchmarks.peers.methods",)
SCORE = Score(**{name: 0.1 * (number + 1) for number, name in enumerate(FIGURES)} | {"harm": math.nan})


@pytest.fixture
def kept(tmp_path):
    """Return a file with one score, and the score's key."""
    of = key(SAMPLE, "DIS flow", PARAMETERS, 2, MODULES)
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
        key(SAMPLE, "DIS flow", PARAMETERS | {"alpha": 21.0}, 2, MODULES),
        key(SAMPLE, "DIS flow", PARAMETERS, 1, MODULES),
        key(SAMPLE, "TV-L1 flow", PARAMETERS, 2, MODULES),
        key(SimpleNamespace(**vars(SAMPLE) | {"digest": "ac"}), "DIS flow", PARAMETERS, 2, MODULES),
        key(SimpleNamespace(**vars(SAMPLE) | {"frames": (3,)}), "DIS flow", PARAMETERS, 2, MODULES),
    ],
    ids=["parameters", "threads", "method", "run", "frames"],
)
def test_score_of_something_else_is_not_used(kept, other):
    assert other not in ScoreFile(kept[0])


@pytest.mark.parametrize("changed", [*JUDGES, *MODULES])
def test_score_of_changed_code_is_not_used(kept, monkeypatch, changed):
    path, of = kept
    assert key(SAMPLE, "DIS flow", PARAMETERS, 2, MODULES) == of
    files = source.list_files
    other = path.parent / "other.py"
    other.write_text("CHANGED = True\n")
    monkeypatch.setattr(source, "list_files", lambda module: [("", other)] if module == changed else files(module))
    digest.cache_clear()
    after = key(SAMPLE, "DIS flow", PARAMETERS, 2, MODULES)
    digest.cache_clear()
    assert after not in ScoreFile(path)
    assert replace(after, code=of.code) == of


def test_line_cut_short_is_left_out_and_the_file_goes_on(kept):
    path, of = kept
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[1][:-30])
    scores = ScoreFile(path)
    assert of in scores
    another = replace(of, method="none")
    scores.add(another, SCORE)
    again = ScoreFile(path)
    assert of in again
    assert another in again
    assert len(path.read_text().splitlines()) == 3


def test_file_of_other_figures_is_begun_anew(kept):
    path, of = kept
    path.write_text(path.read_text().replace("contrast_kept", "contrast"))
    assert of not in ScoreFile(path)


def test_file_of_fewer_figures_is_begun_anew_and_says_so(kept, capsys):
    path, of = kept
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(row[:-2] for row in rows)
    scores = ScoreFile(path)
    told = capsys.readouterr().err
    assert told == f"{path}: expected the figures of this version, found others; all scores are taken anew\n"
    assert of not in scores
    scores.add(of, SCORE)
    assert of in ScoreFile(path)
    assert not capsys.readouterr().err
