"""Curves as SVG: where points stand, what is said of them, and what happens to what is not finite."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from angiomorph.pages.curves import Curve, draw_curves, find_step


def drawn(*curves, places=(1, 2, 3), **changed):
    return ElementTree.fromstring(draw_curves("what <is> drawn", places, curves, "frame", **changed))


def points(tree):
    return np.array([[float(each.get("cx")), float(each.get("cy"))] for each in tree.iter("circle")])


def test_points_stand_where_their_values_say():
    tree = drawn(Curve("one", [0.0, 1.0, 2.0]))
    at = points(tree)
    np.testing.assert_allclose(np.diff(at[:, 0]), (640 - 58 - 12) / 2, atol=0.2)
    np.testing.assert_allclose(at[:, 1], [180, 105, 30], atol=0.1)  # from the lower edge of the field to the upper
    assert [each.text for each in tree.iter("title")] == ["one, 1: 0", "one, 2: 1", "one, 3: 2"]
    assert tree.get("aria-label") == "what <is> drawn"
    ticks = {each.text: float(each.get("y")) for each in tree.iter("text") if each.get("text-anchor") == "end"}
    assert ticks == {"0": 184.0, "0.5": 146.5, "1": 109.0, "1.5": 71.5, "2": 34.0}


def test_a_curve_breaks_where_nothing_is_known():
    tree = drawn(Curve("one", [1.0, math.nan, 2.0, 3.0]), places=range(4))
    path = next(each for each in tree.iter("path")).get("d")
    assert re.sub(r"[^ML]", "", path) == "MML"
    assert len(points(tree)) == 3


@pytest.mark.parametrize("values", [[math.nan, math.nan], [0.0, 0.0], [math.inf, 1.0]])
def test_curves_without_a_span_are_drawn(values):
    tree = drawn(Curve("one", values), places=(4, 4))
    assert len(points(tree)) == sum(map(math.isfinite, values))
    assert "nan" not in ElementTree.tostring(tree, encoding="unicode")


def test_the_axis_begins_where_it_is_told():
    assert points(drawn(Curve("one", [5.0, 6.0, 7.0]), low=None))[0, 1] == 180
    assert points(drawn(Curve("one", [5.0, 6.0, 7.0])))[0, 1] < 80
    assert points(drawn(Curve("one", [-5.0, 6.0, 7.0])))[0, 1] == 180


def test_several_curves_have_a_legend_and_their_own_look():
    tree = drawn(Curve("a & b", [1, 2, 3]), Curve("c", [3, 2, 1]))
    assert {"a & b", "c"} <= {each.text for each in tree.iter("text")}
    looks = [(each.get("stroke"), each.get("stroke-dasharray")) for each in tree.iter("path")]
    assert len(set(looks)) == 2


def test_one_curve_has_no_legend():
    """The page says its title already."""
    tree = drawn(Curve("c", [3, 2, 1]))
    assert {"what <is> drawn", "c"} & {each.text for each in tree.iter("text")} == set()
    assert "c, 1: 3" in {each.text for each in tree.iter("title")}


def test_marks_and_the_line_of_the_frame_shown():
    tree = drawn(Curve("one", [0, 1, 2]), marks=[2], follows=True)
    lines = {each.get("class"): each for each in tree.iter("line") if each.get("class") in ("mark", "now")}
    assert float(lines["mark"].get("x1")) == points(tree)[1, 0]
    assert float(lines["now"].get("x1")) == points(tree)[0, 0]
    assert [tree.get(f"data-{end}") for end in ("first", "last", "left", "right")] == ["1", "3", "58", "628"]
    assert drawn(Curve("one", [0, 1, 2])).get("data-first") is None


@pytest.mark.parametrize(("least", "step"), [(0.3, 0.5), (1.0, 1.0), (12, 20), (0.0011, 0.002), (7, 10)])
def test_ticks_are_round(least, step):
    assert find_step(least) == pytest.approx(step)
