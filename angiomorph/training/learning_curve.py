"""The learning curve of a training: its loss over whole epochs, and each of the loss' parts."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from angiomorph.pictures import DPI, save

NAMES = {"mse": "MSE", "minmax": "MinMax", "vle": "VLE", "truth": "Truth"}  # of the similarities, as the paper has them
WIDE = 10  # largest over smallest value of an axis from which on it is logarithmic
MARKED = 40  # epochs up to which each has a marker
# Okabe and Ito's colours, which readers who see few colours tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73")


@dataclass(frozen=True)
class Part:
    """What one axis of a learning curve shows.

    Args:
        title: name of the quantity that the curves show.
        curves: value of each epoch, nan where it has none, by what it was measured on.
    """

    title: str
    curves: Mapping[str, np.ndarray]

    @property
    def wide(self) -> bool:
        """Whether the values need a logarithmic axis: all positive, and far apart."""
        values = np.concatenate(list(self.curves.values()))
        values = values[np.isfinite(values)]
        return bool(values.size and values.min() > 0 and values.max() >= WIDE * values.min())


@dataclass(frozen=True)
class LearningCurve:
    """The losses of a training's epochs.

    Args:
        title: the method, as the paper calls it.
        epochs: their numbers, from 1.
        parts: the total loss, then the similarity and the smoothness.
    """

    title: str
    epochs: np.ndarray
    parts: tuple[Part, ...]


def read_learning_curve(history: str | os.PathLike[str], image_loss: str) -> LearningCurve:
    """Return the losses of a training's epochs, with those of the validations at their ends.

    Args:
        history: `history.csv`.
        image_loss: the similarity that was trained.
    """
    with open(history, newline="") as file:
        table = list(csv.DictReader(file))
    epochs = np.array([int(row["epoch"]) + 1 for row in table])
    # Keras heads columns for validation even where there is none.
    columns = {name: np.array([_read_number(row[name]) for row in table]) for name in (table[0] if table else ())}
    parts = [name for name in columns if name.endswith("_loss") and not name.startswith("val_")]
    name = NAMES.get(image_loss, image_loss)
    two_sizes = len(parts) > 2
    shown = [
        Part(f"loss{', sum of both sizes' if two_sizes else ''}: (1 - λ) {name} / α² + λ smoothness", _name_totals(columns)),
        Part(f"(1 - λ) {name} / α²", _name_sizes(columns, [part for part in parts if "transformer" in part])),
        Part("λ smoothness", _name_sizes(columns, [part for part in parts if "transformer" not in part])),
    ]
    return LearningCurve(f"Reg-{name}", epochs, tuple(part for part in shown if part.curves))


def draw_learning_curve(history: str | os.PathLike[str], path: str | os.PathLike[str], image_loss: str) -> None:
    """Write the picture of a training's loss over its epochs, and of its two parts.

    An axis is logarithmic where the values on it are far apart.

    Args:
        history: `history.csv`.
        path: PNG file.
        image_loss: the similarity that was trained.
    """
    save(draw_figure(read_learning_curve(history, image_loss)), path)


def draw_figure(curve: LearningCurve) -> Figure:
    """Return the figure of a learning curve: the whole loss at the left, its parts at the right."""
    figure = Figure(figsize=(9.5, 4.5), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 2))
    places = (grid[:, 0], grid[0, 1], grid[1, 1])
    for place, part in zip(places, curve.parts, strict=False):
        _draw_part(figure.add_subplot(place), part, curve.epochs)
    figure.suptitle(f"Learning curve, {curve.title}", fontsize=11)
    return figure


def _draw_part(axes: Axes, part: Part, epochs: np.ndarray) -> None:
    marker = "o" if len(epochs) <= MARKED else ""
    for colour, (name, values) in zip(COLOURS, part.curves.items(), strict=False):
        axes.plot(epochs, values, marker=marker, markersize=4, color=colour, label=name)
    axes.set_title(part.title, fontsize=9)
    axes.set(xlabel="epoch", yscale="log" if part.wide else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if len(epochs):
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    axes.grid(alpha=0.3)
    if len(part.curves) > 1:
        axes.legend(fontsize=8)


def _name_totals(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    named = {"training": columns.get("loss", np.empty(0))}
    validated = columns.get("val_loss", np.empty(0))
    if np.isfinite(validated).any():
        hypers = [match[1] for name in columns if (match := re.fullmatch(r"val_loss_(.+)", name))]
        named[f"validation, mean of λ {', '.join(hypers)}"] = validated
    return named


def _name_sizes(columns: Mapping[str, np.ndarray], parts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return curves by the size that they are of: the network's own, or twice that, of `networks.with_finer`."""
    if len(parts) == 1:
        return {"training": columns[parts[0]]}
    return {"twice the size" if "window" in part or "_1_" in part else "network's size": columns[part] for part in parts}


def _read_number(cell: str | None) -> float:
    return math.nan if cell in (None, "", "NA") else float(cell)  # Keras writes NA for what it did not log
