"""Writing some of a run's frames: which these are, and what counts frames beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from angiomorph.dicom.attributes import number, values
from angiomorph.dicom.save import decimal
from angiomorph.dicom.series import Series
from angiomorph.errors import InputError

# A value a frame.
VECTORS = (
    *("FrameLabelVector", "SliceLocationVector", "PageNumberVector", "FramePrimaryAngleVector", "FrameSecondaryAngleVector"),
    *("PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement"),
    *("TableVerticalIncrement", "TableLateralIncrement", "TableLongitudinalIncrement"),
)
NUMBERS_OF_FRAMES = ("RepresentativeFrameNumber", "RWavePointer", "FrameNumbersOfInterest", "StartTrim", "StopTrim")
OF_ALL_FRAMES = ("EffectiveDuration", "RWaveTimeVector")
OF_FRAMES_OF_INTEREST = ("FrameOfInterestDescription", "FrameOfInterestType")  # a value for each of FrameNumbersOfInterest


def check_kept(path: str | os.PathLike[str], series: Series, kept: Sequence[int]) -> list[int]:
    """Return the numbers of the frames to be written, all where none are named.

    Raises:
        InputError: numbers that the run does not have, or that do not rise.
    """
    found, count = [int(frame) for frame in kept] or list(range(1, len(series.frames) + 1)), len(series.frames)
    if found[0] < 1 or found[-1] > count or any(later <= frame for frame, later in pairwise(found)):
        raise InputError(
            f"{path}: expected rising frame numbers of 1 to {count}, got {', '.join(map(str, found[:20]))}; "
            "keep frames of the run"
        )
    return found


def keep_frames(dataset: Dataset, series: Series, kept: Sequence[int]) -> None:
    """Have what counts frames, or has a value for each, follow the frames that are written.

    Args:
        dataset: with the source's attributes; changed in place.
        series: the source.
        kept: numbers of the frames that are written, rising.

    Source: DICOM PS3.3 C.7.6.5 (cine), C.7.6.6 (multi-frame), C.8.7.5 (positioner), C.8.7.4 (table).
    """
    count = len(series.frames)
    if len(kept) == count:
        return
    for keyword in VECTORS:
        if len(found := values(dataset, keyword)) == count:
            dataset.add_new(keyword, dictionary_VR(keyword), [found[frame - 1] for frame in kept])
    places = {frame: index + 1 for index, frame in enumerate(kept)}
    for keyword in NUMBERS_OF_FRAMES:
        _follow(dataset, keyword, places)
    if (delay := number(dataset, "FrameDelay")) is not None:
        dataset.FrameDelay = decimal(delay + float(series.frame_times[kept[0] - 1]))
    for keyword in OF_ALL_FRAMES:
        if keyword in dataset:
            del dataset[keyword]


def _follow(dataset: Dataset, keyword: str, places: dict[int, int]) -> None:
    """Give frame numbers their new values, and leave out those of frames that are not written."""
    found = values(dataset, keyword)
    if not found:
        return
    followed = [places.get(int(frame)) for frame in found]
    left = [place for place in followed if place is not None]
    if keyword == "FrameNumbersOfInterest":
        _follow_interests(dataset, followed)
    if left:
        dataset.add_new(keyword, dictionary_VR(keyword), left)
    else:
        del dataset[keyword]


def _follow_interests(dataset: Dataset, followed: Sequence[int | None]) -> None:
    for keyword in OF_FRAMES_OF_INTEREST:
        found = values(dataset, keyword)
        left = [word for word, place in zip(found, followed, strict=False) if place is not None]
        if keyword in dataset and (not left or len(found) != len(followed)):
            del dataset[keyword]
        elif left:
            dataset.add_new(keyword, dictionary_VR(keyword), left)
