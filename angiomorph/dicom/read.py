"""Reading a run: multi-frame or single frames, any transfer syntax, as unsigned integers with iodine dark."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.checks import check_frame_count, check_header, check_uniform, declared_frames
from angiomorph.dicom.find import find_run
from angiomorph.dicom.header import Header, functional, label, number, read_header, text, values
from angiomorph.dicom.pixels import decode
from angiomorph.dicom.series import Series, SeriesFiles
from angiomorph.dicom.shutter import exposed
from angiomorph.dicom.timing import frame_times
from angiomorph.errors import InputError

RELATIONS = ("LIN", "LOG", "DISP")
PIXEL_KEYWORDS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")

AnyPath = str | os.PathLike[str]


def read_series(source: AnyPath | Sequence[AnyPath] | SeriesFiles) -> Series:
    """Read one run.

    Args:
        source: a multi-frame file, a folder, zip or gz that holds one run, the single-frame files of a run, or what
            `find_series` found.

    Returns:
        the run, frames in the order they were taken, all headers, and warnings.

    Raises:
        InputError: what is wrong with which file, and what to do: not DICOM, no pixels, no angiogram, colour, signed,
            truncated, already subtracted, a moving C-arm, a single frame, frames of several sizes or runs, a decoder
            that is not installed, several runs in the folder.

    Source: DICOM PS3.3 C.7.6.3, C.7.6.10, C.8.7.1; polarity by PixelIntensityRelationshipSign (C.8.11.3.1.2), else by
    PhotometricInterpretation.
    """
    return _files(source).read(_read)


def _read(files: SeriesFiles) -> Series:
    headers = [read_header(path) for path in files.paths]
    for header in headers:
        check_header(header)
    if len(headers) > 1:
        check_uniform(headers)
    count = declared_frames(headers)
    check_frame_count(files.paths[0], count)
    first = headers[0].dataset
    bits, relation = int(first.BitsStored), _relation(first)
    numbers = _background_numbers(first, count) if len(headers) == 1 else ()
    return Series(
        frames=_decode(headers, count, inverted=_inverted(first)),
        relation=relation or "DISP",
        bits_stored=bits,
        frame_times=frame_times([header.dataset for header in headers], count),
        background_numbers=numbers,
        name=files.name,
        shutter=exposed(first, int(first.Rows), int(first.Columns)),
        headers=tuple(_without_pixels(header.dataset) for header in headers),
        warnings=tuple(_warnings(headers, relation, numbers)),
    )


def _files(source: AnyPath | Sequence[AnyPath] | SeriesFiles) -> SeriesFiles:
    if isinstance(source, SeriesFiles):
        return source
    paths = [Path(source)] if isinstance(source, str | os.PathLike) else [Path(path) for path in source]
    if not paths:
        raise InputError("expected the files of a run, got none; give a DICOM file or a folder")
    return find_run(paths)


def _relation(dataset: Dataset) -> str | None:
    framed = functional(dataset, "FramePixelDataPropertiesSequence", "PixelIntensityRelationship")
    found = str(framed[0]) if framed else text(dataset, "PixelIntensityRelationship")
    return found if found in RELATIONS else None


def _inverted(dataset: Dataset) -> bool:
    """Return whether iodine has high stored values: lower values mean more X-ray intensity."""
    framed = functional(dataset, "FramePixelDataPropertiesSequence", "PixelIntensityRelationshipSign")
    sign = float(framed[0]) if framed else number(dataset, "PixelIntensityRelationshipSign")
    return sign < 0 if sign else text(dataset, "PhotometricInterpretation") == "MONOCHROME1"


def _background_numbers(dataset: Dataset, count: int) -> tuple[int, ...]:
    for item in values(dataset, "MaskSubtractionSequence"):
        if text(item, "MaskOperation") == "AVG_SUB":
            return tuple(int(frame) for frame in values(item, "MaskFrameNumbers") if 1 <= frame <= count)
    return ()


def _decode(headers: list[Header], count: int, *, inverted: bool) -> np.ndarray:
    first = headers[0].dataset
    dtype = np.uint8 if first.BitsAllocated == 8 else np.uint16
    frames = np.empty((count, first.Rows, first.Columns), dtype)
    for target, decoded in zip(frames, (frame for header in headers for frame in decode(header)), strict=True):
        target[:] = decoded
    return dtype((1 << first.BitsStored) - 1) - frames if inverted else frames


def _without_pixels(dataset: Dataset) -> Dataset:
    for keyword in ("PixelData", *PIXEL_KEYWORDS):
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _warnings(headers: list[Header], relation: str | None, numbers: tuple[int, ...]) -> list[str]:
    first, path = headers[0].dataset, headers[0].path
    found = []
    if relation is None:
        found.append(
            f"{path}: {label('PixelIntensityRelationship')} is none of {', '.join(RELATIONS)}; "
            "taken as DISP, subtracted linearly"
        )
    if _inverted(first):
        found.append(f"{path}: stored with iodine bright; inverted, so that iodine is dark")
    if text(first, "BurnedInAnnotation") == "YES":
        found.append(f"{path}: {label('BurnedInAnnotation')} YES: burnt-in text is warped like anatomy")
    if not numbers and any(text(item, "MaskOperation") == "AVG_SUB" for item in values(first, "MaskSubtractionSequence")):
        found.append(f"{path}: {label('MaskFrameNumbers')} names no frame of this run; left out")
    return found
