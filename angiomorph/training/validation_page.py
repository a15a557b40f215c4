"""`validation.html`: what a training's validations looked like and measured so far, in one page; without TensorFlow.

The page itself remembers the pictures, so that a resumed training goes on with them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.pages.curves import Curve, draw_curves
from angiomorph.pages.moments import MOMENTS_SCRIPT, Moment, draw_moments, read_moments, thin_moments
from angiomorph.pages.page import Markup, embed_jpeg, encode_jpeg, escape, make_figure, make_paragraph, make_section, write_page
from angiomorph.pictures import shade
from angiomorph.preprocessing.resizing import fit_within
from angiomorph.preprocessing.spacing import spread_indices
from angiomorph.training.learning_curve import NAMES, read_learning_curve

PAGE = "validation.html"
MOST = 20  # validations of which pictures are kept
SIZE = 256  # longer side at most of a picture, pixels
POINTS = 200  # at most of a curve
FIXED = ("background", "contrast frame", "plain DSA")  # the pictures of a run before its BSA
# What the columns of validation.csv are.
HEADINGS = {
    "loss": "objective, over all pairs",
    "artefact_left": "artefact left, moving runs (0 is best)",
    "contrast_kept": "contrast kept, moving runs (1 is best)",
    "cost": "cost, moving runs: artefact left + (1 - contrast kept)²",
    "rmse_over_floor": "RMSE over the noise floor, moving runs (1 is best)",
    "warp_error": "warp error, moving runs, pixels",
    "harm": "harm on still runs, of the noise's energy",
    "still_contrast_kept": "contrast kept, still runs (1 is best)",
    "edge_left": "no truth: edge energy left",
    "deviation_left": "no truth: temporal deviation left",
    "folding": "folding, % of pixels, all runs",
}


class ValidationPage:
    """The page of a training, rewritten whole at each validation.

    Args:
        path: the page to write.
        history: `history.csv`; of no epoch yet where it is absent.
        table: `validation.csv`; its rows say which validations of an earlier page count.
        image_loss: the similarity that is trained.
        total: steps of the whole training.
    """

    def __init__(self, path: Path, history: Path, table: Path, image_loss: str, total: int) -> None:
        self.path, self._history, self._image_loss, self._total = path, history, image_loss, total
        self._rows: list[Mapping[str, Any]] = []
        if table.exists():
            with table.open(newline="") as file:
                self._rows += csv.DictReader(file)
        self._moments = [moment for moment in read_moments(path) if moment.step in self._steps]
        self._fixed: list[list[Markup]] = []

    @property
    def _steps(self) -> list[int]:
        return sorted({int(row["step"]) for row in self._rows})

    def add(self, rows: Sequence[Mapping[str, Any]], hyper: float, examples: np.ndarray) -> None:
        """Take one validation.

        Args:
            rows: rows of `validation.csv`.
            hyper: λ of the pictures.
            examples: `(N, H, 4W, 1)` in [0, 1], background, contrast frame, plain DSA and BSA of some runs.
        """
        self._rows += rows
        step = self._steps[-1]
        pictures = [[_shrink(part) for part in np.split(run[..., 0], 4, axis=1)] for run in examples]
        self._fixed = [
            [make_figure(embed_jpeg(part, f"run {run + 1}, {name}"), name) for part, name in zip(parts, FIXED, strict=False)]
            for run, parts in enumerate(pictures)
        ]
        shown = tuple(encode_jpeg(parts[-1]) for parts in pictures)
        moment = Moment(step, f"BSA, step {step}, λ {hyper:g}", shown)
        before = [each for each in self._moments if each.step < step and len(each.pictures) == len(shown)]
        self._moments = thin_moments([*before, moment], MOST)

    def write(self) -> None:
        """Write the page, if there was a validation since the training began or was resumed.

        Raises:
            OSError: the disk is full or fails.
        """
        if self._fixed:
            title = f"Validation of Reg-{NAMES.get(self._image_loss, self._image_loss)}"
            write_page(self.path, title, self._draw(), [MOMENTS_SCRIPT.read_text(encoding="utf-8")])

    def _draw(self) -> Iterator[Markup]:
        count, shown = len(self._steps), len(self._moments)
        words = f"Step {self._steps[-1]} of {self._total}. Validations so far: {count}; pictures of "
        words += "all of them." if shown == count else f"{shown}, the first, the last, and others about evenly between them."
        yield draw_moments("Subtractions over time", self._moments, self._fixed, escape(words))
        yield from self._draw_learning_curve()
        yield make_section("Figures of merit", make_paragraph(escape(_explain_figures())), wide=True)
        for name, heading in HEADINGS.items():
            if curves := self._collect(name):
                steps = _thin(self._steps)
                yield make_section(heading, draw_curves(heading, steps, curves, "training steps", low=None, whole=True))

    def _draw_learning_curve(self) -> Iterator[Markup]:
        if not self._history.exists():
            return
        found = read_learning_curve(self._history, self._image_loss)
        for part in found.parts if len(found.epochs) else ():
            curves = [Curve(name.split(",")[0], _thin(values)) for name, values in part.curves.items()]
            yield make_section(part.title, draw_curves(part.title, _thin(found.epochs), curves, "epoch", low=None, whole=True))

    def _collect(self, name: str) -> list[Curve]:
        """Return a figure's curve of each λ; none where no run has the figure."""
        values = {(float(row["step"]), float(row["lambda"])): _read_cell(row[name]) for row in self._rows if name in row}
        if all(map(math.isnan, values.values())):
            return []
        hypers = sorted({hyper for _, hyper in values})
        steps = _thin(self._steps)
        return [Curve(f"λ {hyper:g}", [values.get((step, hyper), math.nan) for step in steps]) for hyper in hypers]


def _explain_figures() -> str:
    return (
        "Means over the runs, as in validation.csv: the objective on fixed pairs, and what `angiomorph evaluate` measures. "
        f"Curves of more than {POINTS} validations have {POINTS} of them, evenly spaced."
    )


def _read_cell(cell: Any) -> float:
    return math.nan if cell == "" else float(cell)  # no run has that figure


def _thin(values: Sequence[float] | np.ndarray) -> list[float]:
    return [values[index] for index in spread_indices(len(values), POINTS)]


def _shrink(picture: np.ndarray) -> np.ndarray:
    return shade(fit_within(np.asarray(picture, np.float32)[None], SIZE)[0], (0, 1))
