"""What enhanced objects say of each frame: its place, its pixels, and the order in which the frames were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.tag import Tag

from angiomorph.dicom.attributes import frame_items, items, label, number, numbers, text, value
from angiomorph.dicom.header import ENHANCED_CLASSES, Header, sop_class
from angiomorph.dicom.timing import FRAME_CLOCKS, read_clock
from angiomorph.errors import InputError

PLACES: Mapping[str, Mapping[str, float]] = {  # where each frame was taken, and by how much what rests may tremble
    "PositionerPositionSequence": {"PositionerPrimaryAngle": 1.0, "PositionerSecondaryAngle": 1.0},  # degrees
    "TablePositionSequence": {  # mm
        "TableTopVerticalPosition": 1.0,
        "TableTopLongitudinalPosition": 1.0,
        "TableTopLateralPosition": 1.0,
    },
}
PIXEL_MEANINGS = ("PixelIntensityRelationship", "PixelIntensityRelationshipSign")
TEMPORAL = "TemporalPositionIndex"
LEAST_SURE = "FrameAcquisitionNumber"  # of gatherings of data, which some count from frame to frame
DIMENSION = "DimensionIndexValues"
TIMES = (*FRAME_CLOCKS, TEMPORAL, LEAST_SURE)  # what a dimension that is one of time points to
ALREADY = {"TO_LOG": "LOG", "TO_LINEAR": "LIN"}  # what values are that such a table leaves as they are
FOLLOWS = 0.99  # correlation; of numbers and their logarithm it is 0.87


def is_part(dataset: Dataset) -> bool:
    """Return whether a file is a part of a concatenation."""
    return sop_class(dataset) in ENHANCED_CLASSES and bool(text(dataset, "ConcatenationUID"))


def join_parts(headers: Sequence[Header], counts: Sequence[int]) -> tuple[Dataset, list[str]]:
    """Return the header of a concatenation, which is that of its first part with the groups of all frames.

    Args:
        headers: headers of all parts, by InConcatenationNumber.
        counts: number of frames of each part.

    Returns:
        the first part's data set, changed in place; one line for each thing to be told.

    Raises:
        InputError: a part is not there, or has another number of frames than the next one's offset says.

    Source: DICOM PS3.3 C.7.6.16.2.2.4 (concatenations).
    """
    first, name = headers[0], label("InConcatenationNumber")
    found = [number(header.dataset, "InConcatenationNumber") for header in headers]
    totals = [total for header in headers if (total := number(header.dataset, "InConcatenationTotalNumber"))]
    total = int(max(totals, default=len(headers)))
    if total != len(headers) or found != list(range(1, len(headers) + 1)):
        parts = ", ".join("none" if part is None else f"{part:g}" for part in found)
        raise InputError(
            f"{first.path}: expected all parts of a concatenation, {name} 1 to {total if totals else max(total, 2)}, found "
            f"{parts}; give a folder that has all files of the run, each once"
        )
    for header, start in zip(headers, np.cumsum([0, *counts]), strict=False):
        offset = number(header.dataset, "ConcatenationFrameOffsetNumber")
        if offset not in (None, start):
            raise InputError(
                f"{header.path}: expected a concatenation's part that begins after {start} frames, found "
                f"{label('ConcatenationFrameOffsetNumber')} {offset:g}; fetch the run again from its archive"
            )
    groups = [group for header in headers for group in items(header.dataset, "PerFrameFunctionalGroupsSequence")]
    if groups:
        first.dataset.PerFrameFunctionalGroupsSequence = groups
    first.dataset.add_new("NumberOfFrames", "IS", sum(counts))
    unknown = "" if totals else f"; {label('InConcatenationTotalNumber')} is absent, so that more may be missing"
    return first.dataset, [f"{len(headers)} files, the parts of a concatenation, are read as one run{unknown}"]


def check_frames_alike(path: Path, dataset: Dataset) -> None:
    """Refuse a run whose frames were taken at several places, or mean several things by their values.

    Raises:
        InputError: naming the attribute and its range.

    Source: DICOM PS3.3 C.8.19.6.8 (positioner), C.8.19.6.11 (table), C.8.19.6.4 (pixels).
    """
    for macro, places in PLACES.items():
        frames = frame_items(dataset, macro)
        for keyword, tremble in places.items():
            found = [place for item in frames if (place := number(item, keyword)) is not None]
            if found and max(found) - min(found) > tremble:
                raise InputError(
                    f"{path}: expected a resting C-arm and table, found frames of {label(keyword)} {min(found):g} to "
                    f"{max(found):g}. No frame is the background of another; give a run acquired in one position"
                )
    for keyword in PIXEL_MEANINGS:
        meanings = {text(item, keyword) for item in frame_items(dataset, "FramePixelDataPropertiesSequence")} - {""}
        if len(meanings) > 1:
            raise InputError(
                f"{path}: expected one {label(keyword)} in all frames, found {len(meanings)}. Their values are of several "
                "kinds; export the frames of each kind as a run of its own"
            )


def sort_frames(path: Path, dataset: Dataset, count: int) -> tuple[list[int], list[str]]:
    """Put an enhanced object's functional groups in the order in which the frames were taken.

    This order is that of DimensionIndexValues of a dimension of time, TemporalPositionIndex, FrameAcquisitionDateTime and
    FrameReferenceDateTime, which have to agree. FrameAcquisitionNumber counts where none of these tells frames apart.

    Args:
        path: the file's path, for messages.
        dataset: its header, changed in place.
        count: T.

    Returns:
        for each frame its number as stored, from 1; one line to be told where that is another order.

    Raises:
        InputError: these say several orders, or leave one in doubt.

    Source: DICOM PS3.3 C.7.6.16.2.2 (frame content), C.7.6.17 (dimensions).
    """
    columns = _read_columns(dataset, count)
    sure = {keyword: column for keyword, column in columns.items() if len(np.unique(column)) == count}
    by = next(iter(sure), "")
    order = np.argsort(sure[by]) if by else np.arange(count)
    for keyword, column in columns.items():
        earlier = np.flatnonzero(np.diff(column[order]) < 0)
        if len(earlier):
            frame = int(order[earlier[0] + 1]) + 1
            against = f"another order by {label(by)}" if by else "other frames of equal values"
            raise InputError(
                f"{path}: expected frames of one order in time, found frame {frame} to be earlier than the one before it by "
                f"{label(keyword)}, and {against}. Have the archive export the run in order of time"
            )
    stored = [int(index) + 1 for index in order]
    if stored == sorted(stored):
        return stored, []
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    if "FrameTimeVector" in dataset:
        del dataset.FrameTimeVector  # of the stored order
    return stored, [f"frames are put in order of {label(by)} and counted so; frame 1 is stored as {stored[0]}"]


def _read_columns(dataset: Dataset, count: int) -> dict[str, np.ndarray]:
    """Return what orders the frames, the surest first: a `(T,)` array each, of what all frames have and not all the same."""
    contents = frame_items(dataset, "FrameContentSequence")
    if len(contents) != count:
        return {}
    found: dict[str, list[float | None]] = {DIMENSION: _read_dimension(dataset, contents)}
    found[TEMPORAL] = [number(item, TEMPORAL) for item in contents]
    found |= {keyword: [read_clock(item, "", keyword) for item in contents] for keyword in FRAME_CLOCKS}
    columns = _that_differ(found)
    return columns or _that_differ({LEAST_SURE: [number(item, LEAST_SURE) for item in contents]})


def _that_differ(found: Mapping[str, Sequence[float | None]]) -> dict[str, np.ndarray]:
    columns = {keyword: np.array(column, np.float64) for keyword, column in found.items()}
    return {keyword: column for keyword, column in columns.items() if not np.isnan(column).any() and len(np.unique(column)) > 1}


def _read_dimension(dataset: Dataset, contents: Sequence[Dataset]) -> list[float | None]:
    """Return each frame's index in the first dimension that is one of time, or the only one where none is described."""
    pointers = [value(item, "DimensionIndexPointer") for item in items(dataset, "DimensionIndexSequence")]
    tags = [Tag(keyword) for keyword in TIMES]
    places = [index for index, pointer in enumerate(pointers) if pointer in tags]
    indices = [numbers(item, DIMENSION) for item in contents]
    length = len(pointers) or 1
    if (pointers and not places) or any(len(index) != length for index in indices):
        return [None] * len(contents)
    return [index[places[0] if places else 0] for index in indices]


def relation_by_tables(dataset: Dataset) -> str:
    """Return how an enhanced object's values relate to intensity, as its tables to logarithm or intensity show it.

    Returns:
        "LIN" or "LOG"; "" without tables, or if they are neither of straight lines nor of logarithms.

    Source: DICOM PS3.3 C.8.19.6.5 (Pixel Intensity Relationship LUT).
    """
    keyword = "PixelIntensityRelationshipLUTSequence"
    groups = [*items(dataset, "SharedFunctionalGroupsSequence"), *items(dataset, "PerFrameFunctionalGroupsSequence")[:1]]
    for item in (item for group in groups for item in items(group, keyword)):
        function, (stored, table) = text(item, "LUTFunction"), _read_table(item)
        if function not in ALREADY:
            continue
        if _follows(table, stored):
            return ALREADY[function]
        if function == "TO_LOG" and _follows(table[stored > 0], np.log(stored[stored > 0])):
            return "LIN"
        if function == "TO_LINEAR" and _follows(np.log(table[table > 0]), stored[table > 0]):
            return "LOG"
    return ""


def _read_table(item: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return stored values and what a table makes of them; none of a table that is not as it describes itself."""
    descriptor, data = numbers(item, "LUTDescriptor"), value(item, "LUTData")
    if isinstance(data, bytes):
        bits = "<u1" if len(descriptor) == 3 and len(data) == descriptor[0] else "<u2"
        table = np.frombuffer(data[: len(data) // 2 * 2], bits).astype(np.float64)
    else:
        table = np.array(numbers(item, "LUTData"))
    entries = int(descriptor[0]) or 1 << 16 if len(descriptor) == 3 else 0
    if len(table) != entries:
        return np.zeros(0), np.zeros(0)
    return descriptor[1] + np.arange(entries, dtype=np.float64), table


def _follows(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two sets of values lie along a straight line that rises or falls."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return False
    return bool(abs(np.corrcoef(one, other)[0, 1]) > FOLLOWS)
