"""What is said of a registered run, gathered frame by frame, so that no run has to be in memory (no TensorFlow)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from angiomorph.metrics import against_truth

LEVEL_SAMPLES = 100_000  # pixels at most, nearly, by which a frame's level is found: to 0.4 % of its noise


@dataclass(frozen=True)
class FrameFigures:
    """What is said of one registered frame.

    Args:
        warped: whether its warp is anything but zero.
        darkness: mean of what is darker than the frame's level in BSA, at most 0: the more iodine the less.
        mean_shift: mean of the warp over the exposed field, pixels, row and column.
        residue_dsa: mean square of what is lighter than the frame's level in plain DSA.
        residue_bsa: the same in BSA.
        largest_shift: pixels.
        folding: share of its pixels at which the warp folds.
    """

    warped: bool
    darkness: float
    mean_shift: tuple[float, float]
    residue_dsa: float
    residue_bsa: float
    largest_shift: float
    folding: float


def describe_frame(bsa: np.ndarray, dsa: np.ndarray, warp: np.ndarray, field: np.ndarray) -> FrameFigures:
    """Return the figures of one frame.

    Args:
        bsa: `(H, W)`, frame minus the moved background.
        dsa: `(H, W)`, frame minus the background.
        warp: `(H, W, 2)`, pixels.
        field: `(H, W)` bool, the exposed field.
    """
    warped = bool(warp.any())
    after = _about_level(bsa, field)
    before = _about_level(dsa, field) if warped else after
    # A product of matrices, as picking the field's pixels takes ten times as long.
    shift = field.ravel().astype(np.float32) @ warp.reshape(-1, 2) / field.sum() if warped else np.zeros(2)
    return FrameFigures(
        warped=warped,
        darkness=float(np.minimum(after, 0).mean()),
        mean_shift=(float(shift[0]), float(shift[1])),
        residue_dsa=_lighter(before),
        residue_bsa=_lighter(after),
        largest_shift=against_truth.largest_shift(warp) if warped else 0.0,
        folding=against_truth.folding(warp) if warped else 0.0,
    )


def describe_frames(
    bsa: Iterable[np.ndarray], dsa: Iterable[np.ndarray], warp: Iterable[np.ndarray], field: np.ndarray
) -> tuple[FrameFigures, ...]:
    """Return the figures of every frame of a run, see `describe_frame`."""
    return tuple(describe_frame(*parts, field) for parts in zip(bsa, dsa, warp, strict=True))


def root_mean(squares: Sequence[float]) -> float:
    """Return the root of the mean of mean squares of frames."""
    return float(np.sqrt(np.mean(squares)))


def _about_level(subtracted: np.ndarray, field: np.ndarray) -> np.ndarray:
    inside = subtracted[field]
    return np.asarray(inside - np.median(inside[:: max(1, inside.size // LEVEL_SAMPLES)]))


def _lighter(about_level: np.ndarray) -> float:
    return float(np.square(np.maximum(about_level, 0)).mean())
