"""A presentation state that shifts the mask of each frame by what of its warp is one shift."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from angiomorph.dicom.attributes import value
from angiomorph.dicom.identity import Role
from angiomorph.dicom.plain_dsa import check_dsa_state, new_state, stored_numbers
from angiomorph.dicom.save import explain_unwritable, save
from angiomorph.dicom.series import Series
from angiomorph.dicom.write_enhanced import UNKNOWN
from angiomorph.errors import InputError

XA_STATE = UID("1.2.840.10008.5.1.4.1.1.11.5")  # XA/XRF Grayscale Softcopy Presentation State Storage
SHIFTS = Role("shift state", 4, "shift state (angiomorph)", "Shifting of mask frames")


def check_shift_state(series: Series) -> None:
    """Raise where no presentation state can name a run's mask frames: see `check_dsa_state`."""
    check_dsa_state(series, "shift-state")


def write_shift_state(
    path: str | os.PathLike[str], series: Series, background_numbers: Sequence[int], shifts: np.ndarray
) -> None:
    """Write an XA/XRF Grayscale Softcopy Presentation State that has a viewer shift the background, and then subtract it.

    MaskSubPixelShift of a frame is (-row, column) of its shift: the standard counts a move of the mask down and to the left.

    Args:
        path: the file's final name; written whole or not at all.
        series: the source run, one multi-frame file.
        background_numbers: frame numbers (from 1).
        shifts: `(T, 2)`, row and column, pixels: moved(x) = background(x + shift).

    Raises:
        InputError: see `check_shift_state`; another shape, values that are not finite; a source header that cannot be written.

    Source: DICOM PS3.3 A.33.6, C.7.6.10.1.2 (directions), C.11.19 (shifts by frame, which the plain state lacks).
    """
    check_shift_state(series)
    if shifts.shape != (len(series.frames), 2) or not np.isfinite(shifts).all():
        raise InputError(
            f"{path}: expected one finite shift of row and column for each of {len(series.frames)} frames, got {shifts.shape}; "
            "give the mean of each frame's warp"
        )
    with explain_unwritable(path, series.name):
        save(_state(series, background_numbers, shifts), path)


def _state(series: Series, background_numbers: Sequence[int], shifts: np.ndarray) -> Dataset:
    stored = stored_numbers(series, background_numbers)
    moves = np.column_stack([-shifts[:, 0], shifts[:, 1]]).astype(np.float32) + np.float32(0)  # no minus zero
    dataset = new_state(series, XA_STATE, SHIFTS, (",".join(map(str, stored)), moves.tobytes().hex()))
    for keyword in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"):
        if not value(dataset, keyword):
            setattr(dataset, keyword, UNKNOWN)
    dataset.ContentLabel, dataset.ContentDescription = "SHIFTED_DSA", "DSA, background shifted"
    mask = Dataset()
    mask.MaskOperation = "AVG_SUB"
    mask.MaskFrameNumbers = stored
    mask.ContrastFrameAveraging = 1
    mask.PixelShiftSequence = [_shift(series.place(index + 1)[1], move) for index, move in enumerate(moves)]
    dataset.MaskSubtractionSequence = [mask]
    return dataset


def _shift(frame: int, move: np.ndarray) -> Dataset:
    region, item = Dataset(), Dataset()
    region.MaskSubPixelShift = [float(part) for part in move]
    item.PixelShiftFrameRange = [frame, frame]
    item.RegionPixelShiftSequence = [region]
    return item
