"""Methods, or models at several λ, side by side: the mean of each figure over the runs, with its confidence interval."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.evaluation.score import Runs, Score
from angiomorph.metrics.interval import Interval, interval
from angiomorph.storage.atomic import replace_file
from angiomorph.storage.json_values import replace_non_finite

# Heading, figure of `score.Score`, format; by what is known of the runs.
COLUMNS: Mapping[Runs, Sequence[tuple[str, str, str]]] = {
    "moving": (
        ("artefact left", "artefact_left", ".3f"),
        ("artefact in vessels", "artefact_in_vessels", ".3f"),
        ("contrast kept", "contrast_kept", ".3f"),
        ("local contrast", "local_contrast", ".3f"),
        ("invented", "invented", ".3f"),
        ("CNR", "cnr", ".2f"),
        ("RMSE / floor", "rmse_over_floor", ".2f"),
        ("SSIM", "ssim", ".3f"),
        ("warp error, px", "warp_error", ".2f"),
        ("folding, %", "folding", ".3f"),
    ),
    "still": (
        ("harm", "harm", ".3f"),
        ("of it invented", "harm_invented", ".3f"),
        ("contrast kept", "contrast_kept", ".3f"),
        ("local contrast", "local_contrast", ".3f"),
        ("RMSE / floor", "rmse_over_floor", ".2f"),
    ),
    "real": (
        ("edge energy left", "edge_left", ".3f"),
        ("deviation left", "deviation_left", ".3f"),
        ("CNR, estimated", "cnr_estimated", ".2f"),
        ("folding, %", "folding", ".3f"),
    ),
}
UNITS = {"folding": 100.0}


@dataclass(frozen=True)
class Line:
    """One method's line.

    Args:
        method: its name.
        moving: figures on runs in which something moves, every one of `score.Score`; per cent for folding.
        still: figures on runs in which nothing does.
        real: figures on runs whose truth is not known.
        seconds: a frame, median over all runs.
    """

    method: str
    moving: Mapping[str, Interval]
    still: Mapping[str, Interval]
    real: Mapping[str, Interval]
    seconds: float


def lines(compared: Mapping[str, Sequence[Score]]) -> list[Line]:
    """Return a line a method.

    Args:
        compared: by method, a score a run.
    """
    made = []
    for method, scores in compared.items():
        parts = {runs: figures([score for score in scores if score.runs == runs]) for runs in COLUMNS}
        made.append(Line(method, **parts, seconds=float(np.median([score.ms_per_frame for score in scores])) / 1e3))
    return made


def figures(scores: Sequence[Score]) -> dict[str, Interval]:
    """Return the mean of every figure over runs of one kind, with its interval; per cent for folding."""
    names = [part.name for part in fields(Score)]
    return {name: interval([getattr(score, name) for score in scores], UNITS.get(name, 1.0)) for name in names}


def make_rows(lines_: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table: moving runs, still runs, runs without truth, and time.

    Columns are those that have a figure of any run.

    Args:
        lines_: the table's lines.
    """
    counts = {runs: max((getattr(line, runs)["ms_per_frame"].count for line in lines_), default=0) for runs in COLUMNS}
    shown = [
        (runs, *column)
        for runs, columns in COLUMNS.items()
        for column in columns
        if any(getattr(line, runs)[column[1]].count for line in lines_)
    ]
    head = ["method", *(f"{runs} ({counts[runs]}): {head}" for runs, head, _, _ in shown), "s a frame"]
    rows = []
    for line in lines_:
        cells = [cell(getattr(line, runs)[name], style) for runs, _, name, style in shown]
        rows.append([line.method, *cells, format(line.seconds, ".3f")])
    return head, rows


def explain(machine: str) -> str:
    """Return what the table's figures are.

    Args:
        machine: name of the machine that took the times.
    """
    return f"Mean over the runs [95 % interval, bootstrap over runs]; time: median over the runs, {machine}."


def markdown(lines_: Sequence[Line], machine: str) -> str:
    """Return the table of `make_rows`, and what its figures are.

    Args:
        lines_: the table's lines.
        machine: name of the machine that took the times.
    """
    head, rows = make_rows(lines_)
    body = "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
    return f"{body}\n\n{explain(machine)}\n"


def cell(part: Interval, style: str) -> str:
    """Return a mean with its interval, `-` where no run has the figure.

    Args:
        part: the interval.
        style: format of its numbers.
    """
    if not part.count:
        return "-"
    return f"{part.mean:{style}} [{part.low:{style}}, {part.high:{style}}]"


def write(lines_: Sequence[Line], text: str, about: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write a comparison and return the files.

    Args:
        lines_: the table's lines.
        text: the Markdown table, from `markdown`.
        about: how it was made; what JSON can hold.
        folder: to write into; made if missing.
        stem: name without ending of `<stem>.md`, the table; `<stem>.csv`, one figure a line; `<stem>.json`, with `about` too.
    """
    paths = [folder / f"{stem}.{ending}" for ending in ("md", "csv", "json")]
    with replace_file(paths[0]) as partial:
        partial.write_text(text)
    with replace_file(paths[1]) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([["method", "runs", "figure", "mean", "low", "high", "count"], *_rows(lines_)])
    with replace_file(paths[2]) as partial:
        partial.write_text(as_json(lines_, about))
    return paths


def as_json(lines_: Sequence[Line], about: Mapping[str, Any]) -> str:
    """Return a comparison as JSON, null where a figure is not defined."""
    return json.dumps(replace_non_finite({"about": about, "lines": [asdict(line) for line in lines_]}), indent=1)


def _rows(lines_: Sequence[Line]) -> Iterator[list[Any]]:
    for line in lines_:
        for runs in COLUMNS:
            there = {name: part for name, part in getattr(line, runs).items() if part.count}
            yield from ([line.method, runs, name, *astuple(part)] for name, part in there.items())
        yield [line.method, "all", "seconds", line.seconds, "", "", ""]
