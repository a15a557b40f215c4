"""Writing the subtracted run as a derived DICOM run of the same study."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from angiomorph import __version__
from angiomorph.dicom.attributes import items, number, numbers, text, value, without_warnings
from angiomorph.dicom.compress import check_encoding
from angiomorph.dicom.derive import carried, code_item, complete
from angiomorph.dicom.header import sop_class, sop_instance
from angiomorph.dicom.save import PROGRAM, decimal, derived_uid, save
from angiomorph.dicom.series import Series
from angiomorph.dicom.timing import NOMINAL_FRAME_TIME
from angiomorph.encoding import USUAL, Encoding
from angiomorph.errors import InputError
from angiomorph.intensity import LN, STORED

PER_LN = {12: 1000.0, 16: 8000.0}  # stored steps of 1 in ln units: to ±2 with 12 bits, to ±4 with 16
NARROWEST_WINDOW = {12: 200, 16: 1600}
MOST_SERIES = 2**31 // 100

ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)


def write_bsa(
    path: str | os.PathLike[str],
    series: Series,
    bsa: np.ndarray,
    *,
    units: str,
    model_name: str,
    model_sha256: str,
    hyper: float,
    background_numbers: Sequence[int],
    invert: bool = False,
    encoding: Encoding = USUAL,
) -> None:
    """Write a subtracted run as DICOM: unsigned, stored = round(k x) + offset, x one value of `bsa`.

    Of 12 bits offset is 2048, stored values are clipped to 0..4095, and k is 1000 for ln units and 2048 / 2**bits_stored for
    stored values. Of 16 bits offset is 32768, the clip 0..65535, and k 8000 or 32768 / 2**bits_stored.

    The file belongs to the source's study, carries its patient, equipment and geometry, and says how it was derived. The class
    is the source's; Enhanced XA becomes XA, and a captured picture a Multi-frame Grayscale Word Secondary Capture, since XA
    would demand an acquisition that nobody knows.
    A source of single frames becomes one multi-frame file. What the source should have said and did not is left empty.

    Args:
        path: the file's final name; written whole or not at all.
        series: the source run.
        bsa: `(T, H, W)`, every frame of the run in order, iodine negative, in `units`.
        units: "ln(intensity)" or "stored value".
        model_name: what the model calls itself.
        model_sha256: of the model's file.
        hyper: λ in [0, 1].
        background_numbers: frame numbers (from 1) of the background.
        invert: iodine bright instead of dark.
        encoding: how its pixels are stored.

    Raises:
        InputError: an encoding that is not known or has no coder here, a shape that is not the run's, values that are not
            finite, no background, or other units.

    Source: DICOM PS3.3 A.14.3, C.7.6.1.1.2 (derived image), C.8.7.1; UIDs are hashes of the source's UIDs, the model, λ
    (all in DerivationDescription) and the pixels, so that a repeated run replaces its file. Compression loses nothing and
    changes no UID.
    """
    check_encoding(encoding)
    _check(path, series, bsa, units, background_numbers)
    k = PER_LN[encoding.pixel_depth] if units == LN else encoding.offset / (1 << series.bits_stored)
    stored = _stored(bsa, -k if invert else k, encoding.offset)
    formula = _formula(units, -k if invert else k, encoding.offset)
    description = f"{formula}; {_description(model_name, model_sha256, hyper, background_numbers)}"
    if not series.frame_time:
        description = f"{description[:990]}; frame time unknown"
    try:
        with without_warnings():
            derived = _derived(series, stored, description, hyper, background_numbers, encoding.pixel_depth)
            save(derived, path, encoding.compress)
    except (OSError, InputError):
        raise
    except Exception as error:  # pydicom raises a dozen kinds on a source's broken values; their texts may quote them
        raise InputError(
            f"{path}: expected a source header that can be written again, found values of {series.name} that break their own "
            f"type ({type(error).__name__}); fetch the source again from its archive"
        ) from error


def _derived(
    series: Series, stored: np.ndarray, description: str, hyper: float, background_numbers: Sequence[int], bits: int
) -> Dataset:
    dataset = carried(series.headers[0])
    dataset.DerivationDescription = description
    uids = [str(sop_instance(header)) for header in series.headers]
    _set_identity(dataset, series, hyper, (*uids, description, stored.tobytes()))
    _set_pixels(dataset, series, stored, bits)
    _set_timing(dataset, series)
    _set_provenance(dataset, series, background_numbers)
    complete(dataset)
    correct_ambiguous_vr(dataset, True)  # US or SS, which an implicit source does not say
    return dataset


def _check(path: str | os.PathLike[str], series: Series, bsa: np.ndarray, units: str, numbers: Sequence[int]) -> None:
    if bsa.shape != series.frames.shape:
        raise InputError(f"{path}: expected a subtracted run of shape {series.frames.shape} like its source, got {bsa.shape}")
    if not np.isfinite(bsa).all():
        frame = int(np.argmin(np.isfinite(bsa).all(axis=(1, 2)))) + 1
        raise InputError(f"{path}: expected finite values, frame {frame} has others; check the model and the run")
    if not numbers or not all(1 <= frame <= len(bsa) for frame in numbers):
        raise InputError(
            f"{path}: expected background frame numbers of 1 to {len(bsa)}, got {list(numbers)}; name the frames used"
        )
    if units not in (LN, STORED):
        raise InputError(f"{path}: expected units {LN!r} or {STORED!r}, got {units!r}")


def _stored(bsa: np.ndarray, k: float, offset: int) -> np.ndarray:
    stored = np.empty(bsa.shape, "<u2")
    for target, frame in zip(stored, bsa, strict=True):
        target[:] = np.clip(np.rint(k * frame.astype(np.float64)) + offset, 0, 2 * offset - 1)
    return stored


def _set_identity(dataset: Dataset, series: Series, hyper: float, entropy: Sequence[str | bytes]) -> None:
    if not value(dataset, "StudyInstanceUID"):
        dataset.StudyInstanceUID = derived_uid("study", *entropy)
    dataset.SeriesInstanceUID = derived_uid("series", *entropy)
    dataset.SOPInstanceUID = derived_uid("image", *entropy)
    source = int(number(series.headers[0], "SeriesNumber") or 0)
    if 0 <= source < MOST_SERIES:
        dataset.SeriesNumber = 100 * source + 1  # else as it was, or none where it is no number of its type
    dataset.InstanceNumber = 1
    suffix = f"BSA (angiomorph, lambda {hyper:.2f})"
    dataset.SeriesDescription = f"{str(value(dataset, 'SeriesDescription') or '')[: 63 - len(suffix)]} {suffix}".strip()
    now = datetime.now(_timezone(dataset))
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{keyword}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{keyword}Time", now.strftime("%H%M%S"))
    dataset.ContributingEquipmentSequence = [*items(dataset, "ContributingEquipmentSequence"), _equipment(now)]


def _timezone(dataset: Dataset) -> timezone | None:
    """Return the zone that the file's times are in; None for this machine's."""
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", text(dataset, "TimezoneOffsetFromUTC"))
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)


def _equipment(now: datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item("109103", "Modifying Equipment")]
    item.Manufacturer = PROGRAM
    item.ManufacturerModelName = PROGRAM
    item.SoftwareVersions = __version__
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = "Background subtraction after deformable registration"
    return item


def _set_pixels(dataset: Dataset, series: Series, stored: np.ndarray, bits: int) -> None:
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "DISP"
    dataset.add_new("SmallestImagePixelValue", "US", int(stored.min()))  # else pydicom cannot tell US from SS
    dataset.add_new("LargestImagePixelValue", "US", int(stored.max()))
    dataset.WindowCenter = decimal(1 << (bits - 1))
    dataset.WindowWidth = decimal(_window_width(stored, series.shutter, bits))
    dataset.add_new("PixelData", "OW", stored.tobytes())
    dataset.LossyImageCompression = "01" if _was_lossy(series) else "00"


def _window_width(stored: np.ndarray, shutter: np.ndarray, bits: int) -> int:
    sample = stored[:: max(1, len(stored) // 16)][:, shutter].astype(np.int32)
    return max(NARROWEST_WINDOW[bits], 2 * int(np.percentile(np.abs(sample - (1 << (bits - 1))), 99.5)))


def _was_lossy(series: Series) -> bool:
    return any(
        text(header, "LossyImageCompressionRetired") == "01"
        or text(header, "LossyImageCompression") == "01"
        or header.file_meta.get("TransferSyntaxUID") in ALWAYS_LOSSY
        for header in series.headers
    )


def _set_timing(dataset: Dataset, series: Series) -> None:
    increments = np.diff(series.frame_times, prepend=0.0)
    even = np.allclose(increments[1:], series.frame_time)
    if even and not (series.frame_time and numbers(series.headers[0], "FrameTimeVector")):
        dataset.FrameTime = decimal(series.frame_time or NOMINAL_FRAME_TIME)
        dataset.FrameIncrementPointer = tag_for_keyword("FrameTime")
        return
    dataset.FrameTimeVector = [decimal(increment) for increment in increments]
    dataset.FrameIncrementPointer = tag_for_keyword("FrameTimeVector")


def _set_provenance(dataset: Dataset, series: Series, background_numbers: Sequence[int]) -> None:
    dataset.DerivationCodeSequence = [
        code_item("113062", "Pixel by pixel subtraction"),
        code_item("125027", "Deformed for Registration"),
    ]
    dataset.AcquisitionDeviceProcessingDescription = "subtracted, motion corrected"
    numbers = [int(frame) for frame in background_numbers]
    if any(sop_class(header) is None or sop_instance(header) is None for header in series.headers):
        return  # a bare data set may name neither, and a reference needs both
    contrast = [_reference(header, "121322", "Source image for image processing operation", "YES") for header in series.headers]
    background = series.headers if len(series.headers) == 1 else [series.headers[frame - 1] for frame in numbers]
    moved = [_reference(header, "121321", "Mask image for image processing operation", "NO") for header in background]
    if len(series.headers) == 1:
        moved[0].ReferencedFrameNumber = numbers
    dataset.SourceImageSequence = [*contrast, *moved]


def _reference(header: Dataset, code: str, meaning: str, preserved: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class(header)
    item.ReferencedSOPInstanceUID = sop_instance(header)
    item.PurposeOfReferenceCodeSequence = [code_item(code, meaning)]
    item.SpatialLocationsPreserved = preserved
    return item


def _formula(units: str, k: float, offset: int) -> str:
    formula = "ln(frame) - ln(warped background)" if units == LN else "frame - warped background, stored values"
    return f"x = {formula}; stored = round({k:g}*x)+{offset}, clipped to 0..{2 * offset - 1}"


def _description(model_name: str, model_sha256: str, hyper: float, background_numbers: Sequence[int]) -> str:
    frames = ", ".join(str(frame) for frame in background_numbers[:20]) + (", ..." if len(background_numbers) > 20 else "")
    sentence = (
        f"background: frames {frames}; {PROGRAM} {__version__}, model {model_name[:200]}, SHA-256 {model_sha256}, "
        f"lambda {hyper:g}"
    )
    return sentence.encode("ascii", "replace").decode().replace("\\", "/")[:900]
