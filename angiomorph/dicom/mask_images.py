"""Mask frames of another image than the run: whether they fit, and how they become frames of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.grouping import describe_frame, find_difference
from angiomorph.dicom.series import MaskImage, Series
from angiomorph.errors import InputError

# What a header says of each frame, or of frames by their numbers: wrong where others stand before them.
OF_FRAME_NUMBERS = (
    "FrameLabelVector",
    "RepresentativeFrameNumber",
    "StartTrim",
    "StopTrim",
    "RWavePointer",
    "PositionerPrimaryAngleIncrement",
    "PositionerSecondaryAngleIncrement",
    "TableVerticalIncrement",
    "TableLateralIncrement",
    "TableLongitudinalIncrement",
)


def choose_frames(series: Series, image: Series, mask: MaskImage) -> Series:
    """Return the mask frames of another image.

    Args:
        series: the run.
        image: all frames of the other image.
        mask: which of them are mask frames.

    Raises:
        InputError: the image has no such frames, or its size, values, or position of C-arm and table are not those of the run.
    """
    own, other = (describe_frame(Path(), each.headers[0], "", "") for each in (series, image))
    difference = find_difference(own, other)
    values = [f"{each.relation} of {each.bits_stored} bits" for each in (image, series)]
    if not difference and values[0] != values[1]:
        difference = f"{values[0]} beside {values[1]}"
    if difference:
        raise InputError(f"{mask.path}: expected frames taken as the run's, found {difference}")
    numbers = mask.numbers or tuple(range(1, len(image.frames) + 1))
    stored = [image.place(frame)[1] for frame in range(1, len(image.frames) + 1)]
    if missing := [number for number in numbers if number not in stored]:
        raise InputError(f"{mask.path}: expected frame {missing[0]} there, found {len(stored)} frames")
    places = tuple((0, number) for number in numbers)
    return replace(image, frames=image.frames[[stored.index(number) for number in numbers]], places=places)


def put_before(series: Series, images: Sequence[Series]) -> Series:
    """Return a run with mask frames before its own, as its background, as far apart in time as its own frames."""
    masks = np.concatenate([image.frames for image in images])
    count = len(masks)
    places = [(index, number) for index, image in enumerate(images) for _, number in image.places]
    own = [series.place(frame) for frame in range(1, len(series.frames) + 1)]
    places += [(index + len(images), number) for index, number in own]
    return replace(
        series,
        frames=np.concatenate([masks, series.frames]),
        frame_times=np.concatenate([series.frame_time * np.arange(count), series.frame_time * count + series.frame_times]),
        background_numbers=tuple(range(1, count + 1)),
        shutter=np.logical_and.reduce([series.shutter, *(image.shutter for image in images)]),
        headers=(_without_frame_numbers(series.headers[0]), *series.headers[1:]),
        files=(*(image.file_headers[0] for image in images), *series.file_headers),
        places=tuple(places),
    )


def _without_frame_numbers(header: Dataset) -> Dataset:
    kept = copy(header)
    for keyword in OF_FRAME_NUMBERS:
        if keyword in kept:
            del kept[keyword]
    return kept
