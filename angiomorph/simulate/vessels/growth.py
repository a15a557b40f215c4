"""Growing trees of vessels: smooth trunks, and branches that fork by Murray's law until they are thin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.cloud import (
    NO_FLOW,
    Inflow,
    Vessels,
    join_inflows,
    join_vessels,
    make_bodies,
    murray_flow,
    speed,
)

THINNEST = 0.21  # mm radius at which a tree ends; what follows is its capillary bed
STEPS = 40  # samples along one branch
PIECE = 0.4  # mm, of a trunk

# Chosen by eye, so that grown trees look like those of angiograms.
TURN_BACK, TURN_BACK_WITHIN = 0.15, 0.1  # push away from a region's surface, and the share of its axes over which it sets in
HOLD, HOLD_WITHIN = 0.3, 0.05  # push towards a surface, and the share of the axes from which it is full
LENGTH, LENGTH_PER_RADIUS = 8.0, 12.0  # mm of a branch, and mm more for each mm of its radius
SHORTER, LONGER = 0.6, 1.5  # range of a branch's length over that
KEPT_BEND, NEW_BEND = 0.92, 0.05  # winding: share of the bend that stays from step to step, and the deviation of what comes
PULL = 0.07  # towards the target, a step
SPLIT = (0.25, 0.75)  # share of the flow that the first child takes
FORK = (0.35, 0.9)  # tangent of the angle between two children
LESS_SPREAD, LEAST_SPREAD = 0.85, 0.15  # of targets: factor a fork, and where it ends

Steering = Callable[[np.ndarray], np.ndarray]  # places (n, 3) to a push (n, 3), added to unit directions
Branches = tuple[np.ndarray, "list[Generation]"]  # pieces (n,) of a trunk at whose end they leave, and what grew from there


@dataclass(frozen=True)
class Tips:
    """Growing ends of branches.

    Args:
        position: `(n, 3)` mm.
        direction: `(n, 3)`, of unit length.
        radius: `(n,)` mm.
        target: `(n, 3)` mm, the place that each is to supply.
    """

    position: np.ndarray
    direction: np.ndarray
    radius: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class Generation:
    """Branches of one age.

    Args:
        track: `(S, n, 3)`, middles of the pieces of each branch, from its root, mm.
        length: `(n,)` mm.
        radius: `(n,)` mm.
        parent: `(n,)` index into the generation before; of the first, into the tips that were given.
    """

    track: np.ndarray
    length: np.ndarray
    radius: np.ndarray
    parent: np.ndarray

    def amount(self) -> np.ndarray:
        """Return the volume of each piece, `(S, n)` mm^3."""
        return np.tile(np.pi * self.radius**2 * self.length / len(self.track), (len(self.track), 1))


@dataclass(frozen=True)
class Trunk:
    """A tube: middles of its pieces `(n, 3)`, their lengths and radii `(n,)`, mm, and its end's place and direction `(3,)`."""

    position: np.ndarray
    length: np.ndarray
    radius: np.ndarray
    end: np.ndarray
    direction: np.ndarray

    def amount(self) -> np.ndarray:
        """Return the volume of each piece, `(n,)` mm^3."""
        return np.pi * self.radius**2 * self.length

    def supply(self, at: np.ndarray, flow: np.ndarray, start: float = 0.0) -> tuple[Vessels, np.ndarray]:
        """Let the tube be an artery that carries what leaves it, and ends with the last that does.

        Args:
            at: `(m,)` piece at whose end each branch leaves.
            flow: `(m,)` of each branch, mm^3/s.
            start: when the bolus enters the tube, s.

        Returns:
            its bodies, and when the bolus is at the end of each piece, `(n,)` s; blood takes volume over flow to pass a piece.
        """
        within = np.cumsum(np.bincount(at, flow, len(self.length))[::-1])[::-1]
        keep = np.arange(len(within)) <= at.max()
        time = np.where(keep, self.amount() / np.maximum(within, NO_FLOW), 0.0)
        after = start + np.cumsum(time)
        return make_bodies(self.position[keep], self.amount()[keep], self.radius[keep], (after - time / 2)[keep]), after


def lay_trunk(path: np.ndarray, radius: float, end_radius: float | None = None) -> Trunk:
    """Lay a smooth tube through points.

    Args:
        path: `(n, 3)` mm, n >= 2.
        radius: at its start, mm.
        end_radius: at its end; None for the same.

    Returns:
        the tube, in pieces of 0.4 mm.
    """
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = CubicSpline(chord, path)(np.arange(0, chord[-1], PIECE))
    piece = np.linalg.norm(np.diff(fine, axis=0), axis=1)
    radii = np.linspace(radius, radius if end_radius is None else end_radius, len(piece))
    return Trunk((fine[1:] + fine[:-1]) / 2, piece, radii, fine[-1], normalise_vectors(fine[-1] - fine[-2]))


def normalise_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return vectors `(..., 3)` at unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def keep_within(region: Territory, depth: float = 0.9) -> Steering:
    """Turn back what comes near an ellipsoid's surface.

    Args:
        region: the ellipsoid.
        depth: share of its half axes from which the push begins.
    """

    def push(position: np.ndarray) -> np.ndarray:
        unit = (position - region.centre) / region.half
        away = np.linalg.norm(unit, axis=1, keepdims=True)
        return -TURN_BACK * unit / np.maximum(away, 1e-6) * np.clip((away - depth) / TURN_BACK_WITHIN, 0, 2)

    return push


def keep_along(region: Territory, depth: float) -> Steering:
    """Keep what grows near an ellipsoid's surface.

    Args:
        region: the ellipsoid.
        depth: share of its half axes at which it is to stay.
    """

    def push(position: np.ndarray) -> np.ndarray:
        unit = (position - region.centre) / region.half
        away = np.linalg.norm(unit, axis=1, keepdims=True)
        return -HOLD * unit / np.maximum(away, 1e-6) * np.clip((away - depth) / HOLD_WITHIN, -2, 2)

    return push


def grow(
    tips: Tips,
    rng: np.random.Generator,
    steer: Steering,
    scatter: np.ndarray,
    thinnest: float = THINNEST,
    spread: float = 0.5,
    stretch: float = 1.0,
) -> list[Generation]:
    """Let tips grow and fork until all are thin.

    At each fork r^3 = r1^3 + r2^3 (C. D. Murray, PNAS 12 (1926) 207-214); a child's target scatters about its parent's.

    Args:
        tips: where to start.
        rng: source.
        steer: keeps branches in their region.
        scatter: `(3,)` mm, the region's size.
        thinnest: radius at which branches end, mm.
        spread: standard deviation of the first children's targets, in `scatter`; falls with each fork.
        stretch: factor of the branches' length; above 1 they are straighter too.

    Returns:
        the generations.
    """
    generations, parent = [], np.arange(len(tips.radius))
    while len(tips.radius):
        generation, tips = _extend(tips, parent, rng, steer, stretch)
        generations.append(generation)
        tips, parent = _fork(tips, spread * scatter, thinnest, rng)
        spread = max(LESS_SPREAD * spread, LEAST_SPREAD)
    return generations


def _extend(
    tips: Tips, parent: np.ndarray, rng: np.random.Generator, steer: Steering, stretch: float
) -> tuple[Generation, Tips]:
    """Let every tip grow one branch, winding towards its target."""
    count = len(tips.radius)
    length = stretch * (LENGTH + LENGTH_PER_RADIUS * tips.radius) * rng.uniform(SHORTER, LONGER, count)
    piece = (length / STEPS)[:, None]
    position, direction, bend = tips.position, tips.direction, np.zeros((count, 3))
    track = np.empty((STEPS, count, 3))
    for step in range(STEPS):
        bend = KEPT_BEND * bend + rng.normal(0, NEW_BEND, (count, 3)) / max(stretch, 1.0)
        pull = PULL * normalise_vectors(tips.target - position + 1e-6)
        direction = normalise_vectors(direction + np.sqrt(piece) * bend + pull + steer(position))
        track[step] = position + piece * direction / 2
        position = position + piece * direction
    return Generation(track, length, tips.radius, parent), Tips(position, direction, tips.radius, tips.target)


def _fork(tips: Tips, spread: np.ndarray, thinnest: float, rng: np.random.Generator) -> tuple[Tips, np.ndarray]:
    """Split every tip in two; the thinnest end."""
    count = len(tips.radius)
    share = rng.uniform(*SPLIT, count)
    radius = np.concatenate([tips.radius * share ** (1 / 3), tips.radius * (1 - share) ** (1 / 3)])
    across = normalise_vectors(np.cross(tips.direction, rng.normal(size=(count, 3))))
    angle = rng.uniform(*FORK, (count, 1))
    direction = np.concatenate(
        [tips.direction + angle * (1 - share[:, None]) * across, tips.direction - angle * share[:, None] * across]
    )
    target = np.tile(tips.target, (2, 1)) + rng.normal(0, 1, (2 * count, 3)) * spread
    keep = radius > thinnest
    children = Tips(np.tile(tips.position, (2, 1))[keep], normalise_vectors(direction)[keep], radius[keep], target[keep])
    return children, np.tile(np.arange(count), 2)[keep]


def arteries(generations: list[Generation], start: np.ndarray) -> tuple[Vessels, Inflow]:
    """Return grown branches as arteries, and what they bring to the tissue.

    Args:
        generations: branches by generation, from `grow`.
        start: `(n,)` when the bolus reaches each of its first tips, s.

    Returns:
        their bodies, the bolus running from the roots to the ends; and at each end, or fork with a branch too thin to be shown,
        the blood that leaves: what flows in by Murray's law less what the branches that follow take on.
    """
    clouds, ends = [], []
    for one, children in zip(generations, [*generations[1:], None], strict=True):
        begin, time = start[one.parent], one.length / speed(one.radius)
        steps = len(one.track)
        arrival = begin + (np.arange(0.5, steps)[:, None] / steps) * time
        clouds.append(make_bodies(one.track.reshape(-1, 3), one.amount().ravel(), np.tile(one.radius, steps), arrival.ravel()))
        start, flow = begin + time, murray_flow(one.radius)
        if children is not None:
            flow = flow - np.bincount(children.parent, murray_flow(children.radius), len(flow))
        leaving = flow > NO_FLOW
        ends.append(Inflow(one.track[-1], flow, flow, start).part(leaving))
    return join_vessels(clouds), join_inflows(*ends)


def flow_into(branches: Sequence[Branches]) -> float:
    """Return what branches of a trunk carry together by Murray's law, mm^3/s."""
    return float(sum(murray_flow(tree[0].radius).sum() for _, tree in branches))


def supply_branches(
    tube: Trunk, branches: Sequence[Branches], start: float = 0.0, beside: Sequence[tuple[int, float]] = ()
) -> tuple[Vessels, Inflow, np.ndarray]:
    """Let a trunk carry the blood of its branches.

    Args:
        tube: the trunk.
        branches: branches that leave the trunk.
        start: when the bolus enters it, s.
        beside: piece and flow (mm^3/s) of other trunks that leave it.

    Returns:
        the bodies of all, what they bring to the tissue, and when the bolus is at the end of each piece of the trunk, s.
    """
    at = np.concatenate([*(index for index, _ in branches), [piece for piece, _ in beside]]).astype(int)
    flow = np.concatenate([*(murray_flow(tree[0].radius) for _, tree in branches), [flow for _, flow in beside]])
    cloud, times = tube.supply(at, flow, start)
    clouds, ends = zip(*(arteries(tree, times[index]) for index, tree in branches), strict=True)
    return join_vessels([cloud, *clouds]), join_inflows(*ends), times
