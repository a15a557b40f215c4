"""One frame of a subtracted run as a Secondary Capture Image, for reports and for viewers that show single pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from angiomorph.dicom.attributes import text
from angiomorph.dicom.compress import check_encoding
from angiomorph.dicom.derive import describe_patient_and_study
from angiomorph.dicom.encoding import USUAL, Encoding
from angiomorph.dicom.gathered_frames import GatheredFrames
from angiomorph.dicom.identity import Role, are_named, refer_to, set_identity
from angiomorph.dicom.save import PROGRAM, explain_unwritable, save
from angiomorph.dicom.series import Series
from angiomorph.dicom.write import quantise, set_subtracted_pixels
from angiomorph.errors import InputError

KEY = Role("key frame", 5, "BSA key frame (angiomorph)", "Background subtraction after deformable registration")


def write_key_frame(
    path: str | os.PathLike[str],
    series: Series,
    frame: np.ndarray,
    *,
    number: int,
    units: str,
    hyper: float,
    encoding: Encoding = USUAL,
) -> None:
    """Write a frame of a subtracted run as a Secondary Capture Image of the source's study, stored as `write_bsa` stores it.

    Args:
        path: the file's final name; written whole or not at all.
        series: the source run.
        frame: `(H, W)`, iodine negative, in `units`.
        number: number of the frame in the source, from 1.
        units: "ln(intensity)" or "stored value".
        hyper: λ in [0, 1].
        encoding: how its pixels are stored; its class is always Secondary Capture.

    Raises:
        InputError: another shape than the run's, values that are not finite, or an encoding that is not known or not here.

    Source: DICOM PS3.3 A.8.1, C.8.6.1.
    """
    check_encoding(encoding)
    if frame.shape != series.frames.shape[1:] or not np.isfinite(frame).all() or not 1 <= number <= len(series.frames):
        raise InputError(
            f"{path}: expected finite values of shape {series.frames.shape[1:]} of a frame from 1 to {len(series.frames)}, got "
            f"{frame.shape} of frame {number}. Give one frame of the subtracted run"
        )
    with explain_unwritable(path, series.name):
        stored, formula = quantise([frame], 1, series, units, encoding, Path(path).parent)
        save(
            _capture(series, stored, number, f"{formula}; {PROGRAM}, lambda {hyper:g}", encoding),
            path,
            encoding.compress,
            stored,
        )


def _capture(series: Series, stored: GatheredFrames, number: int, description: str, encoding: Encoding) -> Dataset:
    header = series.headers[0]
    dataset = describe_patient_and_study(header)
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality = text(header, "Modality") or "XA"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = f"{description}; frame {number}"
    set_identity(dataset, series, KEY, (dataset.DerivationDescription, stored))
    set_subtracted_pixels(dataset, series, stored, encoding.pixel_depth)
    del dataset.NumberOfFrames, dataset.PixelIntensityRelationship
    dataset.PatientOrientation = ""
    if said := text(header, "BurnedInAnnotation"):
        dataset.BurnedInAnnotation = said
    if are_named(series.file_headers):
        dataset.SourceImageSequence = [_source(series, number)]
    return dataset


def _source(series: Series, number: int) -> Dataset:
    index, place = series.place(number)
    reference = refer_to(series.file_headers[index], "121322", preserved="YES")
    if len(series.headers) == 1:
        reference.ReferencedFrameNumber = place
    return reference
