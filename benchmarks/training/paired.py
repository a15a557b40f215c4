"""Models each at its best λ, and their differences run by run.

    python -m benchmarks.training.paired OUT/runs.csv --reference MODEL

Reads what `angiomorph evaluate --out OUT` writes. Runs differ far more than models do, so that the interval of the mean
difference over the same runs says more than two intervals beside each other.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from angiomorph.errors import InputError
from angiomorph.evaluation.score import Score
from angiomorph.evaluation.tables import cell
from angiomorph.metrics.interval import interval

# Kind of runs, heading, column, format.
FIGURES = (
    ("moving", "artefact left", "artefact_left", ".3f"),
    ("moving", "contrast kept", "contrast_kept", ".3f"),
    ("moving", "CNR", "cnr", ".2f"),
    ("still", "harm", "harm", ".3f"),
    ("still", "contrast kept", "contrast_kept", ".3f"),
)


@dataclass(frozen=True)
class Scored:
    """One model at one λ: its scores by the name of the run."""

    model: str
    hyper: float
    scores: Mapping[str, Score]

    def values(self, kind: str, column: str) -> dict[str, float]:
        """Return a figure of each run of a kind, "moving", "still" or "real"."""
        return {run: getattr(score, column) for run, score in self.scores.items() if score.runs == kind}

    @property
    def cost(self) -> float:
        """Mean of `score.Score.cost` over the moving runs."""
        return float(np.mean(list(self.values("moving", "cost").values())))


def read(path: Path, hyper: float | None) -> list[Scored]:
    """Return each model at one λ, in the order of the file.

    Args:
        path: `runs.csv` of `evaluate`.
        hyper: λ of all; None for each model's best, where its cost is least.

    Raises:
        InputError: the file is none of moving runs, or not of that λ.
    """
    found: dict[tuple[str, float], dict[str, Score]] = defaultdict(dict)
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                score = Score(**{part.name: float(row[part.name] or "nan") for part in fields(Score)})
                found[row["model"], float(row["lambda"])][row["run"]] = score
        scored = [Scored(model, hyper, scores) for (model, hyper), scores in found.items()]
        if not scored or any(not each.values("moving", "artefact_left") for each in scored):
            raise InputError(f"{path}: expected simulated runs in which something moves, found none; evaluate models on some")
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: expected runs.csv of `angiomorph evaluate --out`, found: {error}") from error
    names = list(dict.fromkeys(each.model for each in scored))
    chosen = [each for each in scored if hyper in (None, each.hyper)]
    if {each.model for each in chosen} != set(names):
        known = ", ".join(sorted({f"{each.hyper:g}" for each in scored}))
        raise InputError(f"--lambda {hyper}: expected one at which every model was evaluated, of {known}")
    return [min((each for each in chosen if each.model == name), key=lambda each: each.cost) for name in names]


def table(models: Sequence[Scored], reference: Scored) -> str:
    """Return the Markdown table: each model's means, and its differences from the reference over the runs that both have."""
    present = [figure for figure in FIGURES if reference.values(figure[0], figure[2])]
    heads = [f"{kind}: {head}" for kind, head, _, _ in present]
    lines = [["model", "λ", *heads], ["---"] * (2 + len(heads))]
    for model in models:
        lines.append([model.model, f"{model.hyper:.2f}", *(_mean(model, *figure) for figure in present)])
    for model in models:
        if model is not reference:
            differences = [_difference(model, reference, *figure) for figure in present]
            lines.append([f"{model.model} less {reference.model}", "", *differences])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mean(model: Scored, kind: str, _head: str, column: str, style: str) -> str:
    return cell(interval(list(model.values(kind, column).values())), style)


def _difference(model: Scored, reference: Scored, kind: str, _head: str, column: str, style: str) -> str:
    ours, theirs = model.values(kind, column), reference.values(kind, column)
    return cell(interval([ours[run] - theirs[run] for run in theirs if run in ours]), f"+{style}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.paired --help`."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.training.paired", description="Models at their best λ, or at one, and their differences."
    )
    parser.add_argument("runs", type=Path, metavar="runs.csv", help="of `angiomorph evaluate --out`")
    parser.add_argument("--reference", metavar="MODEL", help="that the others are compared to (default: the first)")
    parser.add_argument("--lambda", dest="hyper", type=float, metavar="L", help="of all models (default: the best of each)")
    arguments = parser.parse_args(argv)
    try:
        models = read(arguments.runs, arguments.hyper)
        chosen = [model for model in models if arguments.reference in (None, model.model)]
        if not chosen:
            names = ", ".join(model.model for model in models)
            raise InputError(f"--reference {arguments.reference}: expected one of {names}")
    except InputError as error:
        print(f"benchmarks.training.paired: {error}", file=sys.stderr)
        return 2
    print(table(models, chosen[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
