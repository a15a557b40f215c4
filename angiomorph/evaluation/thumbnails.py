"""One frame of an evaluated run as each registration subtracts it, small enough for a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from angiomorph.pages.page import encode_jpeg
from angiomorph.pictures import shade, subtraction_window
from angiomorph.preprocessing.intensity import STORED
from angiomorph.preprocessing.resizing import fit_within
from angiomorph.registration.result import Registration
from angiomorph.storage.truth import RunTruth

SIZE = 256  # longer side at most, pixels


@dataclass(frozen=True)
class Thumbnails:
    """One frame of a run, all pictures in one grey window.

    Args:
        frame: its number, from 1.
        plain: JPEG of plain DSA.
        bsa: JPEG of each registration's.
        truth: JPEG of the true vessels; None where nobody knows them.
        errors: JPEG of each BSA less the true vessels; empty where nobody knows them.
    """

    frame: int
    plain: bytes
    bsa: tuple[bytes, ...]
    truth: bytes | None = None
    errors: tuple[bytes, ...] = ()


class Sketch:
    """Collects one frame of a run: that of the most iodine, by the truth where it is known.

    Args:
        truth: the run's truth, or None.
    """

    def __init__(self, truth: RunTruth | None) -> None:
        self._index = -1 if truth is None else int(np.argmin(truth.vessel.sum((1, 2))))
        self._truth = truth
        self._plain = self._field = np.empty(0)
        self._bsa: list[np.ndarray] = []

    def take(self, result: Registration) -> None:
        """Take a registration of the run."""
        if not self._bsa:
            self._index = result.fullest_frame - 1 if self._truth is None else self._index
            self._field = result.field if result.field.any() else np.ones_like(result.field)
            self._plain = self._level(result, result.dsa)
        self._bsa.append(self._level(result, result.bsa))

    def _level(self, result: Registration, subtracted: np.ndarray) -> np.ndarray:
        """Return the frame about its level, which exposure moves; in ln units where the truth is; 0 beyond the field."""
        frame = subtracted[self._index]
        unit = 1.0 if self._truth is None or result.units != STORED else self._truth.stored_per_ln
        return np.where(self._field, (frame - np.median(frame[self._field])) / np.float32(unit), 0)

    def draw(self) -> Thumbnails:
        """Return the pictures; the window is the mean of those that the registrations would choose."""
        window = np.mean([subtraction_window(each[self._field]) for each in self._bsa], axis=0)
        plain, *bsa = (_encode(each, window) for each in (self._plain, *self._bsa))
        if self._truth is None:
            return Thumbnails(self._index + 1, plain, tuple(bsa))
        vessel = np.where(self._field, self._truth.vessel[self._index], 0)
        errors = tuple(_encode(each - vessel, window) for each in self._bsa)
        return Thumbnails(self._index + 1, plain, tuple(bsa), _encode(vessel, window), errors)


def _encode(picture: np.ndarray, window: np.ndarray) -> bytes:
    black, white = window
    return encode_jpeg(shade(fit_within(np.asarray(picture, np.float32)[None], SIZE)[0], (black, white)))
