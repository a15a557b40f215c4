"""Writing a new multi-frame XA run from an array, with anonymous values for everything the standard demands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import XRayAngiographicImageStorage

from angiomorph.dicom.save import decimal, derived_uid, save
from angiomorph.dicom.series import RELATIONS
from angiomorph.errors import InputError

LEGAL_BITS = {np.dtype(np.uint8): (8,), np.dtype(np.uint16): (10, 12, 16)}
FIXED_DATE, FIXED_TIME = "20000101", "120000"
DEFAULTS: Mapping[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"],
    "InstanceCreationDate": FIXED_DATE,
    "InstanceCreationTime": FIXED_TIME,
    "StudyDate": FIXED_DATE,
    "SeriesDate": FIXED_DATE,
    "ContentDate": FIXED_DATE,
    "StudyTime": FIXED_TIME,
    "SeriesTime": FIXED_TIME,
    "ContentTime": FIXED_TIME,
    "AccessionNumber": "",
    "Modality": "XA",
    "Manufacturer": "angiomorph",
    "ManufacturerModelName": "simulator",
    "ReferringPhysicianName": "",
    "StudyDescription": "Simulated angiography",
    "SeriesDescription": "Simulated run",
    "PatientName": "SIMULATED^RUN",
    "PatientID": "SIMULATED",
    "PatientBirthDate": "",
    "PatientSex": "",
    "BodyPartExamined": "HEAD",
    "ContrastBolusAgent": "",
    "KVP": None,
    "ExposureTime": None,
    "XRayTubeCurrent": None,
    "RadiationSetting": "GR",
    "PositionerMotion": "STATIC",
    "PositionerPrimaryAngle": None,
    "PositionerSecondaryAngle": None,
    "StudyID": "",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "InstanceNumber": 1,
    "PatientOrientation": "",
    "LossyImageCompression": "00",
}


def write_run(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    *,
    BitsStored: int,  # noqa: N803 -- DICOM keyword
    relation: str,
    frame_time: float,
    attributes: Mapping[str, Any] | None = None,
    modality_lut: np.ndarray | None = None,
    entropy: Sequence[str] = (),
) -> None:
    """Write a new multi-frame XA run (X-Ray Angiographic Image Storage, Explicit VR Little Endian) of nobody.

    The file's bytes depend on the arguments alone: UIDs are hashes of them and the dates are fixed.

    Args:
        path: the file's final name; written whole or not at all.
        frames: `(T, H, W)` stored values, iodine dark; uint8 for 8 bits, uint16 for 10, 12 or 16.
        BitsStored: 8, 10, 12 or 16.
        relation: PixelIntensityRelationship: "LIN", "DISP", or "LOG", which needs `modality_lut`.
        frame_time: time between frames, ms, > 0.
        attributes: DICOM keyword to value, over the anonymous defaults; and `MaskFrameNumbers` (from 1), of which a
            MaskSubtractionSequence of operation AVG_SUB is made.
        modality_lut: `(2^BitsStored,)` uint16, for LOG: the intensity, in any unit, that each stored value stands for.
        entropy: distinguishes runs that are otherwise equal.

    Raises:
        InputError: frames, bits, relation, frame time or a keyword that XA does not allow.

    Source: DICOM PS3.3 A.14.3 and C.8.7.
    """
    attributes = dict(attributes or {})
    _check(path, frames, BitsStored, frame_time, attributes)
    _check_relation(path, relation, modality_lut, 1 << BitsStored)
    dataset = Dataset()
    dataset.SOPClassUID = XRayAngiographicImageStorage
    _set(dataset, DEFAULTS)
    _set_uids(dataset, frames, [*entropy, str(BitsStored), relation, repr(frame_time), repr(sorted(attributes.items()))])
    _set_pixels(dataset, frames, BitsStored)
    dataset.PixelIntensityRelationship = relation
    dataset.FrameTime = decimal(frame_time)
    dataset.FrameIncrementPointer = tag_for_keyword("FrameTime")
    _set_background(dataset, attributes.pop("MaskFrameNumbers", ()))
    _set(dataset, attributes)
    if modality_lut is not None:
        _set_modality_lut(dataset, modality_lut)
    save(dataset, path)


def _check(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    bits: int,
    frame_time: float,
    attributes: Mapping[str, Any],
) -> None:
    if frames.ndim != 3 or frames.size == 0 or bits not in LEGAL_BITS.get(frames.dtype, ()):
        raise InputError(
            f"{path}: expected (T, H, W) frames of uint8 with BitsStored 8 or uint16 with BitsStored 10, 12 or 16, got "
            f"shape {frames.shape} of {frames.dtype} with BitsStored {bits}. Convert the frames first"
        )
    if int(frames.max()) >= 1 << bits:
        raise InputError(
            f"{path}: expected values below {1 << bits} (BitsStored {bits}), found {frames.max()}; "
            "scale the frames or raise BitsStored"
        )
    if not frame_time > 0:
        raise InputError(f"{path}: expected a frame time above 0 ms, got {frame_time!r}; give the time between frames")
    unknown = [keyword for keyword in attributes if tag_for_keyword(keyword) is None]
    if unknown:
        raise InputError(f"{path}: {', '.join(unknown)}: no such DICOM keyword; spell attributes as the standard does")


def _check_relation(path: str | os.PathLike[str], relation: str, modality_lut: np.ndarray | None, values: int) -> None:
    found = None if modality_lut is None else modality_lut.shape
    if relation not in RELATIONS or (found != (values,) if relation == "LOG" else found is not None):
        raise InputError(
            f"{path}: expected PixelIntensityRelationship LIN or DISP, or LOG with a modality_lut of {values} values, got "
            f"{relation!r} with {found}. Give the relation that the stored values have to X-ray intensity"
        )


def _set(dataset: Dataset, attributes: Mapping[str, Any]) -> None:
    for keyword, value in attributes.items():
        setattr(dataset, keyword, _as_decimal(value) if dictionary_VR(keyword) == "DS" else value)


def _as_decimal(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return decimal(value) if np.ndim(value) == 0 else [decimal(item) for item in value]


def _set_uids(dataset: Dataset, frames: np.ndarray, entropy: Sequence[str]) -> None:
    content: tuple[str | bytes, ...] = (*entropy, repr(frames.shape), frames.tobytes())
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, derived_uid(keyword, *content))


def _set_pixels(dataset: Dataset, frames: np.ndarray, bits: int) -> None:
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 8 * frames.dtype.itemsize
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    data = frames.astype(frames.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OW" if frames.dtype.itemsize > 1 else "OB", data + b"\0" * (len(data) % 2))
    low, high = int(frames.min()), int(frames.max())
    dataset.WindowCenter, dataset.WindowWidth = decimal((low + high + 1) / 2), decimal(max(high - low, 1))


def _set_background(dataset: Dataset, numbers: Sequence[int]) -> None:
    if not len(numbers):
        return
    dataset.RecommendedViewingMode = "SUB"
    item = Dataset()
    item.MaskOperation = "AVG_SUB"
    item.MaskFrameNumbers = [int(number) for number in numbers]
    dataset.MaskSubtractionSequence = [item]


def _set_modality_lut(dataset: Dataset, table: np.ndarray) -> None:
    item = Dataset()
    item.LUTDescriptor = [len(table) % 65536, 0, 16]  # 0 stands for 65536 entries
    item.LUTExplanation = "to X-ray intensity"
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    dataset.ModalityLUTSequence = [item]
