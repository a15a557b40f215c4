"""Curves over λ: what each model leaves of the artefact, keeps of the contrast, and does to still runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.score import Runs
from angiomorph.evaluation.tables import figures
from angiomorph.pictures import pixels, save

PANELS: Sequence[tuple[Runs, str, str, float | None]] = (
    ("moving", "artefact_left", "artefact left (0 is best)", 1.0),
    ("moving", "contrast_kept", "contrast kept (1 is best)", 1.0),
    ("moving", "local_contrast", "local contrast (1 is best)", 1.0),
    ("moving", "invented", "dark lines invented (0 is best)", 1.0),
    ("moving", "rmse_over_floor", "RMSE over the noise floor (1 is best)", 1.0),
    ("moving", "cnr", "vessel CNR", None),
    ("moving", "folding", "folding, % of pixels", None),
    ("still", "harm", "harm on still runs, of the noise's energy", 0.0),
    ("real", "edge_left", "no truth: edge energy left", 1.0),
    ("real", "deviation_left", "no truth: temporal deviation left", 1.0),
    ("real", "cnr_estimated", "no truth: CNR, estimated", None),
)
COLUMNS = 3
# Okabe and Ito's colours, which readers who see few colours tell apart, with a marker each.
STYLES = {"mse": ("#D55E00", "s"), "minmax": ("#0072B2", "^"), "vle": ("#009E73", "o"), "truth": ("#CC79A7", "D")}
OTHERS = (("#E69F00", "v"), ("#56B4E9", "P"), ("#000000", "X"))


def lambda_figure(entries: Sequence[Entry], path: str | os.PathLike[str]) -> None:
    """Draw every figure of merit over λ as a PNG, a curve a model with the band of its 95 % interval over runs.

    Args:
        entries: models at several λ, from `evaluate.evaluate`.
        path: the PNG to write.
    """
    save(_figure(entries), path)


def lambda_picture(entries: Sequence[Entry]) -> np.ndarray:
    """Return what `lambda_figure` draws as a picture, `(H, W, 3)` uint8.

    Args:
        entries: models at several λ.
    """
    return pixels(_figure(entries))


def _figure(entries: Sequence[Entry]) -> Figure:
    present = {score.runs for entry in entries for score in entry.scores.values()}
    panels = [panel for panel in PANELS if panel[0] in present]
    models = list(dict.fromkeys(entry.model for entry in entries))
    losses = {entry.model: entry.image_loss for entry in entries}
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 3.1 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    looks = styles([losses[model] for model in models])
    for axes, (runs, name, title, best) in zip(grid, panels, strict=False):
        for model, style in zip(models, looks, strict=True):
            _curve(axes, [entry for entry in entries if entry.model == model], runs, name, style)
        _finish(axes, title, best)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles, _ = grid[0].get_legend_handles_labels()
    labels = [f"{model} ({losses[model]})" for model in models]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(models), 4), frameon=False)
    return figure


def styles(losses: Sequence[str]) -> list[tuple[str, str]]:
    """Return colour and marker of each model: its loss's, and others where several share a loss."""
    spare, taken = iter(OTHERS * len(losses)), []
    for loss in losses:
        own = STYLES.get(loss)
        taken.append(own if own is not None and own not in taken else next(spare))
    return taken


def _curve(axes: Axes, entries: Sequence[Entry], runs: Runs, name: str, style: tuple[str, str]) -> None:
    points = sorted(entries, key=lambda entry: entry.hyper)
    hypers = [entry.hyper for entry in points]
    parts = [figures([score for score in entry.scores.values() if score.runs == runs])[name] for entry in points]
    colour, marker = style
    axes.plot(hypers, [part.mean for part in parts], color=colour, marker=marker, markersize=5, label=entries[0].model)
    low, high = (np.array([getattr(part, end) for part in parts]) for end in ("low", "high"))
    axes.fill_between(hypers, low, high, color=colour, alpha=0.15, linewidth=0)


def _finish(axes: Axes, title: str, best: float | None) -> None:
    if best is not None:
        axes.axhline(best, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("λ")
    axes.set_xlim(-0.02, 1.02)
    axes.grid(alpha=0.3)
