"""Models measured over runs: each at every λ, with the truth of simulated runs and without any on real ones."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from angiomorph import __version__
from angiomorph.dicom import SeriesFiles, find_series, read_series
from angiomorph.errors import say_failure
from angiomorph.evaluation import tables
from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.machine import machine
from angiomorph.evaluation.score import Case, Score, read_truth, truth_path
from angiomorph.registration.series import Model, register_series
from angiomorph.storage.store import replacing


@dataclass(frozen=True)
class Settings:
    """How runs are registered; arguments as `registration.register_series` has them."""

    background: str = "auto"
    levels: int | None = None
    rounds: int = 0
    refine_steps: int | None = None
    guard: bool = True


def find_runs(paths: Sequence[str]) -> dict[str, SeriesFiles]:
    """Return the runs under `paths` by names that tell them apart, simulated or real.

    Raises:
        InputError: a path that is not there, or a folder without runs.
    """
    found = find_series(paths)
    several = {files.name for files in found if sum(other.name == files.name for other in found) > 1}
    return {str(files.folder / files.name) if files.name in several else files.name: files for files in found}


def model_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each model file: its own without ending, with as many of its folders as tell them apart."""
    whole = [path.absolute().with_suffix("").parts for path in paths]
    depth = 1
    while depth < max(map(len, whole)) and len({parts[-depth:] for parts in whole}) < len(set(whole)):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in whole]


def evaluate(
    runs: Mapping[str, SeriesFiles],
    models: Sequence[Model],
    hypers: Sequence[float],
    settings: Settings,
    progress: Callable[[int, int], None],
) -> tuple[list[Entry], dict[str, str]]:
    """Register every run by every model at every λ and score it, against its truth where there is one.

    Args:
        runs: from `find_runs`; each is read once.
        models: the networks.
        hypers: λ, [0, 1]; empty for each model's own.
        settings: of all registrations.
        progress: called with (runs done, runs).

    Returns:
        the entries, models first, and by name what was wrong with the runs that could not be scored.

    Raises:
        InputError: settings that a model cannot take, before any run is read.
    """
    for model in models:
        model.refine_steps(settings.refine_steps)
    names = model_names([model.path for model in models])
    pairs = [
        (model, Entry(name, model.image_loss, hyper))
        for model, name in zip(models, names, strict=True)
        for hyper in hypers or [model.hyper]
    ]
    failed = {}
    for done, (name, files) in enumerate(runs.items(), start=1):
        try:
            scores = _scores(files, pairs, settings)
        except Exception as error:  # whatever a run raises is its own failure, and the next goes on
            failed[name] = say_failure(files.sources()[0], error)
        else:
            for (_, entry), one in zip(pairs, scores, strict=True):
                entry.scores[name] = one
        progress(done, len(runs))
    return [entry for _, entry in pairs], failed


def _scores(files: SeriesFiles, pairs: Sequence[tuple[Model, Entry]], settings: Settings) -> list[Score]:
    series = read_series(files)
    known = truth_path(files.paths[0])
    truth = read_truth(known) if known.exists() else None
    cases: dict[tuple[int, ...], Case] = {}
    scores = []
    for model, entry in pairs:
        start = time.perf_counter()
        result = register_series(
            series,
            model,
            hyper=entry.hyper,
            background=settings.background,
            levels=settings.levels,
            rounds=settings.rounds,
            refine_steps=settings.refine_steps,
            guard=settings.guard,
        )
        seconds = time.perf_counter() - start
        numbers = result.background.numbers
        if numbers not in cases:
            cases[numbers] = Case(series, numbers, truth)
        scores.append(cases[numbers].score(result.warp, seconds))
    return scores


@dataclass(frozen=True)
class Report:
    """An evaluation in words, figures and files.

    Args:
        entries: from `evaluate`, each with one score at least.
        about: how they were made; what JSON can hold.
    """

    entries: Sequence[Entry]
    about: Mapping[str, Any]

    def _lines(self) -> list[tables.Line]:
        return tables.lines({entry.name: list(entry.scores.values()) for entry in self.entries})

    def text(self) -> str:
        """Return a Markdown table of the means with their intervals, and before it, of one entry, every run's figures.

        Columns that no run has a figure for are left out.
        """
        table = tables.markdown(self._lines(), str(self.about["machine"]))
        return table if len(self.entries) > 1 else f"{_runs_table(self.entries[0])}\n\n{table}"

    def json(self) -> str:
        """Return the means with their intervals, and how they were made."""
        return tables.as_json(self._lines(), self.about)

    def write(self, folder: Path) -> list[Path]:
        """Write `evaluation.md`, `.csv`, `.json`, `runs.csv`, of several λ `lambda.png`, and return their paths."""
        paths = tables.write(self._lines(), self.text(), self.about, folder, "evaluation")
        _write_runs(self.entries, folder / "runs.csv")
        paths.append(folder / "runs.csv")
        if len({entry.hyper for entry in self.entries}) > 1:
            from angiomorph.evaluation.curves import lambda_figure

            lambda_figure(self.entries, folder / "lambda.png")
            paths.append(folder / "lambda.png")
        return paths


def report(entries: Sequence[Entry], models: Sequence[Model], settings: Settings) -> Report:
    """Return the report of an evaluation.

    Args:
        entries: from `evaluate`.
        models: that were evaluated.
        settings: of all registrations.
    """
    names = model_names([model.path for model in models])
    about = {
        "version": __version__,
        "machine": machine(),
        "models": {name: model.sha256 for name, model in zip(names, models, strict=True)},
        "settings": asdict(settings),
        "runs": list(entries[0].scores),
    }
    return Report(entries, about)


def _runs_table(entry: Entry) -> str:
    scores = entry.scores
    names = [part.name for part in fields(Score)]
    names = [name for name in names if not all(math.isnan(getattr(score, name)) for score in scores.values())]
    rows = [["run", *names], ["---"] * (1 + len(names))]
    for run, score in scores.items():
        figures = (getattr(score, name) for name in names)
        rows.append([run, *("-" if math.isnan(figure) else format(figure, ".4g") for figure in figures)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _write_runs(entries: Sequence[Entry], path: Path) -> None:
    """Write every score as a line of a CSV file, empty where a figure is not defined."""
    with replacing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "image_loss", "lambda", "run", "runs", *(part.name for part in fields(Score))])
        for entry in entries:
            for run, score in entry.scores.items():
                figures = ("" if math.isnan(value) else repr(value) for value in astuple(score))
                writer.writerow([entry.model, entry.image_loss, entry.hyper, run, score.runs, *figures])
