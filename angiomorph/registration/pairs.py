"""Registration of one pair of images, in VoxelMorph's way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from angiomorph.images.pairs import Image, join_pair
from angiomorph.metrics import against_truth
from angiomorph.registration.model import Model
from angiomorph.registration.options import USUAL, RegistrationOptions


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """A registered pair.

    Args:
        moved: `(H, W)` float32, moved(x) = moving(x + warp(x)), in the moving image's own values.
        warp: `(H, W, 2)` float32, pixels, ij order.
        hyper: λ.
        weight: in [0, 1], by which the guard scaled the warp.
    """

    moved: np.ndarray
    warp: np.ndarray
    hyper: float
    weight: float

    def summary(self) -> dict[str, float]:
        """Return figures of the registration, ready for JSON."""
        return {
            "lambda": self.hyper,
            "weight": self.weight,
            "largest_shift": against_truth.largest_shift(self.warp),
            "folding": against_truth.folding(self.warp[None]),
        }


def register_pair(
    moving: Image, fixed: Image, model: Model, relation: str | None = None, options: RegistrationOptions = USUAL
) -> RegisteredPair:
    """Register `moving` onto `fixed`, both as the frames of a run are.

    Args:
        moving: the image to warp.
        fixed: the image it is warped onto.
        model: the network.
        relation: see `images.pairs.join_pair`.
        options: how they are registered; the background is `moving`.

    Raises:
        InputError: images that do not go together, or options that the model refuses.
    """
    result = model.register(join_pair(moving, fixed, relation), replace(options, background="1"))
    warp = result.warp[1]
    moved = model.predictor.move(moving.values.astype(np.float32), warp)
    return RegisteredPair(moved, warp, result.hyper, float(result.weights[1]))
