"""PNG pictures: rows of frames at their own pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from angiomorph.storage.atomic import replace_file

if TYPE_CHECKING:  # matplotlib takes a third of a second, which is not spent where nothing is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 128  # a power of two, so that a picture of any number of pixels has exactly that size in inches
CAPTION = 36
GAP = 4


@dataclass(frozen=True)
class Panel:
    """One image of a picture.

    Args:
        title: caption above it.
        image: `(H, W)`, any unit.
        window: (black, white) values.
    """

    title: str
    image: np.ndarray
    window: tuple[float, float]


def frame_window(frame: np.ndarray) -> tuple[float, float]:
    """Return (black, white) for an unsubtracted frame: its 1st and 99.5th percentiles."""
    low, high = np.percentile(frame, [1, 99.5])
    return float(low), float(max(high, low + 1e-6))


def subtraction_window(bsa: np.ndarray) -> tuple[float, float]:
    """Return (black, white) for subtracted frames: iodine dark on a light grey, robust against outliers.

    Args:
        bsa: subtracted values, iodine negative.
    """
    depth = max(-float(np.percentile(bsa, 0.5)), 3 * float(np.std(bsa)) / 2, 1e-6)
    return -depth, depth / 2


def shade(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Return an image as grey values: `rint(255 * clip((image - black) / (white - black), 0, 1))`.

    Args:
        image: any shape and unit.
        window: (black, white), two values of that unit.

    Returns:
        uint8 of the same shape.
    """
    black, white = window
    return np.uint8(np.rint(np.clip((image - black) / (white - black), 0, 1) * 255))


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, under its name only when it is whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with replace_file(path) as partial:
        FigureCanvasAgg(figure).print_png(str(partial))


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as a picture, `(H, W, 3)` uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _draw(axes: Axes, panel: Panel) -> None:
    low, high = panel.window
    axes.imshow(panel.image, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    axes.set_axis_off()


def side_by_side(panels: Sequence[Panel], path: str | os.PathLike[str]) -> None:
    """Write panels of one size in a row, a screen pixel for an image pixel, captions above.

    Args:
        panels: images of the same shape.
        path: PNG file.
    """
    grid([panels], path)


def grid(rows: Sequence[Sequence[Panel]], path: str | os.PathLike[str]) -> None:
    """Write rows of panels of one size, a screen pixel for an image pixel, captions above the first row at least.

    Args:
        rows: equally many images of the same shape in each.
        path: PNG file.
    """
    save(_grid(rows), path)


def encode_png(panels: Sequence[Panel]) -> bytes:
    """Return what `side_by_side` writes.

    Args:
        panels: images of the same shape.
    """
    made = io.BytesIO()
    _grid([panels]).savefig(made, format="png")
    return made.getvalue()


def _grid(rows: Sequence[Sequence[Panel]]) -> Figure:
    from matplotlib.figure import Figure

    high, wide = rows[0][0].image.shape
    captions = [CAPTION, *(CAPTION if any(panel.title for panel in row) else GAP for row in rows[1:])]
    width, height = len(rows[0]) * (wide + GAP) - GAP, sum(captions) + len(rows) * high
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="black")
    bottom = height
    for caption, row in zip(captions, rows, strict=True):
        bottom -= caption + high
        for number, panel in enumerate(row):
            left = number * (wide + GAP)
            _draw(figure.add_axes((left / width, bottom / height, wide / width, high / height)), panel)
            middle = ((left + wide / 2) / width, (bottom + high + caption / 2) / height)
            figure.text(*middle, panel.title, color="white", ha="center", va="center", fontsize=9)
    return figure
