"""Fields drawn by hand are found, anatomy at the border is left alone, and no clamped warp samples what lies outside."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.preprocessing.field import clamp_warp, fill_outside, find_field
from angiomorph.registration.inputs import prepare_input
from angiomorph.registration.model import Model
from angiomorph.registration.options import RegistrationOptions
from tests.runs import phantom, save_tiny_model, series

SIDE = 256
ROWS, COLUMNS = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
OCTAGON = [(np.cos(angle), np.sin(angle)) for angle in np.radians(np.arange(8) * 45)]


def tissue(seed=0):
    """Return `(5, SIDE, SIDE)` ln of intensity, 6 to 7, anatomy that sways by some pixels."""
    rng = np.random.default_rng(seed)
    wide, fine = (ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma) for sigma in (12, 4))
    still = 6.5 + 0.3 * wide / wide.std() + 0.1 * fine / fine.std()
    return np.stack([ndimage.shift(still, (3 * np.sin(t), 3 * np.cos(t)), order=1, mode="nearest") for t in range(5)])


def stored(ln, bits=12, seed=2):
    noisy = np.exp(ln) * (1 + 0.02 * np.random.default_rng(seed).normal(size=ln.shape))
    values = np.clip(np.rint(noisy * 2.0 ** (bits - 12)), 0, (1 << bits) - 1)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def blades(depth, soft=1.5, leak=0.03):
    """Return ln of the share of the beam that passes an edge of which `depth` pixels lie inside."""
    return np.log(leak + (1 - leak) / (1 + np.exp(-np.clip(depth / soft, -50, 50))))


SHAPES = {
    "circle": 120 - np.hypot(ROWS - 3, COLUMNS + 2),
    "octagon": np.min([118 - ROWS * a - COLUMNS * b for a, b in OCTAGON], axis=0),
    "rectangle": np.minimum(np.minimum(ROWS + 110, 90 - ROWS), np.minimum(COLUMNS + 118, 85 - COLUMNS)),
    "one side": 80 - COLUMNS,
}
EVERYWHERE = np.ones((SIDE, SIDE), bool)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("name", SHAPES)
def test_the_field_is_the_inside_of_the_blades(name, bits):
    depth = SHAPES[name]
    field = find_field(stored(tissue() + blades(depth), bits), EVERYWHERE)
    assert not field[depth < 0].any()
    assert field[depth > 9].all()


def test_the_field_lies_at_the_frames_own_pixels():
    run = stored(tissue() + blades(SHAPES["rectangle"]))[:, 10:250]
    field = find_field(np.repeat(np.repeat(run, 2, 1), 2, 2), np.ones((480, 512), bool))
    inside = np.repeat(np.repeat(SHAPES["rectangle"][10:250], 2, 0), 2, 1)
    assert not field[inside < 0].any()
    assert field[inside > 9].all()


@pytest.mark.parametrize("value", [0, 4095])
def test_black_and_white_borders_are_outside(value):
    run, outside = stored(tissue()), SHAPES["circle"] < 0
    run[:, outside] = value
    field = find_field(run, EVERYWHERE)
    assert not field[outside].any()
    assert field[SHAPES["circle"] > 9].all()


def assert_all_is_field(ln):
    np.testing.assert_array_equal(find_field(stored(ln), EVERYWHERE), EVERYWHERE)


@pytest.mark.slow
def test_a_run_without_collimator_is_all_field():
    assert_all_is_field(tissue())
    assert_all_is_field(np.full((5, SIDE, SIDE), 6.5))
    np.testing.assert_array_equal(find_field(np.zeros((5, SIDE, SIDE), np.uint16), EVERYWHERE), EVERYWHERE)
    np.testing.assert_array_equal(find_field(np.full((5, SIDE, SIDE), 4095, np.uint16), EVERYWHERE), EVERYWHERE)


def dense_shapes():
    bone = -1.5 / (1 + np.exp(-(60 - np.hypot(ROWS - 140, COLUMNS + 20)) / 2))  # a dome at the lower border
    skull = -1.2 / (1 + np.exp(-(110 - np.hypot(ROWS / 1.1, COLUMNS)) / 1.5))  # dark inside
    metal = np.where((np.abs(ROWS - 60) < 12) & (COLUMNS < -100), -6, 0)
    marker = np.where((np.abs(ROWS + 100) < 15) & (np.abs(COLUMNS - 100) < 4), -6, 0)
    return {"bone": bone, "skull": skull, "metal": metal, "marker": marker, "all": bone + metal + marker}


@pytest.mark.parametrize("name", ["bone", "skull", "metal", "marker", "all"])
def test_dense_bone_metal_and_markers_are_not_blades(name):
    assert_all_is_field(tissue() + dense_shapes()[name])


def test_a_table_through_which_anatomy_shows_is_not_a_blade():
    ribs = 0.2 * np.sin(COLUMNS / 4)
    assert_all_is_field(tissue() + ribs - 0.8 * (ROWS > 70))


def test_a_straight_edge_that_moves_is_not_a_blades():
    ln = tissue()
    for t, frame in enumerate(ln):
        frame += blades(70 + 6 * t - COLUMNS)
    assert_all_is_field(ln)


def test_a_ball_in_white_air_is_no_round_detector():
    run = stored(tissue())
    run[:, np.hypot(ROWS - 20, COLUMNS) > 80] = 4095
    np.testing.assert_array_equal(find_field(run, EVERYWHERE), EVERYWHERE)


@pytest.mark.slow
def test_tags_hide_more():
    shutter = COLUMNS < 40
    np.testing.assert_array_equal(find_field(stored(tissue()), shutter), shutter)
    field = find_field(stored(tissue() + blades(SHAPES["rectangle"])), shutter)
    assert not field[~shutter | (SHAPES["rectangle"] < 0)].any()


def test_small_frames_have_the_field_of_their_tags():
    shutter = np.random.default_rng(0).random((95, 200)) < 0.5
    np.testing.assert_array_equal(find_field(np.zeros((3, 95, 200), np.uint16), shutter), shutter)


def test_frames_and_shutter_of_different_sizes_are_an_error():
    with pytest.raises(InputError, match=r"`frames`, `shutter`: expected \(T, H, W\) and \(H, W\)"):
        find_field(np.zeros((3, 8, 8), np.uint16), np.ones((8, 9), bool))


def test_the_outside_is_filled_with_the_nearest_inside():
    frames = np.arange(20, dtype=np.float32).reshape(2, 1, 10)
    field = np.zeros((1, 10), bool)
    field[0, 3:6] = True
    np.testing.assert_array_equal(
        fill_outside(frames, field)[:, 0], [[3, 3, 3, 3, 4, 5, 5, 5, 5, 5], [13, 13, 13, 13, 14, 15, 15, 15, 15, 15]]
    )
    assert fill_outside(frames, np.ones_like(field)) is frames
    assert fill_outside(frames, np.zeros_like(field)) is frames


def test_a_warp_leads_to_the_nearest_place_inside():
    field = np.zeros((9, 12), bool)
    field[2:7, 3:10] = True  # rows 2..6, columns 3..9
    warp = np.zeros((1, 9, 12, 2), np.float32)
    warp[0, 4, 5] = (0.25, -3.5)  # to (4.25, 1.5): out at the left
    warp[0, 3, 8] = (5.5, 4.25)  # to (8.5, 12.25): out at the corner
    warp[0, 5, 5] = (0.5, 0.75)  # stays inside
    warp[0, 6, 6] = (0.125, 0)  # the row below the last counts with 1/8
    warp[0, 0, 0] = (1, 1)  # outside
    expected = np.zeros_like(warp)
    expected[0, 4, 5], expected[0, 3, 8], expected[0, 5, 5] = (0.25, -2), (3, 1), (0.5, 0.75)
    np.testing.assert_array_equal(clamp_warp(warp, field), expected)
    assert clamp_warp(warp, np.ones_like(field)) is warp


def test_a_field_without_four_pixels_in_a_square_has_no_warp():
    field = np.eye(6, dtype=bool)
    assert not clamp_warp(np.ones((2, 6, 6, 2), np.float32), field).any()


def test_a_warp_that_is_not_a_number_remains_one():
    field = np.ones((8, 8), bool)
    field[:, :2] = False
    assert np.isnan(clamp_warp(np.full((1, 8, 8, 2), np.nan, np.float32), field)[0, 4, 4]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.floats(0.1, 30))
def test_no_sample_of_a_clamped_warp_touches_the_outside(seed, rows, columns, size):
    """The sample is worked out anew, as `warp_frames` has it, of a field that is 1 outside: all moved values are 0."""
    rng = np.random.default_rng(seed)
    field = ndimage.binary_dilation(rng.random((rows, columns)) < 0.2, np.ones((2, 2)))
    warp = rng.normal(0, size, (2, rows, columns, 2)).astype(np.float32)
    clamped = clamp_warp(warp, field)
    assert clamped.dtype == np.float32
    assert not clamped[:, ~field].any()
    for given_warp, led in zip(warp, clamped, strict=True):
        place = np.stack(np.indices((rows, columns)), -1).astype(np.float32) + led
        place = np.clip(place, 0, np.float32([rows - 1, columns - 1]))
        low = np.floor(place).astype(int)
        touched = np.zeros((rows, columns), bool)
        for down in (0, 1):
            for right in (0, 1):
                part = np.abs(1 - down - (place[..., 0] - low[..., 0])) * np.abs(1 - right - (place[..., 1] - low[..., 1]))
                row, column = np.minimum(low[..., 0] + down, rows - 1), np.minimum(low[..., 1] + right, columns - 1)
                touched |= (part > 0) & ~field[row, column]
        assert not touched[field].any()
        again = clamp_warp(clamped, field)
        np.testing.assert_array_equal(again[0], clamped[0])
        assert field.all() or np.isfinite(given_warp).all()


@pytest.mark.slow
def test_the_network_sees_nothing_of_blades(tmp_path):
    model = Model(save_tiny_model(tmp_path / "m.h5"))
    depth = 40 - (np.arange(128) - 63.5)[None, :] * np.ones((128, 1))
    ln = np.log(phantom((4, 128, 128)) / 1.0) + blades(depth)
    run = series(np.rint(np.exp(ln)).astype(np.uint16))
    seen = prepare_input(run, "auto", background="1")
    assert not seen.field[depth < 0].any()
    assert seen.field[depth > 12].all()
    np.testing.assert_array_equal(seen.frames, fill_outside(seen.frames[:], seen.field))
    result = model.register(run, RegistrationOptions(background="1", guard=False))
    np.testing.assert_array_equal(result.field, seen.field)
    assert np.abs(result.warp).max() > 0.5
    np.testing.assert_array_equal(result.warp, clamp_warp(result.warp, result.field))
    altered = np.where(seen.field, run.frames, 7).astype(np.uint16)
    hidden = dataclasses.replace(run, frames=altered, shutter=seen.field)
    other = model.register(hidden, RegistrationOptions(background="1"))
    assert other.moved[:, seen.field].min() >= np.log(run.frames[0][seen.field].min()) - 1e-5
