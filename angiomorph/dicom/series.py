"""A run as the rest of the package sees it, and the files it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one run, found but not yet decoded.

    Args:
        name: what outputs are named after; distinct within `folder`.
        paths: one multi-frame file, or the single-frame files of the run.
        folder: of the run, relative to the folder that was searched; "." for a file given by itself.
        uid: SeriesInstanceUID; empty if it cannot be read.
    """

    name: str
    paths: tuple[Path, ...]
    folder: Path = Path()
    uid: str = ""


@dataclass(frozen=True, eq=False)
class Series:
    """One angiographic run.

    Args:
        frames: `(T, H, W)` uint8 or uint16, stored values below 2**bits_stored, turned so that iodine is dark.
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        bits_stored: BitsStored.
        frame_times: `(T,)` float64, ms since the first frame; all 0 if unknown.
        background_numbers: frame numbers (from 1) that the source subtracts as average (AVG_SUB); empty if it names none.
        name: the file's or folder's name without ending.
        shutter: `(H, W)` bool, True where the picture is exposed, False behind the display shutter.
        headers: data sets without pixel data, one for a multi-frame file, T for single-frame files.
        warnings: what a user should know about the run; no patient identity.
    """

    frames: np.ndarray
    relation: str
    bits_stored: int
    frame_times: np.ndarray
    background_numbers: tuple[int, ...]
    name: str
    shutter: np.ndarray
    headers: tuple[Dataset, ...]
    warnings: tuple[str, ...] = ()

    @property
    def frame_time(self) -> float:
        """Return the median time between frames, ms; 0 if unknown."""
        return float(np.median(np.diff(self.frame_times)))
