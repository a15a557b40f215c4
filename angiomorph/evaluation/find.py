"""Runs to evaluate, by names that tell them apart; without TensorFlow, so that a wrong path is refused at once."""

from __future__ import annotations

from pathlib import Path

from angiomorph.dicom import SeriesFiles, find_series
from angiomorph.storage.paths import AnyPaths, list_paths
from angiomorph.storage.store import is_hdf5


def find_runs(paths: AnyPaths) -> dict[str, SeriesFiles]:
    """Return the runs under `paths` by names that tell them apart, simulated or real.

    Raises:
        InputError: a path that is not there, or a folder without runs.
    """
    found = find_series(paths)
    several = {files.name for files in found if sum(other.name == files.name for other in found) > 1}
    return {str(files.folder / files.name) if files.name in several else files.name: files for files in found}


def sort_out(paths: AnyPaths) -> tuple[list[Path], dict[str, SeriesFiles]]:
    """Return the stores among `paths`, and the DICOM runs under all others by name.

    Raises:
        InputError: a path that is not there, or a folder without runs.
    """
    given = list_paths(paths)
    stores = [path for path in given if is_hdf5(path)]
    others = [path for path in given if path not in stores]
    return stores, find_runs(others) if others else {}
