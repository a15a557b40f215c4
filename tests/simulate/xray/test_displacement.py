import numba
import numpy as np
import pytest
from scipy import ndimage

from angiomorph.simulate.xray.displacement import deform, find_displacement, move_points
from angiomorph.simulate.xray.geometry import CArm
from angiomorph.simulate.xray.projector import project_volume

ARM = CArm(1100.0, 740.0, 0.0, 0.0, 128, 128, 1.5)
STILL = np.zeros((3, 4, 4, 4), np.float32)


def plate(*depths, shape=(120, 60, 120)):
    """Bone plates across the beam at distances from the isocentre (mm, away from the source): density, spacing, origin."""
    density = np.zeros((*shape, 2), np.float32)
    for depth in depths:
        density[:, round(depth) + shape[1] // 2, :, 1] = 1
    return density, np.ones(3), -np.array(shape[::-1]) / 2.0


@pytest.mark.slow
def test_a_shifted_plate_moves_back_by_its_magnified_shift():
    field, spread, amount = find_displacement(*plate(0), ARM, np.array((0, 0, 0, -4.0, 0, 2.0)), STILL, 4)
    seen = amount > 0.9
    assert seen.sum() > 400
    pixel = 1100 / 740 / 1.5
    np.testing.assert_allclose(field[seen], np.broadcast_to((2 * pixel, -4 * pixel), field[seen].shape), atol=0.02)
    assert spread[seen].max() < 0.02
    np.testing.assert_array_equal(field[amount == 0], 0)


def test_a_plate_turned_about_the_beam_turns_back():
    field, _, amount = find_displacement(*plate(0), ARM, np.array((0, 5.0, 0, 0, 0, 0)), STILL, 4)
    row, column = (np.stack(np.indices((32, 32))) * 4 + 1.5 - 63.5)[:, amount > 0.9]
    c, s = np.cos(np.radians(5)), np.sin(np.radians(5))
    turned = np.stack([c * row - s * column - row, s * row + c * column - column], axis=-1)
    other = np.stack([c * row + s * column - row, -s * row + c * column - column], axis=-1)
    seen = field[amount > 0.9]
    assert min(np.abs(seen - turned).max(), np.abs(seen - other).max()) < 0.05
    ball = np.zeros((120, 60, 120, 2), np.float32)
    ball[78:83, 28:33, 88:93] = 1  # off both axes, so that the sense of the turn shows
    images = [project_volume(ball, *plate(0)[1:], ARM, np.array((0, turn, 0, 0, 0, 0.0)))[1] for turn in (0, 5)]
    rest, now = (np.array(ndimage.center_of_mass(image)) for image in images)
    field, _, amount = find_displacement(ball, *plate(0)[1:], ARM, np.array((0, 5.0, 0, 0, 0, 0)), STILL, 4)
    measured = (field * amount[..., None]).sum((0, 1)) / amount.sum()
    np.testing.assert_allclose(measured, rest - now, atol=0.15)  # nearest voxels, every fourth ray


def test_plates_that_move_differently_spread():
    depths = (-25, 25)
    pixels = np.array([1100 / (740 + depth) / 1.5 for depth in depths])
    field, spread, amount = find_displacement(*plate(*depths), ARM, np.array((0, 0, 0, 6.0, 0, 0)), STILL, 4)
    middle = (slice(14, 18), slice(14, 18))
    assert amount[middle].min() > 1.9
    np.testing.assert_allclose(field[middle][..., 1], 6 * pixels.mean(), rtol=0.01)
    np.testing.assert_allclose(spread[middle], 6 * abs(pixels[1] - pixels[0]) / 2, rtol=0.03)


def test_a_part_that_moves_by_itself_moves_what_is_seen_there():
    control = np.zeros((3, 5, 5, 5), np.float32)
    control[2] = 3  # at rest it was 3 mm higher
    density, spacing, origin = plate(0)
    field, _, amount = find_displacement(density, spacing, origin, ARM, np.zeros(6), control, 4)
    np.testing.assert_allclose(field[amount > 0.9][:, 0], -3 * 1100 / 740 / 1.5, rtol=0.01)
    np.testing.assert_allclose(field[amount > 0.9][:, 1], 0, atol=0.01)


@pytest.mark.slow
def test_a_deformed_volume_takes_values_from_rest():
    rng = np.random.default_rng(0)
    density = rng.random((20, 24, 28, 2), np.float32)
    control = np.zeros((3, 8, 8, 8), np.float32)
    control[0, :3, :3, :3] = 2.0
    spacing = np.array((2.0, 1.0, 1.0))
    moved = deform(density, spacing, control)
    np.testing.assert_allclose(moved[:5, :6, :7], density[:5, :6, 1:8], atol=1e-6)
    np.testing.assert_array_equal(moved[12:], density[12:])
    assert deform(density, spacing, 0 * control) is density


@pytest.mark.slow
def test_a_deformed_volume_equals_scipys_map_coordinates():
    rng = np.random.default_rng(1)
    density = rng.random((18, 20, 22, 2), np.float32)
    control = ndimage.gaussian_filter(rng.normal(0, 20, (3, 6, 6, 6)), (0, 1, 1, 1)).astype(np.float32)
    grid = np.stack(np.meshgrid(*(np.linspace(0, 5, n) for n in density.shape[:3]), indexing="ij"))
    shift = [ndimage.map_coordinates(part, grid, order=1) for part in control[::-1]]
    where = np.indices(density.shape[:3]) + shift
    where = [np.clip(w, 0, n - 1) for w, n in zip(where, density.shape, strict=False)]
    expected = np.stack([ndimage.map_coordinates(density[..., m], where, order=1) for m in (0, 1)], axis=-1)
    np.testing.assert_allclose(deform(density, np.ones(3), control), expected, atol=1e-4)


def test_points_go_where_the_volume_goes():
    control = np.zeros((3, 16, 16, 16), np.float32)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 16)] * 3, indexing="ij"))
    control[1] = 3 * np.exp(-4 * (grid**2).sum(0))
    spacing, origin, shape = np.array((1.0, 1.2, 0.9)), np.array((-20.0, -20, -20)), (45, 40, 41)
    position = np.random.default_rng(2).uniform(-12, 12, (50, 3))
    there = move_points(position, spacing, origin, shape, control)
    index = ((there - origin) / spacing / (np.array(shape[::-1]) - 1) * 15).T[::-1]
    shift = np.stack([ndimage.map_coordinates(part, index, order=1) for part in control], axis=-1)
    assert np.abs(there - position).max() > 1
    np.testing.assert_allclose(there + shift, position, atol=1e-3)
    outside = np.array([[500.0, 0, 0]])
    np.testing.assert_array_equal(move_points(outside, spacing, origin, shape, control), outside)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["deformed", "displacement"])
def test_the_number_of_threads_changes_no_bit(what):
    rng = np.random.default_rng(4)
    density = rng.random((30, 30, 30, 2), np.float32)
    control = rng.normal(0, 1, (3, 4, 4, 4)).astype(np.float32)
    before, images = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        if what == "deformed":
            images.append(deform(density, np.ones(3), control))
        else:
            images.append(find_displacement(density, np.ones(3), np.full(3, -15.0), ARM, np.ones(6), control, 4)[0])
    np.testing.assert_array_equal(*images)
