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
BEND, PIECES, EVERY = 0.05, 40, 5  # the catheter's shift backwards below there, over its length; its pieces; points of a tube

# What is injected, drawn once a head: shares of all, chosen by eye.
ONE_CAROTID, TWO_CAROTIDS = 0.5, 0.2  # and the vertebrobasilar system in the others
WITH_EXTERNAL = 0.3  # of those with one carotid
TIP_BEFORE_FORK, TIP_WITHIN = (0.0, 15.0), (0.0, 50.0)  # mm of the artery that the catheter has passed
TIP_IN_COMMON = (0.1, 0.6)  # of the common carotid's length

# Radii of lumens, mm, chosen by eye: drawn (low, high), or from beginning to end of a tapering tube.
CAROTID_RADIUS, VERTEBRAL_RADIUS = (1.9, 2.8), (1.5, 2.1)
EXTERNAL_RADIUS = (1.9, 1.3)
COMMON_RADIUS, INTERNAL_RADIUS = (3.0, 3.6), (2.2, 2.7)
EXTERNAL_RADIUS_OF_NECK = (2.0, 1.4)
THINNEST_OUTSIDE, THINNEST_INSIDE = 0.3, 0.25  # of scalp and face; of dura and neck

# How much anatomy differs, chosen by eye: standard deviations of points, mm, and of unit vectors.
CAROTID_SPREAD, VERTEBRAL_SPREAD, EXTERNAL_SPREAD, NECK_SPREAD = 2.0, 1.5, 1.5, 1.0
FORK_SPREAD, SIDE_SPREAD = 0.1, 0.15
FORK_AHEAD, BASILAR_AHEAD, SIDE_AHEAD = (
    0.2,
    0.1,
    0.5,
)  # of the trunk's direction in that of a branch, over the way to its target
NECK_FORK = (-0.05, 0.25)  # height of the carotid's fork, half axes of the neck

# Radii of branches over those of their trunks, chosen by eye.
MIDDLE_SHARE = (0.5, 0.7)  # of the carotid's flow, that of the middle cerebral artery
BASILAR_PARTS = (0.75, 0.75, 0.5, 0.5)  # posterior cerebral and cerebellar arteries
SCALP_PART, DURA_PART, FACE_PART, NECK_PART = 0.7, 0.6, 0.75, 0.55
SIDE_NARROWER = (0.8, 1.0)  # drawn for each

# Surfaces that branches keep to, and how far their targets scatter, half axes of the cavity, chosen by eye.
ON_SCALP, ON_DURA, IN_NECK = 1.17, 1.0, 0.85
SCALP_SCATTER, FACE_SCATTER, NECK_SCATTER = 0.4, 0.3, 0.35
FACE_CENTRE, FACE_HALF = (0.0, 0.65, -1.1), (0.85, 0.6, 0.8)

# Where branches leave their trunk, over its length, by eye.
SCALP_LEAVES, DURA_LEAVES, FACE_LEAVES = (0.99, 0.99, 0.45), (0.8,), (0.3, 0.8, 0.15)
NECK_LEAVES = (0.05, 0.2, 0.35, 0.4, 0.98, 0.98)


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
    if choice < ONE_CAROTID + TWO_CAROTIDS:
        side = int(rng.choice([-1, 1]))
        grown = [_carotid(rng, cavity, s) for s in ([side] if choice < ONE_CAROTID else [-1, 1])]
    else:
        grown = [_basilar(rng, cavity)]
    first = grown[0][0]
    branches = [(_at_end(tube, tips), grow(tips, rng, keep_within(cavity), cavity.half)) for tube, tips in grown]
    if choice < ONE_CAROTID and rng.random() < WITH_EXTERNAL:
        fork, outside, trees = _external(rng, cavity, side, first)
        cloud, ends, times = supply_branches(first, branches, beside=[(fork, flow_into(trees))])
        more, others, _ = supply_branches(outside, trees, times[fork])
        return _inject(join_vessels([cloud, more]), join_inflows(ends, others), first, times, rng.uniform(*TIP_BEFORE_FORK))
    clouds, into, reached = zip(
        *(supply_branches(tube, [one]) for (tube, _), one in zip(grown, branches, strict=True)), strict=True
    )
    tip = 0.0 if len(grown) == 2 else rng.uniform(*TIP_WITHIN)  # both are filled from the arch, below them
    return _inject(join_vessels(clouds), join_inflows(*into), first, reached[0], tip)


def _at_end(tube: Trunk, tips: Tips) -> np.ndarray:
    return np.full(len(tips.radius), len(tube.length) - 1)


def _inject(cloud: Vessels, ends: Inflow, tube: Trunk, times: np.ndarray, tip: float) -> tuple[Vessels, Inflow]:
    """Let the bolus start `tip` mm along a tube, by which the cloud begins; the catheter comes from below the tube to there."""
    before = int(np.sum(np.cumsum(tube.length) <= tip))
    late = times[before - 1] if before else 0.0
    below = tube.position[0] + np.linspace(-BELOW, 0, PIECES + 1)[:-1, None] * (0.0, BEND, 1)
    path = np.concatenate([below, tube.position[: before + 1 : EVERY]])
    later = cloud.part(np.arange(before, len(cloud.amount)))
    return replace(later, arrival=later.arrival - np.float32(late)).replace_path(path), replace(
        ends, arrival=ends.arrival - late
    )


def _carotid(rng: np.random.Generator, cavity: Territory, side: int) -> tuple[Trunk, Tips]:
    """Internal carotid with its siphon, and its end forked into middle and anterior cerebral artery."""
    path = (CAROTID + rng.normal(0, CAROTID_SPREAD, CAROTID.shape)) * (side, 1, 1)
    tube = lay_trunk(path + base(cavity), rng.uniform(*CAROTID_RADIUS))
    targets = places(cavity, [(0.7 * side, 0.0, 0.2), (0.12 * side, 0.5, 0.45)])
    ways = np.array([(side, 0.1, 0.2), (-0.3 * side, 1, 0.3)]) + rng.normal(0, FORK_SPREAD, (2, 3))
    split = rng.uniform(*MIDDLE_SHARE)
    radius = tube.radius[-1] * NARROWER * np.array([split, 1 - split]) ** (1 / 3)
    return tube, Tips(np.tile(tube.end, (2, 1)), normalise_vectors(ways + FORK_AHEAD * tube.direction), radius, targets)


def _basilar(rng: np.random.Generator, cavity: Territory) -> tuple[Trunk, Tips]:
    side = rng.choice([-1, 1])
    path = (VERTEBRAL + rng.normal(0, VERTEBRAL_SPREAD, VERTEBRAL.shape)) * (side, 1, 1)
    tube = lay_trunk(path + base(cavity), rng.uniform(*VERTEBRAL_RADIUS))
    targets = places(cavity, [(0.3, -0.7, 0.1), (-0.3, -0.7, 0.1), (0.4, -0.5, -0.55), (-0.4, -0.5, -0.55)])
    ways = np.array([(1, -0.2, 0.3), (-1, -0.2, 0.3), (1, -0.6, -0.5), (-1, -0.6, -0.5)]) + BASILAR_AHEAD * tube.direction
    radius = tube.radius[-1] * np.array(BASILAR_PARTS)
    return tube, Tips(np.tile(tube.end, (4, 1)), normalise_vectors(ways), radius, targets)


def _external(rng: np.random.Generator, cavity: Territory, side: int, internal: Trunk) -> tuple[int, Trunk, list[Branches]]:
    """External carotid of a head, from a piece of the internal: to scalp over temple and occiput, dura, jaw and face."""
    path = (EXTERNAL + rng.normal(0, EXTERNAL_SPREAD, EXTERNAL.shape)) * (side, 1, 1) + base(cavity)
    fork = int(np.argmin(np.linalg.norm(internal.position - path[0], axis=1)))
    tube = lay_trunk(np.concatenate([internal.position[fork : fork + 1], path]), *EXTERNAL_RADIUS)
    scalp = [(1.1 * side, 0.35, 0.3), (1.05 * side, -0.2, 0.5), (0.7 * side, -0.95, 0.0)]
    face = [(0.3 * side, 1.15, -1.2), (0.45 * side, 0.85, -0.9), (0.2 * side, 0.7, -1.5)]
    dura = side_tips(rng, tube, np.array(DURA_LEAVES), places(cavity, [(0.9 * side, 0.1, 0.1)]), DURA_PART)
    outside = side_tips(rng, tube, np.array(SCALP_LEAVES), places(cavity, scalp), SCALP_PART)
    facial = side_tips(rng, tube, np.array(FACE_LEAVES), places(cavity, face), FACE_PART)
    within_face = keep_within(Territory("face", places(cavity, [FACE_CENTRE])[0], cavity.half * FACE_HALF))
    return (
        fork,
        tube,
        [
            (outside[0], grow(outside[1], rng, keep_along(cavity, ON_SCALP), SCALP_SCATTER * cavity.half, THINNEST_OUTSIDE)),
            (dura[0], grow(dura[1], rng, keep_along(cavity, ON_DURA), SCALP_SCATTER * cavity.half, THINNEST_INSIDE)),
            (facial[0], grow(facial[1], rng, within_face, FACE_SCATTER * cavity.half, THINNEST_OUTSIDE)),
        ],
    )


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
        normalise_vectors(targets - tube.position[index]) + SIDE_AHEAD * forwards + rng.normal(0, SIDE_SPREAD, forwards.shape)
    )
    radius = tube.radius[index] * part * rng.uniform(*SIDE_NARROWER, len(index))
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
    fork = rng.uniform(*NECK_FORK)
    wobble = rng.normal(0, NECK_SPREAD, (4, 3))
    common = lay_trunk(
        places(
            territory, [(0.85 * x, y - 0.15, low - 0.4), (0.95 * x, y - 0.05, low), (x, y, 0.5 * (low + fork)), (x, y, fork)]
        )
        + wobble,
        rng.uniform(*COMMON_RADIUS),
    )
    top = places(
        territory,
        [(1.05 * x, y - 0.12, fork + 0.12), (1.1 * x, y - 0.1, 0.6), (0.95 * x, y - 0.1, high), (0.9 * x, y, high + 0.5)],
    )
    internal = lay_trunk(
        np.concatenate([[common.end], top + rng.normal(0, NECK_SPREAD, top.shape)]), rng.uniform(*INTERNAL_RADIUS)
    )
    up = places(territory, [(0.95 * x, y + 0.12, fork + 0.12), (1.1 * x, y + 0.12, 0.5), (1.3 * x, y + 0.05, high)])
    external = lay_trunk(np.concatenate([[common.end], up + rng.normal(0, NECK_SPREAD, up.shape)]), *EXTERNAL_RADIUS_OF_NECK)
    targets = places(
        territory,
        [(0.25 * side, 0.6, fork - 0.35), (0.2 * side, 0.8, fork + 0.1), (0.4 * side, 0.85, 0.6), (0.6 * side, -0.7, 0.6),
         (0.7 * side, 0.5, 0.95), (0.75 * side, -0.3, 1.0)],
    )  # fmt: skip
    index, tips = side_tips(rng, external, np.array(NECK_LEAVES), targets, NECK_PART)
    branches = [(index, grow(tips, rng, keep_within(territory, IN_NECK), NECK_SCATTER * territory.half, THINNEST_INSIDE))]
    upwards = float(murray_flow(NARROWER * internal.radius[-1]))
    below, times = common.supply(np.array([len(common.length) - 1]), np.array([upwards + flow_into(branches)]))
    above, passed = internal.supply(np.array([len(internal.length) - 1]), np.array([upwards]), times[-1])
    outside, ends, _ = supply_branches(external, branches, times[-1])
    out = Inflow(internal.end[None], np.array([upwards]), np.array([upwards]), passed[-1:])
    tip = rng.uniform(*TIP_IN_COMMON) * float(common.length.sum())
    cloud, leaving = _inject(join_vessels([below, above, outside]), join_inflows(out, ends), common, times, tip)
    return cloud, leaving.part(slice(1, None)), leaving.part(slice(1))
