"""The arteries of head and neck that an injection fills, and the catheter's way into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.cloud import Inflow, Vessels, join_inflows, join_vessels, murray_flow
from angiomorph.simulate.vessels.growth import (
    Branches,
    Tips,
    Trunk,
    flow_into,
    grow,
    keep_along,
    keep_within,
    lay_trunk,
    normalise_vectors,
    supply_branches,
)

Points = Sequence[tuple[float, float, float]]

# Points on the way from the neck, mm from the sella, x to the artery's side.
CAROTID = np.array(
    [(27, -12, -120), (24, -14, -85), (29, -8, -50), (23, -8, -25), (20, 0, -8), (12, 18, 4), (12, 10, 12), (13, 8, 18)]
)
VERTEBRAL = np.array([(16, -28, -120), (15, -32, -60), (18, -34, -22), (8, -30, -10), (2, -14, 0), (0, -8, 12), (0, -7, 22)])
EXTERNAL = np.array([(29, -2, -96), (34, 0, -75), (40, 0, -50), (47, 2, -30)])  # the external carotid, to below its end
NARROWER = 0.8  # an internal carotid's branches than by Murray's law, or the blood in it would be too much
BELOW = 80.0  # mm of the catheter below the first point of an artery


def base(cavity: Territory) -> np.ndarray:
    """Return the sella's place: midline, a little before the middle, a quarter of the cavity's height up."""
    return cavity.centre + cavity.half * (0, 0.1, -0.55)


def places(territory: Territory, unit: np.ndarray | Points) -> np.ndarray:
    """Return points given in half axes from a territory's centre, in mm."""
    return territory.centre + territory.half * np.array(unit)


def head_arteries(rng: np.random.Generator, cavity: Territory) -> tuple[Vessels, Inflow]:
    """Grow one or both internal carotids, a carotid with its external branches, or the vertebrobasilar system.

    Args:
        rng: source.
        cavity: to fill.

    Returns:
        bodies along the centre lines, amount = pi radius^2 ds, with the catheter's path; and what they bring to the tissue.
    """
    choice = rng.random()
    if choice < 0.7:
        side = int(rng.choice([-1, 1]))
        grown = [_carotid(rng, cavity, s) for s in ([side] if choice < 0.5 else [-1, 1])]
    else:
        grown = [_basilar(rng, cavity)]
    first = grown[0][0]
    branches = [(_at_end(tube, tips), grow(tips, rng, keep_within(cavity), cavity.half)) for tube, tips in grown]
    if choice < 0.5 and rng.random() < 0.3:
        fork, outside, trees = _external(rng, cavity, side, first)
        cloud, ends, times = supply_branches(first, branches, beside=[(fork, flow_into(trees))])
        more, others, _ = supply_branches(outside, trees, times[fork])
        return _injected(join_vessels([cloud, more]), join_inflows(ends, others), first, times, rng.uniform(0, 15))
    clouds, into, reached = zip(
        *(supply_branches(tube, [one]) for (tube, _), one in zip(grown, branches, strict=True)), strict=True
    )
    tip = 0.0 if len(grown) == 2 else rng.uniform(0, 50)  # both are filled from the arch, below them
    return _injected(join_vessels(clouds), join_inflows(*into), first, reached[0], tip)


def _at_end(tube: Trunk, tips: Tips) -> np.ndarray:
    return np.full(len(tips.radius), len(tube.length) - 1)


def _injected(cloud: Vessels, ends: Inflow, tube: Trunk, times: np.ndarray, tip: float) -> tuple[Vessels, Inflow]:
    """Let the bolus start `tip` mm along a tube, by which the cloud begins; the catheter comes from below the tube to there."""
    before = int(np.sum(np.cumsum(tube.length) <= tip))
    late = times[before - 1] if before else 0.0
    below = tube.position[0] + np.linspace(-BELOW, 0, 41)[:-1, None] * (0.0, 0.05, 1)
    path = np.concatenate([below, tube.position[: before + 1 : 5]])
    later = cloud.part(np.arange(before, len(cloud.amount)))
    return replace(later, arrival=later.arrival - np.float32(late)).reached_by(path), replace(ends, arrival=ends.arrival - late)


def _carotid(rng: np.random.Generator, cavity: Territory, side: int) -> tuple[Trunk, Tips]:
    """Internal carotid with its siphon, and its end forked into middle and anterior cerebral artery."""
    path = (CAROTID + rng.normal(0, 2, CAROTID.shape)) * (side, 1, 1)
    tube = lay_trunk(path + base(cavity), rng.uniform(1.9, 2.8))
    targets = places(cavity, [(0.7 * side, 0.0, 0.2), (0.12 * side, 0.5, 0.45)])
    ways = np.array([(side, 0.1, 0.2), (-0.3 * side, 1, 0.3)]) + rng.normal(0, 0.1, (2, 3))
    split = rng.uniform(0.5, 0.7)
    radius = tube.radius[-1] * NARROWER * np.array([split, 1 - split]) ** (1 / 3)
    return tube, Tips(np.tile(tube.end, (2, 1)), normalise_vectors(ways + 0.2 * tube.direction), radius, targets)


def _basilar(rng: np.random.Generator, cavity: Territory) -> tuple[Trunk, Tips]:
    side = rng.choice([-1, 1])
    path = (VERTEBRAL + rng.normal(0, 1.5, VERTEBRAL.shape)) * (side, 1, 1)
    tube = lay_trunk(path + base(cavity), rng.uniform(1.5, 2.1))
    targets = places(cavity, [(0.3, -0.7, 0.1), (-0.3, -0.7, 0.1), (0.4, -0.5, -0.55), (-0.4, -0.5, -0.55)])
    ways = np.array([(1, -0.2, 0.3), (-1, -0.2, 0.3), (1, -0.6, -0.5), (-1, -0.6, -0.5)]) + 0.1 * tube.direction
    radius = tube.radius[-1] * np.array([0.75, 0.75, 0.5, 0.5])
    return tube, Tips(np.tile(tube.end, (4, 1)), normalise_vectors(ways), radius, targets)


def _external(rng: np.random.Generator, cavity: Territory, side: int, internal: Trunk) -> tuple[int, Trunk, list[Branches]]:
    """External carotid of a head, from a piece of the internal: to scalp over temple and occiput, dura, jaw and face."""
    path = (EXTERNAL + rng.normal(0, 1.5, EXTERNAL.shape)) * (side, 1, 1) + base(cavity)
    fork = int(np.argmin(np.linalg.norm(internal.position - path[0], axis=1)))
    tube = lay_trunk(np.concatenate([internal.position[fork : fork + 1], path]), 1.9, 1.3)
    scalp = [(1.1 * side, 0.35, 0.3), (1.05 * side, -0.2, 0.5), (0.7 * side, -0.95, 0.0)]
    face = [(0.3 * side, 1.15, -1.2), (0.45 * side, 0.85, -0.9), (0.2 * side, 0.7, -1.5)]
    at_scalp, at_face = np.array([0.99, 0.99, 0.45]), np.array([0.3, 0.8, 0.15])
    dura = side_tips(rng, tube, np.array([0.8]), places(cavity, [(0.9 * side, 0.1, 0.1)]), 0.6)
    outside = side_tips(rng, tube, at_scalp, places(cavity, scalp), 0.7)
    facial = side_tips(rng, tube, at_face, places(cavity, face), 0.75)
    within_face = keep_within(Territory("face", *_face(cavity)))
    return (
        fork,
        tube,
        [
            (outside[0], grow(outside[1], rng, keep_along(cavity, 1.17), 0.4 * cavity.half, 0.3)),
            (dura[0], grow(dura[1], rng, keep_along(cavity, 1.0), 0.4 * cavity.half, 0.25)),
            (facial[0], grow(facial[1], rng, within_face, 0.3 * cavity.half, 0.3)),
        ],
    )


def _face(cavity: Territory) -> tuple[np.ndarray, np.ndarray]:
    return places(cavity, [(0.0, 0.65, -1.1)])[0], cavity.half * (0.85, 0.6, 0.8)


def side_tips(
    rng: np.random.Generator, tube: Trunk, share: np.ndarray, targets: np.ndarray, part: float | np.ndarray
) -> tuple[np.ndarray, Tips]:
    """Let branches leave a tube towards their targets.

    Args:
        rng: source.
        tube: the trunk.
        share: `(n,)` of its length, 0..1, where they leave.
        targets: `(n, 3)` mm.
        part: their radius over the trunk's there, up to a fifth less; of all, or `(n,)`.

    Returns:
        the trunk's piece at whose end each leaves, and the tips.
    """
    index = np.minimum((share * len(tube.radius)).astype(int), len(tube.radius) - 2)
    forwards = normalise_vectors(tube.position[index + 1] - tube.position[index])
    ways = normalise_vectors(
        normalise_vectors(targets - tube.position[index]) + 0.5 * forwards + rng.normal(0, 0.15, forwards.shape)
    )
    radius = tube.radius[index] * part * rng.uniform(0.8, 1.0, len(index))
    return index, Tips(tube.position[index], ways, radius, targets)


def neck_arteries(rng: np.random.Generator, territory: Territory) -> tuple[Vessels, Inflow, Inflow]:
    """Grow the common carotid of one side, its bifurcation, the internal carotid to the top, the external with its branches.

    Args:
        rng: source.
        territory: a neck.

    Returns:
        as `head_arteries`, and what leaves the neck by the internal carotid.
    """
    side = int(rng.choice([-1, 1]))
    x, y, low, high = 0.42 * side, 0.15, -1.0, 1.0
    fork = rng.uniform(-0.05, 0.25)
    wobble = rng.normal(0, 1.0, (4, 3))
    common = lay_trunk(
        places(
            territory, [(0.85 * x, y - 0.15, low - 0.4), (0.95 * x, y - 0.05, low), (x, y, 0.5 * (low + fork)), (x, y, fork)]
        )
        + wobble,
        rng.uniform(3.0, 3.6),
    )
    top = places(
        territory,
        [(1.05 * x, y - 0.12, fork + 0.12), (1.1 * x, y - 0.1, 0.6), (0.95 * x, y - 0.1, high), (0.9 * x, y, high + 0.5)],
    )
    internal = lay_trunk(np.concatenate([[common.end], top + rng.normal(0, 1.0, top.shape)]), rng.uniform(2.2, 2.7))
    up = places(territory, [(0.95 * x, y + 0.12, fork + 0.12), (1.1 * x, y + 0.12, 0.5), (1.3 * x, y + 0.05, high)])
    external = lay_trunk(np.concatenate([[common.end], up + rng.normal(0, 1.0, up.shape)]), 2.0, 1.4)
    targets = places(
        territory,
        [(0.25 * side, 0.6, fork - 0.35), (0.2 * side, 0.8, fork + 0.1), (0.4 * side, 0.85, 0.6), (0.6 * side, -0.7, 0.6),
         (0.7 * side, 0.5, 0.95), (0.75 * side, -0.3, 1.0)],
    )  # fmt: skip
    index, tips = side_tips(rng, external, np.array([0.05, 0.2, 0.35, 0.4, 0.98, 0.98]), targets, 0.55)
    branches = [(index, grow(tips, rng, keep_within(territory, 0.85), 0.35 * territory.half, 0.25))]
    upwards = float(murray_flow(NARROWER * internal.radius[-1]))
    below, times = common.supply(np.array([len(common.length) - 1]), np.array([upwards + flow_into(branches)]))
    above, passed = internal.supply(np.array([len(internal.length) - 1]), np.array([upwards]), times[-1])
    outside, ends, _ = supply_branches(external, branches, times[-1])
    out = Inflow(internal.end[None], np.array([upwards]), np.array([upwards]), passed[-1:])
    tip = rng.uniform(0.1, 0.6) * float(common.length.sum())
    cloud, leaving = _injected(join_vessels([below, above, outside]), join_inflows(out, ends), common, times, tip)
    return cloud, leaving.part(slice(1, None)), leaving.part(slice(1))
