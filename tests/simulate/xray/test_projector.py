import numba
import numpy as np
import pytest
from scipy import ndimage

from angiomorph.simulate.xray.geometry import CArm, rotation
from angiomorph.simulate.xray.projector import find_occupied, project_points, project_volume, resample

STILL = np.zeros(6)


def project(volume, *rest):
    """Project one material; the other, of half its density everywhere, must come out as half of it."""
    one, two = project_volume(np.stack([volume, volume / 2], axis=-1), *rest)
    np.testing.assert_allclose(two, one / 2, rtol=1e-5, atol=1e-6)
    return one


def arm(primary=0.0, secondary=0.0, size=64, spacing=3.0):
    return CArm(1100.0, 740.0, primary, secondary, size, size, spacing)


def ball(radius=30.0, shape=(90, 84, 80), spacing=(1.0, 1.0, 1.0)):
    """A ball of attenuation 1 about the isocentre with its edge voxels in part: attenuation, spacing, origin."""
    spacing = np.array(spacing)
    origin = -(np.array(shape[::-1]) - 1) / 2 * spacing
    z, y, x = (np.arange(n) * spacing[a] + origin[a] for n, a in zip(shape, (2, 1, 0), strict=True))
    away = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)
    return np.clip(radius - away + 0.5, 0, 1).astype(np.float32), spacing, origin


def distance_from_isocentre(geometry):
    """Distance of each pixel's ray from the isocentre, mm, straight from the definition."""
    source, corner, right, down = geometry.rays()
    pixel = corner + np.arange(geometry.rows)[:, None, None] * down + np.arange(geometry.columns)[:, None] * right
    direction = (pixel - source) / np.linalg.norm(pixel - source, axis=-1, keepdims=True)
    return np.linalg.norm(np.cross(direction, -source), axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("view", [(0, 0), (90, 0), (45, 0), (-30, 25), (10, 80)])
def test_a_ball_projects_to_its_chords(view):
    geometry = arm(*view)
    image = project(*ball(), geometry, STILL)
    chord = 2 * np.sqrt(np.maximum(30.0**2 - distance_from_isocentre(geometry) ** 2, 0))
    well_inside = chord > 25  # a ray near the edge runs along partly filled voxels
    assert well_inside.sum() > 200
    np.testing.assert_allclose(image[well_inside], chord[well_inside], atol=0.5)
    assert image[distance_from_isocentre(geometry) > 32.5].max() == 0
    assert image.sum() == pytest.approx(chord.sum(), rel=2e-3)


def test_a_thick_slab_has_the_length_of_each_ray_within_it():
    slab = np.ones((60, 21, 60), np.float32)
    geometry = arm(size=9, spacing=2.0)
    image = project(slab, np.ones(3), np.array((-29.5, -10.0, -29.5)), geometry, STILL)
    row, column = (np.indices((9, 9)) - 4) * 2.0
    secant = np.sqrt(1100.0**2 + row**2 + column**2) / 1100
    np.testing.assert_allclose(image, 21 * secant, rtol=1e-5)


@pytest.mark.parametrize(("row", "column"), [(6, 8), (12, 12), (17, 11)])
def test_projection_equals_dense_sampling(row, column):
    rng = np.random.default_rng(3)
    volume = ndimage.gaussian_filter(rng.random((40, 44, 36)), 3).astype(np.float32)
    volume[[0, -1]] = volume[:, [0, -1]] = volume[:, :, [0, -1]] = 0
    spacing, origin = np.array((1.1, 0.9, 1.3)), np.array((-20.0, -18.0, -25.0))
    pose = np.array((5.0, -8.0, 12.0, 2.0, -3.0, 4.0))
    geometry = arm(25.0, -15.0, size=24, spacing=2.5)
    source, corner, right, down = geometry.rays()
    image = project(volume, spacing, origin, geometry, pose)
    steps = np.linspace(0.6, 0.8, 6000)
    ray = corner + row * down + column * right - source
    points = (source + steps[:, None] * ray - pose[3:]) @ rotation(pose)
    samples = ndimage.map_coordinates(volume, ((points - origin) / spacing).T[::-1], order=1)
    length = np.linalg.norm(ray) * (steps[1] - steps[0])
    assert image[row, column] == pytest.approx(samples.sum() * length, rel=0.01)


def test_blocks_say_which_materials_they_hold():
    density = np.zeros((17, 9, 8, 2), np.float32)
    density[7, 8, 0, 0] = density[8, 0, 7, 1] = density[16, 0, 0] = 0.1
    blocks = np.zeros((3, 2, 1))
    blocks[0, 1, 0], blocks[1, 0, 0], blocks[2, 0, 0] = 1, 2, 3
    np.testing.assert_array_equal(find_occupied(density), blocks)


@pytest.mark.parametrize("view", [(0, 0), (90, 0), (45, 35), (-44, 10)])
def test_passing_over_empty_blocks_loses_nothing(view):
    """Scattered voxels, many at the edges of blocks, beside a projection for which no block counts as empty."""
    rng = np.random.default_rng(8)
    density = (rng.random((52, 44, 61, 2)) < 2e-4).astype(np.float32)
    place = (np.array((1.0, 1.3, 0.8)), np.array((-28.0, -26.0, -20.0)), arm(*view, size=96, spacing=1.1), np.full(6, 3.0))
    full = np.full(find_occupied(density).shape, 3, np.uint8)
    sparse = project_volume(density, *place)
    assert (sparse.max((1, 2)) > 0.5).all()
    assert (find_occupied(density) == 0).mean() > 0.4
    np.testing.assert_allclose(sparse, project_volume(density, *place, full), atol=1e-5)


def test_turning_the_head_and_the_arm_together_changes_nothing():
    rng = np.random.default_rng(5)
    volume = ndimage.gaussian_filter(rng.random((30, 30, 30)), 2).astype(np.float32)
    place = (np.ones(3), np.full(3, -14.5))
    straight = project(volume, *place, arm(0.0, size=32, spacing=2.0), STILL)
    turned = project(volume, *place, arm(30.0, size=32, spacing=2.0), np.array((0, 0, 30.0, 0, 0, 0)))
    np.testing.assert_allclose(turned, straight, atol=2e-4)
    assert np.abs(turned - project(volume, *place, arm(30.0, size=32, spacing=2.0), STILL)).max() > 0.1


@pytest.mark.parametrize(
    ("view", "shift", "expected"),
    [
        ((0, 0), (-10, 0, 0), (0, 1)),
        ((0, 0), (0, 0, 10), (-1, 0)),
        ((90, 0), (0, 10, 0), (0, -1)),
        ((90, 0), (0, 0, -10), (1, 0)),
    ],
)
def test_a_moved_ball_shifts_by_its_magnified_distance(view, shift, expected):
    """Frontal: the patient's left is to the right, the head's top is up; from the left side: the face is to the left."""
    geometry = arm(*view, size=128, spacing=1.5)
    volume = ball(12.0, (50, 50, 50))
    pixels = 10 * 1100 / 740 / 1.5
    before = ndimage.center_of_mass(project(*volume, geometry, STILL))
    after = ndimage.center_of_mass(project(*volume, geometry, np.array((0, 0, 0, *shift), float)))
    np.testing.assert_allclose(np.subtract(after, before), np.array(expected) * pixels, atol=0.05)


def test_rotation_is_right_handed_in_order_x_y_z():
    np.testing.assert_allclose(rotation(np.array((0, 0, 90.0, 0, 0, 0))) @ (1, 0, 0), (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(rotation(np.array((90.0, 0, 90.0, 0, 0, 0))) @ (0, 1, 0), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(rotation(np.array((0, 90.0, 0, 0, 0, 0))) @ (0, 0, 1), (1, 0, 0), atol=1e-12)


def tube(radius):
    """A straight vessel along z through the isocentre."""
    z = np.arange(-40, 40, 0.25)
    position = np.stack([0 * z, 0 * z, z], axis=1)
    return position, np.full(len(z), np.pi * radius**2 * 0.25), np.full(len(z), radius)


@pytest.mark.slow
def test_a_tube_of_points_projects_to_its_chords():
    geometry = arm(size=128, spacing=0.4)
    image = project_points(*tube(4.0), geometry, STILL)
    across = (np.arange(128) - 63.5) * 0.4 * 740 / 1100
    inside = np.abs(across) < 3.3
    np.testing.assert_allclose(image[64][inside], 2 * np.sqrt(4.0**2 - across[inside] ** 2), rtol=0.03)
    assert image[64][np.abs(across) > 4.5].max() == 0


@pytest.mark.parametrize("radius", [0.1, 0.5, 3.0])
def test_points_keep_their_amount_at_any_size_and_place(radius):
    geometry = arm(20.0, 10.0, size=128, spacing=1.0)
    position = np.array([(3.3, -7.1, 11.9)])
    image = project_points(position, np.array([5.0]), np.array([radius]), geometry, np.array((3.0, 4, 5, 1, 2, 3)))
    pose = np.array((3.0, 4, 5, 1, 2, 3))
    source = geometry.rays()[0]
    depth = (rotation(pose) @ position[0] + pose[3:] - source) @ geometry.axes()[0]
    assert image.sum() * (1.0 * depth / 1100) ** 2 == pytest.approx(5.0, rel=1e-4)


def test_points_and_volume_agree_on_where_a_moved_body_is():
    geometry, pose = arm(-35.0, 20.0, size=96, spacing=2.0), np.array((10.0, -20, 15, 6, -4, 8))
    attenuation, spacing, origin = ball(10.0, (40, 40, 40))
    volume = project(attenuation, spacing, origin + np.array((12, -9, 15)), geometry, pose)
    points = project_points(np.array([(12.0, -9, 15)]), np.array([4 / 3 * np.pi * 10**3]), np.array([10.0]), geometry, pose)
    np.testing.assert_allclose(ndimage.center_of_mass(points), ndimage.center_of_mass(volume), atol=0.1)
    assert points.sum() == pytest.approx(volume.sum(), rel=0.02)


def test_the_number_of_threads_changes_no_bit():
    rng = np.random.default_rng(1)
    volume = rng.random((40, 40, 40), np.float32)
    cloud = rng.normal(0, 15, (3000, 3)), rng.random(3000), rng.random(3000)
    images = []
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        images.append((project(volume, np.ones(3), np.full(3, -20.0), arm(), STILL), project_points(*cloud, arm(), STILL)))
    np.testing.assert_array_equal(images[0][0], images[1][0])
    np.testing.assert_array_equal(images[0][1], images[1][1])


@pytest.mark.slow
def test_resampling_at_rest_and_by_a_shift():
    volume = np.random.default_rng(0).random((12, 11, 10), np.float32)
    control = np.zeros((3, 4, 4, 4), np.float32)
    np.testing.assert_allclose(resample(volume, np.ones(3), np.zeros(3), control), volume, atol=1e-6)
    control[0] = 2
    np.testing.assert_allclose(resample(volume, np.ones(3), np.zeros(3), control)[:, :, :8], volume[:, :, 2:], atol=1e-6)
