"""Runs to evaluate, by names that tell them apart; without TensorFlow, so that a wrong path is refused at once."""

from __future__ import annotations

from angiomorph.dicom import SeriesFiles, find_series
from angiomorph.storage.paths import AnyPaths


def find_runs(paths: AnyPaths) -> dict[str, SeriesFiles]:
    """Return the runs under `paths` by names that tell them apart, simulated or real.

    Raises:
        InputError: a path that is not there, or a folder without runs.
    """
    found = find_series(paths)
    several = {files.name for files in found if sum(other.name == files.name for other in found) > 1}
    return {str(files.folder / files.name) if files.name in several else files.name: files for files in found}
