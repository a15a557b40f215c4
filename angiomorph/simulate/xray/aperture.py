"""The collimator: which part of the detector the beam reaches, and what DICOM says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEAK = 0.004  # open-beam share that passes the collimator's blades
SHAPES = {"CIRCULAR": 0.45, "RECTANGULAR": 0.35, "POLYGONAL": 0.2}  # and how often each is drawn
# Chosen by eye; lengths in half sides of the frame, from its centre.
RADIUS = (0.97, 1.05)  # of a circle
COVERED = (0.02, 0.25)  # by each blade of a rectangle
TURNED, REACH = 4.0, (0.94, 1.02)  # of an octagon: degrees to either side, and distance of its sides
SOFT = (0.003, 0.008)  # width of the edge
TOLD = 0.6  # share of collimated runs whose header says so


@dataclass(frozen=True, eq=False)
class Aperture:
    """A collimator.

    Args:
        share: `(H, W)` float32, of the beam that passes, `LEAK`..1, its edge a few pixels wide.
        attributes: DICOM keywords of the X-Ray Collimator and Display Shutter modules; empty where the header is silent.

    Source: DICOM PS3.3 C.8.7.3 (X-Ray Collimator) and C.7.6.11 (Display Shutter); positions are counted from 1.
    """

    share: np.ndarray
    attributes: dict[str, Any] = field(default_factory=dict)


def draw_aperture(rng: np.random.Generator, rows: int, columns: int, collimated: bool) -> Aperture:
    """Draw a collimator: a circle, a rectangle or an octagon that may be turned a little, or the whole field.

    Args:
        rng: source.
        rows: number of the detector's rows.
        columns: number of the detector's columns.
        collimated: False for the whole field.
    """
    if not collimated:
        return Aperture(np.ones((rows, columns), np.float32))
    shape = list(SHAPES)[rng.choice(len(SHAPES), p=list(SHAPES.values()))]
    half = np.array((rows - 1, columns - 1)) / 2
    y, x = (np.indices((rows, columns)) - half[:, None, None]) / half[:, None, None]
    if shape == "CIRCULAR":
        radius = rng.uniform(*RADIUS)
        inside = radius - np.hypot(x, y)
        described = _circle(half, radius)
    elif shape == "RECTANGULAR":
        edges = 1 - rng.uniform(*COVERED, 4)
        inside = np.minimum(np.minimum(x + edges[0], edges[1] - x), np.minimum(y + edges[2], edges[3] - y))
        described = _rectangle(half, edges)
    else:
        normals, distance = _octagon(rng)
        inside = np.min([distance - x * a - y * b for a, b in normals], axis=0)
        described = _polygon(half, normals, distance)
    edge = rng.uniform(*SOFT)
    share = (LEAK + (1 - LEAK) / (1 + np.exp(-np.clip(inside / edge, -50, 50)))).astype(np.float32)
    told = rng.random() < TOLD
    return Aperture(share, {"CollimatorShape": shape, "ShutterShape": shape, **described} if told else {})


def _octagon(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Outward normals x, y of the eight sides and their common distance from the centre."""
    angles = np.radians(rng.uniform(-TURNED, TURNED) + np.arange(8) * 45)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1), float(rng.uniform(*REACH))


def _both(**attributes: Any) -> dict[str, Any]:
    """Return the collimator's attributes and the same of the display shutter."""
    shutter = {name.replace("Collimator", "Shutter"): value for name, value in attributes.items()}
    return attributes | {**shutter, "ShutterPresentationValue": 0}


def _circle(half: np.ndarray, radius: float) -> dict[str, Any]:
    centre = [round(float(value) + 1) for value in half]
    return _both(CenterOfCircularCollimator=centre, RadiusOfCircularCollimator=round(radius * half.min()))


def _rectangle(half: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    left, right, top, bottom = (float(edge) for edge in edges)
    return _both(
        CollimatorLeftVerticalEdge=round(half[1] * (1 - left)) + 1,
        CollimatorRightVerticalEdge=round(half[1] * (1 + right)) + 1,
        CollimatorUpperHorizontalEdge=round(half[0] * (1 - top)) + 1,
        CollimatorLowerHorizontalEdge=round(half[0] * (1 + bottom)) + 1,
    )


def _polygon(half: np.ndarray, normals: np.ndarray, distance: float) -> dict[str, Any]:
    corners = [
        np.linalg.solve(np.stack(pair), (distance, distance)) for pair in zip(normals, np.roll(normals, -1, 0), strict=True)
    ]
    limits = 2 * half + 1
    vertices = [
        (np.clip(half[0] * (1 + y) + 1, 1, limits[0]), np.clip(half[1] * (1 + x) + 1, 1, limits[1])) for x, y in corners
    ]
    return _both(VerticesOfThePolygonalCollimator=[round(float(value)) for vertex in vertices for value in vertex])
