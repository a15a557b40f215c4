"""Train the paper's three losses alike, draw their learning curves, and print each loss over λ.

    python -m benchmarks.training.paper STORE.h5... --runs RUNS... --out DIR      (or `make paper`)

The paper's preset shrunk to two cores: its loss, U-Net and hypernetwork; frames of 128 pixels for 512, generated weights of
rank 7, image_sigma by loss, and two stages of thousands of steps, the second at two sizes, for 2.5 million. The shipped
Reg-VLE, Reg-MinMax and Reg-MSE are made by this command. A stopped command resumes: a stage that has its model is not
trained again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from angiomorph import pictures
from angiomorph.cli import main as angiomorph
from angiomorph.errors import InputError

# --image-sigma, chosen on development runs: at the paper's 0.3 VLE and MSE hardly warp after so few steps.
ALPHA = {"vle": 0.1, "minmax": 0.3, "mse": 0.1}
# --lambda of the shipped files, chosen on development runs; of MinMax the paper has 0.5 (docs/losses.md).
LAMBDA = {"vle": 0.7, "minmax": 0.7, "mse": 0.7}
STAGES = ("1", "2")
SMOOTH = 200  # steps that a point of the learning curve is the mean of
LAMBDAS = tuple(f"{number / 10:g}" for number in range(11))
DRAWS = (
    *("--size", "128", "--batch-size", "4", "--series-per-batch", "4", "--frames-per-series", "4", "--background-frames", "2"),
    *("--hyp-rank", "7", "--lambda-sampling", "uniform", "--flip", "0.5", "--checkpoint-steps", "500"),
)
COARSE = ("--lr", "1e-3", "--zoom", "0.5", "--gamma", "0.3", "--noise", "0.005", "--seed", "7")
FINE = ("--lr", "7e-4", "--final-lr", "1e-5", "--levels", "3", "--finer", "--zoom", "0.3", "--noise", "0.01", "--seed", "8")


def stage_options(loss: str, stage: str, out: Path, thousands: Sequence[int]) -> list[str]:
    """Return the options of `angiomorph train` for one stage of one loss, without its data.

    Args:
        loss: "vle", "minmax" or "mse".
        stage: "1", at one size, or "2", which begins with the model of "1", at two.
        out: folder of the model directories.
        thousands: of steps, of each stage.
    """
    options = ["--image-loss", loss, "--image-sigma", str(ALPHA[loss]), *DRAWS, "--steps-per-epoch", "1000"]
    options += ["--epochs", str(thousands[STAGES.index(stage)]), "--model-dir", str(out / f"{loss}-{stage}")]
    if stage == "1":
        return [*options, *COARSE]
    return [*options, *FINE, "--lambda", str(LAMBDA[loss]), "--load-weights", str(out / f"{loss}-1" / "model.h5")]


def train_stage(stores: Sequence[str], options: Sequence[str], precision: Sequence[str]) -> None:
    """Train one stage, or what is left of it.

    Raises:
        InputError: the training failed; it has said why.
    """
    folder = Path(options[options.index("--model-dir") + 1])
    if (folder / "model.h5").exists():
        return
    resume = ["--resume"] if (folder / "checkpoints").exists() else []
    if angiomorph(["train", *stores, *options, *precision, *resume]):
        raise InputError(f"{folder}: expected this stage to be trained; see the line above")


def read_curve(folder: Path) -> np.ndarray:
    """Return the loss of each step, `(steps,)`, the mean of `SMOOTH` steps around it."""
    with (folder / "steps.csv").open(newline="") as file:
        values = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    width = min(SMOOTH, len(values))
    return np.convolve(values, np.full(width, 1 / width), mode="valid")


def draw_curves(curves: Mapping[str, Sequence[np.ndarray]], path: Path) -> None:
    """Write a panel a loss: the objective over the steps of both stages.

    Args:
        curves: by loss, those of its stages, each `(steps,)`.
        path: PNG file.
    """
    figure = Figure(figsize=(3.4 * len(curves), 3), dpi=120, layout="constrained")
    for axes, (loss, stages) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        begin = 0
        for number, curve in enumerate(stages, start=1):
            axes.plot(begin + np.arange(len(curve)), curve, label=f"stage {number}")
            begin += len(curve) + SMOOTH - 1
        axes.set(title=loss, xlabel="step", yscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("objective, all λ")
    figure.axes[0].legend()
    pictures.save(figure, path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.paper --help`."""
    parser = argparse.ArgumentParser(description="Train the paper's three losses alike, and print each over λ.")
    parser.add_argument("stores", nargs="+", metavar="STORE.h5", help="training stores")
    parser.add_argument("--runs", nargs="+", required=True, metavar="RUN", help="simulated runs with truth, to measure λ on")
    parser.add_argument("--out", type=Path, default=Path("build/paper"), metavar="DIR", help="(default: build/paper)")
    parser.add_argument("--losses", nargs="+", choices=tuple(ALPHA), default=tuple(ALPHA), help="(default: all)")
    summary = "thousands of steps of each stage (default: 4 5)"
    parser.add_argument("--thousands", nargs=2, type=int, default=(4, 5), metavar="N", help=summary)
    parser.add_argument("--mixed-precision", action="store_true", help="as in `angiomorph train`")
    given = parser.parse_args(argv)
    try:
        for loss in given.losses:
            for stage in STAGES:
                options = stage_options(loss, stage, given.out, given.thousands)
                train_stage(given.stores, options, ["--mixed-precision"] if given.mixed_precision else [])
    except InputError as error:
        print(f"paper: {error}", file=sys.stderr)
        return 2
    curves = {loss: [read_curve(given.out / f"{loss}-{stage}") for stage in STAGES] for loss in given.losses}
    draw_curves(curves, given.out / "learning.png")
    models = [str(given.out / f"{loss}-2" / "model.h5") for loss in given.losses]
    alone = ["--refine", "0", "--no-guard", "--out", str(given.out)]
    return angiomorph(["evaluate", *given.runs, "--model", *models, "--lambda", *LAMBDAS, *alone])


if __name__ == "__main__":
    sys.exit(main())
