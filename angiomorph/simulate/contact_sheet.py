"""A contact sheet of simulated runs: what a run looks like, what plain DSA makes of it, and the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from angiomorph.dicom import read_series
from angiomorph.pictures import Panel, frame_window, grid
from angiomorph.preprocessing.intensity import to_ln
from angiomorph.preprocessing.resizing import average_blocks
from angiomorph.storage.truth import read_truth, truth_path

TITLES = ("background", "filled", "plain DSA", "true vessels")
LEAST_DEPTH = 0.1  # ln units of the window's dark end in a run with little iodine


def contact_sheet(runs: Sequence[Path], path: str | os.PathLike[str], side: int = 256, columns: int = 2) -> None:
    """Write the picture of simulated runs: each one's last background frame, its fullest frame, plain DSA of them and truth.

    The two frames, in ln units, share one window, as do DSA and truth.

    Args:
        runs: DICOM files with their `<name>_truth.h5` beside them, of any size.
        path: PNG file.
        side: side of a panel, pixels; frames are reduced to it by means of whole blocks and cropped to a square.
        columns: runs in a row.
    """
    cells = [_panels(run, side, titled=number < columns) for number, run in enumerate(runs)]
    blank = [Panel("", np.zeros((side, side)), (0, 1))] * len(TITLES)
    cells += [blank] * (-len(cells) % columns)
    grid([[*chain(*cells[start : start + columns])] for start in range(0, len(cells), columns)], path)


def _panels(run: Path, side: int, titled: bool) -> list[Panel]:
    series = read_series(run)
    truth = read_truth(truth_path(run))
    filled = int(np.argmin(truth.vessel.sum((1, 2))))
    before = max(series.background_numbers, default=1) - 1
    values = to_ln(series.frames[[before, filled]], series.relation, truth.stored_per_ln)
    dsa = values[1] - values[0]
    frames = [_fit_panel(frame, side) for frame in values]
    roi = truth.anatomy[filled]
    window = frame_window(values[0][roi] if roi.any() else values[0])
    true = _fit_panel(truth.vessel[filled], side)
    depth = max(-float(np.percentile(true, 0.3)), LEAST_DEPTH)
    level = float(np.median(dsa[roi])) if roi.any() else 0.0
    images = [*frames, _fit_panel(dsa - level, side), true]
    windows = [window, window, (-depth, depth / 2), (-depth, depth / 2)]
    titles = TITLES if titled else ("",) * len(TITLES)
    return [Panel(*panel) for panel in zip(titles, images, windows, strict=True)]


def _fit_panel(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle square of an image as means over blocks of pixels, or repeated where it is smaller."""
    means = average_blocks(image[None], side)[0]
    size = min(*means.shape, side)
    top, left = ((length - size) // 2 for length in means.shape)
    index = np.minimum(np.arange(side) * size // side, size - 1)
    return np.asarray(means[top : top + size, left : left + size][np.ix_(index, index)])
