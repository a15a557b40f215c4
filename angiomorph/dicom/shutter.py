"""Display shutter: which pixels show the patient (DICOM PS3.3 C.7.6.11)."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.attributes import frame_items, functional, number, numbers, text, words

FRAME_SHUTTER = "FrameDisplayShutterSequence"  # of an enhanced object
EDGES = ("ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge")
OF_SHUTTERS = (
    "ShutterShape",
    *EDGES,
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)


def find_exposed(dataset: Dataset, rows: int, columns: int) -> np.ndarray:
    """Return `(rows, columns)` bool, True inside every shape of the display shutter; all True where it has none.

    Of an enhanced object whose frames have several shutters it is the field that all of them show. Edges count as exposed.
    Shapes with missing or unusable values, and a shutter that would hide everything, are left out.

    Args:
        dataset: header with or without a display shutter, its own or an enhanced object's.
        rows: H, pixels.
        columns: W, pixels.

    Source: DICOM PS3.3 C.7.6.11, positions counted from 1.
    """
    inside = np.ones((rows, columns), bool)
    for shutter in [dataset] if "ShutterShape" in dataset else frame_shutters(dataset):
        inside &= _inside(shutter, rows, columns)
    return inside if inside.any() else np.ones_like(inside)


def frame_shutters(dataset: Dataset) -> list[Dataset]:
    """Return the display shutters of an enhanced object: the shared one, or all that its frames have, each once."""
    found = [functional(dataset, FRAME_SHUTTER, "ShutterShape"), *frame_items(dataset, FRAME_SHUTTER)]
    distinct = {tuple(text(shutter, keyword) for keyword in OF_SHUTTERS): shutter for shutter in reversed(found)}
    return [shutter for shutter in reversed(distinct.values()) if "ShutterShape" in shutter]


def _inside(dataset: Dataset, rows: int, columns: int) -> np.ndarray:
    row, column = np.ogrid[1 : rows + 1, 1 : columns + 1]
    inside = np.ones((rows, columns), bool)
    shapes = words(dataset, "ShutterShape")
    if "RECTANGULAR" in shapes:
        inside &= _rectangle(dataset, row, column)
    if "CIRCULAR" in shapes:
        inside &= _circle(dataset, row, column)
    if "POLYGONAL" in shapes:
        inside &= _polygon(dataset, row, column)
    return inside


def _rectangle(dataset: Dataset, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    edges = [number(dataset, keyword) for keyword in EDGES]
    upper, lower, left, right = (np.nan if edge is None else edge for edge in edges)
    return ~((row < upper) | (row > lower) | (column < left) | (column > right))  # nan hides nothing


def _circle(dataset: Dataset, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    centre, radius = numbers(dataset, "CenterOfCircularShutter"), number(dataset, "RadiusOfCircularShutter")
    if len(centre) != 2 or radius is None:
        return np.ones(1, bool)
    return np.asarray(np.hypot(row - centre[0], column - centre[1]) <= abs(radius))


def _polygon(dataset: Dataset, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    vertices = np.asarray(numbers(dataset, "VerticesOfThePolygonalShutter"))
    if vertices.size < 6 or vertices.size % 2:
        return np.ones(1, bool)
    ends = vertices.reshape(-1, 2)
    crossings = np.zeros(np.broadcast_shapes(row.shape, column.shape), int)
    for (row_a, column_a), (row_b, column_b) in zip(ends, np.roll(ends, -1, axis=0), strict=True):
        if row_a == row_b:
            continue
        crosses = (row_a > row) != (row_b > row)
        crossings += crosses & (column <= column_a + (row - row_a) * (column_b - column_a) / (row_b - row_a))
    return np.asarray(crossings % 2 == 1)
