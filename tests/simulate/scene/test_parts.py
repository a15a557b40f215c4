from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.simulate.scene.motion import Parts
from angiomorph.simulate.scene.parts import AMPLITUDES, NODES, STEEPEST, draw_parts, part_fields, steepness
from angiomorph.simulate.scene.phantom import procedural_head
from angiomorph.simulate.scene.territory import find_territory
from angiomorph.simulate.scene.volume import Volume
from angiomorph.simulate.xray.displacement import move_points
from tests.simulate.bodies import HEART, HEART_HALF, chest, neck

TIMES = np.arange(40) * 0.15
BODIES = {"head": procedural_head, "neck": neck, "chest": chest}
NAMES = {"head": ("jaw", "swallow", "breathing"), "neck": ("swallow", "breathing"), "chest": ("diaphragm", "heart")}
EVERY = [(kind, name) for kind, names in NAMES.items() for name in names]


@cache
def body(kind):
    volume = procedural_head(1) if kind == "head" else BODIES[kind]()
    territory = find_territory(volume)
    return volume, territory, part_fields(volume, territory)


def at(kind, name, *place):
    """A field at the node next to a place, mm."""
    volume, _, fields = body(kind)
    size = (np.array(volume.attenuation.shape[::-1]) - 1) * volume.spacing
    i, j, k = np.rint((np.array(place) - volume.origin) / size * (NODES - 1)).astype(int)
    return fields[name][:, k, j, i]


@pytest.mark.parametrize("kind", NAMES)
def test_each_body_has_its_parts_of_unit_length(kind):
    _, _, fields = body(kind)
    assert tuple(fields) == NAMES[kind]
    for field in fields.values():
        assert field.shape == (3, NODES, NODES, NODES)
        assert field.dtype == np.float32
        assert np.linalg.norm(field, axis=0).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize("sign", [-1, 1])
def test_nothing_folds_at_the_largest_amplitude(kind, name, sign):
    """The Jacobian of q + A f(q), from differences between nodes, is positive everywhere."""
    volume, _, fields = body(kind)
    amplitude = sign * min(AMPLITUDES[name][1], STEEPEST / steepness(fields[name], volume))
    step = (np.array(volume.attenuation.shape) - 1) * volume.spacing[::-1] / (NODES - 1)
    gradient = np.stack([np.diff(fields[name], axis=1 + a)[:, :63, :63, :63] / step[a] for a in (2, 1, 0)], axis=-1)
    jacobian = np.eye(3) + amplitude * np.moveaxis(gradient, 0, -2)
    assert np.linalg.det(jacobian).min() > 0.2


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_where_material_went_is_found_from_where_it_came(kind, name):
    """The place q now of material at rest at p has q + A f(q) = p, with f interpolated by SciPy."""
    volume, _, fields = body(kind)
    control = fields[name] * min(AMPLITUDES[name][1], STEEPEST / steepness(fields[name], volume))
    size = (np.array(volume.attenuation.shape[::-1]) - 1) * volume.spacing
    nodes = np.argwhere(np.linalg.norm(fields[name], axis=0)[2:-2, 2:-2, 2:-2] > 0.1)[:, ::-1] + 2
    rest = volume.origin + np.random.default_rng(0).permutation(nodes)[:500] * size / (NODES - 1)
    now = move_points(rest, np.array(volume.spacing), np.array(volume.origin), volume.attenuation.shape, control)
    index = ((now - volume.origin) / size * (NODES - 1)).T[::-1]
    there = np.stack([ndimage.map_coordinates(part, index, order=1, mode="constant") for part in control], axis=1)
    inside = ((index >= 0) & (index <= NODES - 1)).all(axis=0)
    assert np.linalg.norm(now - rest, axis=1).max() > 0.5
    assert np.abs(now + there - rest)[inside].max() < 0.3


def test_the_jaw_opens_below_the_teeth_about_a_hinge_behind_them():
    """The procedural head's teeth meet at -86, its chin lies at y 84, z -117; its spine at y -22, its upper teeth at -74."""
    chin, upper, spine, vault = (at("head", "jaw", *p) for p in ((0, 84, -112), (0, 84, -66), (0, -22, -110), (0, 0, 50)))
    assert chin[2] > 0.6  # came from above
    assert chin[1] > 0.4  # and from the front
    np.testing.assert_array_equal(upper, 0)
    np.testing.assert_array_equal(spine, 0)
    np.testing.assert_array_equal(vault, 0)
    assert np.linalg.norm(at("head", "jaw", 45, 30, -95)) < 0.75 * np.linalg.norm(chin)


def test_a_scan_that_ends_within_the_jaw_shows_none():
    whole, territory, _ = body("head")
    cut = round((-100 - whole.origin[2]) / whole.spacing[2])
    volume = Volume(whole.attenuation[cut:], whole.spacing, (*whole.origin[:2], whole.origin[2] + cut * whole.spacing[2]))
    assert tuple(part_fields(volume, territory)) == ()


@pytest.mark.parametrize(
    ("kind", "place", "spine"), [("head", (0, 30, -145), (0, -5, -145)), ("neck", (0, 45, 40), (0, 5, 40))]
)
def test_swallowing_lifts_the_larynx_and_not_the_spine(kind, place, spine):
    assert at(kind, "swallow", *place)[2] < -0.5  # came from below
    np.testing.assert_allclose(at(kind, "swallow", *spine), 0, atol=0.1)


def test_breathing_moves_the_shoulders_and_not_the_spine():
    assert np.linalg.norm(at("neck", "breathing", 70, 0, -148)) == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(at("neck", "breathing", 0, -5, -148), 0)
    np.testing.assert_array_equal(at("neck", "breathing", 50, 0, 60), 0)


def test_the_diaphragm_sinks():
    assert at("chest", "diaphragm", 70, 0, -72)[2] > 0.9
    front = at("chest", "diaphragm", 0, 100, -20)
    assert front[1] < -0.2


@pytest.mark.parametrize("rest", [(0, -65, -72), (0, -65, 50), (160, 0, -72), (70, 0, 110)])
def test_bones_stay_as_the_diaphragm_sinks(rest):
    assert abs(at("chest", "diaphragm", *rest)[2]) < 0.05


def test_the_heart_contracts_towards_its_middle():
    for side in (-1, 1):
        wall = at("chest", "heart", HEART[0] + side * HEART_HALF[0], HEART[1], HEART[2])
        assert side * wall[0] > 0.7
    np.testing.assert_allclose(at("chest", "heart", *HEART), 0, atol=0.35)
    np.testing.assert_array_equal(at("chest", "heart", 0, -65, -20), 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMES)
def test_all_parts_move_from_rest_by_what_they_may(kind):
    volume, territory, _ = body(kind)
    reached = {name: [] for name in NAMES[kind]}
    for seed in range(20):
        parts = draw_parts(volume, territory, TIMES, np.random.default_rng(seed), 1.0)
        assert parts.names == NAMES[kind]
        assert parts.amplitude.shape == (40, len(parts.names))
        np.testing.assert_array_equal(parts.amplitude[0], 0)
        for name, course in zip(parts.names, parts.amplitude.T, strict=True):
            reached[name].append(np.ptp(course))
    for name, sizes in reached.items():
        low, high = AMPLITUDES[name]
        assert max(sizes) <= high
        assert max(sizes) > 0.6 * high
        assert np.median(sizes) > low


@pytest.mark.slow
def test_the_share_says_how_often_a_part_moves():
    volume, territory, _ = body("chest")
    drawn = [draw_parts(volume, territory, TIMES, np.random.default_rng(seed), 0.4).names for seed in range(20)]
    assert all("heart" in names for names in drawn)
    assert 3 <= sum("diaphragm" in names for names in drawn) <= 14
    nothing = draw_parts(volume, territory, TIMES, np.random.default_rng(0), 0.0)
    assert nothing.names == ()
    np.testing.assert_array_equal(nothing.control(5), np.zeros((3, NODES, NODES, NODES)))


def test_the_same_seed_moves_the_same_parts_in_the_same_way():
    volume, territory, _ = body("head")
    one, again = (draw_parts(volume, territory, TIMES, np.random.default_rng(3), 0.5) for _ in range(2))
    assert one.names == again.names
    np.testing.assert_array_equal(one.amplitude, again.amplitude)
    np.testing.assert_array_equal(one.field, again.field)


def test_the_control_is_the_sum_of_all_parts():
    field = np.arange(48, dtype=np.float32).reshape(2, 3, 2, 2, 2)
    parts = Parts(("a", "b"), field, np.array([(0.0, 0.0), (2.0, -3.0)]))
    np.testing.assert_array_equal(parts.control(1), 2 * field[0] - 3 * field[1])
