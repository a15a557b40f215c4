"""When each frame was taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.header import functional, number, text, values


def frame_times(headers: Sequence[Dataset], frames: int) -> np.ndarray:
    """Return `(frames,)` float64, ms since the first frame; all 0 where the headers do not tell.

    Args:
        headers: one of a multi-frame file, or one per frame.
        frames: T.

    Source: DICOM PS3.3 C.7.6.5.1.1 (FrameTime), C.7.6.5.1.2 (FrameTimeVector: increments, the first 0).
    """
    for increments in (_from_vector(headers[0], frames), _from_clock(headers), _from_rate(headers[0], frames)):
        if increments is not None:
            return np.asarray(np.cumsum(increments) - increments[0])
    return np.zeros(frames)


def _from_vector(header: Dataset, frames: int) -> np.ndarray | None:
    vector = values(header, "FrameTimeVector")
    return np.asarray(vector, float) if len(vector) == frames else None


def _from_clock(headers: Sequence[Dataset]) -> np.ndarray | None:
    for keyword in ("AcquisitionTime", "ContentTime"):
        seconds = np.array([_seconds(text(header, keyword)) for header in headers])
        if len(headers) > 1 and np.all(np.diff(seconds) > 0):
            return np.concatenate([[0.0], 1000 * np.diff(seconds)])
    return None


def _seconds(time: str) -> float:
    """Return seconds since midnight of a DICOM time HHMMSS.ffffff, nan if it is none."""
    try:
        return int(time[:2]) * 3600 + int(time[2:4]) * 60 + float(time[4:])
    except ValueError:
        return float("nan")


def _from_rate(header: Dataset, frames: int) -> np.ndarray | None:
    time = number(header, "FrameTime")
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = number(header, keyword)
        time = time or (1000 / rate if rate else None)
    acquisition = functional(header, "FrameContentSequence", "FrameAcquisitionDuration")
    time = time or (float(acquisition[0]) if acquisition else None)
    return np.full(frames, time) if time else None
