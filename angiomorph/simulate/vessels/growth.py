"""Growing trees of vessels: smooth trunks, and branches that fork by Murray's law until they are thin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.cloud import NO_FLOW, Inflow, Vessels, bodies, both, carried, joined, speed

THINNEST = 0.21  # mm radius at which a tree ends; what follows is its capillary bed
STEPS = 40  # samples along one branch
PIECE = 0.4  # mm, of a trunk

Steering = Callable[[np.ndarray], np.ndarray]  # places (n, 3) to a push (n, 3), added to unit directions
Branches = tuple[np.ndarray, "list[Generation]"]  # pieces (n,) of a trunk at whose end they leave, and what grew from there


@dataclass(frozen=True)
class Tips:
    """Growing ends: where, whither, how wide (mm), and the place each is to supply; `(n, 3)`, `(n, 3)`, `(n,)`, `(n, 3)`."""

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
        return bodies(self.position[keep], self.amount()[keep], self.radius[keep], (after - time / 2)[keep]), after


def trunk(path: np.ndarray, radius: float, end_radius: float | None = None) -> Trunk:
    """Lay a smooth tube through points.

    Args:
        path: `(n, 3)` mm, n >= 2.
        radius: at its start, mm.
        end_radius: at its end; None for the same.

    Returns:
        the tube, in pieces of 0.4 mm.
    """
    from scipy.interpolate import CubicSpline

    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = CubicSpline(chord, path)(np.arange(0, chord[-1], PIECE))
    piece = np.linalg.norm(np.diff(fine, axis=0), axis=1)
    radii = np.linspace(radius, radius if end_radius is None else end_radius, len(piece))
    return Trunk((fine[1:] + fine[:-1]) / 2, piece, radii, fine[-1], normal(fine[-1] - fine[-2]))


def normal(vectors: np.ndarray) -> np.ndarray:
    """Return vectors `(..., 3)` at unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def within(region: Territory, depth: float = 0.9) -> Steering:
    """Turn back what comes near an ellipsoid's surface.

    Args:
        region: the ellipsoid.
        depth: share of its half axes from which the push begins.
    """

    def push(position: np.ndarray) -> np.ndarray:
        unit = (position - region.centre) / region.half
        away = np.linalg.norm(unit, axis=1, keepdims=True)
        return -0.15 * unit / np.maximum(away, 1e-6) * np.clip((away - depth) / 0.1, 0, 2)

    return push


def along(region: Territory, depth: float) -> Steering:
    """Keep what grows near an ellipsoid's surface.

    Args:
        region: the ellipsoid.
        depth: share of its half axes at which it is to stay.
    """

    def push(position: np.ndarray) -> np.ndarray:
        unit = (position - region.centre) / region.half
        away = np.linalg.norm(unit, axis=1, keepdims=True)
        return -0.3 * unit / np.maximum(away, 1e-6) * np.clip((away - depth) / 0.05, -2, 2)

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
        spread: standard deviation of the first children's targets, in `scatter`; falls by 0.85 with each fork, to 0.15.
        stretch: of the branches' length over `8 mm + 12 radius`; above 1 they are straighter too.

    Returns:
        the generations.
    """
    generations, parent = [], np.arange(len(tips.radius))
    while len(tips.radius):
        generation, tips = _extend(tips, parent, rng, steer, stretch)
        generations.append(generation)
        tips, parent = _fork(tips, spread * scatter, thinnest, rng)
        spread = max(0.85 * spread, 0.15)
    return generations


def _extend(
    tips: Tips, parent: np.ndarray, rng: np.random.Generator, steer: Steering, stretch: float
) -> tuple[Generation, Tips]:
    """Let every tip grow one branch, winding towards its target."""
    count = len(tips.radius)
    length = stretch * (8 + 12 * tips.radius) * rng.uniform(0.6, 1.5, count)
    piece = (length / STEPS)[:, None]
    position, direction, bend = tips.position, tips.direction, np.zeros((count, 3))
    track = np.empty((STEPS, count, 3))
    for step in range(STEPS):
        bend = 0.92 * bend + rng.normal(0, 0.05, (count, 3)) / max(stretch, 1.0)
        pull = 0.07 * normal(tips.target - position + 1e-6)
        direction = normal(direction + np.sqrt(piece) * bend + pull + steer(position))
        track[step] = position + piece * direction / 2
        position = position + piece * direction
    return Generation(track, length, tips.radius, parent), Tips(position, direction, tips.radius, tips.target)


def _fork(tips: Tips, spread: np.ndarray, thinnest: float, rng: np.random.Generator) -> tuple[Tips, np.ndarray]:
    """Split every tip in two; the thinnest end."""
    count = len(tips.radius)
    share = rng.uniform(0.25, 0.75, count)
    radius = np.concatenate([tips.radius * share ** (1 / 3), tips.radius * (1 - share) ** (1 / 3)])
    across = normal(np.cross(tips.direction, rng.normal(size=(count, 3))))
    angle = rng.uniform(0.35, 0.9, (count, 1))
    direction = np.concatenate(
        [tips.direction + angle * (1 - share[:, None]) * across, tips.direction - angle * share[:, None] * across]
    )
    target = np.tile(tips.target, (2, 1)) + rng.normal(0, 1, (2 * count, 3)) * spread
    keep = radius > thinnest
    children = Tips(np.tile(tips.position, (2, 1))[keep], normal(direction)[keep], radius[keep], target[keep])
    return children, np.tile(np.arange(count), 2)[keep]


def arteries(generations: list[Generation], start: np.ndarray) -> tuple[Vessels, Inflow]:
    """Return grown branches as arteries, and what they bring to the tissue.

    Args:
        generations: from `grow`.
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
        clouds.append(bodies(one.track.reshape(-1, 3), one.amount().ravel(), np.tile(one.radius, steps), arrival.ravel()))
        start, flow = begin + time, carried(one.radius)
        if children is not None:
            flow = flow - np.bincount(children.parent, carried(children.radius), len(flow))
        leaving = flow > NO_FLOW
        ends.append(Inflow(one.track[-1], flow, flow, start).part(leaving))
    return joined(clouds), both(*ends)


def flow_into(branches: Sequence[Branches]) -> float:
    """Return what branches of a trunk carry together by Murray's law, mm^3/s."""
    return float(sum(carried(tree[0].radius).sum() for _, tree in branches))


def supplied(
    tube: Trunk, branches: Sequence[Branches], start: float = 0.0, beside: Sequence[tuple[int, float]] = ()
) -> tuple[Vessels, Inflow, np.ndarray]:
    """Let a trunk carry the blood of its branches.

    Args:
        tube: the trunk.
        branches: of it.
        start: when the bolus enters it, s.
        beside: piece and flow (mm^3/s) of other trunks that leave it.

    Returns:
        the bodies of all, what they bring to the tissue, and when the bolus is at the end of each piece of the trunk, s.
    """
    at = np.concatenate([*(index for index, _ in branches), [piece for piece, _ in beside]]).astype(int)
    flow = np.concatenate([*(carried(tree[0].radius) for _, tree in branches), [flow for _, flow in beside]])
    cloud, times = tube.supply(at, flow, start)
    clouds, ends = zip(*(arteries(tree, times[index]) for index, tree in branches), strict=True)
    return joined([cloud, *clouds]), both(*ends), times
