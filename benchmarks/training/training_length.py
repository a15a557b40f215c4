"""Longer training and the λ that is best after it: `python -m benchmarks.training.training_length DIR... --out P.png`.

Reads the `validation.csv` of trainings whose `--validation` held simulated runs with their truth, moving ones among them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiomorph.errors import InputError

COLUMNS = ("lambda", "loss", "artefact_left", "contrast_kept", "cost")


@dataclass(frozen=True)
class Curve:
    """A training as its validations saw it.

    Args:
        name: of its directory.
        image_loss: that it was trained with.
        steps: before each validation, ascending, `(N,)`.
        figures: by column of `COLUMNS`, `(N, L)`, λ ascending.
    """

    name: str
    image_loss: str
    steps: np.ndarray
    figures: dict[str, np.ndarray]

    def best(self) -> np.ndarray:
        """Return the λ of least cost after each number of steps, `(N,)`; see `lowest`."""
        return np.array([lowest(*pair) for pair in zip(self.figures["lambda"], self.figures["cost"], strict=True)])

    def at_best(self, column: str) -> np.ndarray:
        """Return a figure at the best λ, linear between those that were validated, `(N,)`."""
        pairs = zip(self.best(), self.figures["lambda"], self.figures[column], strict=True)
        return np.array([np.interp(best, hypers, values) for best, hypers, values in pairs])


def lowest(hypers: np.ndarray, costs: np.ndarray) -> float:
    """Return the λ of least cost: the vertex of the parabola through the least of the costs and its neighbours.

    Args:
        hypers: λ, ascending, `(L,)`.
        costs: at each.

    Returns:
        the first or last λ itself where the least cost is there.
    """
    least = int(np.argmin(costs))
    if least in (0, len(costs) - 1):
        return float(hypers[least])
    (left, middle, right), (a, b, c) = hypers[least - 1 : least + 2], costs[least - 1 : least + 2]
    before, after = (middle - left) * (b - c), (middle - right) * (b - a)
    if before == after:  # on one line, which the least of three only is where all are equal
        return float(middle)
    return float(middle - ((middle - left) * before - (middle - right) * after) / (2 * (before - after)))


def read(model_dir: Path) -> Curve:
    """Return the validations of a training.

    Raises:
        InputError: there is no training with validations on moving simulated runs.
    """
    try:
        with (model_dir / "validation.csv").open(newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: (int(row["step"]), float(row["lambda"])))
        image_loss = json.loads((model_dir / "config.json").read_text())["training"]["image_loss"]
        steps = np.array(sorted({int(row["step"]) for row in rows}))
        figures = {name: np.array([float(row[name]) for row in rows]).reshape(len(steps), -1) for name in COLUMNS}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{model_dir}: expected config.json and a validation.csv with artefact_left, found: {error}; give directories of "
            "`angiomorph train` with --validation RUNS of `angiomorph simulate --out`, moving ones among them"
        ) from error
    return Curve(model_dir.name, image_loss, steps, figures)


def table(curves: Sequence[Curve]) -> str:
    """Return the Markdown table: a line for each validation of each training."""
    lines = ["| training | steps | λ* | artefact left at λ* | contrast kept at λ* |", "| --- | --- | --- | --- | --- |"]
    for curve in curves:
        columns = curve.best(), curve.at_best("artefact_left"), curve.at_best("contrast_kept")
        for step, best, artefact, contrast in zip(curve.steps, *columns, strict=True):
            lines.append(f"| {curve.name} | {step} | {best:.2f} | {artefact:.3f} | {contrast:.3f} |")
    return "\n".join(lines)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw objective, artefact, contrast and best λ over the length of training, a curve a training, as PNG."""
    from matplotlib.figure import Figure

    from angiomorph.evaluation.curves import styles
    from angiomorph.pictures import save

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    panels = (
        ("objective on validation pairs, over its first value", lambda curve: curve.figures["loss"].mean(1)),
        ("best λ (least artefact left + (1 - contrast kept)²)", Curve.best),
        ("artefact left at the best λ (0 is best)", lambda curve: curve.at_best("artefact_left")),
        ("contrast kept at the best λ (1 is best)", lambda curve: curve.at_best("contrast_kept")),
    )
    looks = styles([curve.image_loss for curve in curves])
    grid = figure.subplots(2, 2).ravel()
    for axes, (title, values) in zip(grid, panels, strict=True):
        for curve, (colour, marker) in zip(curves, looks, strict=True):
            shown = values(curve)
            scale = shown[0] if axes is grid[0] else 1.0
            axes.plot(curve.steps, shown / scale, color=colour, marker=marker, markersize=5, label=curve.name)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("training steps")
        axes.grid(alpha=0.3)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(curves), frameon=False)
    save(figure, path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.training_length --help`."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.training.training_length", description="What longer training does, by truth."
    )
    parser.add_argument(
        "training", type=Path, nargs="+", metavar="DIR", help="model directories of trainings with --validation"
    )
    parser.add_argument("--out", type=Path, metavar="PNG", help="picture to draw")
    arguments = parser.parse_args(argv)
    try:
        curves = [read(path) for path in arguments.training]
    except InputError as error:
        print(f"benchmarks.training.training_length: {error}", file=sys.stderr)
        return 2
    print(table(curves))
    if arguments.out:
        draw(curves, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
