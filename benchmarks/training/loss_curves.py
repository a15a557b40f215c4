"""Compare the loss curves of trainings with those of others, seed by seed: `python -m benchmarks.training.loss_curves --help`.

Trainings of the same seed draw the same pairs and λ, so that their curves differ by what differs between them alone; how far
apart the curves of different seeds are says how much of a difference is noise.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from angiomorph.errors import InputError

PARTS = (("all steps", 0.0), ("last quarter", 0.75))


def losses(model_dir: Path) -> np.ndarray:
    """Return the loss of each step of a training, `(steps,)`, from its `steps.csv`.

    Raises:
        InputError: there is none.
    """
    path = model_dir / "steps.csv"
    if not path.exists():
        raise InputError(f"{path}: expected the steps of a training, found none; give directories of `angiomorph train`")
    with path.open(newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def table(references: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> str:
    """Return the Markdown table of mean losses and relative differences, and the spread of the references, in percent.

    Args:
        references: losses `(steps,)` of one training a seed, at least two.
        others: those of the trainings to compare, in the same order.
    """
    lines = ["| steps | seed | reference | other | difference |", "| --- | --- | --- | --- | --- |"]
    for name, begin in PARTS:
        means = [[curve[int(begin * len(curve)) :].mean() for curve in curves] for curves in (references, others)]
        for number, (reference, other) in enumerate(zip(*means, strict=True), start=1):
            lines.append(f"| {name} | {number} | {reference:.5f} | {other:.5f} | {100 * (other / reference - 1):+.1f} % |")
        spread = 100 * np.std(means[0], ddof=1) / np.mean(means[0])
        lines.append(f"| {name} | standard deviation of the references | {spread:.1f} % | | |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.loss_curves --help`."""
    made = argparse.ArgumentParser(description="Compare the loss curves of trainings with those of others.")
    made.add_argument("--reference", type=Path, nargs="+", required=True, metavar="DIR", help="model directories, one a seed")
    made.add_argument("--other", type=Path, nargs="+", required=True, metavar="DIR", help="those to compare, in the same order")
    arguments = made.parse_args(argv)
    try:
        if len(arguments.reference) != len(arguments.other) or len(arguments.reference) < 2:
            raise InputError(
                f"--reference, --other: expected equally many directories, at least 2, got {len(arguments.reference)} and "
                f"{len(arguments.other)}"
            )
        print(table([losses(path) for path in arguments.reference], [losses(path) for path in arguments.other]))
    except InputError as error:
        print(f"loss_curves: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
