"""Which files can be registered: each refusal is one paragraph with its remedy and no word of the patient."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from angiomorph.dicom.attributes import (
    functional,
    items,
    label,
    number,
    numbers,
    show_values,
    text,
    value,
    words,
)
from angiomorph.dicom.header import Header, is_angiogram, is_unsaid_capture, sop_class
from angiomorph.errors import InputError

PROCESSING = ("FramePixelDataPropertiesSequence", "XAXRFFrameCharacteristicsSequence")  # the second by mistake
SUBTRACTION_CODE = "113062"  # DCM, "Pixel by pixel subtraction"
SUBTRACT = r"(?<!UN)(?<!NON)(?<!NON[- ])(?<!NOT )SUBTRACT"
SUBTRACTED = re.compile(rf"{SUBTRACT}|\b[DB]SA\b")
# What of a derived image may speak of subtraction; a series as acquired is often called by its protocol, "DSA".
SPEAKING = dict.fromkeys(("ImageType", "DerivationDescription", "AcquisitionDeviceProcessingDescription"), SUBTRACTED)
SPEAKING["SeriesDescription"] = re.compile(SUBTRACT)
CODE = re.compile(r"[A-Za-z0-9_ ]{1,16}")
MOTIONS = {  # what moves: the attribute that says so, and its steps from frame to frame
    "C-arm": ("PositionerMotion", ("PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement")),
    "table": ("TableMotion", ("TableVerticalIncrement", "TableLateralIncrement", "TableLongitudinalIncrement")),
}
UNIFORM = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation")


def check_header(header: Header, *, unsubtracted: bool = False) -> None:
    """Refuse a file that is no unsubtracted, grey-scale angiogram of a resting C-arm.

    Args:
        header: the file's header.
        unsubtracted: take it as acquired, whatever it says of subtraction.

    Raises:
        InputError: naming the file, the tag, what was expected and found, and the remedy.

    Source: DICOM PS3.3 C.8.7.1 (XA image), C.8.7.5 (positioner).
    """
    _check_kind(header.path, header.dataset)
    if not unsubtracted:
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
    if sop_class(dataset) == MediaStorageDirectoryStorage:
        raise InputError(f"{path}: expected an XA run, found a DICOMDIR, the list of a medium; give the folder that it lies in")
    if not is_angiogram(dataset) and not is_unsaid_capture(dataset):
        modality = text(dataset, "Modality") or "absent"
        if not CODE.fullmatch(modality):
            modality = "malformed"  # of a damaged header it may run on into the patient's name
        raise InputError(
            f"{path}: expected an X-ray angiogram ({label('Modality')} XA), found Modality {modality} of class "
            f"{_class_name(dataset)}; give an XA run"
        )
    samples, photometric = number(dataset, "SamplesPerPixel"), show_values([text(dataset, "PhotometricInterpretation")])
    if samples not in (None, 1) or photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        raise InputError(
            f"{path}: expected grey-scale pixels ({label('SamplesPerPixel')} 1, MONOCHROME2), found SamplesPerPixel "
            f"{'absent' if samples is None else int(samples)}, {photometric or 'no PhotometricInterpretation'}; "
            "give the acquired run, not a colour copy of it"
        )


def _class_name(dataset: Dataset) -> str:
    found = sop_class(dataset)
    if found is None:
        return "absent"
    return found.name if found.name != found else "unknown"  # what is no class may be any text of a damaged header


def _check_unsubtracted(path: Path, dataset: Dataset) -> None:
    if evidence := subtraction_evidence(dataset):
        raise InputError(
            f"{path}: expected a run as acquired, found one that is already subtracted ({evidence}). "
            "Export the unsubtracted (native) run from the archive, or say `unsubtracted` if these are its pixels"
        )


def subtraction_evidence(dataset: Dataset) -> str:
    """Return what in a header says that the pixels are already subtracted, or "" if nothing does."""
    codes = [text(item, "CodeValue") for item in items(dataset, "DerivationCodeSequence")]
    if SUBTRACTION_CODE in codes:
        return f"{label('DerivationCodeSequence')} has {SUBTRACTION_CODE}, Pixel by pixel subtraction"
    keyword = "ImageProcessingApplied"
    if any("DIGITAL_SUBTR" in words(functional(dataset, macro, keyword), keyword) for macro in PROCESSING):
        return f"{label(keyword)} has DIGITAL_SUBTR"
    image_type = text(dataset, "ImageType")
    if not image_type.startswith("DERIVED"):
        return ""
    for keyword, words_of in SPEAKING.items():
        if words_of.search(text(dataset, keyword)):
            return f"ImageType DERIVED, and {label(keyword)} speaks of subtraction"
    return ""


def _check_still(path: Path, dataset: Dataset) -> None:
    for part, (keyword, increments) in MOTIONS.items():
        motions = [text(dataset, keyword), text(functional(dataset, "PositionerPositionSequence", keyword), keyword)]
        # What is said to rest may tremble by a fraction of a degree; increments count where nothing is said.
        steps = [] if "STATIC" in motions else [step for step in increments if any(numbers(dataset, step))]
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
            f"{path}: expected a run, which needs at least one background and one contrast frame, found one single frame. "
            "Give the multi-frame file, or the folder that has the run's other frames"
        )
