"""Vessels as a cloud of small bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

COLUMNS = ("position", "amount", "radius", "arrival", "phase", "dilution")  # of `Vessels`, one row a body
INFLOW = ("position", "flow", "fed", "arrival")  # columns of `Inflow`, one row a place
ARTERY, CAPILLARY, VEIN = 0, 1, 2
NO_FLOW = 1e-6  # mm^3/s; far below that of a capillary bed of 1 mm^3, and above what rounding leaves
SPEED = 400.0  # mm/s of the blood in an artery of 2 mm radius: what leaves a carotid is then about 250 ml/min


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

    def replace_path(self, path: np.ndarray) -> Vessels:
        """Return the same bodies with another path `(M, 3)`, mm."""
        return replace(self, path=np.asarray(path, np.float32))


def make_bodies(
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


def join_vessels(clouds: Sequence[Vessels]) -> Vessels:
    """Return several clouds as one; its path is the first one's that has any."""
    path = next((cloud.path for cloud in clouds if len(cloud.path)), np.empty((0, 3), np.float32))
    return Vessels(**{name: np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in COLUMNS}, path=path)


def speed(radius: np.ndarray) -> np.ndarray:
    """Return the speed of blood in arteries by Murray's law, `400 mm/s * radius / 2 mm`; radius in mm."""
    return SPEED * radius / 2


def murray_flow(radius: np.ndarray) -> np.ndarray:
    """Return the flow of arteries by Murray's law, `pi radius^2 * speed(radius)`, mm^3/s; radius in mm.

    It is as radius^3: what flows into a fork with r^3 = r1^3 + r2^3 flows out of it (C. D. Murray, PNAS 12 (1926) 207-214).
    """
    return np.pi * radius**2 * speed(radius)


def width(flow: np.ndarray) -> np.ndarray:
    """Return the radius of arteries that carry a flow, mm, the inverse of `murray_flow`; flow in mm^3/s."""
    return np.cbrt(2 * flow / (np.pi * SPEED))


@dataclass(frozen=True)
class Inflow:
    """Blood that enters at n places.

    Args:
        position: `(n, 3)` mm.
        flow: `(n,)` of all blood, mm^3/s, >= 0.
        fed: `(n,)` of the part that was injected, mm^3/s, 0..flow.
        arrival: `(n,)` when that part comes, s, as in `Vessels`.
    """

    position: np.ndarray
    flow: np.ndarray
    fed: np.ndarray
    arrival: np.ndarray

    def part(self, keep: np.ndarray | slice) -> Inflow:
        """Return the inflow at a choice of the places."""
        return Inflow(self.position[keep], self.flow[keep], self.fed[keep], self.arrival[keep])

    def whole(self, share: float = 1.0) -> Inflow:
        """Return a share of all of it as one inflow at the first place."""
        (flow, fed), arrival = share * self.sum_entering(np.zeros(len(self.flow), int), 1)[:2], self.mean_arrival()
        return Inflow(self.position[:1], flow, fed, np.array([arrival]))

    def mean_arrival(self) -> float:
        """Return when its injected part comes, in the mean, s."""
        return float((self.fed * self.arrival).sum() / max(self.fed.sum(), NO_FLOW))

    def sum_entering(self, at: np.ndarray, count: int) -> np.ndarray:
        """Return the sums of flow, fed and fed * arrival, `(3, count)`, over what enters at each of `count` places.

        Args:
            at: `(n,)` index of the place.
            count: number of places.
        """
        return np.stack([np.bincount(at, weight, count) for weight in (self.flow, self.fed, self.fed * self.arrival)])


def join_inflows(*inflows: Inflow) -> Inflow:
    """Return several inflows as one list of places."""
    return Inflow(*(np.concatenate([getattr(one, name) for one in inflows]) for name in INFLOW))
