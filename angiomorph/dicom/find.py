"""Finding the runs in files, folders and trees by their headers alone."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydicom import Dataset

from angiomorph.dicom.attributes import items, number, text
from angiomorph.dicom.header import frame_count, is_angiogram, read_header
from angiomorph.dicom.save import PROGRAM
from angiomorph.dicom.series import SeriesFiles
from angiomorph.errors import InputError

KEYWORDS = (
    "SOPClassUID",
    "Modality",
    "NumberOfFrames",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ContributingEquipmentSequence",
)
ENDING = re.compile(r"\.[A-Za-z]\w*$")  # not the last number of a UID
Group = tuple[str, int, int, str]


def find_series(paths: Iterable[str | os.PathLike[str]], progress: Callable[[int], None] | None = None) -> list[SeriesFiles]:
    """Find every run in files, folders and trees, reading headers only.

    A multi-frame file is a run. Single-frame files of one folder are a run if they share SeriesInstanceUID and
    AcquisitionNumber. A file given by itself is always returned, so that reading it says what is wrong with it; in a
    tree, what is no angiogram, and this program's own subtracted runs, are passed over.

    Args:
        paths: files and folders.
        progress: called for each file with the number of files looked at.

    Returns:
        the runs in the order of `paths`, within a folder sorted by path; `(folder, name)` is distinct for each.

    Raises:
        InputError: a path that does not exist, or a folder without any run.
    """
    given = list(dict.fromkeys(Path(path) for path in paths))
    folders = [path for path in given if path.is_dir()]
    looked = _counting(progress)
    alone = [path for path in given if not path.is_dir() and _existing(path)]
    runs = list(_in_folder(alone, Path(), looked, by_itself=True))
    for folder in folders:
        root = Path(folder.resolve().name) if len(folders) > 1 else Path()
        found = list(_in_tree(folder, root, looked))
        if not found:
            raise InputError(
                f"{folder}: expected XA runs in this folder, found none; give a folder that has DICOM files of them"
            )
        runs += found
    return _distinct(runs)


def name_of(path: Path) -> str:
    """Return a file's name without ending, or a folder's name."""
    return path.resolve().name if path.is_dir() else ENDING.sub("", path.name) or path.name


def _existing(path: Path) -> bool:
    if not path.exists():
        raise InputError(f"{path}: expected a DICOM file or a folder of them, found nothing there; check the path")
    return True


def _counting(progress: Callable[[int], None] | None) -> Callable[[], None]:
    count = itertools.count(1)
    return lambda: None if progress is None else progress(next(count))


def _in_tree(root: Path, folder: Path, looked: Callable[[], None]) -> Iterator[SeriesFiles]:
    for place, subfolders, names in os.walk(root):
        subfolders.sort()
        files = [path for name in sorted(names) if (path := Path(place, name)).is_file()]
        yield from _in_folder(files, folder / Path(place).relative_to(root), looked, by_itself=False)


def _in_folder(files: list[Path], folder: Path, looked: Callable[[], None], *, by_itself: bool) -> Iterator[SeriesFiles]:
    frames: dict[Group, list[tuple[float, Path]]] = {}
    for path in files:
        looked()
        try:
            dataset = read_header(path, KEYWORDS).dataset
        except InputError:
            if by_itself or is_marked(path):
                yield SeriesFiles(name_of(path), (path,), folder)
            continue
        if not by_itself and (not is_angiogram(dataset) or _own(dataset)):
            continue
        if frame_count(dataset) > 1 or not is_angiogram(dataset):
            yield SeriesFiles(name_of(path), (path,), folder, text(dataset, "SeriesInstanceUID"))
        else:
            frames.setdefault(_group(dataset, path), []).append((number(dataset, "InstanceNumber") or 0, path))
    for (*_, uid), members in sorted(frames.items()):
        run = tuple(path for _, path in sorted(members))
        yield SeriesFiles(name_of(run[0].parent if len(run) > 1 else run[0]), run, folder, uid)


def _group(dataset: Dataset, path: Path) -> Group:
    series, acquisition = (int(number(dataset, keyword) or 0) for keyword in ("SeriesNumber", "AcquisitionNumber"))
    return str(path.parent), series, acquisition, text(dataset, "SeriesInstanceUID")


def _own(dataset: Dataset) -> bool:
    return any(
        text(item, "ManufacturerModelName") == PROGRAM.upper() for item in items(dataset, "ContributingEquipmentSequence")
    )


def is_marked(path: Path) -> bool:
    """Return whether a file has DICOM's mark at byte 128, or cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True  # what cannot be opened may be a run: let reading it say so


def _distinct(runs: list[SeriesFiles]) -> list[SeriesFiles]:
    taken: set[tuple[str, str]] = set()
    distinct = []
    for run in runs:
        folder, name, count = str(run.folder).casefold(), run.name, 1
        while (folder, name.casefold()) in taken:
            count += 1
            name = f"{run.name}-{count}"
        taken.add((folder, name.casefold()))
        distinct.append(replace(run, name=name))
    return distinct
