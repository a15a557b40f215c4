"""An archive of DICOM runs as one training store, without identities."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from angiomorph import store
from angiomorph.dicom import Series, SeriesFiles, find_series, read_series
from angiomorph.errors import InputError

COLUMNS = ("key", "series_sha256", "frames", "rows", "columns", "relation", "bits_stored", "background", "left_out")


@dataclass(frozen=True)
class PrepareReport:
    """What became of an archive.

    Args:
        taken: number of runs in the store.
        left_out: name and reason of each run that is not.
        manifest: CSV file beside the store, one line a run.
    """

    taken: int
    left_out: tuple[tuple[str, str], ...]
    manifest: Path


def prepare(
    paths: Iterable[str | os.PathLike[str]],
    store_path: str | os.PathLike[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> PrepareReport:
    """Write every usable run of DICOM files, folders or trees to a training store, whole or not at all.

    Runs are called run-000001, run-000002, ... in the order of `find_series`, unusable ones included, so that a run's key
    does not depend on whether others can be read. Neither the store nor the manifest beside it (`<store>.manifest.csv`)
    has a name, a date, a path or a UID in it; the manifest tells runs apart by the SHA-256 of their SeriesInstanceUID.

    Args:
        paths: DICOM files and folders.
        store_path: the store's final name.
        progress: called with the number of runs done and of all runs.

    Raises:
        InputError: no run at all, or none that can be used.
    """
    found = find_series(paths)
    rows, left_out = [], []
    path = Path(store_path)
    manifest = path.with_name(f"{path.stem}.manifest.csv")
    with store.replacing(path) as partial, store.replacing(manifest) as partial_manifest:
        with store.create(partial) as file:
            for index, files in enumerate(found, 1):
                row, reason = _add(file, f"run-{index:06d}", files)
                rows.append(row)
                if reason:
                    left_out.append((files.name, reason))
                if progress is not None:
                    progress(index, len(found))
        _write_manifest(partial_manifest, rows)
        if len(left_out) == len(found):
            raise InputError(
                f"{path}: expected at least one usable run among {len(found)}, found none; the first: {left_out[0][1]}"
            )
    return PrepareReport(len(found) - len(left_out), tuple(left_out), manifest)


def _add(file: Any, key: str, files: SeriesFiles) -> tuple[dict[str, Any], str]:
    """Return a run's line of the manifest and, if it cannot be used, why."""
    line = {"key": key, "series_sha256": hashlib.sha256(files.uid.encode()).hexdigest() if files.uid else ""}
    try:
        series = read_series(files)
    except InputError as error:
        return line | {"left_out": _anonymous(str(error), files)}, str(error)
    store.append(
        file,
        key,
        store.StoredRun(
            series.frames,
            series.relation,
            series.bits_stored,
            background=series.background_numbers,
            frame_time=series.frame_time,
        ),
    )
    return line | _properties(series), ""


def _properties(series: Series) -> dict[str, Any]:
    frames, rows, columns = series.frames.shape
    return {
        "frames": frames,
        "rows": rows,
        "columns": columns,
        "relation": series.relation,
        "bits_stored": series.bits_stored,
        "background": " ".join(map(str, series.background_numbers)),
    }


def _anonymous(reason: str, files: SeriesFiles) -> str:
    """Return an error text without file names, which archives often make of patients' names."""
    for path in files.paths:
        reason = reason.replace(str(path), "file").replace(path.name, "file")
    return reason


def _write_manifest(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
