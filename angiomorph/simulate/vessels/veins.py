"""Veins: trees that drain tissue into sinuses, each stretch with the share of its blood that was injected, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.arteries import base, places
from angiomorph.simulate.vessels.cloud import (
    NO_FLOW,
    VEIN,
    Inflow,
    Vessels,
    join_inflows,
    join_vessels,
    make_bodies,
    murray_flow,
    speed,
    width,
)
from angiomorph.simulate.vessels.growth import (
    Generation,
    Steering,
    Tips,
    Trunk,
    grow,
    keep_along,
    keep_within,
    lay_trunk,
    normalise_vectors,
)

SLOWER = 0.6  # of the blood in veins than in arteries of the same radius
SINUS = 1.2  # of a sinus's radius over that of a vein by Murray's law
THINNEST_VEIN = 0.5  # mm radius
STRAIGHTER = 1.8  # than arteries, and longer from fork to fork
AT_ROOT, TARGETS = 0.2, 0.25  # standard deviations: of a vein's direction where it ends; of its branches' targets, see `grow`

# All below is chosen by eye. Radii, mm, at the sinus or the jugular vein.
CORTICAL_RADIUS, DEEP_RADIUS, LOWER_RADIUS = (0.8, 1.7), (0.8, 1.3), (0.8, 1.4)
BESIDE_RADIUS = (3.5, 6.0)  # of a vein that would carry what else flows in the jugular vein of a neck
RIGHT_SHARE = (0.3, 0.8)  # of the brain's blood, what leaves by the right jugular vein
SAME_SIDE = (0.3, 0.7)  # of an internal carotid's blood, what comes back by the jugular vein of its side
BRAIN_TRANSIT = (1.5, 2.5)  # s, from the top of a neck through the brain and back to it

# Where cortical veins enter the sagittal sinus: how many a side, their share of its length, and how evenly they lie.
CORTICAL_COUNT, CORTICAL_BEGIN, CORTICAL_LENGTH, CORTICAL_SHIFT = (8, 13), 0.1, 0.8, (0.1, 0.9)
# Where they come from: factors of the place they enter at, the shift to their side, and the depth, half axes of the cavity.
CORTICAL_FROM, CORTICAL_SIDE, CORTICAL_DEPTH = (0, 0.8, 0.55), (0.6, 1.0), 0.95
LOWER_LEAVES = (0.25, 0.45, 0.55, 0.7)  # of the transverse sinus's length inside the cavity, where veins enter
ON_CORTEX, IN_DEPTH, ON_LOWER = 0.97, 0.6, 0.95  # surfaces that veins keep to, half axes of the cavity
CORTICAL_SCATTER, DEEP_SCATTER, LOWER_SCATTER = 0.5, 0.3, 0.4  # of targets, half axes of the cavity
SINUS_SPREAD, JUGULAR_SPREAD = 1.5, 1.5  # standard deviations of their points, mm
LAID = 1.0  # mm radius of a tube whose width follows from its flow

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


def vein_width(flow: np.ndarray) -> np.ndarray:
    """Return the radius of veins that carry a flow, mm: by Murray's law, at 0.6 of the speed in arteries; flow in mm^3/s."""
    return width(np.maximum(flow, NO_FLOW) / SLOWER)


def drain(trees: Sequence[list[Generation]], tissue: Inflow) -> list[tuple[Vessels, Inflow]]:
    """Let blood flow from tissue into the nearest end or fork of grown branches, and to their roots.

    Each branch is as wide as what flows in it needs. Blood keeps its sum at every junction, the injected part of it too, which
    arrives with the mean of what flows in.

    Args:
        trees: trees from `growth.grow`, root first.
        tissue: outflow of the tissue.

    Returns:
        of each tree the veins that carry injected blood, and what leaves each first branch.
    """
    from scipy.spatial import cKDTree

    count = [len(one.radius) for tree in trees for one in tree]
    ends = np.concatenate([one.track[-1] for tree in trees for one in tree])
    _, nearest = cKDTree(ends).query(tissue.position)
    own = iter(np.split(tissue.sum_entering(nearest, len(ends)), np.cumsum(count)[:-1], axis=1))
    return [_drain_tree(tree, [next(own) for _ in tree]) for tree in trees]


def _drain_tree(tree: list[Generation], own: list[np.ndarray]) -> tuple[Vessels, Inflow]:
    """Let one tree carry what its branches drain themselves: flow, fed and fed * arrival, `(3, n)` of each generation."""
    clouds, flows = [], own[-1]
    for one, below in zip(reversed(tree), [*reversed(own[:-1]), None], strict=True):
        flow, fed, moment = flows
        radius = vein_width(flow)
        time = one.length / (SLOWER * speed(radius))
        begin = moment / np.maximum(fed, NO_FLOW)
        after = Inflow(one.track[0], flow, fed, begin + time)
        clouds.append(_branch_cloud(one, radius, begin, time, fed / np.maximum(flow, NO_FLOW)))
        if below is not None:
            flows = below + after.sum_entering(one.parent, below.shape[1])
    return join_vessels(clouds), after


def _branch_cloud(one: Generation, radius: np.ndarray, begin: np.ndarray, time: np.ndarray, dilution: np.ndarray) -> Vessels:
    steps, keep = len(one.track), dilution > 0
    since = 1 - np.arange(0.5, steps)[:, None] / steps  # the track leads from the root, against the flow
    return make_bodies(
        one.track[:, keep].reshape(-1, 3),
        np.tile(np.pi * radius**2 * one.length / steps, (steps, 1))[:, keep].ravel(),
        np.tile(radius[keep], steps),
        (begin + since * time)[:, keep].ravel(),
        VEIN,
        np.tile(dilution[keep], steps),
    )


def collect(tube: Trunk, at: np.ndarray, inflow: Inflow) -> tuple[Vessels, Inflow]:
    """Let a tube collect what veins bring, its radius that of a vein of its flow, a fifth wider as a sinus is.

    Args:
        tube: its centre line, from its beginning to its outlet.
        at: `(n,)` piece of the tube at whose beginning each inflow enters.
        inflow: inflow of n veins.

    Returns:
        the sinus where it carries injected blood, and its outflow.
    """
    count = len(tube.length)
    flow = np.cumsum(np.bincount(at, inflow.flow, count))
    radius = SINUS * vein_width(flow)
    amount = np.pi * radius**2 * tube.length
    time = amount / np.maximum(flow, NO_FLOW)
    after = np.cumsum(time)
    entered = replace(inflow, arrival=inflow.arrival - (after - time)[at])
    _, fed, moment = np.cumsum(entered.sum_entering(at, count), axis=1)
    arrival = moment / np.maximum(fed, NO_FLOW) + after
    keep = fed > 0
    dilution = fed[keep] / flow[keep]
    cloud = make_bodies(tube.position[keep], amount[keep], radius[keep], (arrival - time / 2)[keep], VEIN, dilution)
    return cloud, Inflow(tube.end[None], flow[-1:], fed[-1:], arrival[-1:])


def tributaries(
    rng: np.random.Generator,
    tube: Trunk,
    at: np.ndarray,
    targets: np.ndarray,
    radius: np.ndarray,
    steer: Steering,
    scatter: np.ndarray,
    thinnest: float = THINNEST_VEIN,
    stretch: float = STRAIGHTER,
) -> list[Generation]:
    """Grow veins from pieces `at` of a tube towards targets, as wide as to fork alike; arguments as elsewhere."""
    ways = normalise_vectors(normalise_vectors(targets - tube.position[at]) + rng.normal(0, AT_ROOT, targets.shape))
    return grow(Tips(tube.position[at], ways, radius, targets), rng, steer, scatter, thinnest, TARGETS, stretch)


def head_veins(rng: np.random.Generator, cavity: Territory, tissue: Inflow) -> tuple[Vessels, Inflow]:
    """Grow the veins of a brain, down to the two jugular veins, of which one is wider.

    Those of the cortex drain into the superior sagittal sinus, the deep ones into the straight sinus. Those of temporal lobe
    and cerebellum drain into the transverse ones.

    Args:
        rng: source.
        cavity: the head's cavity.
        tissue: outflow of the tissue.

    Returns:
        bodies of phase 2, and what leaves the two jugular veins.
    """
    surface, scatter = keep_along(cavity, ON_CORTEX), CORTICAL_SCATTER * cavity.half
    sagittal, straight = lay_trunk(places(cavity, SAGITTAL), LAID), lay_trunk(places(cavity, STRAIGHT), LAID)
    at, targets = _cortical(rng, cavity, sagittal)
    upper = tributaries(rng, sagittal, at, targets, rng.uniform(*CORTICAL_RADIUS, len(at)), surface, scatter)
    inner = places(cavity, [(0.12, 0.25, 0.1), (-0.12, 0.25, 0.1), (0.3, 0.15, -0.3), (-0.3, 0.15, -0.3)])
    start = np.zeros(4, int)
    deep = tributaries(
        rng, straight, start, inner, rng.uniform(*DEEP_RADIUS, 4), keep_within(cavity, IN_DEPTH), DEEP_SCATTER * cavity.half
    )
    sides = [_transverse(rng, cavity, side) for side in (1, -1)]
    veins, outflows = zip(*drain([upper, deep, *(tree for _, _, tree in sides)], tissue), strict=True)
    sinus, above = collect(sagittal, at, outflows[0])
    galen, under = collect(straight, start, outflows[1])
    right, clouds, out = rng.uniform(*RIGHT_SHARE), [*veins, sinus, galen], []
    for (tube, at, _), share, more in zip(sides, (right, 1 - right), outflows[2:], strict=True):
        jugular, leaving = collect(tube, np.concatenate([[0], at]), join_inflows(join_inflows(above, under).whole(share), more))
        clouds.append(jugular)
        out.append(leaving)
    return join_vessels(clouds), join_inflows(*out)


def _cortical(rng: np.random.Generator, cavity: Territory, sagittal: Trunk) -> tuple[np.ndarray, np.ndarray]:
    """Where cortical veins enter the sagittal sinus, and where on either side they come from."""
    count = int(rng.integers(*CORTICAL_COUNT))
    share = np.tile((np.arange(count) + rng.uniform(*CORTICAL_SHIFT, count)) / count, 2) * CORTICAL_LENGTH + CORTICAL_BEGIN
    at = (share * len(sagittal.length)).astype(int)
    unit = (sagittal.position[at] - cavity.centre) / cavity.half
    side = np.repeat((-1.0, 1.0), count)
    unit = normalise_vectors(
        unit * CORTICAL_FROM + np.stack([side * rng.uniform(*CORTICAL_SIDE, 2 * count), 0 * side, 0 * side], axis=1)
    )
    return at, places(cavity, CORTICAL_DEPTH * unit)


def _transverse(rng: np.random.Generator, cavity: Territory, side: int) -> tuple[Trunk, np.ndarray, list[Generation]]:
    """Transverse and sigmoid sinus of one side and the jugular vein, and the veins of temporal lobe and cerebellum into it."""
    path = np.concatenate([places(cavity, TRANSVERSE), base(cavity) + JUGULAR])
    path[:, 0] = cavity.centre[0] + side * (path[:, 0] - cavity.centre[0])
    path[1:] += rng.normal(0, SINUS_SPREAD, path[1:].shape)
    tube = lay_trunk(path, LAID)
    inside = np.linalg.norm((tube.position - cavity.centre) / cavity.half, axis=1) < 1
    at = (np.array(LOWER_LEAVES) * inside.sum()).astype(int)
    targets = places(
        cavity, [(0.5 * side, -0.7, -0.6), (0.9 * side, 0.0, 0.15), (0.93 * side, 0.25, -0.2), (0.85 * side, -0.4, 0.25)]
    )
    return (
        tube,
        at,
        tributaries(
            rng, tube, at, targets, rng.uniform(*LOWER_RADIUS, 4), keep_along(cavity, ON_LOWER), LOWER_SCATTER * cavity.half
        ),
    )


def neck_veins(rng: np.random.Generator, territory: Territory, upwards: Inflow) -> tuple[Vessels, Inflow]:
    """Lay the internal jugular vein beside the injected carotid; what comes back from the brain is mixed with other blood.

    Args:
        rng: source.
        territory: a neck.
        upwards: outflow of the neck by the injected internal carotid, of which 30 to 70 % come back on its side.

    Returns:
        bodies of phase 2, and what leaves the vein.
    """
    side = 1 if upwards.position[0, 0] > territory.centre[0] else -1
    way = [(0.6, -0.05, 1.5), (0.6, -0.05, 0.8), (0.62, 0.1, 0.0), (0.55, 0.15, -0.8), (0.4, 0.2, -1.5)]
    path = places(territory, np.array(way) * (side, 1, 1)) + rng.normal(0, JUGULAR_SPREAD, (len(way), 3))
    back = upwards.whole(rng.uniform(*SAME_SIDE))
    other = SLOWER * murray_flow(rng.uniform(*BESIDE_RADIUS, 1) / SINUS)
    inflow = replace(back, flow=back.fed + other, arrival=back.arrival + rng.uniform(*BRAIN_TRANSIT))
    return collect(lay_trunk(path, LAID), np.zeros(1, int), inflow)
