"""Results of `register` as the 8-bit frames that readers see: one grey window for all panels of a case."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from angiomorph.errors import InputError
from angiomorph.pictures import shade, subtraction_window
from angiomorph.preprocessing.field import find_field
from angiomorph.preprocessing.intensity import LN
from angiomorph.preprocessing.recovery import Recovery
from angiomorph.preprocessing.resizing import fit_within
from angiomorph.preprocessing.spacing import spread_indices
from angiomorph.readers.options import FASTEST, SLOWEST, UNKNOWN_RATE, StudyOptions
from angiomorph.storage.store import open_arrays

LARGEST = 7_000_000  # bytes of JPEG in a page, whose text holds them as a third more
ALIKE = 1e-4  # rounding of a frame that is the sum of a subtracted one and what was subtracted, absolute and relative
QUALITIES = (95, 90, 85, 80, 75)


def read_case(paths: Sequence[Path], options: StudyOptions) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the panels of a case, subtracted frames `(T, h, w)` float32, and its exposed field `(h, w)`.

    Plain DSA is the last panel, if asked for. Each frame is around its own level, which exposure moves, and 0 beyond the field.

    Args:
        paths: the `_bsa.h5` of each method, of the same run.
        options: the study's options.

    Raises:
        InputError: a file is no registration, or not of the same run as the first.
    """
    panels: list[np.ndarray] = []
    frames: np.ndarray = np.empty(0)
    units = ""
    for number, path in enumerate(paths):
        with open_arrays(path) as (arrays, attributes):
            recovery = Recovery(arrays, str(path))
            acquired = np.stack([recovery.values(index).astype(np.float32) for index in range(recovery.shape[0])])
            if not number:
                frames, units = acquired, str(attributes.get("units"))
                chosen = _choose_frames(len(acquired), np.array(recovery.numbers), options.frames)
                plain = np.stack([acquired[index] - recovery.background(index) for index in chosen])
                field = _find_field(acquired, units)
            elif (
                attributes.get("units") != units
                or acquired.shape != frames.shape
                or not np.allclose(acquired, frames, ALIKE, ALIKE)
            ):
                raise InputError(
                    f"{path}: expected a registration of the same frames as {paths[0]}, found other ones; "
                    "register the same run with each method, and `unsubtracted` alike"
                )
            panels.append(_prepare(np.stack([arrays["bsa"][index] for index in chosen]), field, options.size))
    if options.plain:
        panels.append(_prepare(plain, field, options.size))
    return panels, fit_within(field[None].astype(np.float32), options.size)[0] > 0.5


def read_rate(path: Path, most: int) -> float:
    """Return at how many frames a second a case plays as acquired.

        rate = 1000 / median gap of the shown frames' times, in ms

    Args:
        path: the `_bsa.h5` of a method.
        most: frames that are shown of the case.

    Returns:
        0.1 to 60; 4 where the file has no times.
    """
    with open_arrays(path) as (arrays, _):
        times = np.asarray(arrays.get("frame_times", ()), np.float64)
        chosen = _choose_frames(len(arrays["bsa"]), np.asarray(arrays["background"]), most)
        if len(chosen) < 2 or times.shape != arrays["bsa"].shape[:1]:
            return UNKNOWN_RATE
    gap = float(np.median(np.diff(times[chosen])))
    return round(float(np.clip(1000 / gap, SLOWEST, FASTEST)), 2) if gap > 0 else UNKNOWN_RATE


def _choose_frames(count: int, background: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of at most `most` frames, evenly over those that are not background, or over all if every one is."""
    frames = np.setdiff1d(np.arange(count), background - 1)
    frames = frames if len(frames) else np.arange(count)
    return frames[spread_indices(len(frames), most)]


def _find_field(acquired: np.ndarray, units: str) -> np.ndarray:
    """Return the exposed field `(H, W)`; behind blades there is nothing to see but noise."""
    values = np.exp(acquired) if units == LN else acquired - acquired.min()
    stored = np.rint(values * (65535 / max(float(values.max()), 1e-9))).astype(np.uint16)
    return find_field(stored, np.ones(stored.shape[1:], bool))


def _prepare(panel: np.ndarray, field: np.ndarray, size: int) -> np.ndarray:
    level = np.median(panel[:, field], axis=1)[:, None, None]
    return fit_within(np.where(field, panel - level, np.float32(0)), size)


def encode_panels(panels: Sequence[np.ndarray], field: np.ndarray, methods: int, name: str) -> list[list[bytes]]:
    """Return each frame of each panel as JPEG, all in one grey window and of one quality, so that these tell nothing.

        black = mean over the methods of their window's black, white likewise

    Args:
        panels: `(T, h, w)` each.
        field: `(h, w)` bool, where the window looks.
        methods: how many of them, the first, choose the window; what a method did not register does not.
        name: the case's name, for messages.

    Raises:
        InputError: the case is too large for a page.
    """
    low, high = np.mean([subtraction_window(panel[:, field]) for panel in panels[:methods]], axis=0)
    grey = [shade(panel, (low, high)) for panel in panels]
    for quality in QUALITIES:
        encoded = [[_encode(frame, quality) for frame in panel] for panel in grey]
        if sum(len(frame) for panel in encoded for frame in panel) <= LARGEST:
            return encoded
    raise InputError(
        f"{name}: expected at most {LARGEST:,} bytes of frames for a page, found more at JPEG quality {QUALITIES[-1]}; "
        "lower `frames` or `size`"
    )


def _encode(frame: np.ndarray, quality: int) -> bytes:
    made = io.BytesIO()
    Image.fromarray(frame).save(made, "JPEG", quality=quality)
    return made.getvalue()
