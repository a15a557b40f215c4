"""Reading a run: multi-frame or single frames, any transfer syntax, as unsigned integers with iodine dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.attributes import find_unusable, functional, label, number, text
from angiomorph.dicom.checks import check_frame_count, check_header, check_uniform, subtraction_evidence
from angiomorph.dicom.find import find_run, name_of
from angiomorph.dicom.header import Header, is_unsaid_capture, read_header
from angiomorph.dicom.mask_images import choose_frames, put_before
from angiomorph.dicom.masks import find_masks, name_other_images
from angiomorph.dicom.pixels import Layout, Pixels, decode, decode_frame, find_pixels, is_plain
from angiomorph.dicom.read_enhanced import check_frames_alike, is_part, join_parts, relation_by_tables, sort_frames
from angiomorph.dicom.series import RELATIONS, Series, SeriesFiles
from angiomorph.dicom.shutter import find_exposed, frame_shutters
from angiomorph.dicom.timing import frame_times
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import main_step
from angiomorph.preprocessing.lazy_frames import LazyFrames
from angiomorph.storage.paths import AnyPath, AnyPaths, list_paths
from angiomorph.storage.spool import Spool

TAKEN_INSTEAD = "frames of this run take their place: look at the background, or name it with `background` N"
PIXEL_KEYWORDS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


class FramesOf(Protocol):
    """What turns the pixels that were found into a run's frames."""

    def __call__(self, found: list[Pixels], stored: list[int], *, inverted: bool) -> np.ndarray:
        """Return frames `(T, H, W)`, in the order of the numbers `stored`."""


def read_series(source: AnyPaths | SeriesFiles, *, unsubtracted: bool = False) -> Series:
    """Read one run.

        >>> am.read_series("data/example_run.dcm").name
        'example_run'

    Args:
        source: a multi-frame file, a folder, zip or gz that holds one run, the single-frame files of a run, or what
            `find_series` found.
        unsubtracted: take the run as acquired, whatever its headers say of subtraction, with a warning.

    Returns:
        the run, frames in the order they were taken, all headers, and warnings.

    Raises:
        InputError: what is wrong with which file, and what to do: not DICOM, no pixels, no angiogram, colour, negative
            values, truncated, already subtracted, a moving C-arm, a single frame, frames of several sizes or runs, a decoder
            that is not installed, several runs in the folder.

    Source: DICOM PS3.3 C.7.6.3, C.7.6.10, C.8.7.1; polarity by PixelIntensityRelationshipSign (C.8.11.3.1.2), else by
    PhotometricInterpretation or PresentationLUTShape.
    """
    return _files(source).read(partial(_read, unsubtracted=unsubtracted))


def open_series(source: AnyPaths | SeriesFiles, *, unsubtracted: bool = False, folder: AnyPath | None = None) -> Series:
    """Open one run of any length: as `read_series`, but frames are read when they are asked for.

    `frames` of the run are `LazyFrames`. Uncompressed ones are read from the files, which must stay where they are; others are
    decoded once, into a temporary file without a name.

    Args:
        source: see `read_series`.
        unsubtracted: see `read_series`.
        folder: on whose disk a temporary file lies; None for the system's folder of temporary files.

    Raises:
        InputError: see `read_series`; the disk of temporary files is full or fails; and, when a frame is asked for, its file is
            gone or cut.
    """
    return _files(source).read(partial(_read, unsubtracted=unsubtracted, frames_of=partial(_open, folder=folder)))


def read_frame(path: AnyPath) -> Series:
    """Read one frame that a file holds by itself, as `read_series` reads a run.

    Returns:
        a run of one frame.

    Raises:
        InputError: as of `read_series`, or the file holds several frames.
    """
    series = SeriesFiles(name_of(Path(path)), (Path(path),)).read(partial(_read_own, unsubtracted=False))
    if len(series.frames) > 1:
        raise InputError(f"{path}: expected one frame, found a run of {len(series.frames)}; give it as RUN")
    return series


def _read(files: SeriesFiles, *, unsubtracted: bool, frames_of: FramesOf | None = None) -> Series:
    series = _read_own(files, unsubtracted=unsubtracted, frames_of=frames_of)
    check_frame_count(files.paths[0], len(series.frames))
    named = name_other_images(series.headers[0])
    if not named:
        return series
    found = f"{files.paths[0]}: mask frames are named in another image"
    if series.background_numbers:
        return _warn(series, f"{found}, and in this run, whose own are taken")
    if len(files.masks) < len(named):
        return _warn(series, f"{found} that is not here; {TAKEN_INSTEAD}")
    images = []
    for mask in files.masks:
        try:
            image = _read_own(SeriesFiles("", (mask.path,)), unsubtracted=unsubtracted, frames_of=frames_of)
            images.append(choose_frames(series, image, mask))
        except InputError as error:
            return _warn(series, f"{found} that does not serve: {error}; {TAKEN_INSTEAD}")
    names = ", ".join(mask.path.name for mask in files.masks)
    count = sum(len(image.frames) for image in images)
    return _warn(
        put_before(series, images),
        f"{found}, {names}; they are put before the run's own, so that frame 1 of the run is counted as {count + 1}",
    )


def _warn(series: Series, warning: str) -> Series:
    return replace(series, warnings=(*series.warnings, warning))


def _read_own(files: SeriesFiles, *, unsubtracted: bool, frames_of: FramesOf | None = None) -> Series:
    """Return the frames of a run's own files, of any number, read by `frames_of`; None for all of them at once."""
    headers = [read_header(path) for path in files.paths]
    for header in headers:
        check_header(header, unsubtracted=unsubtracted)
    if len(headers) > 1:
        check_uniform(headers)
    found = [find_pixels(header) for header in headers]
    datasets, of_parts = _join(headers, found)
    count = sum(len(pixels.frames) for pixels in found)
    for dataset in datasets:
        check_frames_alike(files.paths[0], dataset)
    first, layout = datasets[0], found[0].layout
    stored, of_order = sort_frames(files.paths[0], first, count)
    of_pixels = dict.fromkeys(line for pixels in found for line in pixels.warnings)
    steps, of_masks = find_masks(datasets, count, stored)
    times, of_times = frame_times(datasets, count)
    told = [*of_parts, *of_order, *_warnings(datasets), *of_pixels, *of_masks, *of_times]
    return Series(
        frames=(frames_of or _decode)(found, stored, inverted=_is_inverted(first)),
        relation=_relation(first) or "DISP",
        bits_stored=_bits(found[0]),
        frame_times=times,
        background_numbers=main_step(steps).numbers if steps else (),
        name=files.name,
        shutter=find_exposed(first, layout.rows, layout.columns),
        headers=tuple(_without_pixels(dataset) for dataset in datasets),
        warnings=tuple(f"{files.paths[0]}: {line}" for line in told),
        files=tuple(_without_pixels(header.dataset) for header in headers),
        places=_places(found, stored),
        steps=steps if len(steps) > 1 else (),
    )


def _files(source: AnyPaths | SeriesFiles) -> SeriesFiles:
    if isinstance(source, SeriesFiles):
        return source
    paths = list_paths(source)
    if not paths:
        raise InputError("expected the files of a run, got none; give a DICOM file or a folder")
    return find_run(paths)


def _relation(dataset: Dataset) -> str | None:
    found = text(_properties(dataset, "PixelIntensityRelationship"), "PixelIntensityRelationship")
    if found in ("LIN", "LOG"):
        return found
    return relation_by_tables(dataset) or (found if found in RELATIONS else None)


def _properties(dataset: Dataset, keyword: str) -> Dataset:
    """Return where an enhanced object or a classic one has a property of its pixels."""
    framed = functional(dataset, "FramePixelDataPropertiesSequence", keyword)
    return framed if keyword in framed else dataset


def _is_inverted(dataset: Dataset) -> bool:
    """Return whether iodine has high stored values: lower values mean more X-ray intensity."""
    keyword = "PixelIntensityRelationshipSign"
    if sign := number(_properties(dataset, keyword), keyword):
        return sign < 0
    return text(dataset, "PhotometricInterpretation") == "MONOCHROME1" or text(dataset, "PresentationLUTShape") == "INVERSE"


def _several(header: Header) -> InputError:
    return InputError(
        f"{header.path}: expected one frame in each of several files, found a multi-frame file; give it by itself, "
        "it is a run of its own"
    )


def _join(headers: list[Header], found: list[Pixels]) -> tuple[list[Dataset], list[str]]:
    """Return the headers that are left when parts of a concatenation are one, and what is to be told of these."""
    if all(is_part(header.dataset) for header in headers):
        joined, told = join_parts(headers, [len(pixels.frames) for pixels in found])
        return [joined], told
    for pixels in found:
        if len(found) > 1 and len(pixels.frames) > 1:
            raise _several(pixels.header)
    return [header.dataset for header in headers], []


def _places(found: list[Pixels], stored: list[int]) -> tuple[tuple[int, int], ...]:
    """Return of each frame the index of its file, and its number there."""
    places = [(index, frame + 1) for index, pixels in enumerate(found) for frame in range(len(pixels.frames))]
    return tuple(places[frame - 1] for frame in stored)


def _bits(pixels: Pixels) -> int:
    """Return how many bits a value above 0 has: of signed ones the highest is their sign."""
    return pixels.layout.stored - pixels.layout.signed


def _type(layout: Layout) -> type[np.uint8 | np.uint16]:
    return np.uint8 if layout.allocated == 8 else np.uint16


def _decode(found: list[Pixels], stored: list[int], *, inverted: bool) -> np.ndarray:
    layout, count = found[0].layout, len(stored)
    dtype = _type(layout)
    try:
        frames = np.empty((count, layout.rows, layout.columns), dtype)
    except MemoryError as error:
        raise InputError(
            f"{found[0].header.path}: expected a run that fits into memory, found {count} frames of "
            f"{layout.rows}x{layout.columns}; give fewer frames, or use a machine with more memory"
        ) from error
    for place, frame in zip(np.argsort(stored), _decode_checked(found), strict=True):
        frames[place] = frame
    return dtype((1 << _bits(found[0])) - 1) - frames if inverted else frames


def _decode_checked(found: list[Pixels]) -> Iterator[np.ndarray]:
    """Yield the frames of files in the order of these."""
    for pixels in found:
        for frame in decode(pixels):
            if pixels.layout.signed and frame.min() < 0:
                raise InputError(
                    f"{pixels.header.path}: expected values from 0 on ({label('PixelRepresentation')} 0), found negative ones. "
                    "XA does not allow them, and subtracted runs often have them; give the unsubtracted run as acquired"
                )
            yield frame


def _open(found: list[Pixels], stored: list[int], *, inverted: bool, folder: AnyPath | None) -> np.ndarray:
    """Return what `_decode` returns as lazy frames."""
    layout = found[0].layout
    shape, dtype = (layout.rows, layout.columns), _type(layout)
    most = dtype((1 << _bits(found[0])) - 1)
    read = _read_from_files(found) if all(map(is_plain, found)) else _decode_once(found, Spool(folder, shape, dtype))

    def make(index: int) -> np.ndarray:
        frame = read(stored[index] - 1)
        return most - frame if inverted else frame

    return cast(np.ndarray, LazyFrames((len(stored), *shape), dtype, make))


def _read_from_files(found: list[Pixels]) -> Callable[[int], np.ndarray]:
    places = [(pixels, frame + 1) for pixels in found for frame in range(len(pixels.frames))]
    return lambda place: decode_frame(*places[place])


def _decode_once(found: list[Pixels], spool: Spool) -> Callable[[int], np.ndarray]:
    for place, frame in enumerate(_decode_checked(found)):
        spool[place] = frame
    return spool.__getitem__


def _without_pixels(dataset: Dataset) -> Dataset:
    for keyword in ("PixelData", *PIXEL_KEYWORDS):
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _warnings(datasets: Sequence[Dataset]) -> list[str]:
    first = datasets[0]
    found = list(dict.fromkeys(line for dataset in datasets for line in find_unusable(dataset)))
    for keyword, taken in (("SamplesPerPixel", "1"), ("PhotometricInterpretation", "MONOCHROME2")):
        if not text(first, keyword):
            found.append(f"{label(keyword)} is absent; taken as {taken}")
    if is_unsaid_capture(first):
        found.append(f"{label('Modality')} OT: nothing says that this is an angiogram")
    if evidence := subtraction_evidence(first):
        found.append(f"taken as acquired, as told by `unsubtracted`, although {evidence}")
    if (shutters := len(frame_shutters(first))) > 1:
        found.append(f"frames have {shutters} display shutters; the field that all of them show is used, none is written")
    if _relation(first) is None:
        found.append(
            f"{label('PixelIntensityRelationship')} is none of {', '.join(RELATIONS)}; taken as DISP, subtracted linearly"
        )
    if _relation(first) == "LIN" and (intercept := number(first, "RescaleIntercept")):
        found.append(f"{label('RescaleIntercept')} {intercept:g} beside LIN, where the standard has none, is not applied")
    if _is_inverted(first):
        found.append("stored with iodine bright; inverted, so that iodine is dark")
    if text(first, "BurnedInAnnotation") == "YES":
        found.append(f"{label('BurnedInAnnotation')} YES: burnt-in text is warped like anatomy")
    return found
