"""What enhanced objects say of each frame: whether the frames are of one place and in order of time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.attributes import frame_items, label, number
from angiomorph.dicom.timing import FRAME_CLOCKS, read_clock
from angiomorph.errors import InputError

PLACES: Mapping[str, Mapping[str, float]] = {  # where each frame was taken, and by how much what rests may tremble
    "PositionerPositionSequence": {"PositionerPrimaryAngle": 1.0, "PositionerSecondaryAngle": 1.0},  # degrees
    "TablePositionSequence": {  # mm
        "TableTopVerticalPosition": 1.0,
        "TableTopLongitudinalPosition": 1.0,
        "TableTopLateralPosition": 1.0,
    },
}
ORDERS = ("TemporalPositionIndex", "FrameAcquisitionNumber")


def check_frames_still(path: Path, dataset: Dataset) -> None:
    """Refuse a run whose frames were taken at several angles of the C-arm or places of the table.

    Raises:
        InputError: naming the attribute and its range.

    Source: DICOM PS3.3 C.8.19.6.8 (positioner), C.8.19.6.11 (table).
    """
    for macro, places in PLACES.items():
        frames = frame_items(dataset, macro)
        for keyword, tremble in places.items():
            found = [place for item in frames if (place := number(item, keyword)) is not None]
            if found and max(found) - min(found) > tremble:
                raise InputError(
                    f"{path}: expected a resting C-arm and table, found frames of {label(keyword)} {min(found):g} to "
                    f"{max(found):g}: no frame is the background of another; give a run acquired in one position"
                )


def check_frames_in_order(path: Path, dataset: Dataset) -> None:
    """Refuse a run whose frames are not stored in the order in which they were taken.

    Raises:
        InputError: naming the first frame that is earlier than the one before it, and by which attribute.
    """
    contents = frame_items(dataset, "FrameContentSequence")
    for keyword in (*FRAME_CLOCKS, *ORDERS):
        places = [read_clock(item, "", keyword) if keyword in FRAME_CLOCKS else number(item, keyword) for item in contents]
        steps = np.diff(np.array(places, np.float64))
        if not len(steps) or not np.all(steps):  # one frame, or frames of one number, which order nothing
            continue
        if np.isnan(steps).any():
            continue
        earlier = np.flatnonzero(steps < 0)
        if not len(earlier):
            return
        frame = int(earlier[0]) + 2
        raise InputError(
            f"{path}: expected frames in the order in which they were taken, found frame {frame} to be earlier than the one "
            f"before it by {label(keyword)}; have the archive export the run in order of time"
        )
