"""`evaluate --html`: the scores of every run beside pictures of it, in one page whose table a click sorts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from angiomorph.evaluation import tables
from angiomorph.evaluation.curves import lambda_picture
from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.score import Score
from angiomorph.evaluation.thumbnails import SIZE, Thumbnails
from angiomorph.pages.page import (
    SORT_SCRIPT,
    Markup,
    embed_picture,
    embed_png,
    escape,
    make_paragraph,
    make_section,
    make_table,
    write_page,
)

LINES = 2000  # of the table of runs
TITLES = ("plain DSA", "BSA")
KNOWN = ("true vessels", "error")  # of runs with truth
KINDS = {"moving": "moving", "still": "still", "real": "none"}  # what is known of a run's truth


def write_evaluation(
    path: str | os.PathLike[str],
    entries: Sequence[Entry],
    pictures: Mapping[str, Thumbnails],
    machine: str,
    failed: int = 0,
) -> None:
    """Write the page of an evaluation, whole or not at all.

    Args:
        path: HTML file.
        entries: models at some λ, with the scores of their runs.
        pictures: of some runs, by name.
        machine: what times were taken on.
        failed: how many runs could not be scored.

    Raises:
        OSError: the disk is full or fails.
    """
    script = SORT_SCRIPT.read_text(encoding="utf-8")
    write_page(path, "Evaluation", _draw(entries, pictures, machine, failed), [script])


def _draw(entries: Sequence[Entry], pictures: Mapping[str, Thumbnails], machine: str, failed: int) -> Iterator[Markup]:
    yield make_section("Means over the runs", _draw_means(entries), make_paragraph(escape(tables.explain(machine))), wide=True)
    if failed:
        yield make_paragraph(escape(f"Runs that could not be scored: {failed}; the command has said why."), warns=True)
    if len({entry.model for entry in entries}) < len(entries):  # a model at several λ
        figure = embed_png(lambda_picture(entries), "each figure over λ")
        yield make_section("Over λ", Markup(f"<details><summary>each figure over λ</summary>{figure}</details>"), wide=True)
    yield _draw_runs(entries, pictures)


def _draw_means(entries: Sequence[Entry]) -> Markup:
    """Return the table of the means, turned so that it is rather long than wide."""
    head, rows = tables.make_rows(tables.lines({entry.name: list(entry.scores.values()) for entry in entries}))
    if len(rows) < len(head):
        head, *rows = (list(column) for column in zip(["figure", *head[1:]], *rows, strict=True))
    return make_table(head, [[*map(escape, row)] for row in rows], numbers=True)


def _draw_runs(entries: Sequence[Entry], pictures: Mapping[str, Thumbnails]) -> Markup:
    scored = [(run, place) for run in entries[0].scores for place in range(len(entries))]
    every = [part.name for part in fields(Score)]
    names = [name for name in every if not all(math.isnan(getattr(entries[at].scores[run], name)) for run, at in scored)]
    known = any(each.errors for each in pictures.values())
    titles = [*(TITLES if pictures else ()), *(KNOWN if known else ())]
    head = ["run", "model", "truth", *titles, *(name.replace("_", " ") for name in names)]
    rows = [_make_row(run, entries[at], at, pictures.get(run), titles, names) for run, at in scored[:LINES]]
    words = [_explain_pictures(len(entries[0].scores), pictures)] if pictures else []
    if len(scored) > LINES:
        words.append(f"The first {LINES} of {len(scored)} lines are shown; runs.csv of `evaluate --out` has all.")
    words.append("A click on a heading sorts, another one the other way round; Tab and Enter do it by keyboard.")
    text = make_paragraph(escape(" ".join(words)))
    return make_section("Runs", text, make_table(head, rows, numbers=True, name="sortable"), wide=True)


def _explain_pictures(runs: int, pictures: Mapping[str, Thumbnails]) -> str:
    which = "each run" if len(pictures) == runs else f"the first {len(pictures)} of {runs} runs"
    known = " The error is BSA less the true vessels." if any(each.errors for each in pictures.values()) else ""
    return f"Pictures of {which}: the frame of most iodine, at most {SIZE} pixels wide, in one grey window a run.{known}"


def _make_row(
    run: str, entry: Entry, place: int, pictures: Thumbnails | None, titles: Sequence[str], names: Sequence[str]
) -> list[Markup]:
    score = entry.scores[run]
    drawn = {} if pictures is None else _embed_pictures(pictures, place, f"of {run}, {entry.name}")
    values = (getattr(score, name) for name in names)
    figures = ["" if math.isnan(value) else format(value, ".4g") for value in values]
    shown = [drawn.get(title, Markup("")) for title in titles]
    return [escape(run), escape(entry.name), escape(KINDS[score.runs]), *shown, *map(escape, figures)]


def _embed_pictures(pictures: Thumbnails, place: int, what: str) -> dict[str, Markup]:
    found = {"plain DSA": pictures.plain, "BSA": pictures.bsa[place]}
    if pictures.truth is not None:
        found |= {"true vessels": pictures.truth, "error": pictures.errors[place]}
    return {title: embed_picture(each, "jpeg", f"{title} {what}, frame {pictures.frame}") for title, each in found.items()}
