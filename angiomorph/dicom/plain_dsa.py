"""Plain DSA for viewers that subtract: a run as acquired with its mask frames named, and a state that names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import UID, GrayscaleSoftcopyPresentationStateStorage

from angiomorph.dicom.attributes import text
from angiomorph.dicom.create import LEGAL_BITS
from angiomorph.dicom.derive import carry_over, complete, describe_patient_and_study
from angiomorph.dicom.encoding import USUAL
from angiomorph.dicom.gathered_frames import GatheredFrames, percentile
from angiomorph.dicom.header import SECONDARY_CAPTURE_CLASSES, sop_class, sop_instance
from angiomorph.dicom.identity import Role, are_named, refer_to_sources, set_frame_times, set_identity, was_lossy
from angiomorph.dicom.save import PROGRAM, decimal, explain_unwritable, save
from angiomorph.dicom.series import Series
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step

RUN = Role("plain DSA", 2, "mask (angiomorph)", "Naming of mask frames")
STATE = Role("plain DSA state", 3, "mask state (angiomorph)", "Naming of mask frames")


def write_dsa_run(
    path: str | os.PathLike[str],
    series: Series,
    background_numbers: Sequence[int],
    *,
    steps: Sequence[Step] = (),
    compression: str = USUAL.compress,
) -> None:
    """Write a run as it was acquired, with its background as mask frames: a viewer that subtracts shows plain DSA.

    It is one multi-frame run, iodine dark, of the source's values. What a source of relation LOG says of intensity is not
    carried: its relation becomes DISP, whose values are subtracted as they are.

    Args:
        path: the file's final name; written whole or not at all.
        series: the source run.
        background_numbers: frame numbers (from 1).
        steps: which frames have which background, where there are several.
        compression: see `encoding.Encoding`.

    Raises:
        InputError: see `check_dsa_run`; or a source header that cannot be written.

    Source: DICOM PS3.3 C.7.6.10.
    """
    check_dsa_run(series)
    with explain_unwritable(path, series.name):
        stored = _gather(series, Path(path).parent)
        save(_run(series, stored, background_numbers, steps), path, compression, stored)


def check_dsa_run(series: Series) -> None:
    """Raise where a run's class knows no mask frames.

    Raises:
        InputError: a captured run.
    """
    if sop_class(series.headers[0]) in SECONDARY_CAPTURE_CLASSES:
        raise InputError(
            f"{series.name}: expected a run of class XA or XRF for `kinds` dsa, got a captured one, whose class knows no mask "
            "frames. Export the run as acquired, or leave dsa out"
        )


def _gather(series: Series, folder: Path) -> GatheredFrames:
    dtype = "u1" if _is_small(series) else "<u2"
    frames = (frame.astype(dtype) for frame in series.frames)
    return GatheredFrames(frames, series.frames.shape, dtype, field=series.shutter, folder=folder)


def _is_small(series: Series) -> bool:
    return series.bits_stored == 8 and series.frames.dtype == np.uint8


def _run(series: Series, stored: GatheredFrames, background_numbers: Sequence[int], steps: Sequence[Step]) -> Dataset:
    dataset = carry_over(series.headers[0])
    frames = ", ".join(str(number) for number in background_numbers[:50])
    dataset.DerivationDescription = f"pixels as acquired; mask frames {frames} named by {PROGRAM}"
    said_steps = [f"{step.numbers} {step.frames}" for step in steps]
    set_identity(dataset, series, RUN, (dataset.DerivationDescription, *said_steps, stored))
    _set_pixels(dataset, series, stored)
    set_frame_times(dataset, series)
    dataset.MaskSubtractionSequence = _masks(background_numbers, steps)
    dataset.RecommendedViewingMode = "SUB"
    if are_named(series.file_headers):
        dataset.SourceImageSequence = refer_to_sources(series)
    complete(dataset)
    dataset.ImageType = ["DERIVED", "PRIMARY", dataset.ImageType[2]]
    correct_ambiguous_vr(dataset, True)
    return dataset


def _masks(background_numbers: Sequence[int], steps: Sequence[Step]) -> list[Dataset]:
    """Return an item for each background; of several each says which frames it is subtracted from."""
    items = []
    for step in steps or (Step(tuple(background_numbers), ()),):
        item = Dataset()
        item.MaskOperation = "AVG_SUB"
        item.MaskFrameNumbers = [int(number) for number in step.numbers]
        if step.frames:
            item.ApplicableFrameRange = _ranges(step.frames)
        items.append(item)
    return items


def _ranges(frames: Sequence[int]) -> list[int]:
    """Return the first and last number of each stretch of frames."""
    there = set(frames)
    starts = [frame for frame in frames if frame - 1 not in there]
    ends = [frame for frame in frames if frame + 1 not in there]
    return [number for limits in zip(starts, ends, strict=True) for number in limits]


def _set_pixels(dataset: Dataset, series: Series, stored: GatheredFrames) -> None:
    small = _is_small(series)
    allowed = LEGAL_BITS[np.dtype(np.uint8 if small else np.uint16)]
    bits = next(bits for bits in allowed if bits >= series.bits_stored)
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 if small else 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LIN" if series.relation == "LIN" else "DISP"
    low, high = (percentile(stored.counts, share) for share in (0.5, 99.5))
    dataset.WindowCenter, dataset.WindowWidth = decimal(round((low + high + 1) / 2)), decimal(max(round(high - low), 1))
    dataset.LossyImageCompression = "01" if was_lossy(series.file_headers) else "00"


def check_dsa_state(series: Series, kind: str = "dsa-state") -> None:
    """Raise where no presentation state can name a run's mask frames.

    Args:
        series: the run.
        kind: kind of state, for the message.

    Raises:
        InputError: single frames, several files, a captured run, a run without UIDs, or one of several masks, as a
            state has one.
    """
    found = (
        "single frames"
        if len(series.headers) > 1
        else "a run of several files"
        if len(series.file_headers) > 1
        else "a captured run"
        if sop_class(series.headers[0]) in SECONDARY_CAPTURE_CLASSES
        else "a run without SOPInstanceUID, SOPClassUID or SeriesInstanceUID"
        if not are_named(series.headers) or "SeriesInstanceUID" not in series.headers[0]
        else "a run of several masks"
        if series.steps
        else ""
    )
    if found:
        raise InputError(
            f"{series.name}: expected a multi-frame run with UIDs and one mask for `kinds` {kind}, got {found}, whose mask "
            f"frames no presentation state can name. Leave {kind} out"
        )


def write_dsa_state(path: str | os.PathLike[str], series: Series, background_numbers: Sequence[int]) -> None:
    """Write a Grayscale Softcopy Presentation State that has a viewer subtract the background from the source itself.

    Args:
        path: the file's final name; written whole or not at all.
        series: the source run, one multi-frame file.
        background_numbers: frame numbers (from 1).

    Raises:
        InputError: see `check_dsa_state`; or a source header that cannot be written.

    Mask frames are named by their numbers in the source's file, which may store frames in another order than the run's.

    Source: DICOM PS3.3 A.33.1, C.11.10, C.11.11, C.11.13; the window is left to the viewer.
    """
    check_dsa_state(series)
    with explain_unwritable(path, series.name):
        save(_state(series, background_numbers), path)


def _state(series: Series, background_numbers: Sequence[int]) -> Dataset:
    stored = stored_numbers(series, background_numbers)
    dataset = new_state(series, GrayscaleSoftcopyPresentationStateStorage, STATE, (",".join(map(str, stored)),))
    dataset.ContentLabel, dataset.ContentDescription = "PLAIN_DSA", "Plain DSA"
    dataset.MaskSubtractionSequence = _masks(stored, ())
    dataset.MaskSubtractionSequence[0].ContrastFrameAveraging = 1
    return dataset


def stored_numbers(series: Series, numbers: Sequence[int]) -> list[int]:
    """Return the numbers of frames in a run's one file, which may store them in another order, rising."""
    return sorted(series.place(number)[1] for number in numbers)


def new_state(series: Series, sop_class_uid: UID, role: Role, entropy: Sequence[str]) -> Dataset:
    """Return a presentation state of a run that has a viewer subtract, without its mask and content label.

    Args:
        series: the run, of one multi-frame file.
        sop_class_uid: the state's class.
        role: the state's role.
        entropy: texts that its UIDs are hashes of, beside the source's UIDs.
    """
    header = series.headers[0]
    dataset = describe_patient_and_study(header)
    dataset.SOPClassUID = sop_class_uid
    dataset.Modality = "PR"
    set_identity(dataset, series, role, entropy)
    del dataset.ContentDate, dataset.ContentTime
    dataset.PresentationCreationDate, dataset.PresentationCreationTime = dataset.SeriesDate, dataset.SeriesTime
    dataset.ContentCreatorName = ""
    dataset.RecommendedViewingMode = "SUB"
    dataset.PresentationLUTShape = "INVERSE" if _is_shown_inverse(header) else "IDENTITY"
    dataset.DisplayedAreaSelectionSequence = [_whole_area(series)]
    dataset.ReferencedSeriesSequence = [_reference(header)]
    return dataset


def _is_shown_inverse(header: Dataset) -> bool:
    """Return whether low values are shown bright; a state, which says so itself, takes this over from the picture."""
    return text(header, "PhotometricInterpretation") == "MONOCHROME1" or text(header, "PresentationLUTShape") == "INVERSE"


def _reference(header: Dataset) -> Dataset:
    image, found = Dataset(), Dataset()
    image.ReferencedSOPClassUID = sop_class(header)
    image.ReferencedSOPInstanceUID = sop_instance(header)
    found.SeriesInstanceUID = header.SeriesInstanceUID
    found.ReferencedImageSequence = [image]
    return found


def _whole_area(series: Series) -> Dataset:
    rows, columns = series.frames.shape[1:]
    area = Dataset()
    area.add_new("DisplayedAreaTopLeftHandCorner", "SL", [1, 1])
    area.add_new("DisplayedAreaBottomRightHandCorner", "SL", [columns, rows])
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PresentationPixelAspectRatio = [1, 1]
    return area
