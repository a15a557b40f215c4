"""Vessels as a cloud of small bodies along them: from a CT angiography, or grown as a branching tree."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from angiomorph.errors import InputError
from angiomorph.simulate.nifti import load_nifti
from angiomorph.simulate.territory import Territory

FULL = 0.7  # of a CTA's 99.9th percentile: from here a voxel is all vessel
OVERLAP = 2.0  # half a voxel is seen as a disc so much wider than a ball of its volume: wide vessels then look filled, to 4 %
EMPTY = 0.1  # below, it is noise
SPEED = 250.0  # mm/s of the bolus in an artery of 2 mm radius; falls with the square root of the radius
THINNEST = 0.17  # mm radius at which a tree ends
STEPS = 40  # samples along one branch

# Points on the way from the neck, mm from the sella, x to the artery's side.
CAROTID = np.array(
    [(27, -12, -120), (24, -14, -85), (29, -8, -50), (23, -8, -25), (20, 0, -8), (12, 18, 4), (12, 10, 12), (13, 8, 18)]
)
VERTEBRAL = np.array([(16, -28, -120), (15, -32, -60), (18, -34, -22), (8, -30, -10), (2, -14, 0), (0, -8, 12), (0, -7, 22)])


@dataclass(frozen=True)
class Vessels:
    """Bodies that carry contrast agent.

    Args:
        position: `(N, 3)` x, y, z, mm.
        amount: `(N,)` blood volume of each, mm^3.
        radius: `(N,)` of the vessel or voxel that it stands for, mm.
        arrival: `(N,)` when the bolus reaches it after the inlet, s, >= 0.
    """

    position: np.ndarray
    amount: np.ndarray
    radius: np.ndarray
    arrival: np.ndarray


def load_vessels(path: str | os.PathLike[str]) -> Vessels:
    """Read a CT angiography from which bone and tissue were removed (vessels bright, all else 0).

    Each voxel's blood share is its value over 0.7 of the 99.9th percentile of the vessels' values; `place` sets the arrival.

    Args:
        path: NIfTI file.

    Returns:
        two bodies a vessel voxel, in the scan's own coordinates.

    Raises:
        InputError: as `nifti.load_nifti`; or more than a quarter of the volume is not 0: bone and tissue are still there.
    """
    values, spacing, origin = load_nifti(path)
    share = np.mean(values > 0)
    if share == 0 or share > 0.25:
        raise InputError(
            f"{path}: expected a CT angiography with bone and tissue removed (set to 0), found {share:.0%} of it above 0; "
            "segment the vessels first or leave --vessels out"
        )
    fraction = np.minimum(values / (FULL * np.percentile(values[values > 0], 99.9)), 1)
    index = np.argwhere(fraction > EMPTY)
    place, half = _halves(index[:, ::-1], np.array(spacing))
    amount = np.tile(fraction[tuple(index.T)] * half, 2)
    radius = np.full(len(amount), OVERLAP * (3 / (4 * np.pi) * half) ** (1 / 3), np.float32)
    return Vessels((np.array(origin) + place).astype(np.float32), amount.astype(np.float32), radius, np.zeros_like(radius))


def _halves(index: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, float]:
    """Halve voxels along their longest side, scattered a little so that no lattice shows; positions and the volume of each."""
    longest = np.eye(3)[np.argmax(spacing)]
    places = np.concatenate([index - longest / 4, index + longest / 4])
    scatter = np.random.default_rng(0).uniform(-0.25, 0.25, places.shape) * (1 - longest / 2)
    return (places + scatter) * spacing, float(np.prod(spacing)) / 2


def place(vessels: Vessels, cavity: Territory, rng: np.random.Generator) -> Vessels:
    """Fit a scanned vessel cloud into a head's cavity, mirrored, stretched, turned and bent, sometimes one side alone.

    Arrival is the distance from the inlet, the lowest tenth's centre, over the bolus speed, unevenly slowed.

    Args:
        vessels: from `load_vessels`.
        cavity: of the head.
        rng: source of the variation.

    Returns:
        the cloud in the head's coordinates.
    """
    low, high = np.percentile(vessels.position, (1, 99), axis=0)
    unit = ((vessels.position - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)
    if rng.random() < 0.5:
        unit = unit * np.array((-1, 1, 1), np.float32)
    bent = unit + _smooth(unit, rng, 0.06)
    angle = np.radians(rng.uniform(-6, 6, 3))
    bent = bent + np.cross(angle, bent)
    position = cavity.centre + bent * cavity.half * rng.uniform(0.85, 0.97, 3)
    keep = np.ones(len(unit), bool) if rng.random() < 0.4 else unit[:, 0] > rng.uniform(-0.3, -0.1)
    inlet = position[position[:, 2] <= np.percentile(position[:, 2], 10)].mean(axis=0)
    slowness = 1 + 3 * np.abs(_smooth(unit, rng, 0.3)[:, 0])
    arrival = np.linalg.norm(position - inlet, axis=1) / (0.5 * SPEED) * slowness
    return Vessels(
        position[keep].astype(np.float32), vessels.amount[keep], vessels.radius[keep], arrival[keep].astype(np.float32)
    )


def _smooth(unit: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """Sum of a few random plane waves, standard deviation about `size`, at points of the cube [-1, 1]^3."""
    waves = rng.normal(0, 2.0, (4, 3)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    weights = rng.normal(0, size / np.sqrt(2), (4, 3)).astype(np.float32)
    return np.sin(unit @ waves.T + phases) @ weights


@dataclass(frozen=True)
class _Tips:
    """Growing ends of a tree: where, whither, how wide, when reached, and the place each is to supply."""

    position: np.ndarray
    direction: np.ndarray
    radius: np.ndarray
    arrival: np.ndarray
    target: np.ndarray


def vessel_tree(rng: np.random.Generator, cavity: Territory) -> Vessels:
    """Grow cerebral arteries: a trunk from the neck through the skull base, then branches that fill their territory.

    At each fork r^3 = r1^3 + r2^3 (C. D. Murray, PNAS 12 (1926) 207-214); the bolus travels at `250 mm/s * sqrt(r / 2 mm)`.

    Args:
        rng: source; decides which arteries are injected: one or both internal carotids, or the vertebrobasilar system.
        cavity: to fill.

    Returns:
        bodies along the centre lines, amount = pi r^2 ds.
    """
    choice = rng.random()
    if choice < 0.7:
        side = rng.choice([-1, 1])
        sides = [side] if choice < 0.5 else [-1, 1]
        grown = [_carotid(rng, cavity, s) for s in sides]
    else:
        grown = [_basilar(rng, cavity)]
    return joined([cloud for trunk, tips in grown for cloud in (trunk, *_branches(tips, cavity, rng))])


def joined(clouds: Sequence[Vessels]) -> Vessels:
    """Return several clouds as one."""
    return Vessels(
        np.concatenate([c.position for c in clouds]).astype(np.float32),
        np.concatenate([c.amount for c in clouds]).astype(np.float32),
        np.concatenate([c.radius for c in clouds]).astype(np.float32),
        np.concatenate([c.arrival for c in clouds]).astype(np.float32),
    )


def _carotid(rng: np.random.Generator, cavity: Territory, side: int) -> tuple[Vessels, _Tips]:
    """Trunk with its siphon in mm relative to the skull base, and its end forked into middle and anterior cerebral artery."""
    path = (CAROTID + rng.normal(0, 2, CAROTID.shape)) * (side, 1, 1)
    trunk, end, direction, time = _trunk(path + _base(cavity), rng.uniform(1.9, 2.8))
    targets = _inside(cavity, [(0.7 * side, 0.0, 0.2), (0.12 * side, 0.5, 0.45)])
    ways = np.array([(side, 0.1, 0.2), (-0.3 * side, 1, 0.3)]) + rng.normal(0, 0.1, (2, 3))
    split = rng.uniform(0.5, 0.7)
    radius = trunk.radius[-1] * 0.8 * np.array([split, 1 - split]) ** (1 / 3)
    return trunk, _Tips(np.tile(end, (2, 1)), _normal(ways + 0.2 * direction), radius, np.full(2, time), targets)


def _basilar(rng: np.random.Generator, cavity: Territory) -> tuple[Vessels, _Tips]:
    side = rng.choice([-1, 1])
    path = (VERTEBRAL + rng.normal(0, 1.5, VERTEBRAL.shape)) * (side, 1, 1)
    trunk, end, direction, time = _trunk(path + _base(cavity), rng.uniform(1.5, 2.1))
    targets = _inside(cavity, [(0.3, -0.7, 0.1), (-0.3, -0.7, 0.1), (0.4, -0.5, -0.55), (-0.4, -0.5, -0.55)])
    ways = np.array([(1, -0.2, 0.3), (-1, -0.2, 0.3), (1, -0.6, -0.5), (-1, -0.6, -0.5)]) + 0.1 * direction
    radius = trunk.radius[-1] * np.array([0.75, 0.75, 0.5, 0.5])
    return trunk, _Tips(np.tile(end, (4, 1)), _normal(ways), radius, np.full(4, time), targets)


def _base(cavity: Territory) -> np.ndarray:
    """Return the sella's place: midline, a little before the middle, a quarter of the cavity's height up."""
    return cavity.centre + cavity.half * (0, 0.1, -0.55)


def _inside(cavity: Territory, unit: Sequence[tuple[float, float, float]]) -> np.ndarray:
    return cavity.centre + cavity.half * np.array(unit)


def _normal(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _trunk(path: np.ndarray, radius: float) -> tuple[Vessels, np.ndarray, np.ndarray, float]:
    """Sample a smooth tube through the points of a path; also its end, direction and arrival time there."""
    from scipy.interpolate import CubicSpline

    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = CubicSpline(chord, path)(np.arange(0, chord[-1], 0.4))
    piece = np.linalg.norm(np.diff(fine, axis=0), axis=1)
    radii = np.full(len(piece), radius)
    arrival = np.cumsum(piece) / _speed(radii)
    trunk = Vessels((fine[1:] + fine[:-1]) / 2, np.pi * radii**2 * piece, radii, arrival)
    return trunk, fine[-1], _normal(fine[-1] - fine[-2]), float(arrival[-1])


def _speed(radius: np.ndarray) -> np.ndarray:
    return SPEED * np.sqrt(radius / 2)


def _branches(tips: _Tips, cavity: Territory, rng: np.random.Generator) -> list[Vessels]:
    clouds, spread = [], 0.5
    while len(tips.radius):
        cloud, tips = _grow(tips, cavity, rng)
        clouds.append(cloud)
        tips, spread = _fork(tips, cavity, spread, rng), max(0.85 * spread, 0.15)
    return clouds


def _grow(tips: _Tips, cavity: Territory, rng: np.random.Generator) -> tuple[Vessels, _Tips]:
    """Let every tip grow one branch, winding towards its target and turning back at the cavity's wall."""
    count = len(tips.radius)
    length = (8 + 12 * tips.radius) * rng.uniform(0.6, 1.5, count)
    piece = (length / STEPS)[:, None]
    position, direction, bend = tips.position, tips.direction, np.zeros((count, 3))
    track = np.empty((STEPS, count, 3))
    for step in range(STEPS):
        bend = 0.92 * bend + rng.normal(0, 0.05, (count, 3))
        unit = (position - cavity.centre) / cavity.half
        depth = np.linalg.norm(unit, axis=1, keepdims=True)
        inward = -unit / np.maximum(depth, 1e-6) * np.clip((depth - 0.9) / 0.1, 0, 2)
        pull = 0.07 * _normal(tips.target - position + 1e-6)
        direction = _normal(direction + np.sqrt(piece) * bend + pull + 0.15 * inward)
        track[step] = position + piece * direction / 2
        position = position + piece * direction
    steps = np.arange(0.5, STEPS)[:, None] * (piece[:, 0] / _speed(tips.radius))
    cloud = Vessels(
        track.reshape(-1, 3),
        np.tile(np.pi * tips.radius**2 * piece[:, 0], STEPS),
        np.tile(tips.radius, STEPS),
        (tips.arrival + steps).ravel(),
    )
    reached = tips.arrival + length / _speed(tips.radius)
    return cloud, replace(tips, position=position, direction=direction, arrival=reached)


def _fork(tips: _Tips, cavity: Territory, spread: float, rng: np.random.Generator) -> _Tips:
    """Split every tip in two by Murray's law; the children's targets scatter about the parent's; the thinnest end."""
    count = len(tips.radius)
    share = rng.uniform(0.25, 0.75, count)
    radius = np.concatenate([tips.radius * share ** (1 / 3), tips.radius * (1 - share) ** (1 / 3)])
    across = _normal(np.cross(tips.direction, rng.normal(size=(count, 3))))
    angle = rng.uniform(0.35, 0.9, (count, 1))
    direction = np.concatenate(
        [tips.direction + angle * (1 - share[:, None]) * across, tips.direction - angle * share[:, None] * across]
    )
    target = np.tile(tips.target, (2, 1)) + rng.normal(0, spread, (2 * count, 3)) * cavity.half
    children = _Tips(np.tile(tips.position, (2, 1)), _normal(direction), radius, np.tile(tips.arrival, 2), target)
    keep = radius > THINNEST
    return _Tips(*(getattr(children, name)[keep] for name in ("position", "direction", "radius", "arrival", "target")))
