"""When each frame was taken."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.attributes import find_numbers, frame_items, label, number, text

NOMINAL_FRAME_TIME = 500.0  # ms, written where nothing tells: XA demands one, and viewers do not play 0
SECOND, DAY = 10**6, 86_400 * 10**6  # microseconds, whole so that differences are exact
CLOCKS = {  # date and time, or both in one
    "AcquisitionDateTime": ("", "AcquisitionDateTime"),
    "AcquisitionTime": ("AcquisitionDate", "AcquisitionTime"),
    "ContentTime": ("ContentDate", "ContentTime"),
}
FRAME_CLOCKS = ("FrameAcquisitionDateTime", "FrameReferenceDateTime")
TIME = re.compile(r"([01]\d|2[0-3]):?([0-5]\d)?:?([0-5]\d|60)?(?:\.(\d{1,6}))?(?:[+-]\d{4})?")
FIRST_DAY = datetime.date(1900, 1, 1).toordinal()

Moment = tuple[int | None, int]  # day and microseconds of it, of which the day may be unknown


def frame_times(headers: Sequence[Dataset], frames: int) -> tuple[np.ndarray, list[str]]:
    """Return when each frame was taken, and what was wrong with what the headers say of it.

    In this order: FrameTimeVector; the clock of single frames or of an enhanced object's frames; FrameTime; CineRate;
    RecommendedDisplayFrameRate; ActualFrameDuration. What is 0, negative, no number, or one short is never taken as it is.

    Args:
        headers: one of a multi-frame file, or one per frame.
        frames: T, at least 1.

    Returns:
        `(T,)` float64, ms since the first frame, all 0 where the headers do not tell; one line for each thing to be told.

    Source: DICOM PS3.3 C.7.6.5.1.1 (FrameTime), C.7.6.5.1.2 (FrameTimeVector: increments, the first 0).
    """
    increments, told = _from_vector(headers[0], frames)
    if increments is None:
        increments = _from_clocks(headers, frames)
    if increments is None:
        increments = _from_rate(headers[0], frames)
    if increments is None:
        unknown = f"nothing tells the time between frames; written as {NOMINAL_FRAME_TIME:g} ms, so that viewers play the run"
        return np.zeros(frames), [*told, unknown]
    return np.concatenate([[0.0], np.cumsum(increments)]), told


def _from_vector(header: Dataset, frames: int) -> tuple[np.ndarray | None, list[str]]:
    """Return the `(T-1,)` increments between frames, ms, and what is wrong with the vector."""
    found = find_numbers(header, "FrameTimeVector")
    if not found.numbers:
        return None, [f"{found.unusable}; passed over"] if found.unusable else []
    name = label("FrameTimeVector")
    short = len(found.numbers) == frames - 1
    # The first value stands for no interval, whatever it is.
    increments = np.asarray(found.numbers if short else found.numbers[1:])
    if len(increments) != frames - 1:
        return None, [f"{name}: expected {frames} numbers, one a frame, found {len(found.numbers)}; passed over"]
    if not np.all(increments > 0):
        return None, [f"{name}: expected increments above 0 ms, found others; passed over"]
    return increments, [
        f"{name}: expected {frames} numbers, found one less; taken as the times between frames"
    ] if short else []


def _from_clocks(headers: Sequence[Dataset], frames: int) -> np.ndarray | None:
    if len(headers) > 1:
        clocks = [[read_clock(header, *keywords) for header in headers] for keywords in CLOCKS.values()]
    else:
        contents = frame_items(headers[0], "FrameContentSequence")
        clocks = [[read_clock(content, "", keyword) for content in contents] for keyword in FRAME_CLOCKS]
    for clock in clocks:
        moments = np.array(clock)
        steps = np.diff(moments)
        if len(moments) and moments.max() < DAY:  # no date tells of midnight
            steps = np.where(steps < -DAY / 2, steps + DAY, steps)
        whole = len(moments) and (moments.max() < DAY or moments.min() >= DAY)  # all have a date, or none has
        if whole and len(steps) == frames - 1 and np.all(steps > 0):
            return np.asarray(steps / (SECOND / 1000))
    return None


def read_clock(dataset: Dataset, date: str, time: str) -> float:
    """Return when an attribute says that something was: microseconds since 1900, or since midnight where there is no date.

    Args:
        dataset: data set that may have the attributes.
        date: keyword of the date; empty where `time` holds both.
        time: keyword of the time.

    Returns:
        whole microseconds; nan if it is no time.
    """
    found = read_moment(dataset, date, time)
    if found is None:
        return float("nan")
    day, of_day = found
    return float(of_day if day is None else (day - FIRST_DAY) * DAY + of_day)


def read_moment(dataset: Dataset, date: str, time: str) -> Moment | None:
    """Return the day (None where it is unknown) and its microseconds, None if it is no time: see `read_clock`."""
    written = text(dataset, time)
    day = text(dataset, date) if date else written[:8]
    found = TIME.fullmatch(written if date else written[8:])
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    fraction = int((found[4] or "").ljust(6, "0"))
    return _read_day(day), ((hours * 60 + minutes) * 60 + seconds) * SECOND + fraction


def _read_day(written: str) -> int | None:
    digits = written.replace(".", "")  # 1994.10.16, as ACR-NEMA writes it
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal()
    except ValueError:
        return None


def _from_rate(header: Dataset, frames: int) -> np.ndarray | None:
    for keyword in ("FrameTime", "CineRate", "RecommendedDisplayFrameRate", "ActualFrameDuration"):
        if found := number(header, keyword):
            time = found if keyword in ("FrameTime", "ActualFrameDuration") else 1000 / found
            return np.full(frames - 1, time)
    return None
