"""Which single-frame files are one run, and in what order: by what their headers say, refused where they do not say it."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any, TypeVar

from pydicom import Dataset

from angiomorph.dicom.attributes import label, text, values
from angiomorph.dicom.masks import name_other_images
from angiomorph.dicom.read_enhanced import is_part
from angiomorph.dicom.timing import DAY, SECOND, Moment, read_moment
from angiomorph.errors import InputError

KEYWORDS = (
    "SOPClassUID",
    "Modality",
    "Rows",
    "Columns",
    "SOPInstanceUID",
    "NumberOfFrames",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "ImageType",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "PositionerPrimaryAngle",
    "PositionerSecondaryAngle",
    "DistanceSourceToDetector",
    "DistanceSourceToPatient",
    "TableHeight",
    "TableTopVerticalPosition",
    "TableTopLongitudinalPosition",
    "TableTopLateralPosition",
    "IntensifierSize",
    "FieldOfViewDimensions",
    "ImagerPixelSpacing",
    "ConcatenationUID",
    "InConcatenationNumber",
    "ReferencedImageSequence",
    "SourceImageSequence",
    "MaskSubtractionSequence",
)
# What tells when a frame was taken, the surest first; what a date and a time say stands under the time.
CLOCKS = {"AcquisitionDateTime": "", "AcquisitionTime": "AcquisitionDate", "ContentTime": "ContentDate"}
CONTENT = "ContentTime"  # may be the time of an export, and so outvotes nothing
PAUSE = 30 * SECOND  # no run pauses that long
POSITION = {  # by how much a resting C-arm and table may tremble: degrees, mm
    "PositionerPrimaryAngle": 1.0,
    "PositionerSecondaryAngle": 1.0,
    "DistanceSourceToDetector": 10.0,
    "DistanceSourceToPatient": 10.0,
    "TableHeight": 5.0,
    "TableTopVerticalPosition": 5.0,
    "TableTopLongitudinalPosition": 5.0,
    "TableTopLateralPosition": 5.0,
}
FIELD = ("IntensifierSize", "FieldOfViewDimensions", "ImagerPixelSpacing")
KIND = ("ImageType", "PixelIntensityRelationship", "PixelIntensityRelationshipSign")  # two values of the first
PLANES = ("BIPLANE A", "BIPLANE B")
ENDING = re.compile(r"\.[A-Za-z]\w*$")  # not the last number of a UID
COUNTING = 20  # names count if their numbers lie within this many times the number of files
EXPORT = "export the run from the archive again, as one multi-frame file if it can"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a file's header says of the run that it belongs to; None or "" for what is absent or cannot be read.

    Args:
        path: the file.
        place: the folder that it counts to.
        source: the file as its user knows it; "" if that is the path.
        count: number of frames in it; 0 if its header cannot be read, or is not of an angiogram.
        size: Rows and Columns.
        series: values common to all frames of a run: SeriesNumber, SeriesInstanceUID, SOPClassUID.
        uid: SeriesInstanceUID.
        instance: SOPInstanceUID.
        number: InstanceNumber.
        temporal: TemporalPositionIndex or TemporalPositionIdentifier.
        acquisition: AcquisitionNumber.
        moments: by the keywords of `CLOCKS`.
        plane: ImageType's third value if it is "BIPLANE A" or "BIPLANE B".
        positions: by the keywords of `POSITION`.
        field: field of view, as text, by the keywords of `FIELD`.
        kind: values that make pixels comparable, by the keywords of `KIND`.
        concatenation: ConcatenationUID of a part of one; "" of all other files.
        part: InConcatenationNumber.
        masks: other images that it names for mask frames, see `masks.name_other_images`.
    """

    path: Path
    place: str = ""
    source: str = ""
    count: int = 0
    size: tuple[int | None, int | None] = (None, None)
    series: tuple[int, str, str] = (0, "", "")
    uid: str = ""
    instance: str = ""
    number: int | None = None
    temporal: int | None = None
    acquisition: int | None = None
    moments: tuple[Moment | None, ...] = (None,) * len(CLOCKS)
    plane: str = ""
    positions: tuple[float | None, ...] = (None,) * len(POSITION)
    field: tuple[str, ...] = ("",) * len(FIELD)
    kind: tuple[str, ...] = ("",) * len(KIND)
    concatenation: str = ""
    part: int | None = None
    masks: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def shown(self) -> str:
        """Return the file as its user knows it."""
        return self.source or str(self.path)


@dataclass(frozen=True)
class Run:
    """Files of one run, in the order in which they were taken.

    Args:
        frames: one or more.
        warnings: warnings about the choice of these files and their order.
        refusal: why they cannot be one run in one order; "" if they can.
    """

    frames: tuple[Frame, ...]
    warnings: tuple[str, ...] = ()
    refusal: str = ""


def finite(dataset: Dataset, keyword: str) -> float | None:
    """Return an attribute's one value as a finite number, or None where it has none."""
    found = values(dataset, keyword)
    try:
        read = float(found[0]) if len(found) == 1 else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return an attribute's one value as a whole number, or None where it has none."""
    read = finite(dataset, keyword)
    return None if read is None else int(read)


def describe_frame(path: Path, dataset: Dataset, place: str, source: str) -> Frame:
    """Return what a header says of the run that its file belongs to.

    Args:
        path: the file.
        dataset: its header, with the attributes of `KEYWORDS` at least.
        place: see `Frame`.
        source: see `Frame`.
    """
    # Archives have millions of files, most of which say the same: interned, it is kept once.
    kinds, uid = text(dataset, "ImageType").split("\\"), intern(text(dataset, "SeriesInstanceUID"))
    temporal = whole(dataset, "TemporalPositionIndex")
    return Frame(
        path=path,
        place=intern(place),
        source=source,
        count=whole(dataset, "NumberOfFrames") or 1,
        size=(whole(dataset, "Rows"), whole(dataset, "Columns")),
        series=(whole(dataset, "SeriesNumber") or 0, uid, intern(text(dataset, "SOPClassUID"))),
        uid=uid,
        instance=text(dataset, "SOPInstanceUID"),
        number=whole(dataset, "InstanceNumber"),
        temporal=whole(dataset, "TemporalPositionIdentifier") if temporal is None else temporal,
        acquisition=whole(dataset, "AcquisitionNumber"),
        moments=tuple(read_moment(dataset, date_keyword, keyword) for keyword, date_keyword in CLOCKS.items()),
        plane=intern(kinds[2]) if len(kinds) > 2 and kinds[2] in PLANES else "",
        positions=tuple(finite(dataset, keyword) for keyword in POSITION),
        field=tuple(intern(_write_numbers(dataset, keyword)) for keyword in FIELD),
        kind=tuple(map(intern, ("\\".join(kinds[:2]), *(text(dataset, keyword) for keyword in KIND[1:])))),
        concatenation=intern(text(dataset, "ConcatenationUID")) if is_part(dataset) else "",
        part=whole(dataset, "InConcatenationNumber"),
        masks=tuple(name_other_images(dataset).items()),
    )


def find_difference(frame: Frame, other: Frame) -> str:
    """Return what tells that two files were not taken alike, an attribute with both values; "" where nothing does."""
    if frame.size != other.size:
        return f"Rows and Columns {other.size} beside {frame.size}"
    for keyword, tremble, here, there in zip(POSITION, POSITION.values(), frame.positions, other.positions, strict=True):
        if here is not None and there is not None and abs(here - there) > tremble:
            return f"{label(keyword)} {there:g} beside {here:g}"
    for keyword, field, others in zip(FIELD, frame.field, other.field, strict=True):
        if field and others and field != others:
            return f"{label(keyword)} {others} beside {field}"
    return f"{other.plane} beside {frame.plane}" if frame.plane and other.plane and frame.plane != other.plane else ""


def _write_numbers(dataset: Dataset, keyword: str) -> str:
    """Return numbers as text that is the same however they were written; "" where they are none."""
    try:
        return "\\".join(f"{float(found):g}" for found in values(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return ""


def group_frames(frames: Iterable[Frame]) -> list[Run]:
    """Group single-frame files of one folder into runs, each in the order in which it was taken.

    A run's frames have one series, plane of a biplane system, AcquisitionNumber, position of C-arm and table, and field of
    view. No pause of 30 s lies between them. AcquisitionNumber counts only where it separates runs: where it changes from frame
    to frame, the times must say that there is one run.

    Acquisition time, content time, temporal position and InstanceNumber decide their order, as far as these agree. Where
    nothing else says it, numbers in the file names do, with a warning. Frames that the headers leave in doubt are returned as
    one run with a refusal.

    Args:
        frames: without copies.
    """
    runs = []
    for _, group in _group_by(sorted(frames, key=lambda frame: frame.path), lambda frame: frame.series):
        found = _split(group, list(SPLITS))
        numbers = [frame.number for frame in group if frame.number is not None]
        known = set(numbers) if len(set(numbers)) == len(numbers) else set()  # of runs that each count from 1
        runs += [replace(run, warnings=(*run.warnings, *_find_missing(run, known))) for run in found]
    return runs


def _split(frames: list[Frame], splits: list[Split]) -> list[Run]:
    if not splits:
        return [_order(frames)]
    try:
        parts = splits[0](frames)
    except InputError as error:
        return [Run(tuple(frames), refusal=str(error))]
    runs = [run for part in parts for run in _split(part, splits[1:])]
    return runs if len(parts) == 1 else [_say_apart(run, REASONS[splits[0]], len(frames)) for run in runs]


def _say_apart(run: Run, reason: str, count: int) -> Run:
    """Return a run with a warning of what tells it apart from others of its series, which refuses it if it is one frame."""
    path, others = run.frames[0].path, count - len(run.frames)
    if len(run.frames) == 1:
        refusal = f"{path}: expected a run, found one frame, told apart from {others} others of its series by {reason}"
        return run if run.refusal else replace(run, refusal=f"{refusal}; export the run's other frames too, or leave it out")
    if reason == REASONS[_by_acquisition]:
        return run  # as everybody expects it
    return replace(run, warnings=(f"{path}: told apart from {others} other frames of its series by {reason}", *run.warnings))


def _by_plane(frames: list[Frame]) -> list[list[Frame]]:
    return [group for _, group in _group_by(frames, lambda frame: frame.plane)]


def _by_acquisition(frames: list[Frame]) -> list[list[Frame]]:
    parts = [group for _, group in _group_by(frames, lambda frame: -1 if frame.acquisition is None else frame.acquisition)]
    if _separates(parts):
        return parts
    if _clock(frames, of_acquisition=True) is None:
        raise InputError(
            f"{frames[0].path}: expected one {label('AcquisitionNumber')} in the frames of a run, found {len(parts)} in "
            f"{len(frames)} frames and no {label('AcquisitionTime')} that says whether they are one run; {EXPORT}"
        )
    return [frames]


def _by_position(frames: list[Frame]) -> list[list[Frame]]:
    labels = [
        _clusters([frame.positions[index] for frame in frames], tolerance) for index, tolerance in enumerate(POSITION.values())
    ]
    fields = [_number_texts([frame.field[index] for frame in frames]) for index in range(len(FIELD))]
    where = dict(zip(frames, zip(*labels, *fields, strict=True), strict=True))
    parts = [group for _, group in _group_by(frames, where.__getitem__)]
    drifting = [index for index, keyword in enumerate(POSITION) if _drifts(frames, labels[index], index, POSITION[keyword])]
    if drifting or not _separates(parts):
        moving = drifting or [index for index, column in enumerate(labels) if len(set(column)) > 1]
        raise InputError(_say_motion(frames, moving[0] if moving else None))
    return parts


def _say_motion(frames: list[Frame], index: int | None) -> str:
    if index is None:
        found = f"{label(FIELD[0])} or {label(FIELD[-1])} that changes from frame to frame"
    else:
        known = [position for frame in frames if (position := frame.positions[index]) is not None]
        found = f"{label(list(POSITION)[index])} from {min(known):g} to {max(known):g}"
    return (
        f"{frames[0].path}: expected frames of a resting C-arm and table, found {len(frames)} frames with {found}: no frame is "
        "the background of another; give a run acquired in one position"
    )


def _clusters(found: list[float | None], tolerance: float) -> list[int]:
    """Return a number for each value, the same for values that steps no larger than the tolerance connect; -1 for None."""
    known = sorted({position for position in found if position is not None})
    label_of = dict(
        zip(known, itertools.accumulate((b - a > tolerance for a, b in itertools.pairwise(known)), initial=0), strict=False)
    )
    absent = -1 if len(set(label_of.values())) > 1 else 0  # a frame that does not say is where all others are
    return [absent if position is None else label_of[position] for position in found]


def _number_texts(found: list[str]) -> list[int]:
    """Return a number for each text, the same for equal ones; "" has that of all others if they are equal."""
    known = sorted(set(found) - {""})
    return [known.index(one) if one else -1 if len(known) > 1 else 0 for one in found]


def _drifts(frames: list[Frame], labels: list[int], index: int, tolerance: float) -> bool:
    """Return whether steps within the tolerance lead far away: a slow rotation."""
    for number in set(labels) - {-1}:
        known = [
            position
            for frame, own in zip(frames, labels, strict=True)
            if own == number and (position := frame.positions[index]) is not None
        ]
        if known and max(known) - min(known) > 3 * tolerance:
            return True
    return False


def _by_pause(frames: list[Frame]) -> list[list[Frame]]:
    clock = _clock(frames)
    if clock is None:
        return [frames]
    taken = sorted(zip(clock, range(len(frames)), strict=True))
    parts = [[frames[taken[0][1]]]]
    for (before, _), (now, index) in itertools.pairwise(taken):
        if now - before >= PAUSE:
            parts.append([])
        parts[-1].append(frames[index])
    if not _separates(parts):
        raise InputError(
            f"{frames[0].path}: expected frames of one run, found {len(frames)} frames of which most are "
            f"{PAUSE // SECOND} s or more from the next. These are exposures of their own; give the frames of a run"
        )
    return parts


Split = Callable[[list[Frame]], list[list[Frame]]]
REASONS: dict[Split, str] = {
    _by_plane: label("ImageType"),
    _by_acquisition: label("AcquisitionNumber"),
    _by_position: "the position of C-arm or table, or the field of view",
    _by_pause: f"a pause of {PAUSE // SECOND} s or more",
}
SPLITS = tuple(REASONS)


def _separates(parts: list[list[Frame]]) -> bool:
    """Return whether most frames have others beside them, or there is nothing to separate."""
    alone = sum(len(part) == 1 for part in parts)
    return len(parts) == 1 or 2 * alone < sum(map(len, parts))


def _group_by(frames: Iterable[Item], key: Callable[[Item], Any]) -> list[tuple[Hashable, list[Item]]]:
    groups: dict[Any, list[Item]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return sorted(groups.items())


def _clock(frames: list[Frame], *, of_acquisition: bool = False) -> list[int] | None:
    """Return when the frames were taken by the surest clock that all have and that tells them apart, microseconds."""
    clocks = [keyword for keyword in CLOCKS if not (of_acquisition and keyword == CONTENT)]
    return next((column for keyword in clocks if (column := _ticks(frames, keyword)) and len(set(column)) > 1), None)


def _ticks(frames: list[Frame], keyword: str) -> list[int] | None:
    index = list(CLOCKS).index(keyword)
    moments = [moment for frame in frames if (moment := frame.moments[index]) is not None]
    dated = [day * DAY + time for day, time in moments if day is not None]
    if len(moments) < len(frames) or len(dated) not in (0, len(frames)):
        return None
    if dated:
        return dated
    times = [time for _, time in moments]
    if max(times) - min(times) > DAY // 2:  # over midnight
        return [time + DAY if time < DAY // 2 else time for time in times]
    return times


def _order(frames: list[Frame]) -> Run:
    """Return the frames in the order in which they were taken, or refuse them."""
    if len(frames) == 1:
        return Run(tuple(frames))
    try:
        _check_kind(frames)
        return _sort(frames)
    except InputError as error:
        return Run(tuple(frames), refusal=str(error))


def _check_kind(frames: list[Frame]) -> None:
    for index, keyword in enumerate(KIND):
        said = [frame for frame in frames if frame.kind[index]]
        other = next((frame for frame in said if frame.kind[index] != said[0].kind[index]), None)
        if other is not None:
            raise InputError(
                f"{other.path}: expected the {label(keyword)} of {said[0].path.name}, {said[0].kind[index]}, found "
                f"{other.kind[index]}: pixels of another kind; give the files of one kind by name"
            )


def _sort(frames: list[Frame]) -> Run:
    columns = _columns(frames)
    agreed: dict[str, list[int]] = {}
    against: list[str] = []
    for keyword, column in columns.items():
        if all(_agree(column, other) for other in agreed.values()):
            agreed[keyword] = column
        else:
            against.append(keyword)
    warnings = [_weigh_contradiction(frames, agreed, against)] if against else []
    _check_planes(frames, columns)
    rank: list[tuple[int, ...]] = list(zip(*agreed.values(), strict=True)) if agreed else [()] * len(frames)
    if max(Counter(rank).values()) > 1:
        names = _count_names(frames)
        if "InstanceNumber" in agreed or names is None or not all(_agree(names, column) for column in agreed.values()):
            raise InputError(_say_tie(frames, rank))
        rank = [(*found, name) for found, name in zip(rank, names, strict=True)]
        warnings.append(
            f"{frames[0].path}: {len(frames)} frames ordered by the numbers in their file names, as their headers do not tell"
        )
    if len({frame.acquisition for frame in frames}) > 1:
        warnings.append(
            f"{frames[0].path}: {label('AcquisitionNumber')} changes from frame to frame; taken as one run, as the times go on"
        )
    order = sorted(range(len(frames)), key=rank.__getitem__)
    return Run(tuple(frames[index] for index in order), tuple(warnings))


def _columns(frames: list[Frame]) -> dict[str, list[int]]:
    """Return what orders the frames, the surest first: what all have, and not all the same."""
    found: dict[str, list[int] | None] = {keyword: _ticks(frames, keyword) for keyword in CLOCKS}
    found["TemporalPositionIndex"] = _complete(frame.temporal for frame in frames)
    found["InstanceNumber"] = _complete(frame.number for frame in frames)
    return {keyword: column for keyword, column in found.items() if column and len(set(column)) > 1}


def _complete(column: Iterable[int | None]) -> list[int] | None:
    given = list(column)
    known = [number for number in given if number is not None]
    return known if len(known) == len(given) else None


def _agree(first: Sequence[int], second: Sequence[int]) -> bool:
    """Return whether no two frames have opposite orders; equal values have none."""
    highest = None
    for _, group in itertools.groupby(sorted(zip(first, second, strict=True)), key=lambda pair: pair[0]):
        column = [pair[1] for pair in group]
        if highest is not None and min(column) < highest:
            return False
        highest = max(column) if highest is None else max(highest, *column)
    return True


def _weigh_contradiction(frames: list[Frame], agreed: dict[str, list[int]], against: list[str]) -> str:
    """Return the warning that a time of its own for each frame has outvoted something; refuse if there is none."""
    surest = next(iter(agreed))
    said = f"{label(against[0])} runs against {label(surest)}"
    decides = surest in CLOCKS and surest != CONTENT and len(set(agreed[surest])) == len(frames)
    if not decides or len(agreed) < len(against):
        raise InputError(f"{frames[0].path}: expected one order of the {len(frames)} frames of this run, but {said}; {EXPORT}")
    return f"{frames[0].path}: {said}; ordered by {label(surest)}"


def _check_planes(frames: list[Frame], columns: dict[str, list[int]]) -> None:
    """Refuse frames of which as many were taken at each moment of a clock that could tell them apart."""
    for keyword in CLOCKS:
        counts = Counter(columns.get(keyword, ()))
        moments = sorted(counts)
        if len(counts) < 2 or min(counts.values()) < 2 or len(set(counts.values())) > 1:
            continue
        step = min(later - earlier for earlier, later in itertools.pairwise(moments))
        resolution = next(10**power for power in range(12, -1, -1) if all(moment % 10**power == 0 for moment in moments))
        if step < SECOND and step > resolution:
            raise InputError(
                f"{frames[0].path}: expected one frame at a time, found {counts[moments[0]]} at each {label(keyword)} and no "
                f"{label('ImageType')} that names their plane. Give the files of one plane by name"
            )


def _say_tie(frames: list[Frame], rank: list[tuple[int, ...]]) -> str:
    counts = Counter(rank)
    twins = [frame for frame, found in zip(frames, rank, strict=True) if found == max(counts, key=counts.__getitem__)]
    if twins[0].number is not None and twins[0].number == twins[1].number:
        return (
            f"{twins[1].path}: expected an {label('InstanceNumber')} of its own, found {twins[1].number}, which "
            f"{twins[0].path.name} has too, and no time tells them apart; give the files of one run by name"
        )
    return (
        f"{twins[1].path}: expected an {label('InstanceNumber')} or {label('AcquisitionTime')} that orders it and "
        f"{twins[0].path.name}, found none; name the files by their order, 001.dcm, 002.dcm, ..."
    )


def _count_names(frames: list[Frame]) -> list[int] | None:
    """Return the numbers by which the frames' names count, or None if the names differ otherwise."""
    parts = [re.split(r"(\d+)", ENDING.sub("", frame.path.name)) for frame in frames]
    if len({(len(part), *part[::2]) for part in parts}) > 1:
        return None
    columns = [[int(part[index]) for part in parts] for index in range(1, len(parts[0]), 2)]
    counting = [column for column in columns if len(set(column)) > 1]
    if len(counting) != 1 or len(set(counting[0])) < len(frames):
        return None
    return counting[0] if max(counting[0]) - min(counting[0]) < COUNTING * len(frames) else None


def _find_missing(run: Run, known: set[int]) -> list[str]:
    """Return a warning if frame numbers of the run are in no file of its series."""
    own = _complete(frame.number for frame in run.frames)
    if run.refusal or own is None or len(own) < 2:
        return []
    first, last = min(own), max(own)
    missing = last - first + 1 - sum(first <= number <= last for number in known.union(own))
    if not missing:
        return []
    between = f"{label('InstanceNumber')} {first} and {last}"
    return [f"{run.frames[0].path}: missing from this run between {between}: {missing} frame{'s' if missing > 1 else ''}"]
