"""Display shutter shapes against hand-drawn ones."""

import numpy as np
import pydicom
import pytest

from angiomorph.dicom.shutter import find_exposed

RECTANGLE = {
    "ShutterUpperHorizontalEdge": 2,
    "ShutterLowerHorizontalEdge": 4,
    "ShutterLeftVerticalEdge": 3,
    "ShutterRightVerticalEdge": 5,
}
DIAMOND = [1, 4, 4, 7, 7, 4, 4, 1]


def drawn(**attributes) -> list[str]:
    dataset = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return ["".join(".#"[pixel] for pixel in row) for row in find_exposed(dataset, 5, 6).astype(int)]


ALL = ["######"] * 5


@pytest.mark.parametrize(
    ("attributes", "picture"),
    [
        ({}, ALL),
        ({"ShutterShape": "RECTANGULAR", **RECTANGLE}, ["......", "..###.", "..###.", "..###.", "......"]),
        ({"ShutterShape": "RECTANGULAR", "ShutterUpperHorizontalEdge": 4}, ["......", "......", "......", "######", "######"]),
        ({"ShutterShape": "RECTANGULAR", "ShutterUpperHorizontalEdge": 9}, ALL),
        (
            {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [3, 3], "RadiusOfCircularShutter": 2},
            ["..#...", ".###..", "#####.", ".###..", "..#..."],
        ),
        ({"ShutterShape": "CIRCULAR"}, ALL),
        ({"ShutterShape": "POLYGONAL"}, ALL),
        (
            {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [0, 0, 0, 4, 4, 0]},
            ["###...", "##....", "#.....", "......", "......"],
        ),
        (
            {
                "ShutterShape": ["RECTANGULAR", "CIRCULAR"],
                **RECTANGLE,
                "CenterOfCircularShutter": [3, 3],
                "RadiusOfCircularShutter": 1,
            },
            ["......", "..#...", "..##..", "..#...", "......"],
        ),
    ],
)
def test_shapes(attributes, picture):
    assert drawn(**attributes) == picture


def test_diamond_is_symmetric():
    dataset = pydicom.Dataset()
    dataset.ShutterShape, dataset.VerticesOfThePolygonalShutter = "POLYGONAL", DIAMOND
    inside = find_exposed(dataset, 7, 7)
    row, column = np.mgrid[1:8, 1:8]
    distance = abs(row - 4) + abs(column - 4)
    assert inside[distance < 3].all()
    assert not inside[distance > 3].any()
