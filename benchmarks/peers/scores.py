"""Scores kept on disk as they come, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from angiomorph.evaluation.score import Score
from benchmarks.peers.runs import Sample
from benchmarks.source import digest

# What chooses the frames and the background, and judges the warps.
JUDGES = (
    "angiomorph.preprocessing.background",
    "angiomorph.preprocessing.intensity",
    "angiomorph.networks.warp",
    "angiomorph.metrics.against_truth",
    "angiomorph.metrics.without_truth",
    "angiomorph.evaluation.score",
    "benchmarks.peers.runs",
)
FIGURES = tuple(field.name for field in fields(Score))


@dataclass(frozen=True)
class Key:
    """What a score belongs to; a score is used again only where all of it is the same.

    Args:
        run: name and digest.
        frames: indices of the registered frames, from 0, as text.
        method: its name.
        parameters: of the method, as JSON.
        threads: that it was timed with.
        code: digest of the sources of method and metrics.
    """

    run: str
    frames: str
    method: str
    parameters: str
    threads: str
    code: str


def key(sample: Sample, method: str, parameters: Mapping[str, Any], threads: int, modules: Sequence[str]) -> Key:
    """Return the key of a method's score on a run.

    Args:
        sample: the run.
        method: its name.
        parameters: of the method.
        threads: that it is timed with.
        modules: of the method, by dotted name.
    """
    return Key(
        run=f"{sample.name} {sample.digest}",
        frames=" ".join(map(str, sample.frames)),
        method=method,
        parameters=json.dumps(dict(parameters), sort_keys=True),
        threads=str(threads),
        code=digest(*JUDGES, *modules),
    )


class ScoreFile:
    """A CSV file of scores, one line a run and method, written as they come.

    Args:
        path: of the file; made where there is none. Lines that were cut short are left out. A file of other figures, as another
            version writes, is begun anew, which is reported on standard error.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = [*(field.name for field in fields(Key)), *FIGURES]
        self._scores = dict(self._read())
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([self._head, *map(self._row, self._scores)])

    def _read(self) -> list[tuple[Key, Score]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="") as file:
            rows = list(csv.reader(file))
        if not rows:
            return []
        if rows[0] != self._head:
            print(
                f"{self._path}: expected the figures of this version, found others; all scores are taken anew", file=sys.stderr
            )
            return []
        split = len(fields(Key))
        whole = [row for row in rows[1:] if len(row) == len(self._head) and all(row)]
        return [(Key(*row[:split]), Score(*map(float, row[split:]))) for row in whole]

    def _row(self, of: Key) -> list[str]:
        return [*astuple(of), *map(repr, astuple(self._scores[of]))]

    def __contains__(self, of: Key) -> bool:
        """Return whether the score is known."""
        return of in self._scores

    def __getitem__(self, of: Key) -> Score:
        """Return a known score."""
        return self._scores[of]

    def add(self, of: Key, score: Score) -> None:
        """Keep a score, on disk too."""
        self._scores[of] = score
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow(self._row(of))
