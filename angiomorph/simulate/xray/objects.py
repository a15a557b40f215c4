"""What is in the beam but not of the patient: table, leads and catheter, which stay, and metal implants, which move along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from angiomorph.simulate.xray.geometry import CArm
from angiomorph.simulate.xray.projector import project_points

MATERIALS = 4  # water, bone, iodine, metal
WATER, METAL = 0, 3
STEP = 0.2  # mm between the samples of a wire
# Sizes and ranges are chosen by eye, as they look in an angiography suite.
FOAM, CARBON = 0.06, 1.6  # g/cm^3, of a table's core and of its two skins
SKIN = 1.2  # mm
TABLE = (420.0, 1600.0, 45.0)  # mm, width, length and thickness of a table, and of the narrow rest for the head
HEADREST = (190.0, 300.0, 30.0)
BEHIND = (95.0, 125.0)  # mm, from the isocentre to the table's upper side
RESTS = 0.5  # share of tables that are a headrest
TABLE_END, TABLE_SIDE = (-60.0, 160.0), (-30.0, 30.0)  # mm from the isocentre, up and aside
LEAD_DEPTH = (80.0, 130.0)  # mm, of a lead before or behind the isocentre
LEAD_PLACE, LEAD_OUTSIDE = 1.5, 1.6  # half fields: where leads end, and from where they come
LEAD_BEND = 0.12  # half fields, deviation of the points that a lead passes
LEAD_RADIUS = (0.25, 0.5)  # mm
CATHETER, LUMEN = (0.65, 1.0), (0.6, 0.7)  # mm radius, 4 to 6 French; share of it that is hollow
WIRED = 0.3  # share of catheters with a guide wire inside
BEND_POINTS = 8.0  # mm between the points of a catheter's spline
COILED, COIL_RADIUS, COIL_PARTS = 0.5, (2.0, 5.0), 400  # share of implants that are coils, mm, and balls of wire in one
CLIP_LENGTH, CLIP_RADIUS, CLIP_STEP, CLIP_GAP = (7.0, 12.0), 0.7, 0.3, 0.9  # mm; the gap is half of that between blades
STRANDED = 4.0  # g/cm^3, of a lead's wire
ELECTRODE = (5.0, 1.0, 7.9)  # mm radius and thickness, g/cm^3, of the clip at a lead's end
POLYMER, RADIOPAQUE = 1.1, 0.9  # g/cm^3, of a catheter's wall: what it is made of and the filler that makes it visible
GUIDE_WIRE = (0.18, 7.9)  # mm radius, g/cm^3
COIL, CLIP = 5.0, 7.9  # g/cm^3, of a packed coil and of a clip's steel
STILL = np.zeros(6)


@dataclass(frozen=True)
class Implant:
    """Bodies of metal that move with the patient.

    Args:
        position: `(N, 3)` x, y, z, mm.
        amount: `(N,)` volume times density, mm^3 g/cm^3.
        radius: `(N,)` mm.
    """

    position: np.ndarray
    amount: np.ndarray
    radius: np.ndarray


def draw_static(arm: CArm, inlet: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Draw a table, leads and a catheter, each present or not.

    Args:
        arm: geometry; the isocentre is the origin.
        inlet: `(M, 3)` mm, centre line of the injected vessel up to the catheter's tip.
        rng: source.
        share: probability of each, 0..1.

    Returns:
        `(4, rows, columns)` float32, g/cm^2 of water, bone, iodine and metal.
    """
    table, leads, catheter = (generator for generator in rng.spawn(3))
    present = rng.random(3) < share
    paths = np.zeros((MATERIALS, arm.rows, arm.columns), np.float32)
    if present[0]:
        paths[WATER] += _table(arm, table)
    if present[1]:
        paths[METAL] += _leads(arm, leads)
    if present[2]:
        paths += _catheter(arm, inlet, catheter)
    return np.maximum(paths, 0)


def box_lengths(arm: CArm, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Length of each pixel's ray within a box, from where it enters the last slab to where it leaves the first.

    Args:
        arm: geometry.
        low: `(3,)` mm, the box's lower corner.
        high: `(3,)` mm, its upper corner.

    Returns:
        `(rows, columns)` float64, mm.
    """
    source, corner, right, down = arm.rays()
    ray = corner - source + np.arange(arm.rows)[:, None, None] * down + np.arange(arm.columns)[:, None] * right
    ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
    one, two = (low - source) / ray, (high - source) / ray
    enter = np.maximum(np.minimum(one, two).max(-1), 0)
    leave = np.minimum(np.maximum(one, two).min(-1), 1)
    return np.asarray(np.maximum(leave - enter, 0) * np.linalg.norm(ray, axis=-1))


def _table(arm: CArm, rng: np.random.Generator) -> np.ndarray:
    """Table top or headrest under the patient, g/cm^2: a core of foam between skins of carbon fibre."""
    size = np.array(HEADREST if rng.random() < RESTS else TABLE)
    top, end, side = -rng.uniform(*BEHIND), rng.uniform(*TABLE_END), rng.uniform(*TABLE_SIDE)
    low = np.array((side - size[0] / 2, top - size[2], end - size[1]))
    high = np.array((side + size[0] / 2, top, end))
    whole, core = box_lengths(arm, low, high), box_lengths(arm, low + SKIN, high - SKIN)
    return (FOAM * core + CARBON * (whole - core)) / 10


def _leads(arm: CArm, rng: np.random.Generator) -> np.ndarray:
    """One to three wires on the patient's skin or the table, some ending in a clip within the field, metal g/cm^2."""
    beam, right, down = arm.axes()
    half = arm.pixel_spacing * arm.rows / 2 * arm.source_isocentre / arm.source_detector
    total = np.zeros((arm.rows, arm.columns), np.float32)
    for _ in range(rng.integers(1, 4)):
        depth = rng.choice([-1, 1]) * rng.uniform(*LEAD_DEPTH)
        start, end = rng.uniform(-LEAD_PLACE, LEAD_PLACE, 2), rng.uniform(-LEAD_PLACE, LEAD_PLACE, 2)
        start[rng.integers(2)] = LEAD_OUTSIDE * rng.choice([-1, 1])  # it comes from outside the field
        waypoints = np.linspace(start, end, 5) + rng.normal(0, LEAD_BEND, (5, 2)) * np.array([[0], [1], [1], [1], [0]])
        path = half * (waypoints[:, :1] * right + waypoints[:, 1:] * down) + depth * beam
        total += _tube(arm, path, rng.uniform(*LEAD_RADIUS), STRANDED)
        if np.abs(end).max() < 1:
            radius, thickness, density = ELECTRODE
            volume = np.pi * radius**2 * thickness
            total += project_points(path[-1:], np.array([volume * density]), np.array([radius]), arm, STILL)
    return total / 10


def _catheter(arm: CArm, inlet: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A tube with a radiopaque wall along the vessel to its tip, some with a guide wire inside, `(4, rows, columns)` g/cm^2."""
    path = _extended(_thinned(inlet))
    outer = rng.uniform(*CATHETER)
    lumen = rng.uniform(*LUMEN) * outer
    wall = _tube(arm, path, outer, 1.0) - _tube(arm, path, lumen, 1.0)
    paths = np.zeros((MATERIALS, arm.rows, arm.columns), np.float32)
    paths[WATER] = POLYMER * wall / 10
    paths[METAL] = RADIOPAQUE * wall / 10
    if rng.random() < WIRED:
        paths[METAL] += _tube(arm, path, *GUIDE_WIRE) / 10
    return paths


def _thinned(path: np.ndarray) -> np.ndarray:
    """Points of a polyline about `BEND_POINTS` apart, its ends among them, so that a spline through them is smooth."""
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    wanted = np.linspace(0, along[-1], max(round(along[-1] / BEND_POINTS), 1) + 1)
    return np.stack([np.interp(wanted, along, path[:, axis]) for axis in range(3)], axis=1)


def _extended(path: np.ndarray, length: float = 200.0) -> np.ndarray:
    """Continue a polyline backwards beyond its start, to where the catheter comes from."""
    way = path[0] - path[min(2, len(path) - 1)]
    way = way / max(np.linalg.norm(way), 1e-6)
    return np.concatenate([path[0] + way * length * np.array([[1.0], [0.5]]), path])


def _tube(arm: CArm, path: np.ndarray, radius: float, density: float) -> np.ndarray:
    """Line integrals of a tube along the smooth curve through points, mm g/cm^3."""
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    fine = CubicSpline(chord, path)(np.arange(0, chord[-1], STEP))
    piece = np.linalg.norm(np.diff(fine, axis=0), axis=1)
    middle = (fine[1:] + fine[:-1]) / 2
    return project_points(middle, np.pi * radius**2 * piece * density, np.full(len(piece), radius), arm, STILL)


def draw_implant(centre: np.ndarray, half: np.ndarray, rng: np.random.Generator) -> Implant:
    """Draw a coiled aneurysm or a clip within an ellipsoid.

    Args:
        centre: `(3,)` mm.
        half: `(3,)` mm, half axes.
        rng: source.

    Returns:
        its metal.
    """
    place = centre + half * rng.uniform(-0.5, 0.5, 3)
    return _coil(place, rng) if rng.random() < COILED else _clip(place, rng)


def _coil(place: np.ndarray, rng: np.random.Generator) -> Implant:
    """A ball of wire loops, denser than its packing where loops cross."""
    size, count = rng.uniform(*COIL_RADIUS), COIL_PARTS
    way = rng.normal(size=(count, 3))
    position = place + size * way / np.linalg.norm(way, axis=1, keepdims=True) * rng.random((count, 1)) ** (1 / 3)
    volume = 4 / 3 * np.pi * size**3 / count
    return Implant(position, np.full(count, volume * COIL), np.full(count, 0.3 * size))


def _clip(place: np.ndarray, rng: np.random.Generator) -> Implant:
    """Two blades side by side and the spring at their end."""
    along, across = np.linalg.qr(rng.normal(size=(3, 2)))[0].T
    length, radius = rng.uniform(*CLIP_LENGTH), CLIP_RADIUS
    on = np.arange(0, length, CLIP_STEP)[:, None] * along
    turn = np.linspace(0, 2 * np.pi, 30)[:, None]
    spring = -2 * along + 2 * (np.cos(turn) * along + np.sin(turn) * across)
    position = place + np.concatenate([on + CLIP_GAP * across, on - CLIP_GAP * across, spring])
    piece = np.concatenate([np.full(2 * len(on), CLIP_STEP), np.full(30, 4 * np.pi / 30)])
    return Implant(position, np.pi * radius**2 * piece * CLIP, np.full(len(position), radius))
