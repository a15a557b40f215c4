"""Veins: trees that drain tissue into sinuses, each stretch with the share of its blood that was injected, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from angiomorph.simulate.arteries import base, places
from angiomorph.simulate.cloud import VEIN, Vessels, bodies, joined, speed
from angiomorph.simulate.growth import Generation, Steering, Tips, Trunk, along, grow, normal, trunk, within
from angiomorph.simulate.territory import Territory

SLOWER = 0.6  # of the bolus in veins than in arteries of the same radius
DRAINED = (
    7.0,
    15.0,
)  # mm to the next injected tissue: up to the first a vein's end drains it alone, from the second not at all
FAINT = 0.02  # dilution below which a vein is left out
SINUS = 1.2  # of a sinus's radius over that of a vein by Murray's law
THINNEST_VEIN = 0.5  # mm radius
STRAIGHTER = 1.8  # than arteries, and longer from fork to fork

# The dura's sinuses in the cavity's half axes from its centre; those of the left side are the mirror image.
SAGITTAL = [(0, 0.95, -0.12), (0, 0.92, 0.46), (0, 0.54, 0.87), (0, 0, 0.985),
            (0, -0.54, 0.87), (0, -0.91, 0.47), (0, -0.97, -0.1), (0, -0.91, -0.38)]  # fmt: skip
STRAIGHT = [(0, -0.25, -0.08), (0, -0.55, -0.2), (0, -0.91, -0.38)]
TRANSVERSE = [
    (0, -0.91, -0.38),
    (0.4, -0.82, -0.36),
    (0.72, -0.58, -0.38),
    (0.8, -0.3, -0.45),
    (0.68, -0.2, -0.68),
    (0.5, -0.12, -0.88),
]
JUGULAR = np.array([(30, -12, -45), (33, -10, -80), (31, -2, -125), (29, 2, -170)])  # mm from the sella, going on from there


@dataclass(frozen=True)
class Inflow:
    """Blood that enters at n places: flow `(n,)` (mm^3 by Murray's law, radius cubed), injected part of it, its arrival, s."""

    flow: np.ndarray
    fed: np.ndarray
    arrival: np.ndarray

    def whole(self, share: float = 1.0) -> Inflow:
        """Return a share of all of it as one inflow."""
        fed = self.fed.sum()
        arrival = (self.fed * self.arrival).sum() / max(fed, 1e-9)
        return Inflow(np.array([share * self.flow.sum()]), np.array([share * fed]), np.array([arrival]))


def both(*inflows: Inflow) -> Inflow:
    """Return several inflows as one list of places."""
    return Inflow(*(np.concatenate([getattr(one, name) for one in inflows]) for name in ("flow", "fed", "arrival")))


def drain(generations: list[Generation], tissue: Vessels) -> tuple[Vessels, Inflow]:
    """Let blood flow from the ends of grown branches to their roots.

    Every branch of radius r carries r^3 (Murray); what its branches do not bring it drains from the tissue at its end. Injected
    blood keeps its sum at every junction, and arrives with the mean of what flows in.

    Args:
        generations: from `growth.grow`, root first.
        tissue: capillaries.

    Returns:
        the veins that carry injected blood, and what leaves each first branch.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(tissue.position) if len(tissue.amount) else None
    clouds, after = [], Inflow(*np.zeros((3, 0)))
    parents = np.empty(0, int)
    for one in reversed(generations):
        count, flow = len(one.radius), one.radius**3
        brought, fed, moment = (
            np.bincount(parents, weight, count) for weight in (after.flow, after.fed, after.fed * after.arrival)
        )
        share, arrival = _drained(tree, tissue, one.track[-1])
        own = np.clip(flow - brought, 0, None) * share
        fed, moment = fed + own, moment + own * arrival
        begin, time = moment / np.maximum(fed, 1e-9), one.length / (SLOWER * speed(one.radius))
        clouds.append(_branch_cloud(one, begin, time, fed / flow))
        parents, after = one.parent, Inflow(flow, fed, begin + time)
    return joined(clouds), after


def _drained(tree: Any, tissue: Vessels, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of what each end drains that comes from injected tissue, and when the bolus is there."""
    if tree is None:
        return np.zeros(len(ends)), np.zeros(len(ends))
    distance, nearest = tree.query(ends)
    return np.clip((DRAINED[1] - distance) / (DRAINED[1] - DRAINED[0]), 0, 1), tissue.arrival[nearest]


def _branch_cloud(one: Generation, begin: np.ndarray, time: np.ndarray, dilution: np.ndarray) -> Vessels:
    steps = len(one.track)
    since = 1 - np.arange(0.5, steps)[:, None] / steps  # the track leads from the root, against the flow
    keep = np.tile(dilution > FAINT, steps)
    return bodies(
        one.track.reshape(-1, 3)[keep],
        one.amount().ravel()[keep],
        np.tile(one.radius, steps)[keep],
        (begin + since * time).ravel()[keep],
        VEIN,
        np.tile(np.minimum(dilution, 1), steps)[keep],
    )


def collect(tube: Trunk, at: np.ndarray, inflow: Inflow) -> tuple[Vessels, Inflow]:
    """Let a tube collect what veins bring, its radius that of the flow by Murray's law, a fifth wider as a sinus is.

    Args:
        tube: its centre line, from its beginning to its outlet.
        at: `(n,)` piece of the tube that each inflow enters.
        inflow: of n veins.

    Returns:
        the sinus where it carries injected blood, and its outflow.
    """
    count = len(tube.length)
    flow = np.cumsum(np.bincount(at, inflow.flow, count))
    radius = SINUS * np.maximum(flow, 1e-3) ** (1 / 3)
    time = np.cumsum(tube.length / (SLOWER * speed(radius)))
    fed = np.cumsum(np.bincount(at, inflow.fed, count))
    moment = np.cumsum(np.bincount(at, inflow.fed * (inflow.arrival - time[at]), count))
    arrival = moment / np.maximum(fed, 1e-9) + time
    dilution = fed / np.maximum(flow, 1e-9)
    keep = dilution > FAINT
    amount = np.pi * radius**2 * tube.length
    cloud = bodies(tube.position[keep], amount[keep], radius[keep], arrival[keep], VEIN, np.minimum(dilution[keep], 1))
    return cloud, Inflow(flow[-1:], fed[-1:], arrival[-1:])


def tributaries(
    rng: np.random.Generator,
    tube: Trunk,
    at: np.ndarray,
    targets: np.ndarray,
    radius: np.ndarray,
    steer: Steering,
    scatter: np.ndarray,
    tissue: Vessels,
    thinnest: float = THINNEST_VEIN,
    stretch: float = STRAIGHTER,
) -> tuple[Vessels, Inflow]:
    """Grow veins from pieces `at` of a tube towards targets, and drain tissue through them; other arguments as elsewhere."""
    ways = normal(normal(targets - tube.position[at]) + rng.normal(0, 0.2, targets.shape))
    tips = Tips(tube.position[at], ways, radius, targets)
    return drain(grow(tips, rng, steer, scatter, thinnest, 0.25, stretch), tissue)


def head_veins(rng: np.random.Generator, cavity: Territory, tissue: Vessels) -> Vessels:
    """Grow the veins of a brain, down to the two jugular veins, of which one is wider.

    Those of the cortex drain into the superior sagittal sinus, those of temporal lobe and cerebellum into the transverse ones,
    the deep ones into the straight sinus.

    Args:
        rng: source.
        cavity: of the head.
        tissue: its capillaries.

    Returns:
        bodies of phase 2.
    """
    surface, scatter = along(cavity, 0.97), 0.5 * cavity.half
    sagittal, straight = trunk(places(cavity, SAGITTAL), 1.0), trunk(places(cavity, STRAIGHT), 1.0)
    at, targets = _cortical(rng, cavity, sagittal)
    upper, above = tributaries(rng, sagittal, at, targets, rng.uniform(0.8, 1.7, len(at)), surface, scatter, tissue)
    sinus, into = collect(sagittal, at, above)
    inner = places(cavity, [(0.12, 0.25, 0.1), (-0.12, 0.25, 0.1), (0.3, 0.15, -0.3), (-0.3, 0.15, -0.3)])
    start = np.zeros(4, int)
    deep, under = tributaries(
        rng, straight, start, inner, rng.uniform(0.8, 1.3, 4), within(cavity, 0.6), 0.3 * cavity.half, tissue
    )
    galen, also = collect(straight, start, under)
    clouds, right = [upper, sinus, deep, galen], rng.uniform(0.3, 0.8)
    for side, share in ((1, right), (-1, 1 - right)):
        clouds += _transverse(rng, cavity, side, both(into, also).whole(share), tissue)
    return joined(clouds)


def _cortical(rng: np.random.Generator, cavity: Territory, sagittal: Trunk) -> tuple[np.ndarray, np.ndarray]:
    """Where cortical veins enter the sagittal sinus, and where on either side they come from."""
    count = int(rng.integers(8, 13))
    share = np.tile((np.arange(count) + rng.uniform(0.1, 0.9, count)) / count, 2) * 0.8 + 0.1
    at = (share * len(sagittal.length)).astype(int)
    unit = (sagittal.position[at] - cavity.centre) / cavity.half
    side = np.repeat((-1.0, 1.0), count)
    unit = normal(unit * (0, 0.8, 0.55) + np.stack([side * rng.uniform(0.6, 1.0, 2 * count), 0 * side, 0 * side], axis=1))
    return at, places(cavity, 0.95 * unit)


def _transverse(rng: np.random.Generator, cavity: Territory, side: int, inflow: Inflow, tissue: Vessels) -> list[Vessels]:
    """Transverse and sigmoid sinus of one side with the veins of temporal lobe and cerebellum, and the jugular vein."""
    path = np.concatenate([places(cavity, TRANSVERSE), base(cavity) + JUGULAR])
    path[:, 0] = cavity.centre[0] + side * (path[:, 0] - cavity.centre[0])
    path[1:] += rng.normal(0, 1.5, path[1:].shape)
    tube = trunk(path, 1.0)
    inside = np.linalg.norm((tube.position - cavity.centre) / cavity.half, axis=1) < 1
    at = (np.array((0.25, 0.45, 0.55, 0.7)) * inside.sum()).astype(int)
    targets = places(
        cavity, [(0.5 * side, -0.7, -0.6), (0.9 * side, 0.0, 0.15), (0.93 * side, 0.25, -0.2), (0.85 * side, -0.4, 0.25)]
    )
    veins, more = tributaries(rng, tube, at, targets, rng.uniform(0.8, 1.4, 4), along(cavity, 0.95), 0.4 * cavity.half, tissue)
    return [veins, collect(tube, np.concatenate([[0], at]), both(inflow, more))[0]]


def neck_veins(rng: np.random.Generator, territory: Territory, arteries: Vessels) -> Vessels:
    """Lay the internal jugular vein beside the injected carotid; the blood in it comes from the brain above, mixed with other.

    Args:
        rng: source.
        territory: a neck.
        arteries: of it.

    Returns:
        bodies of phase 2.
    """
    side = 1 if np.median(arteries.position[:, 0]) > territory.centre[0] else -1
    way = [(0.6, -0.05, 1.5), (0.6, -0.05, 0.8), (0.62, 0.1, 0.0), (0.55, 0.15, -0.8), (0.4, 0.2, -1.5)]
    path = places(territory, np.array(way) * (side, 1, 1)) + rng.normal(0, 1.5, (len(way), 3))
    radius = rng.uniform(3.5, 6.0) / SINUS
    top = float(arteries.arrival[arteries.position[:, 2] > np.percentile(arteries.position[:, 2], 99)].min())
    inflow = Inflow(
        np.array([radius**3]), np.array([rng.uniform(0.3, 0.7) * radius**3]), np.array([top + rng.uniform(1.5, 2.5)])
    )
    return collect(trunk(path, 1.0), np.zeros(1, int), inflow)[0]
