"""The table of the comparison: the mean of each figure over the runs, with its confidence interval."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from angiomorph.evaluate import Score
from angiomorph.interval import Interval, interval

Runs = Literal["moving", "still"]

# Heading, figure of `evaluate.Score`, format.
COLUMNS: Mapping[Runs, Sequence[tuple[str, str, str]]] = {
    "moving": (
        ("artefact left", "artefact_left", ".3f"),
        ("artefact in vessels", "artefact_in_vessels", ".3f"),
        ("contrast kept", "contrast_kept", ".3f"),
        ("CNR", "cnr", ".2f"),
        ("RMSE / floor", "rmse_over_floor", ".2f"),
        ("SSIM", "ssim", ".3f"),
        ("warp error, px", "warp_error", ".2f"),
        ("folding, %", "folding", ".3f"),
    ),
    "still": (("harm", "harm", ".3f"), ("contrast kept", "contrast_kept", ".3f"), ("RMSE / floor", "rmse_over_floor", ".2f")),
}
UNITS = {"folding": 100.0}


@dataclass(frozen=True)
class Line:
    """One method's line.

    Args:
        method: its name.
        moving: figures on runs in which something moves.
        still: figures on runs in which nothing does.
        seconds: a frame, median over all runs.
    """

    method: str
    moving: Mapping[str, Interval]
    still: Mapping[str, Interval]
    seconds: float


def is_still(score: Score) -> bool:
    """Return whether nothing moved in a run, so that a warp can only do harm."""
    return not math.isnan(score.harm)


def lines(compared: Mapping[str, Sequence[Score]]) -> list[Line]:
    """Return a line a method.

    Args:
        compared: by method, a score a run.
    """
    made = []
    for method, scores in compared.items():
        parts = {
            runs: {
                name: interval(
                    [getattr(score, name) for score in scores if is_still(score) == (runs == "still")], UNITS.get(name, 1)
                )
                for _, name, _ in columns
            }
            for runs, columns in COLUMNS.items()
        }
        made.append(Line(method, **parts, seconds=float(np.median([score.ms_per_frame for score in scores])) / 1e3))
    return made


def markdown(lines_: Sequence[Line], machine: str) -> str:
    """Return the table: moving runs, still runs, time.

    Args:
        lines_: of the table.
        machine: what the time was taken on.
    """
    counts = {
        runs: max((part.count for line in lines_ for part in getattr(line, runs).values()), default=0) for runs in COLUMNS
    }
    heads = [f"{runs} ({counts[runs]}): {head}" for runs, columns in COLUMNS.items() for head, _, _ in columns]
    rows = [["method", *heads, "s a frame"], ["---"] * (len(heads) + 2)]
    for line in lines_:
        cells = [_cell(getattr(line, runs)[name], style) for runs, columns in COLUMNS.items() for _, name, style in columns]
        rows.append([line.method, *cells, format(line.seconds, ".3f")])
    body = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{body}\n\nMean over the runs [95 % interval, bootstrap over runs]; time: median over the runs, {machine}.\n"


def _cell(part: Interval, style: str) -> str:
    if not part.count:
        return "-"
    return f"{part.mean:{style}} [{part.low:{style}}, {part.high:{style}}]"


def write(lines_: Sequence[Line], text: str, about: Mapping[str, Any], folder: Path) -> None:
    """Write `peers.md`, `peers.csv` (one figure a line) and `peers.json` (the same, with machine, versions and parameters)."""
    (folder / "peers.md").write_text(text)
    with (folder / "peers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "runs", "figure", "mean", "low", "high", "count"])
        for line in lines_:
            for runs in COLUMNS:
                for name, part in getattr(line, runs).items():
                    writer.writerow([line.method, runs, name, part.mean, part.low, part.high, part.count])
            writer.writerow([line.method, "all", "seconds", line.seconds, "", "", ""])
    record = {"about": about, "lines": [asdict(line) for line in lines_]}
    (folder / "peers.json").write_text(json.dumps(_plain(record), indent=1))


def _plain(value: Any) -> Any:
    """Return the value with nan as None, which JSON knows."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
