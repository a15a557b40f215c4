"""What the page is told of a run and of its subtraction, whoever registers it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from angiomorph.dicom import Series
from angiomorph.pictures import frame_window, subtraction_window
from angiomorph.preprocessing.background import Background, Step
from angiomorph.preprocessing.intensity import UNITS, resolve_mode, to_domain
from angiomorph.preprocessing.resizing import average_areas, fitted_shape
from angiomorph.view.shown import Answer

WARP_SIZE = 512  # longer side at most of a warp as the page gets it, pixels: that of the shipped network's finest level
SAMPLES = 50_000  # pixels by which levels and windows are found


def describe_run(series: Series) -> dict[str, Any]:
    """Return what a run says of itself, ready for JSON."""
    frames, rows, columns = series.frames.shape
    middle = in_unit(series, series.frames[frames // 2])
    mode = resolve_mode(series.relation, "auto")
    return {
        "key": hashlib.sha256(series.frames[0].tobytes() + series.frames[-1].tobytes()).hexdigest()[:16],
        "frames": frames,
        "rows": rows,
        "columns": columns,
        "times": series.frame_times.tolist(),
        "logarithmic": mode == "log",
        "units": UNITS[mode],
        "window": frame_window(middle[series.shutter] if series.shutter.any() else middle),
        "warnings": list(series.warnings),
    }


def in_unit(series: Series, frames: np.ndarray) -> np.ndarray:
    """Return stored values of a run in the unit of its subtraction, float32."""
    return to_domain(frames, resolve_mode(series.relation, "auto"))


def answer_frame(series: Series, number: int) -> Answer:
    """Return the stored values of a frame, by its number from 1."""
    return Answer({}, np.ascontiguousarray(series.frames[number - 1], "<u2").tobytes())


def answer_background(
    series: Series,
    field: np.ndarray,
    chosen: Background,
    steps: Sequence[Step],
    reference: Callable[[tuple[int, ...]], np.ndarray],
) -> Answer:
    """Return which frames have which background, how plain DSA looks from there, and the exposed field.

    Args:
        series: the run.
        field: `(H, W)` bool.
        chosen: the background.
        steps: which frames have which of its frames.
        reference: gives the background of some frame numbers, `(H, W)`, in the unit of the subtraction.
    """
    levels, window, fullest = _look_at_subtracted(series, field, steps, reference)
    info = {
        "steps": [{"numbers": step.numbers, "frames": step.frames} for step in steps],
        "choice": chosen.choice,
        "iodine_from": chosen.iodine_from,
        "warnings": list(chosen.warnings),
        "levels": levels,
        "window": window,
        "fullest": fullest,
    }
    return Answer(info, field.astype(np.uint8).tobytes())


def answer_warp(warp: np.ndarray) -> Answer:
    """Return a warp `(H, W, 2)` as the page draws it."""
    small = shrink_warp(warp, WARP_SIZE)
    return Answer({"rows": small.shape[0], "columns": small.shape[1]}, small.astype("<f2").tobytes())


def shrink_warp(warp: np.ndarray, size: int) -> np.ndarray:
    """Return a warp of which the longer side is at most `size`, each the mean over its area; displacements stay the same.

    Args:
        warp: `(H, W, 2)` float32, pixels.
        size: pixels.

    Returns:
        `(h, w, 2)` float32, pixels of the frame before.
    """
    shape = fitted_shape(warp.shape[:2], size)
    if shape == warp.shape[:2]:
        return warp
    return np.moveaxis(average_areas(np.ascontiguousarray(np.moveaxis(warp, -1, 0)), shape), 0, -1)


def _look_at_subtracted(
    series: Series, field: np.ndarray, steps: Sequence[Step], reference: Callable[[tuple[int, ...]], np.ndarray]
) -> tuple[list[float], tuple[float, float], int]:
    """Return of plain DSA each frame's level, a grey window about it, and the number of the frame of most iodine."""
    inside = _sample(field)
    values = in_unit(series, np.stack([frame.ravel()[inside] for frame in series.frames]))
    levels, darkness = np.zeros(len(values)), np.zeros(len(values))
    subtracted = np.empty_like(values)
    for step in steps:
        own = np.array(step.frames) - 1
        subtracted[own] = values[own] - reference(step.numbers).ravel()[inside]
        levels[own] = np.median(subtracted[own], axis=1)
        later = own[own >= step.numbers[-1]]
        darkness[later] = np.minimum(subtracted[later] - levels[later, None], 0).mean(1)
    fullest = int(np.argmin(darkness))
    return levels.tolist(), subtraction_window(subtracted[fullest] - levels[fullest]), fullest + 1


def _sample(field: np.ndarray) -> np.ndarray:
    """Return indices of some pixels of a field, or of everywhere where there is none."""
    inside = np.flatnonzero(field) if field.any() else np.arange(field.size)
    return inside[:: max(1, len(inside) // SAMPLES)]
