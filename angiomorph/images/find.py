"""Finding runs of images in files, folders and trees, by names and headers alone."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from angiomorph.dicom import SeriesFiles
from angiomorph.dicom.find import is_marked, make_distinct, name_of
from angiomorph.errors import InputError
from angiomorph.images.formats import ENDINGS, STILLS, TIFF, count_pages, ending_of
from angiomorph.storage.paths import AnyPath, AnyPaths, list_paths

OTHER = "no image of a format that is read"


def find_image_runs(paths: AnyPaths, passed_over: Counter[str] | None = None) -> list[SeriesFiles]:
    """Find every run of images.

    A file of several images is a run. Pictures of one ending in one folder are one run, ordered by the numbers in their names
    (2 before 10). So are those that are named one by one. In a tree other files are skipped.

    Args:
        paths: files and folders, or one of them.
        passed_over: the number of files passed over is added to it.

    Returns:
        the runs in the order of `paths`, within a tree sorted by path; `(folder, name)` is distinct for each.

    Raises:
        InputError: a path that is not there, a DICOM file, a file of another format, or a folder without any run.
    """
    passed_over = Counter() if passed_over is None else passed_over
    given = list(dict.fromkeys(list_paths(paths)))
    trees = [path for path in given if path.is_dir()]
    alone = [_check_file(path) for path in given if path not in trees]
    runs = _group_files(alone, Path())
    for tree in trees:
        found = _find_in_tree(tree, Path(tree.resolve().name) if len(trees) > 1 else Path(), passed_over)
        if not found:
            raise InputError(
                f"{tree}: expected images in this folder ({' '.join(ENDINGS)}), found none; of a folder of DICOM leave out "
                "`relation`"
            )
        runs += found
    return make_distinct(runs)


def find_pairs(pairs: Iterable[tuple[AnyPath, AnyPath]]) -> list[SeriesFiles]:
    """Return a run of two frames for each pair (moving, fixed) of image files.

    Raises:
        InputError: a file that is not there, or of another format.
    """
    files = [(_check_file(Path(moving)), _check_file(Path(fixed))) for moving, fixed in pairs]
    return make_distinct([SeriesFiles(name_of(fixed), (moving, fixed)) for moving, fixed in files])


def _check_file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: expected an image file or a folder of them, found nothing there; check the path")
    if not path.is_file():
        raise InputError(f"{path}: expected an image file or a folder of them, found neither; copy what it gives to a file")
    if not ending_of(path):
        remedy = "leave out `relation`: DICOM says its own" if is_marked(path) else "convert it"
        raise InputError(f"{path}: expected an image file ({' '.join(ENDINGS)}), found another ending; {remedy}")
    return path


def _find_in_tree(root: Path, folder: Path, passed_over: Counter[str]) -> list[SeriesFiles]:
    runs = []
    for place, subfolders, names in os.walk(root):
        subfolders.sort()
        files = [Path(place, name) for name in names]
        images = [path for path in files if ending_of(path) and path.is_file() and not path.name.startswith(".")]
        if len(files) > len(images):
            passed_over[OTHER] += len(files) - len(images)
        runs += _group_files(images, folder / Path(place).relative_to(root))
    return runs


def _group_files(files: list[Path], folder: Path) -> list[SeriesFiles]:
    """Return a run for each file of several images, and one for all single images of an ending in a folder."""
    runs = []
    singles: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(files, key=_order):
        if _is_single(path):
            singles.setdefault((path.parent, ending_of(path)), []).append(path)
        else:
            runs.append(SeriesFiles(name_of(path).removesuffix(".nii"), (path,), folder))
    for (place, _), paths in singles.items():
        runs.append(SeriesFiles(place.resolve().name or "run", tuple(paths), folder))
    return runs


def _is_single(path: Path) -> bool:
    """Return whether a file holds one image; not of a TIFF that cannot be opened, so that reading says what is wrong."""
    if ending_of(path) not in TIFF:
        return ending_of(path) in STILLS
    with suppress(InputError):
        return count_pages(path) == 1
    return False


def _order(path: Path) -> tuple[str, list[tuple[int, str]]]:
    """Return what sorts file names by the numbers in them: 2 before 10."""
    return str(path.parent), [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
