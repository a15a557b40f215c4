"""Which files can be registered: each refusal is one paragraph with its remedy and no word of the patient."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom import Dataset

from angiomorph.dicom.header import (
    Header,
    frame_count,
    functional,
    is_angiogram,
    label,
    number,
    text,
    value,
    values,
)
from angiomorph.errors import InputError

SUBTRACTION_CODE = "113062"  # DCM, "Pixel by pixel subtraction"
SUBTRACTED = re.compile(r"(?<!UN)(?<!NON)(?<!NON[- ])(?<!NOT )SUBTRACT|\b[DB]SA\b")
MOTIONS = {  # what moves: the attribute that says so, and its steps from frame to frame
    "C-arm": ("PositionerMotion", ("PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement")),
    "table": ("TableMotion", ("TableVerticalIncrement", "TableLateralIncrement", "TableLongitudinalIncrement")),
}
UNIFORM = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation")


def check_header(header: Header) -> None:
    """Refuse a file that is no unsubtracted, grey-scale, unsigned angiogram of a resting C-arm.

    Raises:
        InputError: naming the file, the tag, what was expected and found, and the remedy.

    Source: DICOM PS3.3 C.8.7.1 (XA image), C.8.7.5 (positioner), C.8.19 (enhanced XA).
    """
    _check_kind(header.path, header.dataset)
    check_pixels(header)
    _check_unsigned(header.path, header.dataset)
    _check_unsubtracted(header.path, header.dataset)
    _check_still(header.path, header.dataset)


def check_uniform(headers: list[Header]) -> None:
    """Refuse single-frame files that are not frames of one run.

    Raises:
        InputError: naming the first file that differs from the first one, and the tag.
    """
    first = headers[0]
    for header in headers:
        for keyword in ("SeriesInstanceUID", *UNIFORM):
            expected, found = value(first.dataset, keyword), value(header.dataset, keyword)
            if found != expected:
                shown = "" if keyword == "SeriesInstanceUID" else f" {expected}, found {found}"
                raise InputError(
                    f"{header.path}: expected the {label(keyword)} of the run's first frame{shown or ', found another'}; "
                    "give the frames of one run, all of one size and kind"
                )


def _check_kind(path: Path, dataset: Dataset) -> None:
    if not is_angiogram(dataset):
        sop_class = value(dataset, "SOPClassUID")
        raise InputError(
            f"{path}: expected an X-ray angiogram ({label('Modality')} XA), found Modality "
            f"{text(dataset, 'Modality') or 'absent'} of class {getattr(sop_class, 'name', 'absent')}; give an XA run"
        )
    samples, photometric = number(dataset, "SamplesPerPixel"), text(dataset, "PhotometricInterpretation")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            f"{path}: expected grey-scale pixels ({label('SamplesPerPixel')} 1, MONOCHROME2), found SamplesPerPixel "
            f"{'absent' if samples is None else int(samples)}, {photometric or 'no PhotometricInterpretation'}; "
            "give the acquired run, not a colour copy of it"
        )


def check_pixels(header: Header) -> None:
    """Refuse a file without whole pixels of 8 or 16 bits.

    Raises:
        InputError: naming the file, the tag, what was expected and found, and the remedy.
    """
    path, dataset = header.path, header.dataset
    if header.pixel_offset is None and not header.inflated:
        raise InputError(
            f"{path}: expected pixels, found no top-level {label('PixelData')}; "
            "fetch the file again with its pixels (an icon or a reference is no picture)"
        )
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored"):
        if not number(dataset, keyword):
            raise InputError(f"{path}: expected {label(keyword)}, found none; fetch the file again from its archive")
    allocated, stored = number(dataset, "BitsAllocated"), number(dataset, "BitsStored") or 0
    high = number(dataset, "HighBit")
    if allocated not in (8, 16) or stored > allocated or high not in (None, stored - 1):
        raise InputError(
            f"{path}: expected {label('BitsAllocated')} 8 or 16 with HighBit = BitsStored - 1, found "
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}; convert the file to a legal image"
        )


def _check_unsigned(path: Path, dataset: Dataset) -> None:
    if number(dataset, "PixelRepresentation"):
        raise InputError(
            f"{path}: expected unsigned pixels ({label('PixelRepresentation')} 0), found signed ones, which XA "
            "does not allow and subtracted runs often have; give the unsubtracted run as acquired"
        )


def _check_unsubtracted(path: Path, dataset: Dataset) -> None:
    if evidence := subtraction_evidence(dataset):
        raise InputError(
            f"{path}: expected a run as acquired, found one that is already subtracted ({evidence}); "
            "export the unsubtracted (native) run from the archive"
        )


def subtraction_evidence(dataset: Dataset) -> str:
    """Return what in a header says that the pixels are already subtracted, or "" if nothing does."""
    codes = [text(item, "CodeValue") for item in values(dataset, "DerivationCodeSequence")]
    if SUBTRACTION_CODE in codes:
        return f"{label('DerivationCodeSequence')} has {SUBTRACTION_CODE}, Pixel by pixel subtraction"
    if "DIGITAL_SUBTR" in functional(dataset, "XAXRFFrameCharacteristicsSequence", "ImageProcessingApplied"):
        return f"{label('ImageProcessingApplied')} has DIGITAL_SUBTR"
    image_type = text(dataset, "ImageType")
    if not image_type.startswith("DERIVED"):
        return ""
    for keyword in ("ImageType", "DerivationDescription", "AcquisitionDeviceProcessingDescription"):
        if SUBTRACTED.search(text(dataset, keyword)):
            return f"ImageType DERIVED, and {label(keyword)} speaks of subtraction"
    return ""


def _check_still(path: Path, dataset: Dataset) -> None:
    for part, (keyword, increments) in MOTIONS.items():
        motions = [text(dataset, keyword), *functional(dataset, "PositionerPositionSequence", keyword)]
        # What is said to rest may tremble by a fraction of a degree; increments count where nothing is said.
        steps = [] if "STATIC" in motions else [step for step in increments if any(values(dataset, step))]
        if "DYNAMIC" in motions or steps:
            found = "DYNAMIC" if "DYNAMIC" in motions else f"{label(steps[0])} other than 0"
            raise InputError(
                f"{path}: expected a resting {part} ({label(keyword)} STATIC), found {found}: no frame is the background of "
                "another; give a run acquired in one position"
            )


def check_frame_count(path: Path, frames: int) -> None:
    """Refuse a run of one frame.

    Raises:
        InputError: fewer than two frames.
    """
    if frames < 2:
        raise InputError(
            f"{path}: expected a run, which needs at least one background and one contrast frame, found one single frame; "
            "give the multi-frame file, or the folder that has the run's other frames"
        )


def declared_frames(headers: list[Header]) -> int:
    """Return how many frames the headers announce."""
    return frame_count(headers[0].dataset) if len(headers) == 1 else len(headers)
