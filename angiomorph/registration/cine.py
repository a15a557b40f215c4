"""A registered run as moving pictures: plain DSA beside BSA, and a sheet of its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from angiomorph.pictures import Panel, shade, subtraction_window
from angiomorph.preprocessing.background import Background
from angiomorph.preprocessing.resizing import average_areas, fitted_shape
from angiomorph.preprocessing.spacing import spread_indices

CAPTION, GAP, FONT = 26, 4, 14  # pixels
MOST, COLUMNS = 16, 4  # frames of a sheet, and how many in a row
SHEET_SIZE = 384  # longer side at most of a frame in a sheet, pixels


class Registered(Protocol):
    """What is drawn of a `Registration`."""

    @property
    def bsa(self) -> np.ndarray:
        """Subtracted frames, `(T, H, W)`."""

    @property
    def dsa(self) -> np.ndarray:
        """Frames minus the unregistered background, `(T, H, W)`."""

    @property
    def field(self) -> np.ndarray:
        """The exposed field, `(H, W)` bool."""

    @property
    def weights(self) -> np.ndarray:
        """By which each frame's warp was scaled, `(T,)`."""

    @property
    def background(self) -> Background:
        """The chosen background frames."""

    @property
    def hyper(self) -> float:
        """λ."""

    @property
    def key_frame(self) -> int:
        """Number of the frame of most iodine."""


def find_window(result: Registered) -> tuple[float, float]:
    """Return (black, white) for all subtracted frames of a run, by the frame of most iodine."""
    return subtraction_window(_level(result, result.bsa, result.key_frame - 1)[result.field])


def draw_cine(result: Registered, size: int | None = None, window: tuple[float, float] | None = None) -> Iterator[np.ndarray]:
    """Yield each frame of a run: plain DSA beside BSA, in one window, with what they are above.

    Args:
        result: the registered run.
        size: longer side at most of each of the two, pixels; None for their own.
        window: see `draw_pairs`.

    Yields:
        `(H + 26, 2 W + 4)` uint8.
    """
    for index, pair in enumerate(draw_pairs(result, range(len(result.bsa)), size, window)):
        picture = np.concatenate([pair[0], np.zeros((len(pair[0]), GAP), np.uint8), pair[1]], axis=1)
        captions = [f"plain DSA, {name_frame(result, index)}", say_warp(result, index)]
        yield np.concatenate([_write_caption(picture.shape[1], captions), picture])


def draw_pairs(
    result: Registered, indices: Sequence[int], size: int | None = None, window: tuple[float, float] | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield plain DSA and BSA of some frames, in one window.

    Args:
        result: the registered run.
        indices: indices of the frames, from 0.
        size: longer side at most, pixels; None for their own.
        window: (black, white), subtracted values; black above white shows iodine bright. None for that of `find_window`.

    Yields:
        two pictures `(h, w)` uint8.
    """
    window = window or find_window(result)
    shape = _find_shape(result, size)
    for index in indices:
        dsa, bsa = (shade(_shrink(_level(result, part, index), shape), window) for part in (result.dsa, result.bsa))
        yield dsa, bsa


def draw_subtracted(result: Registered, frame: np.ndarray, size: int | None = None) -> np.ndarray:
    """Return another subtraction of a run's frame in the window of the run.

    Args:
        result: the registered run.
        frame: `(H, W)`, subtracted values.
        size: longer side at most, pixels; None for its own.

    Returns:
        `(h, w)` uint8.
    """
    level = np.where(result.field, frame - np.median(frame[result.field]), 0)
    return shade(_shrink(level, _find_shape(result, size)), find_window(result))


def draw_sheet(result: Registered) -> list[list[Panel]]:
    """Return up to 16 subtracted frames, evenly spaced, in rows of four, all in one window."""
    window = find_window(result)
    shape = fitted_shape(result.field.shape, SHEET_SIZE)
    indices = spread_indices(len(result.bsa), MOST)
    panels = [
        Panel(
            f"{name_frame(result, index)}, {say_warp(result, index)}", _shrink(_level(result, result.bsa, index), shape), window
        )
        for index in map(int, indices)
    ]
    panels += [Panel("", np.full(shape, window[0]), window)] * (-len(panels) % COLUMNS)
    return [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]


def _level(result: Registered, frames: np.ndarray, index: int) -> np.ndarray:
    """Return a subtracted frame about the level of its exposure; behind a collimator there is only noise, so 0."""
    level = np.median(result.bsa[index][result.field])
    return np.where(result.field, frames[index] - level, 0)


def _find_shape(result: Registered, size: int | None) -> tuple[int, int]:
    return fitted_shape(result.field.shape, size or max(result.field.shape))


def _shrink(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return average_areas(frame[None], shape)[0]


def name_frame(result: Registered, index: int) -> str:
    """Return what a frame is called, by its index from 0."""
    return f"{'background ' if index + 1 in result.background.numbers else ''}frame {index + 1}"


def say_warp(result: Registered, index: int) -> str:
    """Return at which λ a frame was warped, and how much of the warp the guard took."""
    weight = result.weights[index]
    if weight == 1:
        return f"BSA (λ {result.hyper:.2f})"
    return f"BSA, warped by {weight:.0%}" if weight else "left unwarped"


def _write_caption(width: int, captions: list[str]) -> np.ndarray:
    strip = Image.new("L", (width, CAPTION))
    # Pillow's own font has no λ.
    import matplotlib

    draw, font = ImageDraw.Draw(strip), ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", FONT)
    for number, caption in enumerate(captions):
        middle = (2 * number + 1) * width / (2 * len(captions))
        draw.text((middle, CAPTION / 2), caption, fill=230, font=font, anchor="mm")
    return np.asarray(strip)
