"""Vessels as a cloud of small bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

COLUMNS = ("position", "amount", "radius", "arrival", "phase", "dilution")  # of `Vessels`, one row a body
ARTERY, CAPILLARY, VEIN = 0, 1, 2
SPEED = 250.0  # mm/s of the bolus in an artery of 2 mm radius; falls with the square root of the radius


@dataclass(frozen=True)
class Vessels:
    """Bodies that carry contrast agent.

    Args:
        position: `(N, 3)` float32 x, y, z, mm.
        amount: `(N,)` float32, blood volume of each, mm^3.
        radius: `(N,)` float32, of the vessel, voxel or piece of tissue that it stands for, mm.
        arrival: `(N,)` float32, when the bolus reaches it after the catheter's tip, s, >= 0, capillary transit left out.
        phase: `(N,)` uint8, 0 artery, 1 capillary, 2 vein.
        dilution: `(N,)` float32, share of its blood that comes from injected arteries, 0..1.
        path: `(M, 3)` float32, the catheter's way, mm: from where it enters the region to its tip in the injected artery.
    """

    position: np.ndarray
    amount: np.ndarray
    radius: np.ndarray
    arrival: np.ndarray
    phase: np.ndarray
    dilution: np.ndarray
    path: np.ndarray

    def part(self, keep: np.ndarray) -> Vessels:
        """Return the bodies of a mask or index `(N,)`, with the same path."""
        return replace(self, **{name: getattr(self, name)[keep] for name in COLUMNS})

    def reached_by(self, path: np.ndarray) -> Vessels:
        """Return the same bodies with another path `(M, 3)`, mm."""
        return replace(self, path=np.asarray(path, np.float32))


def bodies(
    position: np.ndarray,
    amount: np.ndarray,
    radius: np.ndarray,
    arrival: np.ndarray,
    phase: int = ARTERY,
    dilution: np.ndarray | float = 1.0,
    path: np.ndarray | None = None,
) -> Vessels:
    """Return bodies of one phase; arguments as in `Vessels`, radius and dilution also one for all."""
    count = len(amount)
    return Vessels(
        np.asarray(position, np.float32).reshape(-1, 3),
        np.asarray(amount, np.float32),
        np.broadcast_to(radius, count).astype(np.float32),
        np.asarray(arrival, np.float32),
        np.full(count, phase, np.uint8),
        np.broadcast_to(dilution, count).astype(np.float32),
        np.empty((0, 3), np.float32) if path is None else np.asarray(path, np.float32),
    )


def joined(clouds: Sequence[Vessels]) -> Vessels:
    """Return several clouds as one; its path is the first one's that has any."""
    path = next((cloud.path for cloud in clouds if len(cloud.path)), np.empty((0, 3), np.float32))
    return Vessels(**{name: np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in COLUMNS}, path=path)


def speed(radius: np.ndarray) -> np.ndarray:
    """Return the bolus speed in arteries, `250 mm/s * sqrt(radius / 2 mm)`."""
    return SPEED * np.sqrt(radius / 2)
