"""Files that are the same image twice: copies of a file, and an instance that lies in two folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from angiomorph.dicom.attributes import value
from angiomorph.dicom.grouping import Frame, Run
from angiomorph.dicom.header import UNDEFINED_LENGTH, read_header
from angiomorph.errors import InputError

BLOCK = 1 << 20  # bytes compared at a time
NAMED = 3  # copies that a warning names


@dataclass(frozen=True)
class Copy:
    """A file that is left out.

    Args:
        frame: the file.
        of: the file that is kept.
    """

    frame: Frame
    of: Frame


def leave_out_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[Copy]]:
    """Return one of all files that are the same image, that of the shortest name, and the others.

    Files are one image if they are equal byte by byte. They also are if SOPInstanceUID, InstanceNumber and times agree, and
    pixels agree or are stored in another encoding. Anonymised frames that share a SOPInstanceUID but not these are kept.
    """
    kept: dict[object, list[Frame]] = {}
    copies = []
    for frame in sorted(frames, key=lambda frame: len(frame.path.name)):  # "1.dcm" before "1 (1).dcm"
        others = kept.setdefault(_identity(frame), [])
        original = next((other for other in others if _same_image(other, frame)), None)
        if original is None:
            others.append(frame)
        else:
            copies.append(Copy(frame, original))
    left = {copy.frame.path for copy in copies}
    return [frame for frame in frames if frame.path not in left], copies


def leave_out_repeated_runs(runs: Sequence[Run]) -> tuple[dict[int, Run], dict[int, list[int]], list[Copy]]:
    """Return the runs that stay by their index, the indices of those that each of them stands for, and the files of these.

    Of two runs with the same frames the one with the shorter name stays, or the first one. Of two that have only some in
    common the smaller one is refused, as the same image would count twice.
    """
    owners: dict[object, list[int]] = {}
    for index, run in enumerate(runs):
        for frame in run.frames:
            owners.setdefault(_identity(frame), []).append(index)
    kept, others, copies = dict(enumerate(runs)), dict[int, list[int]](), dict[int, list[Copy]]()
    for index in sorted(
        range(len(runs)), key=lambda index: (len(runs[index].frames), -len(runs[index].frames[0].path.name), -index)
    ):
        run = runs[index]
        for other in sorted({owner for frame in run.frames for owner in owners[_identity(frame)]} - {index}):
            if other not in kept or kept[other].refusal:
                continue
            shared = _match_copies(run, kept[other])
            if len(shared) == len(run.frames):
                others.setdefault(other, []).extend([index, *others.pop(index, [])])
                copies.setdefault(other, []).extend([*shared, *copies.pop(index, [])])
                del kept[index]
                break
            if shared and not run.refusal:
                kept[index] = replace(run, refusal=_say_overlap(run, len(shared)))
                kept[other] = _add_warning(
                    kept[other], f"{len(shared)} of its frames are in the run of {run.frames[0].shown} too, left out there"
                )
                break
    kept = {index: warn_of_copies(run, copies.get(index, [])) for index, run in kept.items()}
    return kept, others, [copy for found in copies.values() for copy in found]


def warn_of_copies(run: Run, copies: Sequence[Copy]) -> Run:
    """Return a run with a warning that names copies of its frames that are left out."""
    if not copies:
        return run
    named = ", ".join(copy.frame.shown for copy in copies[:NAMED])
    named += f" and {len(copies) - NAMED} more" if len(copies) > NAMED else ""
    return _add_warning(run, f"copies of the run's files are left out: {named}")


def _add_warning(run: Run, warning: str) -> Run:
    return replace(run, warnings=(*run.warnings, f"{run.frames[0].path}: {warning}"))


def _say_overlap(run: Run, count: int) -> str:
    return (
        f"{run.frames[0].path}: expected frames of its own, found {count} of {len(run.frames)} in another folder's run too; "
        "give one folder that has all frames of the run"
    )


def _match_copies(run: Run, keeper: Run) -> list[Copy]:
    there: dict[object, list[Frame]] = {}
    for frame in keeper.frames:
        there.setdefault(_identity(frame), []).append(frame)
    pairs = (
        (frame, next((other for other in there.get(_identity(frame), ()) if _same_image(other, frame)), None))
        for frame in run.frames
    )
    return [Copy(frame, other) for frame, other in pairs if other is not None]


def _identity(frame: Frame) -> object:
    """Return what is equal in files that may be the same image."""
    if frame.instance:
        return frame.instance, frame.number, frame.moments, frame.count, frame.size
    try:
        return frame.path.stat().st_size, frame.number, frame.moments
    except OSError:
        return frame.path


def _same_image(first: Frame, second: Frame) -> bool:
    try:
        if first.path.samefile(second.path) or _equal_bytes(first.path, second.path):
            return True
        return bool(first.instance) and _same_pixels(first.path, second.path)
    except (InputError, OSError):
        return False  # what cannot be read says so when it is


def _same_pixels(first: Path, second: Path) -> bool:
    headers = [read_header(path, ["SOPInstanceUID"]) for path in (first, second)]
    offsets = [header.pixel_offset for header in headers]
    syntaxes = {str(value(header.dataset.file_meta, "TransferSyntaxUID")) for header in headers}
    if len(syntaxes) > 1 or offsets[0] is None or offsets[1] is None:
        return True
    lengths = [header.pixel_length for header in headers]
    limit = None if UNDEFINED_LENGTH in lengths else max(lengths)
    return _equal_bytes(first, second, (offsets[0], offsets[1]), limit)


def _equal_bytes(first: Path, second: Path, offsets: tuple[int, int] = (0, 0), limit: int | None = None) -> bool:
    """Return whether two files are equal from an offset each, for `limit` bytes or to their ends."""
    sizes = [path.stat().st_size - offset for path, offset in zip((first, second), offsets, strict=True)]
    lengths = sizes if limit is None else [min(size, limit) for size in sizes]
    if lengths[0] != lengths[1]:
        return False
    with first.open("rb") as one, second.open("rb") as other:
        one.seek(offsets[0])
        other.seek(offsets[1])
        return _equal_rest(one, other, lengths[0])


def _equal_rest(one: BinaryIO, other: BinaryIO, length: int) -> bool:
    for start in range(0, length, BLOCK):
        size = min(BLOCK, length - start)
        if one.read(size) != other.read(size):
            return False
    return True
