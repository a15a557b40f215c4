"""Files as hospitals have them: each is read rightly, or refused in words.

    python -m benchmarks.dicom.inputs [--list]

Every row is a kind of input that users of some program reported in public, made anew and small. It is looked for and read as
`register` does, and what was read is written once. It is as expected if runs have the right pixels, order, times and masks, if
what is doubtful is told, and if what cannot be read is refused by name. Counts are printed, then each row that is not as
expected; the exit status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from angiomorph.dicom import Series, find_series, read_series, write_bsa
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import UNITS, resolve_mode
from benchmarks.dicom import input_files, input_folders, input_pixels
from benchmarks.dicom.input_tools import Expected, Row

ROWS: tuple[Row, ...] = (*input_files.ROWS, *input_pixels.ROWS, *input_folders.ROWS)


@dataclass(frozen=True)
class Found:
    """What became of an input.

    Args:
        series: the runs that were read.
        told: warnings, and files passed over.
        refused: refusals.
    """

    series: list[Series]
    told: list[str]
    refused: list[str]


def read(path: Path, *, unsubtracted: bool = False) -> Found:
    """Return what becomes of a file or folder.

    Raises:
        Exception: whatever the reader raises but for `InputError`.
    """
    found, passed_over = Found([], [], []), collections.Counter[str]()
    try:
        runs = find_series([path], passed_over=passed_over)
    except InputError as error:
        return Found([], [], [str(error)])
    found.told.extend(passed_over)
    for run in runs:
        try:
            series = read_series(run, unsubtracted=unsubtracted)
        except InputError as error:
            found.refused.append(str(error))
        else:
            found.series.append(series)
            found.told.extend(series.warnings)
    return found


def fault(row: Row, folder: Path) -> str:
    """Return what is not as expected of a row, whose files are made in a folder; "" if nothing is."""
    expected = row.make(folder)
    try:
        found = read(expected.path, unsubtracted=expected.unsubtracted)
        for index, series in enumerate(found.series):
            _write(series, folder / f"written-{index}.dcm")
    except Exception as error:  # whatever it is, no input may cause it
        return f"{type(error).__name__}: {error}"
    return _compare(expected, found)


def _write(series: Series, path: Path) -> None:
    units = UNITS[resolve_mode(series.relation, "auto")]
    bsa = np.zeros(series.frames.shape, np.float32)
    write_bsa(path, series, bsa, units=units, model_name="any", model_sha256="0" * 64, hyper=0.5, background_numbers=[1])


def _compare(expected: Expected, found: Found) -> str:
    for said, lines, name in ((expected.refused, found.refused, "refusal"), (expected.told, found.told, "warning")):
        if said and not any(said in line for line in lines):
            return f"no {name} that says {said!r}, but: {'; '.join(lines) or 'none'}"
    if not expected.refused and found.refused:
        return f"refused: {'; '.join(found.refused)}"
    if len(found.series) != len(expected.frames):
        return f"{len(found.series)} runs were read, expected {len(expected.frames)}"
    left = list(found.series)
    for frames in expected.frames:
        match = next((series for series in left if _same(series.frames, frames, expected.tolerance)), None)
        if match is None:
            return "other pixels, or in another order"
        left.remove(match)
    return _compare_first(expected, found.series[0]) if found.series else ""


def _same(found: np.ndarray, frames: np.ndarray, tolerance: float) -> bool:
    return found.shape == frames.shape and bool(np.abs(found.astype(float) - frames).max() <= tolerance)


def _compare_first(expected: Expected, series: Series) -> str:
    if expected.masks is not None and series.background_numbers != expected.masks:
        return f"mask frames {series.background_numbers}, expected {expected.masks}"
    if [step.numbers for step in series.steps] != list(expected.steps):
        return f"masks of ranges {series.steps}, expected {expected.steps}"
    if expected.times is not None and not np.allclose(np.diff(series.frame_times), expected.times, atol=0.01):
        return f"frames {np.diff(series.frame_times)} ms apart, expected {expected.times}"
    if expected.exposed is not None and not np.array_equal(series.shutter, expected.exposed):
        return "another exposed field"
    return ""


def table(faults: Sequence[tuple[Row, str]]) -> str:
    """Return the counts by kind, as Markdown."""
    lines = ["| kind | rows | as expected |", "| --- | --- | --- |"]
    for kind in dict.fromkeys(row.kind for row, _ in faults):
        found = [wrong for row, wrong in faults if row.kind == kind]
        lines.append(f"| {kind} | {len(found)} | {found.count('')} |")
    return "\n".join(lines)


def run(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    """Return each row with what is not as expected of it."""
    found = []
    for row in rows:
        with TemporaryDirectory() as name:
            found.append((row, fault(row, Path(name))))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print every row and what is expected of it, and read none")
    given = parser.parse_args(arguments)
    if given.list:
        print("| kind | input | expected |\n| --- | --- | --- |")
        print("\n".join(f"| {row.kind} | {row.input} | {row.expected} |" for row in ROWS))
        return 0
    found = run(ROWS)
    wrong = [(row, said) for row, said in found if said]
    print(table(found))
    print(f"as expected: {len(found) - len(wrong)} of {len(found)}")
    for row, said in wrong:
        print(f"NOT AS EXPECTED {row.kind}: {row.input}: {said}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
