"""Runs to evaluate, by names that tell them apart; without TensorFlow, so that a wrong path is refused at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from angiomorph.dicom import SeriesFiles, find_series
from angiomorph.storage.store import is_hdf5


def find_runs(paths: Sequence[str | os.PathLike[str]]) -> dict[str, SeriesFiles]:
    """Return the runs under `paths` by names that tell them apart, simulated or real.

    Raises:
        InputError: a path that is not there, or a folder without runs.
    """
    found = find_series(paths)
    several = {files.name for files in found if sum(other.name == files.name for other in found) > 1}
    return {str(files.folder / files.name) if files.name in several else files.name: files for files in found}


def sort_out(paths: Sequence[Path]) -> tuple[list[Path], dict[str, SeriesFiles]]:
    """Return the stores among `paths`, and the DICOM runs under all others by name.

    Raises:
        InputError: a path that is not there, or a folder without runs.
    """
    stores = [path for path in paths if is_hdf5(path)]
    others = [str(path) for path in paths if path not in stores]
    return stores, find_runs(others) if others else {}
