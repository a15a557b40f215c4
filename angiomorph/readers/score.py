"""The figures of a study: which method readers prefer, how sure that is, and how far they agree."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.readers import statistics
from angiomorph.readers.answers import COLUMNS, POINTS, QUESTIONS, Answer, read_answers
from angiomorph.readers.key import Key, read_key
from angiomorph.storage.atomic import replace_file, replace_together
from angiomorph.storage.json_values import replace_non_finite

ANSWERS = "answers"  # folder of the readers' files
SCORES = "scores"  # folder of what is written
MEASURES = ("rank", *QUESTIONS)


@dataclass(frozen=True)
class MethodFigures:
    """What readers said of one method.

    Args:
        method: its name.
        first: share of all answers in which it is the best of its case.
        mean: by measure, over all answers: the rank (1 the best) and the points of each question (5 the best).
        deviation: by measure, the standard deviation.
    """

    method: str
    first: float
    mean: Mapping[str, float]
    deviation: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """Whether two methods differ in a measure: Wilcoxon's test over the cases, each the mean over its readers.

    Args:
        measure: "rank" or a question.
        one: a method.
        other: another.
        difference: the mean over the cases of `one` minus `other`.
        p: the test's p value, [0, 1].
        holm: corrected for the number of pairs of this measure.
    """

    measure: str
    one: str
    other: str
    difference: float
    p: float
    holm: float


@dataclass(frozen=True)
class Agreement:
    """How far two readers agree: kappa with quadratic weights, over the panels that both have judged.

    Args:
        question: one of `QUESTIONS`.
        one: a reader.
        other: another.
        panels: how many.
        kappa: 1 all alike, 0 what chance gives; nan where it is not defined.
    """

    question: str
    one: str
    other: str
    panels: int
    kappa: float


@dataclass(frozen=True)
class Scores:
    """The figures of a study.

    Args:
        study: its name.
        readers: their names.
        cases: how many have answers.
        judged: readings of a case by a reader.
        methods: figures of each method.
        friedman: by measure, (chi-squared, p) over the cases; nan of two methods.
        differences: tests of each pair of methods in each measure.
        kendall_w: agreement of the readers' ranks in a case, mean over the cases that several have judged.
        agreements: agreement of each pair of readers in each question.
        seconds: by reader, the median over the cases; "all" over all.
    """

    study: str
    readers: tuple[str, ...]
    cases: int
    judged: int
    methods: tuple[MethodFigures, ...]
    friedman: Mapping[str, tuple[float, float]]
    differences: tuple[Difference, ...]
    kendall_w: float
    agreements: tuple[Agreement, ...]
    seconds: Mapping[str, float]


def score_study(folder: Path) -> tuple[Scores, list[Answer]]:
    """Return the figures of a study and the answers that they are of.

    Args:
        folder: the study's folder, with its key and the readers' CSV files in `answers/`.

    Raises:
        InputError: no key, no answers, or malformed ones.
    """
    key = read_key(folder)
    paths = sorted((folder / ANSWERS).rglob("*.csv"))
    if not paths:
        raise InputError(f"{folder / ANSWERS}: expected the readers' CSV files, found none; put them there")
    answers = read_answers(paths, key)
    return score_answers(answers, key), answers


def score_answers(answers: Sequence[Answer], key: Key) -> Scores:
    """Return the figures of answers.

    Args:
        answers: whole ones, see `read_answers`.
        key: the study's key.
    """
    readers = tuple(sorted({answer.reader for answer in answers}))
    tables = {measure: _average_readers(answers, key.methods, _find_measure(measure)) for measure in MEASURES}
    visits = {(answer.reader, answer.case): answer.seconds for answer in answers}
    seconds = {reader: float(np.median([time for (who, _), time in visits.items() if who == reader])) for reader in readers}
    return Scores(
        study=key.study,
        readers=readers,
        cases=len({answer.case for answer in answers}),
        judged=len(visits),
        methods=tuple(_describe(method, [answer for answer in answers if answer.method == method]) for method in key.methods),
        friedman={measure: statistics.friedman(table) for measure, table in tables.items()},
        differences=tuple(part for measure, table in tables.items() for part in _compare(measure, table, key.methods)),
        kendall_w=_agree_on_ranks(answers, key.methods),
        agreements=tuple(_agree_on_points(answers, readers)),
        seconds={**seconds, "all": float(np.median(list(visits.values())))},
    )


def _find_measure(measure: str) -> Callable[[Answer], int]:
    if measure == "rank":
        return lambda answer: answer.rank
    index = QUESTIONS.index(measure)
    return lambda answer: answer.points[index]


def _average_readers(answers: Sequence[Answer], methods: Sequence[str], value: Callable[[Answer], int]) -> np.ndarray:
    """Return `(cases, methods)`, the mean over the readers: readings of one case by several are not independent."""
    cases = sorted({answer.case for answer in answers})
    sums = np.zeros((len(cases), len(methods), 2))
    rows, columns = ({name: index for index, name in enumerate(names)} for names in (cases, methods))
    for answer in answers:
        sums[rows[answer.case], columns[answer.method]] += (value(answer), 1)
    return np.asarray(sums[..., 0] / sums[..., 1])


def _describe(method: str, answers: Sequence[Answer]) -> MethodFigures:
    values = {measure: [_find_measure(measure)(answer) for answer in answers] for measure in MEASURES}
    return MethodFigures(
        method,
        float(np.mean([answer.rank == 1 for answer in answers])),
        {measure: float(np.mean(each)) for measure, each in values.items()},
        {measure: float(np.std(each)) for measure, each in values.items()},
    )


def _compare(measure: str, table: np.ndarray, methods: Sequence[str]) -> Iterator[Difference]:
    pairs = list(combinations(range(len(methods)), 2))
    p = [statistics.wilcoxon(table[:, one], table[:, other]) for one, other in pairs]
    for (one, other), found, corrected in zip(pairs, p, statistics.holm(p), strict=True):
        difference = float(np.mean(table[:, one] - table[:, other]))
        yield Difference(measure, methods[one], methods[other], difference, found, corrected)


def _agree_on_ranks(answers: Sequence[Answer], methods: Sequence[str]) -> float:
    found = []
    for case in sorted({answer.case for answer in answers}):
        ranks = {(answer.reader, answer.method): answer.rank for answer in answers if answer.case == case}
        readers = sorted({reader for reader, _ in ranks})
        found.append(statistics.kendall_w(np.array([[ranks[reader, method] for method in methods] for reader in readers])))
    there = [each for each in found if not math.isnan(each)]
    return float(np.mean(there)) if there else math.nan


def _agree_on_points(answers: Sequence[Answer], readers: Sequence[str]) -> Iterator[Agreement]:
    given: dict[str, dict[tuple[str, str], tuple[int, ...]]] = {reader: {} for reader in readers}
    for answer in answers:
        given[answer.reader][answer.case, answer.method] = answer.points
    for index, question in enumerate(QUESTIONS):
        for one, other in combinations(readers, 2):
            both = sorted(given[one].keys() & given[other].keys())
            first, second = (np.array([given[reader][place][index] for place in both], int) for reader in (one, other))
            yield Agreement(question, one, other, len(both), statistics.weighted_kappa(first, second, POINTS))


def say_scores(scores: Scores) -> str:
    """Return the tables that are printed."""
    said = [
        f"Study {scores.study}: {len(scores.readers)} readers, {scores.cases} cases, {scores.judged} readings.",
        "",
        _table(
            ("method", "first choice", "mean rank", *(f"{question}, 1-5" for question in QUESTIONS)),
            [
                (
                    each.method,
                    f"{100 * each.first:.1f} %",
                    *(f"{each.mean[name]:.2f} ± {each.deviation[name]:.2f}" for name in MEASURES),
                )
                for each in scores.methods
            ],
        ),
        "",
        "Friedman's test over the cases, each the mean over its readers:",
        *(f"  {measure}: chi2 {_number(chi, '.2f')}, p {_number(p, '.2g')}" for measure, (chi, p) in scores.friedman.items()),
        "",
        _table(
            ("Wilcoxon", "measure", "difference", "p", "p (Holm)"),
            [
                (f"{each.one} - {each.other}", each.measure, f"{each.difference:+.2f}", f"{each.p:.2g}", f"{each.holm:.2g}")
                for each in scores.differences
            ],
        ),
        "",
        f"Agreement on ranks: Kendall's W {_number(scores.kendall_w, '.2f')}.",
        *(
            f"  {each.question}, {each.one} and {each.other}: weighted kappa {_number(each.kappa, '.2f')} of {each.panels}"
            for each in scores.agreements
        ),
        "Median time of a case: " + ", ".join(f"{reader} {seconds:.0f} s" for reader, seconds in scores.seconds.items()) + ".",
    ]
    return "\n".join(said)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _number(value: float, style: str) -> str:
    return "-" if math.isnan(value) else format(value, style)


def write_scores(scores: Scores, answers: Sequence[Answer], folder: Path) -> list[Path]:
    """Write the figures as `scores.csv` and `scores.json`, and all answers by method as `answers.csv`; all or none.

    Args:
        scores: result of `score_answers`.
        answers: the answers behind the scores.
        folder: the study's folder; its folder `scores` is made if missing.
    """
    paths = [folder / SCORES / name for name in ("scores.csv", "scores.json", "answers.csv")]
    said: list[list[Any]] = [["study", "reader", "case", "method", *COLUMNS[4:]]]
    said += [[scores.study, a.reader, a.case, a.method, a.rank, *a.points, a.seconds] for a in answers]
    with replace_together():
        _write_rows(paths[0], [["figure", "measure", "of", "against", "value"], *_rows(scores)])
        with replace_file(paths[1]) as partial:
            partial.write_text(
                json.dumps(replace_non_finite(asdict(scores)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        _write_rows(paths[2], said)
    return paths


def _write_rows(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with replace_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _rows(scores: Scores) -> Iterator[list[Any]]:
    for each in scores.methods:
        yield ["first choice", "rank", each.method, "", each.first]
        for measure in MEASURES:
            yield ["mean", measure, each.method, "", each.mean[measure]]
            yield ["deviation", measure, each.method, "", each.deviation[measure]]
    for measure, (chi, p) in scores.friedman.items():
        yield ["friedman chi2", measure, "", "", replace_non_finite(chi)]
        yield ["friedman p", measure, "", "", replace_non_finite(p)]
    for pair in scores.differences:
        for name in ("difference", "p", "holm"):
            yield [f"wilcoxon {name}", pair.measure, pair.one, pair.other, getattr(pair, name)]
    yield ["kendall w", "rank", "", "", replace_non_finite(scores.kendall_w)]
    for both in scores.agreements:
        yield ["weighted kappa", both.question, both.one, both.other, replace_non_finite(both.kappa)]
    for reader, seconds in scores.seconds.items():
        yield ["median seconds", "", reader, "", seconds]
