"""Models measured over runs: each at every λ, with the truth of simulated runs and without any on real ones."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from angiomorph import __version__
from angiomorph.dicom import SeriesFiles, read_series
from angiomorph.errors import say_failure
from angiomorph.evaluation import tables
from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.find import find_runs
from angiomorph.evaluation.machine import machine
from angiomorph.evaluation.score import Case, Score
from angiomorph.evaluation.thumbnails import Sketch, Thumbnails
from angiomorph.registration.model import Model
from angiomorph.registration.options import USUAL, RegistrationOptions
from angiomorph.registration.runs import ignore_progress
from angiomorph.storage.atomic import replace_file
from angiomorph.storage.paths import AnyPaths
from angiomorph.storage.truth import find_truth

PICTURES, PER_LINE = 400, 4  # in a page, so that it stays within about 10 MB, and in a line of its table


def model_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each model file: its own without ending, with as many of its folders as tell them apart."""
    whole = [path.absolute().with_suffix("").parts for path in paths]
    depth = 1
    while depth < max(map(len, whole)) and len({parts[-depth:] for parts in whole}) < len(set(whole)):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in whole]


def evaluate(
    paths: AnyPaths,
    models: Sequence[Model] = (),
    hypers: Sequence[float] = (),
    options: RegistrationOptions = USUAL,
    progress: Callable[[int, int], None] = ignore_progress,
    *,
    pictures: bool = False,
) -> Report:
    """Register every run by every model at every λ and score it, against its truth where there is one.

        >>> report = am.evaluate("data/example_run.dcm", [model], options=am.RegistrationOptions(levels=1))
        >>> score = report.entries[0].scores["example_run"]
        >>> report.failed
        {}

    Args:
        paths: DICOM files, or folders of them, or one of these; simulated runs with their truth beside.
        models: the networks; none for the shipped default.
        hypers: λ, [0, 1]; none for that of the options, or each model's own.
        options: how every run is registered.
        progress: called with (runs done, runs).
        pictures: whether to keep pictures of the first runs, for `Report.write_page`.

    Returns:
        the scores, as tables, JSON and files, and why runs failed.

    Raises:
        InputError: options that a model cannot take, or a path that is not there, before any run is read.
    """
    models = models or [Model()]
    hows = [replace(options, hyper=hyper) for hyper in hypers] or [options]
    complete = [model.defaults.complete(how) for model in models for how in hows]
    runs = find_runs(paths)
    names = model_names([model.path for model in models])
    named = [(model, name) for model, name in zip(models, names, strict=True) for _ in hows]
    jobs = [
        (model, how, Entry(name, model.defaults.image_loss, how.hyper))
        for (model, name), how in zip(named, complete, strict=True)
    ]
    failed: dict[str, str] = {}
    kept: dict[str, Thumbnails] = {}
    most = max(1, PICTURES // (PER_LINE * len(jobs)))
    for done, (name, files) in enumerate(runs.items(), start=1):
        try:
            scores, drawn = _scores(files, jobs, draws=pictures and len(kept) < most)
        except Exception as error:  # whatever a run raises is its own failure, and the next goes on
            failed[name] = say_failure(files.sources()[0], error)
        else:
            for (_, _, entry), one in zip(jobs, scores, strict=True):
                entry.scores[name] = one
            if drawn is not None:
                kept[name] = drawn
        progress(done, len(runs))
    entries = [entry for _, _, entry in jobs]
    about = {
        "version": __version__,
        "machine": machine(),
        "models": {name: model.sha256 for name, model in zip(names, models, strict=True)},
        "settings": asdict(options),
        "runs": list(entries[0].scores),
    }
    return Report(entries, about, failed, kept)


def _scores(
    files: SeriesFiles, jobs: Sequence[tuple[Model, RegistrationOptions, Entry]], *, draws: bool
) -> tuple[list[Score], Thumbnails | None]:
    series = replace(read_series(files), steps=())  # of several masks a score knows that of most frames
    truth = find_truth(files.paths[0])
    cases: dict[tuple[int, ...], Case] = {}
    scores, sketch = [], Sketch(truth)
    for model, how, _ in jobs:
        start = time.perf_counter()
        result = model.register(series, how)
        seconds = time.perf_counter() - start
        numbers = result.background.numbers
        if numbers not in cases:
            cases[numbers] = Case(series, numbers, truth)
        scores.append(cases[numbers].score(result.warp, seconds))
        if draws:
            sketch.take(result)
    return scores, sketch.draw() if draws else None


@dataclass(frozen=True)
class Report:
    """An evaluation in words, figures and files.

    Args:
        entries: one a model and λ, with the scores of its runs; the tables need one score at least.
        about: how they were made; what JSON can hold.
        failed: by name, what was wrong with the runs that could not be scored.
        pictures: thumbnails of the first runs, by run name, where they were asked for.
    """

    entries: Sequence[Entry]
    about: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Thumbnails] = field(default_factory=dict)

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

    def write_page(self, path: str | os.PathLike[str]) -> None:
        """Write the tables with the pictures as one HTML page, which opens without a network."""
        from angiomorph.evaluation.page import write_evaluation

        write_evaluation(path, self.entries, self.pictures, str(self.about["machine"]), len(self.failed))

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
    with replace_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "image_loss", "lambda", "run", "runs", *(part.name for part in fields(Score))])
        for entry in entries:
            for run, score in entry.scores.items():
                figures = ("" if math.isnan(value) else repr(value) for value in astuple(score))
                writer.writerow([entry.model, entry.image_loss, entry.hyper, run, score.runs, *figures])
