"""A sweep as files: a montage of its pictures, curves of its figures, and a table that programs read."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from angiomorph.pictures import Panel, grid, save, subtraction_window
from angiomorph.preprocessing.resizing import average_areas, fitted_shape
from angiomorph.registration.outputs import write_together
from angiomorph.registration.sweep import Sweep, SweptFrame
from angiomorph.storage.atomic import replace_file

ENDINGS = {"montage": "_sweep.png", "curves": "_sweep_curves.png", "table": "_sweep.csv"}
COLUMNS, SIZE = 4, 384  # of the montage, and the longer side at most of a picture in it, pixels
# By figure: its title, its factor, and the value that says that nothing was gained.
TITLES: Mapping[str, tuple[str, float, float | None]] = {
    "residue_left": ("bright residue left (less is better)", 1.0, 1.0),
    "edge_left": ("edge energy left (less is better)", 1.0, 1.0),
    "contrast_left": ("vessel contrast left (1 is best)", 1.0, 1.0),
    "cnr_estimated": ("vessel CNR, estimated", 1.0, None),
    "folding": ("folding, % of pixels", 100.0, None),
    "smallest_jacobian": ("smallest Jacobian (fold at 0)", 1.0, 0.0),
}


def write_sweep(stem: str | os.PathLike[str], swept: Sweep) -> list[Path]:
    """Write montage, curves and table, all of them or none; none says whose run it is.

    Args:
        stem: the files' names before their endings; a missing folder is made.
        swept: the run at many λ.

    Raises:
        InputError: the folder cannot be written.
    """
    with write_together(Path(stem), ENDINGS) as paths:
        grid(draw_montage(swept), paths["montage"])
        _draw_curves(swept, paths["curves"])
        _write_table(swept, paths["table"])
    return [Path(f"{os.fspath(stem)}{ending}") for ending in ENDINGS.values()]


def draw_montage(swept: Sweep) -> list[list[Panel]]:
    """Return plain DSA and the BSA at each λ of one frame, in rows of four, all in one grey window."""
    # About the level of its exposure; behind a collimator there is only noise, so 0.
    shown = [np.where(swept.field, frame - np.median(frame[swept.field]), 0) for frame in (swept.dsa, *swept.bsa)]
    window = np.mean([subtraction_window(frame[swept.field]) for frame in shown[1:]], axis=0)
    names = [f"plain DSA, frame {swept.key_frame}", *(f"λ {hyper:g}{_say(swept, hyper)}" for hyper in swept.hypers)]
    shape = fitted_shape(swept.field.shape, SIZE)
    black, white = map(float, window)
    panels = [
        Panel(name, average_areas(frame[None], shape)[0], (black, white)) for name, frame in zip(names, shown, strict=True)
    ]
    panels += [Panel("", np.full(shape, black), (black, white))] * (-len(panels) % COLUMNS)
    return [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]


def _say(swept: Sweep, hyper: float) -> str:
    said = [word for word, value in (("suggested", swept.suggestion.hyper), ("the model's own", swept.own)) if value == hyper]
    return f", {' and '.join(said)}" if said else ""


def _draw_curves(swept: Sweep, path: Path) -> None:
    figure = Figure(figsize=(12, 6.8), layout="constrained")
    for axes, name in zip(figure.subplots(2, 3).ravel(), TITLES, strict=True):
        _draw_curve(axes, swept, name)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    save(figure, path)


def _draw_curve(axes: Axes, swept: Sweep, name: str) -> None:
    title, factor, level = TITLES[name]
    values = factor * swept.table(name)
    axes.plot(swept.hypers, values, color="0.7", linewidth=1)
    axes.plot([], [], color="0.7", linewidth=1, label=f"each of {len(swept.frames)} frames")
    axes.plot(swept.hypers, factor * swept.medians(name), color="#0072B2", marker="o", markersize=4, label="their median")
    axes.axvline(swept.suggestion.hyper, color="#D55E00", linestyle="--", label=f"suggested, λ {swept.suggestion.hyper:g}")
    axes.axvline(swept.own, color="0.3", linestyle=":", label=f"the model's own, λ {swept.own:g}")
    if level is not None:
        axes.axhline(level, color="0.6", linewidth=0.8, zorder=0)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("λ")
    axes.grid(alpha=0.3)


def _write_table(swept: Sweep, path: Path) -> None:
    with replace_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [part.name for part in fields(SweptFrame)])
        writer.writeheader()
        writer.writerows(asdict(each) for each in swept.figures)
