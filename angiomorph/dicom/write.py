"""Writing the subtracted run as a derived DICOM run of the same study."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.filewriter import correct_ambiguous_vr

from angiomorph import __version__
from angiomorph.dicom.checks import SUBTRACTION_CODE
from angiomorph.dicom.compress import check_encoding
from angiomorph.dicom.derive import carry_over, code_item, complete
from angiomorph.dicom.encoding import USUAL, Encoding
from angiomorph.dicom.frames import check_kept, keep_frames
from angiomorph.dicom.gathered_frames import GatheredFrames, percentile
from angiomorph.dicom.identity import Role, are_named, refer_to, refer_to_sources, set_frame_times, set_identity, was_lossy
from angiomorph.dicom.save import PROGRAM, decimal, explain_unwritable, save
from angiomorph.dicom.series import Series
from angiomorph.dicom.write_enhanced import check_save_class, enhance
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import LN, STORED
from angiomorph.preprocessing.lazy_frames import Frames

PER_LN = {12: 1000.0, 16: 8000.0}  # stored steps of 1 in ln units: to ±2 with 12 bits, to ±4 with 16
NARROWEST_WINDOW = {12: 200, 16: 1600}
WINDOW_FRAMES = 16  # at least, by which the window is set where there are as many
OBJECTS = {"classic": "image", "enhanced": "enhanced image"}  # of which UIDs are hashes


def write_bsa(
    path: str | os.PathLike[str],
    series: Series,
    bsa: Frames,
    *,
    units: str,
    model_name: str,
    model_sha256: str,
    hyper: float,
    background_numbers: Sequence[int],
    invert: bool = False,
    kept: Sequence[int] = (),
    encoding: Encoding = USUAL,
) -> None:
    """Write a subtracted run as DICOM: unsigned, stored = round(k x) + offset, x one value of `bsa`.

    Of 12 bits offset is 2048, stored values are clipped to 0..4095, and k is 1000 for ln units and 2048 / 2**bits_stored for
    stored values. Of 16 bits offset is 32768, the clip 0..65535, and k 8000 or 32768 / 2**bits_stored.

    The file belongs to the source's study, carries its patient, equipment and geometry, and says how it was derived. The class
    is XA, or XRF where the source's is; or, by `encoding.save_class`, its enhanced form. A captured picture becomes a
    Multi-frame Grayscale Word Secondary Capture, since XA would demand an acquisition that nobody knows.
    A source of single frames becomes one multi-frame file. What the source should have said and did not is left empty.

    Args:
        path: the file's final name; written whole or not at all.
        series: the source run.
        bsa: `(T, H, W)`, every frame of the run in order, iodine negative, in `units`.
        units: "ln(intensity)" or "stored value".
        model_name: the model's own name.
        model_sha256: SHA-256 of the model's file.
        hyper: λ in [0, 1].
        background_numbers: frame numbers (from 1) of the background.
        invert: iodine bright instead of dark.
        kept: numbers of the frames that are written, rising; none for all.
        encoding: how its pixels are stored, and in which class.

    Raises:
        InputError: an encoding that is not known, has no coder here or no class for this run; a shape that is not the run's,
            values that are not finite, no background, other units, or frames that the run does not have.

    Source: DICOM PS3.3 A.14.3, C.7.6.1.1.2 (derived image), C.8.7.1; UIDs are hashes of the source's UIDs, the model, λ (all in
        DerivationDescription) and the pixels. So a repeated run replaces its file. Compression loses nothing and
    changes no UID.
    """
    check_encoding(encoding)
    check_save_class(series, encoding)
    _check(path, series, bsa, units, background_numbers)
    kept = check_kept(path, series, kept)
    with explain_unwritable(path, series.name):
        chosen = (_finite(path, bsa[number - 1], number) for number in kept)
        stored, formula = quantise(chosen, len(kept), series, units, encoding, Path(path).parent, invert=invert)
    description = f"{formula}; {_description(model_name, model_sha256, hyper, background_numbers)}"
    if not series.frame_time:
        description = f"{description[:990]}; frame time unknown"
    name = f"BSA (angiomorph, lambda {hyper:.2f})"
    role = Role(OBJECTS[encoding.save_class], 1, name, "Background subtraction after deformable registration")
    with explain_unwritable(path, series.name):
        derived = _derive(series, stored, description, role, kept, encoding.pixel_depth)
        _set_provenance(derived, series, background_numbers, kept)
        complete(derived)
        if encoding.save_class == "enhanced":
            enhance(derived, series, kept, background_numbers)
        correct_ambiguous_vr(derived, True)  # US or SS, which an implicit source does not say
        save(derived, path, encoding.compress, stored)


def _derive(series: Series, stored: GatheredFrames, description: str, role: Role, kept: Sequence[int], bits: int) -> Dataset:
    dataset = carry_over(series.headers[0])
    dataset.DerivationDescription = description
    set_identity(dataset, series, role, (description, stored))
    set_subtracted_pixels(dataset, series, stored, bits)
    keep_frames(dataset, series, kept)
    set_frame_times(dataset, series, kept)
    return dataset


def _finite(path: str | os.PathLike[str], frame: np.ndarray, number: int) -> np.ndarray:
    if not np.isfinite(frame).all():
        raise InputError(f"{path}: expected finite values, frame {number} has others; check the model and the run")
    return frame


def _check(path: str | os.PathLike[str], series: Series, bsa: Frames, units: str, numbers: Sequence[int]) -> None:
    if bsa.shape != series.frames.shape:
        raise InputError(f"{path}: expected a subtracted run of shape {series.frames.shape} like its source, got {bsa.shape}")
    if not numbers or not all(1 <= frame <= len(bsa) for frame in numbers):
        raise InputError(
            f"{path}: expected background frame numbers of 1 to {len(bsa)}, got {list(numbers)}; name the frames used"
        )
    if units not in (LN, STORED):
        raise InputError(f"{path}: expected units {LN!r} or {STORED!r}, got {units!r}")


def quantise(
    bsa: Iterable[np.ndarray],
    count: int,
    series: Series,
    units: str,
    encoding: Encoding,
    folder: Path,
    *,
    invert: bool = False,
) -> tuple[GatheredFrames, str]:
    """Return the unsigned values that stand for frames of a subtracted run, and how: see `write_bsa`.

    Args:
        bsa: `(H, W)` each, of which one at a time is asked for.
        count: number of these frames.
        series: the source run.
        units: unit of `bsa`.
        encoding: how they are stored.
        folder: on whose disk the values lie until they are written.
        invert: iodine bright instead of dark.
    """
    k = PER_LN[encoding.pixel_depth] if units == LN else encoding.offset / (1 << series.bits_stored)
    k = -k if invert else k
    stored = (_scale_to_stored(frame, k, encoding.offset) for frame in bsa)
    shape, every = (count, *series.frames.shape[1:]), max(1, count // WINDOW_FRAMES)
    gathered = GatheredFrames(stored, shape, "<u2", field=series.shutter, folder=folder, every=every)
    return gathered, _formula(units, k, encoding.offset)


def _scale_to_stored(frame: np.ndarray, k: float, offset: int) -> np.ndarray:
    return np.clip(np.rint(k * frame.astype(np.float64)) + offset, 0, 2 * offset - 1).astype("<u2")


def set_subtracted_pixels(dataset: Dataset, series: Series, stored: GatheredFrames, bits: int) -> None:
    """Say in a data set what `(T, H, W)` subtracted values are, of 12 or 16 bits, with a window."""
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "DISP"
    dataset.add_new("SmallestImagePixelValue", "US", stored.smallest)  # else pydicom cannot tell US from SS
    dataset.add_new("LargestImagePixelValue", "US", stored.largest)
    dataset.WindowCenter = decimal(1 << (bits - 1))
    dataset.WindowWidth = decimal(_window_width(stored, bits))
    dataset.LossyImageCompression = "01" if was_lossy(series.file_headers) else "00"


def _window_width(stored: GatheredFrames, bits: int) -> int:
    away = np.abs(np.arange(stored.counts.size) - (1 << (bits - 1)))
    counts = np.bincount(away, stored.counts).astype(np.int64)
    return max(NARROWEST_WINDOW[bits], 2 * int(percentile(counts, 99.5)))


def _set_provenance(dataset: Dataset, series: Series, background_numbers: Sequence[int], kept: Sequence[int]) -> None:
    dataset.DerivationCodeSequence = [
        code_item(SUBTRACTION_CODE, "Pixel by pixel subtraction"),
        code_item("125027", "Deformed for Registration"),
    ]
    dataset.AcquisitionDeviceProcessingDescription = "subtracted, motion corrected"
    numbers = [int(frame) for frame in background_numbers]
    if not are_named(series.file_headers):
        return
    masks: dict[int, list[int]] = {}
    for index, frame in map(series.place, numbers):
        masks.setdefault(index, []).append(frame)
    moved = []
    for index, frames in sorted(masks.items()):
        reference = refer_to(series.file_headers[index], "121321", preserved="NO")
        if len(series.headers) == 1:
            reference.ReferencedFrameNumber = sorted(frames)
        moved.append(reference)
    dataset.SourceImageSequence = [*refer_to_sources(series, kept), *moved]


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
