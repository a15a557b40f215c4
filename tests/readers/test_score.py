"""Figures of simulated readers, whose preference is known."""

import csv
import json
import math

import numpy as np
import pytest

from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.readers.answers import QUESTIONS, read_answers
from angiomorph.readers.key import read_key, write_key
from angiomorph.readers.score import score_answers, score_study
from tests.readers.studies import answer_rows, make_key, write_answers

METHODS = ("plain DSA", "mse", "minmax", "vle")
LIKING = {"plain DSA": -2.0, "mse": 0.0, "minmax": 0.2, "vle": 2.0}


def score(tmp_path, liking, *, cases=16, readers=3, seed=0, methods=METHODS):
    key, random = make_key(methods, cases, seed), np.random.default_rng(seed)
    paths = [
        write_answers(tmp_path / f"{reader}.csv", answer_rows(key, f"reader {reader}", liking, random))
        for reader in range(readers)
    ]
    return score_answers(read_answers(paths, key), key)


def test_a_preference_is_found(tmp_path):
    scores = score(tmp_path, LIKING)
    first = {each.method: each.first for each in scores.methods}
    assert max(first, key=first.get) == "vle"
    assert first["vle"] > 0.7
    assert sum(first.values()) == pytest.approx(1)
    assert (scores.cases, scores.judged, scores.seconds["all"]) == (16, 48, 30.5)
    ranks = {each.method: each.mean["rank"] for each in scores.methods}
    assert ranks["vle"] < min(ranks["mse"], ranks["minmax"]) < ranks["plain DSA"]
    assert all(p < 0.001 for _, p in scores.friedman.values())
    sure = {(each.one, each.other): each for each in scores.differences if each.measure == "overall"}
    assert sure["plain DSA", "vle"].holm < 0.01
    assert sure["plain DSA", "vle"].difference < -1
    assert sure["mse", "minmax"].holm > 0.05  # as good as each other
    assert scores.kendall_w > 0.5
    assert all(each.kappa > 0.3 for each in scores.agreements)
    assert len(scores.agreements) == 3 * len(QUESTIONS)


def test_readers_without_a_preference_agree_on_nothing(tmp_path):
    scores = score(tmp_path, dict.fromkeys(METHODS, 0.0), cases=30, seed=5)
    assert all(p > 0.05 for _, p in scores.friedman.values())
    assert all(each.holm > 0.05 for each in scores.differences)
    assert scores.kendall_w == pytest.approx(1 / 3, abs=0.15)  # of three readers who draw
    assert all(abs(each.kappa) < 0.3 for each in scores.agreements)


def test_no_preference_is_called_one_no_more_often_than_stated(tmp_path):
    """Any of the pairs of any one measure, corrected by Holm: in 5 % of studies; 7 of 40 is beyond that by 99.9 %."""
    called = 0
    for seed in range(40):
        scores = score(tmp_path, dict.fromkeys(METHODS[:3], 0.0), cases=10, seed=seed, readers=2, methods=METHODS[:3])
        called += any(each.holm < 0.05 for each in scores.differences if each.measure == "rank")
    assert called < 7


def test_figures_of_two_readers_by_hand(tmp_path):
    """Both rank A first in case 1; they disagree in case 2."""
    key = make_key(("one", "two"), 2)
    letters = {code: {method: letter for letter, method in panels.items()} for code, panels in key.panels.items()}
    ranks = {
        "x": {"case-001": ("one", "two"), "case-002": ("one", "two")},
        "y": {"case-001": ("one", "two"), "case-002": ("two", "one")},
    }
    points, seconds = {"one": (5, 4, 3), "two": (1, 2, 3)}, {"case-001": 10, "case-002": 30}
    for reader, cases in ranks.items():
        rows = [
            [key.study, reader, code, letters[code][method], rank, *points[method], seconds[code]]
            for code, order in cases.items()
            for rank, method in enumerate(order, start=1)
        ]
        write_answers(tmp_path / f"{reader}.csv", rows)
    scores = score_answers(read_answers(sorted(tmp_path.glob("*.csv")), key), key)
    one = scores.methods[0]
    assert (one.first, one.mean["rank"], one.mean["fidelity"]) == (0.75, 1.25, 5.0)
    assert one.deviation["rank"] == pytest.approx(math.sqrt(3) / 4)
    assert scores.kendall_w == pytest.approx(0.5)  # 1 and 0
    assert math.isnan(scores.friedman["rank"][1])
    # Case 1: -1; case 2: 0, which is left out. One sign pattern in two is as extreme on either side.
    rank = next(each for each in scores.differences if each.measure == "rank")
    assert (rank.difference, rank.p) == (-0.5, 1.0)
    assert [each.kappa for each in scores.agreements[:2]] == [1.0, 1.0]
    assert scores.seconds == {"x": 20.0, "y": 20.0, "all": 20.0}


@pytest.fixture
def study(tmp_path):
    key = make_key(METHODS, 5)
    write_key(key, tmp_path)
    for reader in ("Ann", "Ben"):
        write_answers(
            tmp_path / "answers" / f"{reader}.csv", answer_rows(key, reader, LIKING, np.random.default_rng(len(reader)))
        )
    return tmp_path


def test_the_command_prints_and_writes(study, capsys):
    assert main(["readers", "score", str(study)]) == 0
    said = capsys.readouterr().out
    for words in (
        "Study 0a1b2c3d: 2 readers, 5 cases, 10 readings.",
        "| vle | ",
        "Kendall's W",
        "p (Holm)",
        "Ann 30 s, Ben 30 s",
    ):
        assert words in said
    scores, answers = score_study(study)
    written = json.loads((study / "scores" / "scores.json").read_text())
    assert written["methods"][3]["first"] == scores.methods[3].first
    with (study / "scores" / "scores.csv").open(newline="") as file:
        table = {(row["figure"], row["measure"], row["of"], row["against"]): row["value"] for row in csv.DictReader(file)}
    assert float(table["first choice", "rank", "vle", ""]) == scores.methods[3].first
    assert float(table["friedman p", "overall", "", ""]) == scores.friedman["overall"][1]
    assert float(table["wilcoxon holm", "rank", "plain DSA", "vle"]) == scores.differences[2].holm
    with (study / "scores" / "answers.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(answers) == 40


def test_scoring_again_replaces_the_figures(study):
    assert main(["readers", "score", str(study), "--quiet"]) == 0
    (study / "answers" / "Ben.csv").unlink()
    assert main(["readers", "score", str(study), "--quiet"]) == 0
    assert json.loads((study / "scores" / "scores.json").read_text())["readers"] == ["Ann"]
    assert json.loads((study / "scores" / "scores.json").read_text())["kendall_w"] is None


def test_a_malformed_file_is_one_line(study, capsys):
    path = study / "answers" / "Ann.csv"
    path.write_text(path.read_text().replace("30.5", "soon", 1))
    assert main(["readers", "score", str(study)]) == 2
    assert "Ann.csv, line 2: expected seconds a number from 0 to 86400, found 'soon'; save" in capsys.readouterr().err
    assert not (study / "scores").exists()


def test_a_study_without_answers_is_refused(study):
    for path in (study / "answers").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="answers: expected the readers' CSV files, found none"):
        score_study(study)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}', '{"format": 1, "study": "a"}'])
def test_a_broken_key_is_refused(tmp_path, content):
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(InputError, match="expected a key of format 1, found another or a broken one"):
        read_key(tmp_path)


def test_a_key_that_lacks_a_method_is_refused(study):
    path = study / "key.json"
    path.write_text(path.read_text().replace('"A": "', '"A": "not ', 1))
    with pytest.raises(InputError, match="expected each method once in each case"):
        read_key(study)


def test_a_folder_without_a_key_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the key that `angiomorph readers make` wrote"):
        score_study(tmp_path)
