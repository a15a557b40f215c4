"""How often the chosen background holds iodine.

    python -m benchmarks.registration.backgrounds --ct CT... --vessels CTA --out DIR

It makes runs whose iodine is known (`benchmarks.registration.background_runs`), lets `register`'s own rule choose the
background of each, without tags, and prints how often a chosen frame holds iodine and how many clean frames were passed over.
Runs that begin with iodine, of which no frame is clean, have a table of their own: there a user must be told. Choices are
kept as they come, so that a command that was stopped goes on; where the code that chooses has changed, they are made anew.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from angiomorph.errors import InputError
from angiomorph.evaluation.machine import machine
from angiomorph.preprocessing.background import Background
from angiomorph.storage.atomic import replace_file
from benchmarks.peers import command
from benchmarks.registration.background_runs import Contrast, make_runs, read_contrast
from benchmarks.source import digest

CLEAN = 0.01  # of the peak's contrast: a frame with more holds iodine
EARLY = ((1, 3), (4, 8), (9, None))  # clean frames before iodine
PROCEDURAL = "procedural"
OUT = "build/backgrounds"
# What chooses the background, the shipped model apart.
MODULES = (
    "angiomorph.preprocessing.arrival",
    "angiomorph.preprocessing.background",
    "angiomorph.registration.coarse",
    "angiomorph.dicom",
    "angiomorph.preprocessing.intensity",
    "angiomorph.networks.layers",
    "angiomorph.networks.model",
    "angiomorph.networks.warp",
    "angiomorph.registration.inputs",
    "angiomorph.registration.pyramid",
    "angiomorph.preprocessing.resizing",
)
HEADS = (
    "runs",
    "background holds iodine [95 % interval]",
    "clean frames passed over, mean",
    "median",
    "not sure",
    "no arrival found",
)
IODINE_HEADS = ("runs that begin with iodine", "said to be unsure", "warned of", "silent")


@dataclass(frozen=True)
class Choice:
    """What was chosen for a run.

    Args:
        run: name and digest of its file.
        code: digest of what chose.
        numbers: of the background frames, from 1, ascending.
        choice: `Background.choice`.
        iodine_from: `Background.iodine_from`.
        sure: `Background.sure`.
        warnings: how many.
    """

    run: str
    code: str
    numbers: tuple[int, ...]
    choice: str
    iodine_from: int | None
    sure: bool
    warnings: int


@dataclass(frozen=True)
class Judged:
    """A run's choice beside the truth.

    Args:
        choice: of the run.
        anatomy: that the run was drawn from.
        dose: at most, photons a mm^2 and frame.
        still: whether nothing moved.
        begins_with_iodine: whether its first frames were cut off.
        clean: frames before the first one with iodine.
        share: greatest of the chosen frames' contrast, over that of the peak.
        passed_over: clean frames after the last chosen one; nan where the background holds iodine.
    """

    choice: Choice
    anatomy: str
    dose: float
    still: bool
    begins_with_iodine: bool
    clean: int
    share: float
    passed_over: float

    @property
    def filled(self) -> bool:
        """Whether the background holds iodine."""
        return self.share > CLEAN

    @property
    def silent(self) -> bool:
        """Whether nothing tells the user to look."""
        return self.choice.sure and not self.choice.warnings


OF_CHOICE = tuple(field.name for field in fields(Choice))
OF_TRUTH = tuple(field.name for field in fields(Judged) if field.name != "choice")
COLUMNS = (*OF_CHOICE, *OF_TRUTH)


def judge(choice: Choice, contrast: Contrast) -> Judged:
    """Return a choice beside the truth.

    Args:
        choice: of the run.
        contrast: that the run's frames hold.
    """
    filled, about = contrast.share > CLEAN, contrast.about
    clean = int(np.argmax(filled)) if filled.any() else len(filled)
    held = float(contrast.share[[number - 1 for number in choice.numbers]].max())
    return Judged(
        choice=choice,
        anatomy=str(about["anatomy"]),
        dose=float(about["dose"]),
        still=bool(about["still"]),
        begins_with_iodine=bool(about["begins_with_iodine"]),
        clean=clean,
        share=held,
        # Where iodine has washed out, frames are clean again; none of these was passed over.
        passed_over=float("nan") if held > CLEAN else max(clean - choice.numbers[-1], 0),
    )


def read_choices(path: Path) -> dict[tuple[str, str], Choice]:
    """Return the choices of a file by run and code; lines of another version or cut short are left out.

    Args:
        path: CSV file that `judge_runs` keeps; none of a file that is not there.
    """
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if tuple(row) == COLUMNS and None not in row.values()]
    return {(row["run"], row["code"]): _parse_row(row) for row in rows}


def _parse_row(row: dict[str, str]) -> Choice:
    return Choice(
        run=row["run"],
        code=row["code"],
        numbers=tuple(map(int, row["numbers"].split())),
        choice=row["choice"],
        iodine_from=int(row["iodine_from"]) if row["iodine_from"] else None,
        sure=row["sure"] == "True",
        warnings=int(row["warnings"]),
    )


def _write(path: Path, rows: Iterable[Judged]) -> None:
    with replace_file(path) as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *map(_cells, rows)])


def _append(path: Path, row: Judged) -> None:
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(_cells(row))


def _cells(row: Judged) -> list[Any]:
    chosen = {name: getattr(row.choice, name) for name in OF_CHOICE}
    chosen["numbers"] = " ".join(map(str, row.choice.numbers))
    return [*chosen.values(), *(getattr(row, name) for name in OF_TRUTH)]


def judge_runs(
    paths: Sequence[Path], choose: Callable[[Path], Background], code: str, file: Path, progress: Callable[[int, int], None]
) -> list[Judged]:
    """Choose the background of every run, unless that was done, and return the choices beside the truth.

    Args:
        paths: runs of `background_runs.make_runs`.
        choose: the background of a run.
        code: digest of what `choose` does.
        file: CSV file that the choices are kept in; those of other runs or another code are removed from it.
        progress: called with (runs done, runs) after each choice.

    Raises:
        InputError: a run, or what it holds of contrast agent, cannot be read.
    """
    kept = read_choices(file)
    names = [f"{path.stem} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" for path in paths]
    contrasts = [read_contrast(path) for path in paths]
    rows = {
        name: judge(kept[name, code], contrast) for name, contrast in zip(names, contrasts, strict=True) if (name, code) in kept
    }
    _write(file, rows.values())
    for name, path, contrast in zip(names, paths, contrasts, strict=True):
        if name not in rows:
            rows[name] = judge(_chosen(name, code, choose(path)), contrast)
            _append(file, rows[name])
            progress(len(rows), len(paths))
    judged = [rows[name] for name in names]
    _write(file, judged)
    return judged


def _chosen(run: str, code: str, background: Background) -> Choice:
    return Choice(
        run=run,
        code=code,
        numbers=background.numbers,
        choice=background.choice,
        iodine_from=background.iodine_from,
        sure=background.sure,
        warnings=len(background.warnings),
    )


def choose(path: Path) -> Background:
    """Return the background that `register` chooses for a run."""
    from angiomorph.dicom import read_series
    from angiomorph.registration.inputs import prepare_input

    return prepare_input(read_series(path), "auto").background


def chooser_digest() -> str:
    """Return the digest of the code and of the model that choose the background."""
    from angiomorph.registration.model_defaults import SHIPPED
    from angiomorph.storage.digest import sha256

    return f"{digest(*MODULES)} {sha256(SHIPPED)[:16]}"


def groups(runs: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Return the runs by each of the table's rows: all, by anatomy, by dose, by motion, by the clean frames before iodine."""
    rows = {"all": list(runs)}
    rows |= {name: [run for run in runs if run.anatomy == name] for name in sorted({run.anatomy for run in runs})}
    for dose in sorted({run.dose for run in runs}):
        rows[f"dose up to {dose:,.0f} / mm²"] = [run for run in runs if run.dose == dose]
    rows |= {name: [run for run in runs if run.still == still] for name, still in (("still", True), ("moving", False))}
    for low, high in EARLY:
        name = f"{low}-{high} frames before iodine" if high else f"{low} or more frames before iodine"
        rows[name] = [run for run in runs if low <= run.clean <= (high or run.clean)]
    return {name: members for name, members in rows.items() if members}


def figures(runs: Sequence[Judged]) -> dict[str, Any]:
    """Return a row's figures: counts, and of the clean frames that were passed over mean and median."""
    passed_over = [run.passed_over for run in runs if not run.filled]
    return {
        "runs": len(runs),
        "filled": sum(run.filled for run in runs),
        "filled_percent": percent(sum(run.filled for run in runs), len(runs)),
        "passed_over_mean": float(np.mean(passed_over)) if passed_over else None,
        "passed_over_median": float(np.median(passed_over)) if passed_over else None,
        "unsure": sum(not run.choice.sure for run in runs),
        "no_arrival": sum(run.choice.iodine_from is None for run in runs),
    }


def percent(count: int, of: int) -> tuple[float, float, float]:
    """Return a share of runs and its exact 95 % interval (Clopper and Pearson), percent.

    Args:
        count: runs counted, 0..of.
        of: runs, >= 1.

    Source: Clopper and Pearson, Biometrika 26, 1934.
    """
    known = stats.binomtest(count, of).proportion_ci(0.95, "exact")
    return 100 * count / of, 100 * float(known.low), 100 * float(known.high)


def table(runs: Sequence[Judged]) -> str:
    """Return the Markdown table of the runs that do not begin with iodine."""
    lines = [["", *HEADS]]
    for name, members in groups([run for run in runs if not run.begins_with_iodine]).items():
        row = figures(members)
        share, low, high = row["filled_percent"]
        passed_over = ["-", "-"]
        if row["passed_over_mean"] is not None:
            passed_over = [f"{row['passed_over_mean']:.2f}", f"{row['passed_over_median']:g}"]
        filled = f"{row['filled']}: {share:.1f} % [{low:.1f}, {high:.1f}]"
        lines.append([name, str(row["runs"]), filled, *passed_over, _count(row["unsure"], members), str(row["no_arrival"])])
    return _markdown(lines)


def iodine_table(runs: Sequence[Judged]) -> str:
    """Return the Markdown table of the runs that begin with iodine: of how many the user is told, and of how many not."""
    beginning = [run for run in runs if run.begins_with_iodine]
    lines = [["", *IODINE_HEADS]]
    for name, still in (("all", (True, False)), ("still", (True,)), ("moving", (False,))):
        members = [run for run in beginning if run.still in still]
        counts = [
            sum(not run.choice.sure for run in members),
            sum(run.choice.warnings > 0 for run in members),
            sum(run.silent for run in members),
        ]
        lines.append([name, *map(str, [len(members), *counts])])
    return _markdown(lines)


def _count(count: int, members: Sequence[Judged]) -> str:
    return f"{count}: {100 * count / len(members):.1f} %"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    whole = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in whole)


def backgrounds(arguments: argparse.Namespace) -> None:
    """Make the runs, choose their backgrounds; print the tables and write them."""
    cts = ["" if ct == PROCEDURAL else ct for ct in arguments.ct]
    paths = make_runs(
        arguments.out / "runs",
        cts=cts,
        vessels=arguments.vessels,
        runs=arguments.runs,
        seed=arguments.seed,
        size=arguments.size,
        workers=arguments.workers,
        progress=command.progress("runs made"),
    )
    code = chooser_digest()
    judged = judge_runs(paths, choose, code, arguments.out / "backgrounds.csv", command.progress("backgrounds chosen"))
    text = f"{table(judged)}\n\n{iodine_table(judged)}\n"
    about = {
        **{name: getattr(arguments, name) for name in ("ct", "vessels", "runs", "seed", "size")},
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in ("angiomorph", "numpy", "scipy", "tensorflow")},
        "code": code,
    }
    rows = {name: figures(members) for name, members in groups([run for run in judged if not run.begins_with_iodine]).items()}
    beginning = [run for run in judged if run.begins_with_iodine]
    iodine = {"runs": len(beginning), "silent": sum(run.silent for run in beginning)}
    with replace_file(arguments.out / "backgrounds.md") as partial:
        partial.write_text(text)
    with replace_file(arguments.out / "backgrounds.json") as partial:
        partial.write_text(json.dumps({"about": about, "rows": rows, "begins_with_iodine": iodine}, indent=1))
    print(text)
    for name in ("backgrounds.md", "backgrounds.csv", "backgrounds.json"):
        print(arguments.out / name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.registration.backgrounds --help`."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.registration.backgrounds", description="How often the chosen background holds iodine."
    )
    add = parser.add_argument
    add("--ct", nargs="+", default=[PROCEDURAL], metavar="CT", help=f"CTs, in turn; {PROCEDURAL} for a drawn head (default)")
    add("--vessels", metavar="CTA", help="CT angiography without bone; without one, vessels are grown")
    add("--runs", type=int, default=200, metavar="N", help="how many (default: 200)")
    add("--seed", type=int, default=5200, metavar="N", help="of the runs (default: 5200)")
    add("--size", type=int, default=256, metavar="N", help="rows and columns, pixels (default: 256)")
    cores = os.cpu_count() or 1
    add("--workers", type=int, default=cores, metavar="N", help=f"processes that simulate (default: {cores})")
    add("--out", type=Path, default=Path(OUT), metavar="DIR", help=f"where to write (default: {OUT})")
    arguments = parser.parse_args(argv)
    try:
        for name in ("runs", "workers"):
            if getattr(arguments, name) < 1:
                raise InputError(f"--{name}: expected a whole number from 1, got {getattr(arguments, name)}")
        if arguments.seed < 0:
            raise InputError(f"--seed: expected a whole number from 0, got {arguments.seed}")
        backgrounds(arguments)
    except InputError as error:
        print(f"benchmarks.registration.backgrounds: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
