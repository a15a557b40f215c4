"""What is known of a simulated run, and its file `<name>_truth.h5` beside the run::

    background (T, H, W)                float32
    vessel (T, H, W)                    float32
    vessel_mask (T, H, W)               bool
    anatomy (T, H, W)                   bool
    pose (T, 6)                         float64
    displacement (T, H/4, W/4, 2)       float32; absent from files of older versions
    displacement_defined (T, H/4, W/4)  bool; absent from files of older versions
    @stored_per_ln                      1 where it is absent
    @settings, @arm                     JSON: what the run was drawn from, and its geometry
    @seed                               int array, the run's entropy
    @version                            of the program that wrote it

`RunTruth` says what each array holds. The attributes from `@settings` on are for people; no program reads them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage.store import read_arrays, write_arrays

BLOCK = 4  # pixels along a side of the blocks that hold one true displacement each


@dataclass(frozen=True, eq=False)
class RunTruth:
    """The truth of a simulated run.

    Args:
        background: `(T, H, W)` float32, ln of the noise-free frame without contrast agent, at the pose of each frame.
        vessel: `(T, H, W)` float32, ln units, the noise-free frame with contrast agent over that without; <= 0, but for
            the halos that the sharpening of DISP adds.
        vessel_mask: `(T, H, W)` bool, the vessels.
        anatomy: `(T, H, W)` bool, inside the collimator, behind tissue, not saturated: where figures of merit are taken.
        pose: `(T, 6)` float64, rotations about x, y, z in degrees, then translations in mm, about the isocentre; the first
            frame's is 0.
        displacement: `(T, H // 4, W // 4, 2)` float32, pixels, row and column, at the centres of blocks of 4 x 4 pixels: from
            a pixel of a frame to where its material lies in the first frame.
        displacement_defined: `(T, H // 4, W // 4)` bool, where the block's bone moves as one.
        stored_per_ln: stored values for one ln unit; 1 for LIN, whose ln is taken.
    """

    background: np.ndarray
    vessel: np.ndarray
    vessel_mask: np.ndarray
    anatomy: np.ndarray
    pose: np.ndarray
    displacement: np.ndarray
    displacement_defined: np.ndarray
    stored_per_ln: float = 1.0

    def select_frames(self, frames: Sequence[int] | slice) -> RunTruth:
        """Return the truth of some frames, indices from 0."""
        return replace(self, **{name: array[frames] for name, array in self.arrays().items()})

    def arrays(self) -> dict[str, Any]:
        """Return the arrays by their names in the file."""
        return {name: getattr(self, name) for name in ARRAYS}

    def clean_values(self, relation: str) -> np.ndarray:
        """Return what the frames would store without contrast agent and noise, before rounding.

            clean = exp(background) of LIN, stored_per_ln background of LOG and DISP

        Args:
            relation: PixelIntensityRelationship of the run.

        Returns:
            `(T, H, W)` float32.
        """
        return np.exp(self.background) if relation == "LIN" else self.background * np.float32(self.stored_per_ln)


ARRAYS = tuple(field.name for field in fields(RunTruth) if field.name != "stored_per_ln")


def truth_path(run: str | os.PathLike[str]) -> Path:
    """Return where the truth of a run lies: `<name>_truth.h5` beside the run's file."""
    path = Path(run)
    return path.with_name(f"{path.stem}_truth.h5")


def write_truth(path: str | os.PathLike[str], truth: RunTruth, about: Mapping[str, Any] | None = None) -> None:
    """Write a truth file, whole or not at all.

    Args:
        path: the file's final name, see `truth_path`.
        truth: the run's truth.
        about: further attributes, see the module's schema.
    """
    write_arrays(path, truth.arrays(), {"stored_per_ln": truth.stored_per_ln, **(about or {})})


def read_truth(path: str | os.PathLike[str]) -> RunTruth:
    """Read a truth file.

        >>> import numpy as np
        >>> from angiomorph.storage.truth import RunTruth, write_truth
        >>> still, warp = np.zeros((2, 8, 8), np.float32), np.zeros((2, 2, 2, 2), np.float32)
        >>> truth = RunTruth(still, still, still < 0, still == 0, np.zeros((2, 6)), warp, warp[..., 0] == 0)
        >>> write_truth("out/run_truth.h5", truth)
        >>> am.read_truth("out/run_truth.h5").background.shape
        (2, 8, 8)

    Args:
        path: `<name>_truth.h5`.

    Raises:
        InputError: the file is absent or none of a simulated run.
    """
    arrays, attributes = read_arrays(path)
    missing = [name for name in ARRAYS if name not in arrays and not name.startswith("displacement")]
    if missing:
        raise InputError(
            f"{path}: expected the truth of a simulated run, found no {', '.join(missing)} in it; simulate it again"
        )
    count, rows, columns = arrays["background"].shape
    blocks = (count, rows // BLOCK, columns // BLOCK)
    arrays.setdefault("displacement", np.zeros((*blocks, 2), np.float32))
    arrays.setdefault("displacement_defined", np.zeros(blocks, bool))
    return RunTruth(**{name: arrays[name] for name in ARRAYS}, stored_per_ln=float(attributes.get("stored_per_ln", 1.0)))


def find_truth(run: str | os.PathLike[str]) -> RunTruth | None:
    """Return the truth beside a run's file, or None where there is none.

    Raises:
        InputError: there is a file of that name that is none of a simulated run.
    """
    path = truth_path(run)
    return read_truth(path) if path.exists() else None
