"""Finding the runs in files, folders, trees and archives by their headers alone."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pydicom import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from angiomorph.dicom import grouping
from angiomorph.dicom.archives import ZIP, Unpacked, archive_kind, unpack
from angiomorph.dicom.attributes import items, text, value, values
from angiomorph.dicom.copies import Copy, leave_out_copies, leave_out_repeated_runs, warn_of_copies
from angiomorph.dicom.grouping import ENDING, Frame, Run, describe_frame, group_frames
from angiomorph.dicom.header import XA_CLASSES, is_angiogram, read_header
from angiomorph.dicom.save import PROGRAM
from angiomorph.dicom.series import MaskImage, SeriesFiles
from angiomorph.errors import InputError
from angiomorph.storage.paths import AnyPaths, list_paths

KEYWORDS = (*grouping.KEYWORDS, "ContributingEquipmentSequence")
NO_DICOM = "no DICOM"
OTHER = "DICOM, but no angiogram"
OWN = "subtracted by this program"
COPIES = "copies of files that are taken"
MASKS = "mask frames of runs that are taken"
ARCHIVES = "zip or gz, opened only when given by name"
DIRECTORIES = "DICOMDIR"
ABSENT = "named by a DICOMDIR, but not there"
NO_FILES = "folders or files that cannot be opened"


@dataclass(frozen=True)
class _Place:
    """Files that are looked at together.

    Args:
        files: each with the folder that it counts to.
        folder: folder of their runs' results.
        unpacked: archives that the files come from.
        by_itself: whether they are named one by one, so that all are returned, to say what is wrong with them.
    """

    files: tuple[tuple[Path, str], ...]
    folder: Path = Path()
    unpacked: tuple[Unpacked, ...] = ()
    by_itself: bool = False


def find_series(
    paths: AnyPaths,
    progress: Callable[[int], None] | None = None,
    passed_over: Counter[str] | None = None,
) -> list[SeriesFiles]:
    """Find every run in files, folders, trees and archives, reading headers only.

        >>> [files.name for files in am.find_series(["data/example_run.dcm", "data/sample_single_frames"])]
        ['example_run', 'sample_single_frames']

    A multi-frame file is a run, and so are the parts of a concatenation in one folder. `grouping.group_frames` says which
    single-frame files of one folder are one, and in what order. A file given by itself is always returned, so that reading it
    says what is wrong with it. In a tree, what is no angiogram, and this program's own subtracted runs, are passed over.

    A DICOMDIR stands for the files that it names, a zip or gz for what is in it; those in a tree stay closed. Files that are
    the same image, byte by byte or by SOPInstanceUID, count once.

    Args:
        paths: files, folders and archives, or one of them.
        progress: called for each file with the number of files looked at.
        passed_over: the number of files passed over is added to it, by reason.

    Returns:
        the runs in the order of `paths`, within a folder sorted by path; `(folder, name)` is distinct for each. Those of an
        archive lie in a temporary folder that is removed with the last of them.

    Raises:
        InputError: a path that does not exist, an archive that cannot be unpacked, or a folder or archive without any run.
    """
    looked, passed_over = _count_files(progress), Counter() if passed_over is None else passed_over
    runs: list[Run] = []
    places: list[_Place] = []
    for root, found_in in _list_roots(list(dict.fromkeys(list_paths(paths))), passed_over):
        before, count = passed_over.copy(), len(runs)
        for place in found_in:
            found = _runs_in(place, looked, passed_over)
            runs += found
            places += [place] * len(found)
        if root is not None and len(runs) == count:
            raise InputError(_nothing_in(root, passed_over - before))
    kept, others, copies = leave_out_repeated_runs(runs)
    _add(passed_over, COPIES, len(copies))
    masks = _find_masks(kept, {index for index in kept if places[index].by_itself})
    whole = {image.path for images in masks.values() for image in images if not image.numbers}
    found_files = []
    for index, run in kept.items():
        if not masks[index] and all(frame.path in whole for frame in run.frames):
            _add(passed_over, MASKS, len(run.frames))
            continue
        instead = tuple(_files_of(runs[other], places[other], masks[index]) for other in others.get(index, ()))
        found_files.append(replace(_files_of(run, places[index], masks[index]), instead=instead))
    return make_distinct(found_files)


def _find_masks(runs: Mapping[int, Run], by_themselves: Collection[int]) -> dict[int, tuple[MaskImage, ...]]:
    """Return the other images in which the masks of each run are: among all runs, or beside a file given by itself."""
    known = {frame.instance: frame for run in runs.values() for frame in run.frames}
    found = {}
    for index, run in runs.items():
        frames = dict(run.frames[0].masks)
        beside = _look_beside(run.frames[0].path, frames.keys() - known.keys()) if index in by_themselves else {}
        there = {uid: beside.get(uid) or known.get(uid) for uid in frames}
        found[index] = tuple(
            MaskImage(frame.path, () if len(set(frames[uid])) == frame.count else frames[uid])
            for uid, frame in there.items()
            if frame is not None and frame not in run.frames
        )
    return found


def _look_beside(path: Path, wanted: Collection[str]) -> dict[str, Frame]:
    """Return the images of some SOPInstanceUIDs in a file's folder."""
    if not wanted:
        return {}
    try:
        files = sorted(other for other in path.parent.iterdir() if other != path and other.is_file())
    except OSError:  # a folder that may be entered, but not listed
        return {}
    looked = (_look(other, "", "")[0] for other in files)
    return {frame.instance: frame for frame in looked if frame.instance in wanted}


def _add(passed_over: Counter[str], reason: str, count: int) -> None:
    if count:
        passed_over[reason] += count


def find_run(paths: Sequence[Path]) -> SeriesFiles:
    """Return the one run that a file, folder or archive, or several single-frame files, are.

    Raises:
        InputError: none, or several runs.
    """
    if len(paths) == 1:
        if not (paths[0].is_dir() or archive_kind(paths[0]) or _is_directory(paths[0])):
            run = Run((_look(paths[0], "", "")[0],))
            return SeriesFiles(name_of(paths[0]), (paths[0],), masks=_find_masks({0: run}, {0})[0])
        runs = find_series(paths)
        if len(runs) > 1:
            raise InputError(f"{paths[0]}: expected a folder of one run, found {len(runs)} runs; give one of them")
        return runs[0]
    place = _Place(tuple((path, str(paths[0].parent)) for path in paths), by_itself=True)
    run = _find_only_run(_look_at_all(place, _count_files(None), Counter()))
    return _files_of(run, place, _find_masks({0: run}, {0})[0])


def _find_only_run(frames: list[Frame]) -> Run:
    if frames[0].concatenation and len({frame.concatenation for frame in frames}) == 1:
        return _concatenations([replace(frame, place=frames[0].place) for frame in frames])[0][0]
    several = next((frame for frame in frames if frame.count > 1), None)
    if several is not None:
        raise InputError(
            f"{several.path}: expected one frame in each of several files, found a multi-frame file; give it by itself, "
            "it is a run of its own"
        )
    if any(frame.count == 0 for frame in frames) or len({frame.uid for frame in frames}) > 1:
        return Run(tuple(frames))  # reading says what is wrong with which
    frames, copies = leave_out_copies(frames)
    runs = group_frames(frames)
    if len(runs) > 1:
        raise InputError(
            f"{runs[1].frames[0].path}: expected frames of the run of {runs[0].frames[0].path.name}, found {len(runs)} runs of "
            "one series; give the files of one of them"
        )
    return warn_of_copies(runs[0], copies)


def name_of(path: Path) -> str:
    """Return a file's name without ending, or a folder's name."""
    return path.resolve().name if path.is_dir() else ENDING.sub("", path.name) or path.name


def say_passed_over(passed_over: Counter[str]) -> str:
    """Return how many files were passed over and why, in words; "" for none."""
    if not passed_over:
        return ""
    reasons = "; ".join(f"{reason}: {count}" for reason, count in sorted(passed_over.items()))
    return f"files passed over: {sum(passed_over.values())} ({reasons})"


def _nothing_in(root: Path, passed_over: Counter[str]) -> str:
    found = f"; {say_passed_over(passed_over)}" if passed_over else ""
    remedy = "give the archive by its name" if passed_over[ARCHIVES] else "give a folder that has DICOM files of them"
    return f"{root}: expected XA runs in this folder, found none{found}; {remedy}"


def _list_roots(paths: list[Path], passed_over: Counter[str]) -> Iterator[tuple[Path | None, Iterator[_Place]]]:
    """Yield each folder, DICOMDIR and zip with its places, after all files given by themselves, which have no root."""
    kinds = {path: b"" if path.is_dir() else archive_kind(path) for path in paths if _check_exists(path)}
    roots = [path for path in paths if path.is_dir() or kinds[path] == ZIP or _is_directory(path)]
    alone = [path for path in paths if path not in roots]
    if alone:
        opened = {path: unpack(path) for path in alone if kinds[path]}
        files = tuple((opened[path].path if path in opened else path, str(path.parent)) for path in alone)
        yield None, iter([_Place(files, unpacked=tuple(opened.values()), by_itself=True)])
    for path in roots:
        known = path.parent if _is_directory(path) else path.with_suffix("") if kinds[path] else path
        folder = Path(known.resolve().name) if len(roots) > 1 else Path()
        if path.is_dir():
            yield path, _tree(path, folder, (), passed_over)
        elif kinds[path]:
            unpacked = unpack(path)
            yield path, _tree(unpacked.path, folder, (unpacked,), passed_over)
        else:
            yield path, _list_directory(path, folder, passed_over)


def _check_exists(path: Path) -> bool:
    if not path.exists():
        raise InputError(f"{path}: expected a DICOM file or a folder of them, found nothing there; check the path")
    if not (path.is_dir() or path.is_file()):
        raise InputError(f"{path}: expected a DICOM file or a folder of them, found neither; copy what it gives to a file")
    return True


def _count_files(progress: Callable[[int], None] | None) -> Callable[[], None]:
    count = itertools.count(1)
    return lambda: None if progress is None else progress(next(count))


def _tree(root: Path, folder: Path, unpacked: tuple[Unpacked, ...], passed_over: Counter[str]) -> Iterator[_Place]:
    def closed(_: OSError) -> None:
        passed_over[NO_FILES] += 1

    for place, subfolders, names in os.walk(root, onerror=closed):
        subfolders.sort()
        files = [path for name in sorted(names) if (path := Path(place, name)).is_file()]
        _add(passed_over, NO_FILES, len(names) - len(files))
        yield _Place(tuple((path, place) for path in files), folder / Path(place).relative_to(root), unpacked)


def _is_directory(path: Path) -> bool:
    """Return whether a file is a DICOMDIR, which is called so."""
    if not path.name.upper().startswith("DICOMDIR") or not path.is_file():
        return False
    try:
        return _names_files(read_header(path, ["SOPClassUID"]).dataset)
    except InputError:
        return False


def _names_files(dataset: Dataset) -> bool:
    return bool(value(dataset.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)


def _list_directory(directory: Path, folder: Path, passed_over: Counter[str]) -> Iterator[_Place]:
    """Yield the places of the files that a DICOMDIR names, which never leave its folder."""
    places: dict[Path, list[tuple[Path, str]]] = {}
    for record in values(read_header(directory).dataset, "DirectoryRecordSequence"):
        parts = [str(part) for part in values(record, "ReferencedFileID")]
        if not parts:
            continue
        path = _below(directory.parent, parts)
        if path is None:
            passed_over[ABSENT] += 1
        else:
            places.setdefault(path.parent, []).append((path, str(path.parent)))
    if not places:  # the medium was copied or renamed
        yield from _tree(directory.parent, folder, (), passed_over)
    for place, files in sorted(places.items()):
        yield _Place(tuple(sorted(set(files))), folder / place.relative_to(directory.parent))


def _below(root: Path, parts: Sequence[str]) -> Path | None:
    """Return the file of a name below a folder, letters of either case; None if it is not there or would lie elsewhere."""
    path = root
    for part in parts:
        if part in ("", ".", "..") or PurePosixPath(part).name != part:
            return None
        try:
            if not (path / part).exists():
                part = next(name for name in os.listdir(path) if name.casefold() == part.casefold())
        except (OSError, ValueError, StopIteration):  # also a name that is too long for any file, or has a null in it
            return None
        path /= part
    return path if path.is_file() else None


def _runs_in(place: _Place, looked: Callable[[], None], passed_over: Counter[str]) -> list[Run]:
    frames = _look_at_all(place, looked, passed_over)
    runs, copies = _concatenations(frames)
    _add(passed_over, COPIES, len(copies))
    frames = [frame for frame in frames if not frame.concatenation]
    runs += [Run((frame,)) for frame in frames if frame.count != 1]
    for folder in sorted({frame.place for frame in frames}):
        single, copies = leave_out_copies([frame for frame in frames if frame.count == 1 and frame.place == folder])
        _add(passed_over, COPIES, len(copies))
        runs += [warn_of_copies(run, [each for each in copies if each.of in run.frames]) for run in group_frames(single)]
    return runs


def _concatenations(frames: Sequence[Frame]) -> tuple[list[Run], list[Copy]]:
    """Return the runs that are stored as a concatenation of files, and copies of these."""
    groups: dict[tuple[str, str], list[Frame]] = {}
    for frame in frames:
        if frame.concatenation:
            groups.setdefault((frame.place, frame.concatenation), []).append(frame)
    runs, left_out = [], []
    for _, group in sorted(groups.items()):
        parts, copies = leave_out_copies(group)
        run = Run(tuple(sorted(parts, key=lambda frame: (frame.part or 0, frame.path))))
        runs.append(warn_of_copies(run, copies))
        left_out += copies
    return runs, left_out


def _look_at_all(place: _Place, looked: Callable[[], None], passed_over: Counter[str]) -> list[Frame]:
    frames = []
    for path, folder in place.files:
        looked()
        source = next((unpacked.told(str(path)) for unpacked in place.unpacked if unpacked.holds(path)), "")
        frame, reason = _look(path, folder, source)
        if reason and not place.by_itself:
            passed_over[reason] += 1
        else:
            frames.append(frame)
    return frames


def _look(path: Path, place: str, source: str) -> tuple[Frame, str]:
    """Return what a file's header says, and why the file is passed over in a folder, "" if it is not."""
    dataset = _header(path)
    if dataset is None:
        reason = "" if is_marked(path) else ARCHIVES if archive_kind(path) else NO_DICOM
        return Frame(path, place, source), reason
    frame = describe_frame(path, dataset, place, source)
    if _names_files(dataset):
        return replace(frame, count=0), DIRECTORIES
    if not _is_angiogram(dataset):
        return replace(frame, count=0), OTHER
    return frame, OWN if _is_own(dataset) else ""


def _header(path: Path) -> Dataset | None:
    """Return a file's header, also of a bare data set without DICOM's mark; None if it has none that can be read."""
    try:
        return read_header(path, KEYWORDS).dataset
    except InputError:
        return None


def _is_angiogram(dataset: Dataset) -> bool:
    """Return whether a file is an angiogram, or calls itself one and has pixels, so that reading says what is wrong."""
    return (
        is_angiogram(dataset)
        or value(dataset.file_meta, "MediaStorageSOPClassUID") in XA_CLASSES
        or (text(dataset, "Modality") in ("XA", "RF") and bool(values(dataset, "Rows")))
    )


def _is_own(dataset: Dataset) -> bool:
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


def _files_of(run: Run, place: _Place, masks: tuple[MaskImage, ...]) -> SeriesFiles:
    first = run.frames[0]
    name = name_of(first.path) if len(run.frames) == 1 or first.concatenation else Path(first.place).resolve().name
    paths = tuple(frame.path for frame in run.frames)
    return SeriesFiles(name, paths, place.folder, first.uid, run.warnings, run.refusal, masks=masks, unpacked=place.unpacked)


def make_distinct(runs: list[SeriesFiles]) -> list[SeriesFiles]:
    """Return the runs with names that are distinct within a folder, whatever the case of their letters."""
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
