"""Fill a dry skull's CT with water, under a skin of it, so that it casts the shadow of a head.

python -m benchmarks.simulator.water dry_skull.nii.gz filled_skull.nii.gz
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.simulate.scene.nifti import load_nifti
from benchmarks.simulator.skull import write_volume

BONE = 200.0  # HU
WATER = 40.0  # HU, of brain rather than of pure water
GAP = 30.0  # mm, half the widest opening that is closed
SKIN = 6.0  # mm


def fill_skull(values: np.ndarray, spacing: Sequence[float], gap: float = GAP, skin: float = SKIN) -> np.ndarray:
    """Return a skull with water inside and around it.

        filled = max(values, WATER) within skin of the head, values elsewhere
        head = closing(values > BONE, ball of radius gap), its holes filled slice by slice

    Args:
        values: `(Z, Y, X)`, HU.
        spacing: of voxels along x, y, z, mm.
        gap: mm, half the widest opening of the skull that is closed.
        skin: mm of water on the head.

    Returns:
        `(Z, Y, X)` float32, HU.

    Raises:
        InputError: no voxel is bone.
    """
    bone = values > BONE
    if not bone.any():
        raise InputError(f"expected a skull with bone above {BONE:g} HU, found at most {values.max():g}; give its CT in HU")
    spacing = spacing[::-1]
    widths = [int(np.ceil(2 * gap / size)) for size in spacing]
    padded = np.pad(bone, [(width, width) for width in widths])
    near = ndimage.distance_transform_edt(~padded, sampling=spacing) < gap
    head = ndimage.distance_transform_edt(near, sampling=spacing) >= gap
    head = np.stack([ndimage.binary_fill_holes(part) for part in head])
    soft = ndimage.distance_transform_edt(~head, sampling=spacing) < skin
    inside = soft[tuple(slice(width, -width) for width in widths)]
    return np.where(inside, np.maximum(values, WATER), values).astype(np.float32)


def main(argv: Sequence[str] | None = None) -> int:
    """Fill one skull."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulator.water", description="A dry skull's CT, filled with water.")
    parser.add_argument("skull", type=Path, metavar="SKULL.nii.gz")
    parser.add_argument("out", type=Path, metavar="CT.nii.gz")
    arguments = parser.parse_args(argv)
    try:
        values, spacing, _ = load_nifti(arguments.skull)
        filled = fill_skull(values, spacing)
    except InputError as error:
        print(f"benchmarks.simulator.water: {arguments.skull}: {error}", file=sys.stderr)
        return 2
    write_volume(arguments.out, filled.round().astype(np.int16), spacing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
