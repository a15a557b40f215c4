"""Motions of parts of the body: the jaw, swallowing, breathing and the heart, each a smooth field and its course in time.

All fields are backward (see `motion.Parts`): they point from where material is to where it was at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from angiomorph.simulate.scene.motion import HEARTBEAT, Parts, beat, since_first
from angiomorph.simulate.scene.territory import Grid, Territory, thin_volume
from angiomorph.simulate.scene.volume import BONE, TISSUE, Volume

NODES = 64  # of a field along each axis
STEEPEST = 0.7  # largest change of a displacement over distance; below 1, nothing folds
TEETH = 2.4  # attenuation of enamel and fillings
# Courses over time, chosen by eye: seconds, or shares of the run where a name says so.
JAW_TIMES, JAW_START = (0.5, 1.5), (-0.2, 0.8)  # s to open and to stay open; share of the run when it opens
SWALLOW_TIME, SWALLOW_START = (0.8, 1.2), (0.1, 0.8)  # s; share of the run when it begins
BREATH = (3.0, 6.0)  # s, 10 to 20 a minute
AMPLITUDES = {
    "jaw": (1.0, 6.0),
    "swallow": (5.0, 15.0),
    "breathing": (1.0, 5.0),
    "diaphragm": (3.0, 12.0),
    "heart": (2.0, 8.0),
}  # mm


@dataclass(frozen=True)
class _Place:
    """Where a field is made: its nodes along x, y, z, mm, shaped to broadcast to `(D, D, D)`; territory and thinned body."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    territory: Territory
    grid: Grid


@dataclass(frozen=True)
class _Jaw:
    """A lower jaw: its hinge (y, z), the teeth's level z, and the chin's front and lower edge (y, z), mm."""

    hinge: tuple[float, float]
    teeth: float
    chin: tuple[float, float]


def draw_parts(volume: Volume, territory: Territory, times: np.ndarray, rng: np.random.Generator, share: float) -> Parts:
    """Draw which parts move by themselves, and how.

    A head may open its jaw (1-6 mm at the chin), swallow (5-15 mm) and breathe (1-5 mm at the base of the neck). A neck may do
    the last two; a chest breathes (3-12 mm at the diaphragm), and its heart beats (2-8 mm). The amplitude is lowered of a part
    so small that it would change by more than 0.7 mm within 1 mm.

    Args:
        volume: the body at rest.
        territory: ellipsoid of its tissue.
        times: `(T,)` s, ascending.
        rng: source.
        share: how often each part moves, 0..1; a heart always beats, unless it is 0.

    Returns:
        the parts that move; none of them where nothing does.
    """
    fields = part_fields(volume, territory)
    names, courses = [], []
    for name, field in fields.items():
        moves = rng.random() < share or (name == "heart" and share > 0)
        size = min(rng.uniform(*AMPLITUDES[name]), STEEPEST / steepness(field, volume))
        course = size * since_first(_course(name, times, rng))
        if moves:
            names.append(name)
            courses.append(course)
    chosen = np.array([fields[name] for name in names], np.float32).reshape(-1, 3, NODES, NODES, NODES)
    return Parts(tuple(names), chosen, np.array(courses).reshape(-1, len(times)).T)


def part_fields(volume: Volume, territory: Territory) -> dict[str, np.ndarray]:
    """Make the fields of all parts of a body.

    Args:
        volume: the body at rest.
        territory: ellipsoid of its tissue.

    Returns:
        name to `(3, D, D, D)` float32 as in `motion.Parts`; what lies outside the scan is left out.
    """
    place = _place(volume, territory)
    if territory.kind == "chest":
        fields = {"diaphragm": _diaphragm(place), "heart": _heart(place)}
    elif territory.kind == "neck":
        bottom = territory.centre[2] - territory.half[2]
        fields = {"swallow": _swallow(place, territory.centre[2]), "breathing": _shoulders(place, bottom + 20)}
    else:
        jaw = _find_jaw(place)
        lowest = territory.centre[2] - 2 * territory.half[2] if jaw is None else jaw.chin[1]
        fields = {} if jaw is None else {"jaw": _open(place, jaw)}
        fields |= {"swallow": _swallow(place, lowest - 30), "breathing": _shoulders(place, lowest - 20)}
    sizes = {name: float(np.sqrt((field**2).sum(axis=0)).max()) for name, field in fields.items()}
    return {name: (field / sizes[name]).astype(np.float32) for name, field in fields.items() if sizes[name] > 0.5}


def steepness(field: np.ndarray, volume: Volume) -> float:
    """Return the largest change of a field over distance, per mm: the norm of its differences between neighbouring nodes.

    Args:
        field: `(3, D, D, D)`.
        volume: CT that it spans.
    """
    extent = (np.array(volume.attenuation.shape) - 1) * volume.spacing[::-1]
    slopes = [np.diff(field, axis=1 + axis) * (NODES - 1) / extent[axis] for axis in range(3)]
    whole = [slope[:, : NODES - 1, : NODES - 1, : NODES - 1] for slope in slopes]
    return float(np.sqrt(sum((slope**2).sum(axis=0) for slope in whole)).max())


def _place(volume: Volume, territory: Territory) -> _Place:
    size = (np.array(volume.attenuation.shape[::-1]) - 1) * volume.spacing
    x, y, z = (volume.origin[axis] + np.linspace(0, size[axis], NODES) for axis in range(3))
    return _Place(x[None, None, :], y[None, :, None], z[:, None, None], territory, thin_volume(volume))


def _rise(value: np.ndarray, start: float | np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 at `start` to 1 at `start + width`; a negative width steps down towards lower values."""
    u = np.clip((value - start) / width, 0, 1)
    return u * u * (3 - 2 * u)


def _vector(weight: np.ndarray, x: float | np.ndarray, y: float | np.ndarray, z: float | np.ndarray) -> np.ndarray:
    return np.stack([np.broadcast_to(weight * part, weight.shape) for part in (x, y, z)])


def _find_jaw(place: _Place) -> _Jaw | None:
    """Find the lower jaw relative to the brain's cavity.

    The chin is the lowest bone in the midline more than 0.85 of the cavity's half length in front of its centre. The teeth lie
    at the median of the densest there, or 38 mm above the chin without any. The hinge lies at 0.33 of the half length in front
    of and 0.68 of the half height below the centre. A scan that ends within the jaw shows none.
    """
    (x, y, z), half, grid = place.territory.centre, place.territory.half, place.grid
    middle = np.abs(grid.axis(0) - x) < 25
    front = grid.axis(1) > y + 0.85 * half[1]
    below = grid.axis(2) < z - 0.7 * half[2]
    face = grid.values[np.ix_(below, front, middle)]
    bony = np.flatnonzero((face > BONE).sum(axis=(1, 2)) * grid.spacing[0] * grid.spacing[1] > 30)
    if len(bony) == 0 or bony[0] == 0:
        return None
    chin = float(grid.axis(2)[bony[0]])
    bone = np.argwhere(face[bony] > BONE)
    tip = float(np.percentile(grid.axis(1)[front][bone[:, 1]], 95))
    dense = np.argwhere(face[bony] > TEETH)[:, 0]
    teeth = float(np.median(grid.axis(2)[bony[dense]])) if len(dense) > 20 else chin + 38
    return _Jaw((y + 0.33 * half[1], z - 0.68 * half[2]), float(np.clip(teeth, chin + 25, chin + 50)), (tip, chin))


def _spine_front(place: _Place, low: float, high: float) -> float:
    """Return the y of the vertebral bodies' front edge, mm, between two heights."""
    grid, (x, y, _) = place.grid, place.territory.centre
    level = (grid.axis(2) > low) & (grid.axis(2) < high)
    if not level.any():
        return float(y)
    bone = grid.values[np.ix_(level, np.ones(grid.values.shape[1], bool), np.abs(grid.axis(0) - x) < 12)] > BONE
    share = bone.mean(axis=(0, 2))
    return float(grid.axis(1)[np.flatnonzero(share >= max(0.3 * share.max(), 1e-6))].max(initial=y))


def _open(place: _Place, jaw: _Jaw) -> np.ndarray:
    """Turn the jaw about its hinge: down and backwards below the teeth, less behind its ramus and below the chin."""
    forward, up = place.y - jaw.hinge[0], place.z - jaw.hinge[1]
    aside = np.abs(place.x - place.territory.centre[0])
    spine = _spine_front(place, jaw.chin[1] - 40, jaw.chin[1])
    behind = spine + 3 + (jaw.hinge[0] - 12 - spine - 3) * _rise(aside, 22, 16)
    weight = _rise(place.z, jaw.teeth + 7, -14) * _rise(place.z, jaw.chin[1] - 42, 40) * _rise(place.y, behind, 20)
    weight = weight * _rise(aside, 95, -15) * _rise(place.y, jaw.chin[0] + 22, -20)
    weight = weight / np.hypot(jaw.chin[0] - jaw.hinge[0], jaw.chin[1] - jaw.hinge[1])
    return _vector(weight, 0.0, -up, forward)


def _swallow(place: _Place, height: float) -> np.ndarray:
    """Lift larynx and hyoid, about a height z, and pull them forwards; the spine behind them rests."""
    front = _spine_front(place, height - 40, height + 10)
    weight = _rise(np.abs(place.z - height), 45, -45) * _rise(place.y, front + 2, 32) * _rise(place.y, front + 74, -28)
    return -_vector(weight * _rise(np.abs(place.x - place.territory.centre[0]), 50, -36), 0.0, 0.4, 0.9)


def _shoulders(place: _Place, height: float) -> np.ndarray:
    """Lift everything about the spine below a height z, ever more within 60 mm, upwards and forwards."""
    spine = _spine_front(place, height - 40, height) - 15
    away = np.hypot(place.x - place.territory.centre[0], place.y - spine)
    return -_vector(_rise(place.z, height, -60) * _rise(away, 20, 25), 0.0, 0.5, 0.85)


def _trunk(place: _Place) -> tuple[np.ndarray, np.ndarray]:
    """Return the trunk's middle and half widths along x and y at the heart's level, mm."""
    level = np.abs(place.grid.axis(2) - place.territory.centre[2]) < place.territory.half[2]
    low, high = place.grid.bounds((place.grid.values > TISSUE) & level[:, None, None], 1)
    return (low + high)[:2] / 2, (high - low)[:2] / 2


def _beside_spine(place: _Place, middle: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """0 within 28 mm of a line 50 mm in front of the spinous processes, 1 beyond 55 mm of it."""
    grid = place.grid
    level = np.abs(grid.axis(2) - place.territory.centre[2]) < place.territory.half[2]
    bone = (grid.values[level][:, :, np.abs(grid.axis(0) - middle[0]) < 8] > BONE).mean(axis=(0, 2))
    tip = grid.axis(1)[np.flatnonzero(bone > 0.1)].min(initial=middle[1])
    return _rise(np.hypot(place.x - middle[0], place.y - max(tip, middle[1] - wide[1]) - 50), 28, 27)


def _diaphragm(place: _Place) -> np.ndarray:
    """Lower the diaphragm and what lies on and under it, less towards the apex of the lungs; move the breastbone forwards.

    The chest's wall is what lies beyond 0.7 to 0.95 of the trunk's half widths.
    """
    (_, y, z), half = place.territory.centre, place.territory.half
    middle, wide = _trunk(place)
    wall = np.hypot((place.x - middle[0]) / wide[0], (place.y - middle[1]) / wide[1])
    down = _rise(place.z, z + 1.8 * half[2], -2.8 * half[2]) * _rise(wall, 0.95, -0.25)
    ahead = _rise(place.y, y - half[1], 2 * half[1]) * _rise(np.abs(place.z - z), 2.5 * half[2], -1.5 * half[2])
    weight = _beside_spine(place, middle, wide)
    return _vector(weight * down, 0.0, 0.0, 1.0) + _vector(weight * ahead, 0.0, -0.3, 0.0)


def _heart(place: _Place) -> np.ndarray:
    """Contract the heart towards its middle: most at its wall, nothing from 1.5 of its half axes and at the breastbone."""
    centre, half = place.territory.centre, place.territory.half
    parts = [(axis - c) / h for axis, c, h in zip((place.x, place.y, place.z), centre, half, strict=True)]
    depth = np.sqrt(sum(part**2 for part in parts))
    weight = _rise(depth, 0.0, 1.0) * _rise(depth, 1.5, -0.5) * _beside_spine(place, *_trunk(place)) / np.maximum(depth, 1e-6)
    return _vector(weight * _rise(parts[1], 1.1, -0.45), *parts)


def _course(name: str, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Amplitude over time, between 0 and 1."""
    since = times - times[0]
    span = max(float(since[-1]), 1.0)
    if name == "jaw":
        rise, hold = rng.uniform(*JAW_TIMES, 2)
        start = rng.uniform(*JAW_START) * span
        return _rise(since, start, rise) * _rise(since, start + 2 * rise + hold, -rise)
    if name == "swallow":
        length = rng.uniform(*SWALLOW_TIME)
        u = np.clip((since - rng.uniform(*SWALLOW_START) * span) / length, 0, 1)
        return np.sin(np.pi * u) ** 2
    if name == "heart":
        return beat(since / rng.uniform(*HEARTBEAT) + rng.random())
    return 0.5 - 0.5 * np.cos(2 * np.pi * (since / rng.uniform(*BREATH) + rng.random()))
