import numpy as np
import pytest

from angiomorph.simulate.xray.geometry import CArm
from angiomorph.simulate.xray.objects import box_lengths, draw_implant, draw_static
from angiomorph.simulate.xray.projector import project_volume

ARM = CArm(1100.0, 740.0, 0.0, 0.0, 96, 96, 3.0)
INLET = np.stack([np.full(40, 20.0), np.zeros(40), np.linspace(-120, 10, 40)], axis=1)
FAR = np.array((0, 0, -2000.0))


def arm(primary, secondary=0.0):
    return CArm(1100.0, 740.0, primary, secondary, 96, 96, 3.0)


@pytest.mark.parametrize("view", [(0, 0), (90, 0), (35, -20)])
def test_a_box_is_as_long_as_projected_voxels_say(view):
    low, high = np.array((-30.0, -20, -25)), np.array((25.0, 20, 35))
    spacing = np.ones(3)
    inside = np.zeros((100, 100, 100, 2), np.float32)
    z, y, x = (slice(int(a) + 50, int(b) + 50) for a, b in zip(low[::-1], high[::-1], strict=True))
    inside[z, y, x] = 1
    projected = project_volume(inside, spacing, np.full(3, -49.5), arm(*view), np.zeros(6))[0]
    lengths = box_lengths(arm(*view), low, high)
    assert lengths.max() > 39
    assert lengths.sum() == pytest.approx(projected.sum(), rel=0.01)
    assert np.median(np.abs(lengths - projected)[lengths > 5]) < 0.3


def test_the_ray_through_the_middle_of_a_box_has_its_thickness():
    centred = CArm(1100.0, 740.0, 0.0, 0.0, 33, 33, 1.0)
    lengths = box_lengths(centred, np.array((-50.0, -7, -50)), np.array((50.0, 5, 50)))
    assert lengths[16, 16] == pytest.approx(12, abs=1e-6)
    assert box_lengths(centred, np.array((400.0, -7, -50)), np.array((500.0, 5, 50))).max() == 0
    beyond = box_lengths(centred, np.array((-500.0, 365, -500)), np.array((500.0, 465, 500)))  # the detector is at 360 mm
    assert beyond.max() == 0


def drawn(seed, share=1.0, geometry=ARM):
    return draw_static(geometry, INLET, np.random.default_rng(seed), share)


def test_no_share_no_object_and_none_is_negative():
    assert drawn(0, 0.0).max() == 0
    paths = drawn(0)
    assert paths.shape == (4, 96, 96)
    assert paths.dtype == np.float32
    assert paths.min() >= 0
    assert paths[1:3].max() == 0
    assert 0.005 < paths[3].max() < 3


def test_the_same_generator_gives_the_same_things():
    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert np.abs(drawn(3) - drawn(4)).max() > 0.01


def test_a_third_of_the_things_is_there_at_a_share_of_a_third():
    water = [drawn(seed, 1 / 3, arm(60))[0].max() > 0.2 for seed in range(60)]  # a table is heavy in water, a catheter not
    assert 8 < sum(water) < 32


def catheter_only(seed):
    """The difference that the catheter makes: the same draw along another vessel has the same table and leads."""
    far = INLET + FAR
    paths = drawn(seed) - draw_static(ARM, far, np.random.default_rng(seed), 1.0)
    return np.maximum(paths, 0)


def test_the_catheter_follows_the_vessel_to_its_tip():
    metal = catheter_only(1)[3]
    rows, columns = np.nonzero(metal > 1e-4)
    tip = 47.5 - 10 * 1100 / 740 / 3
    assert rows.min() == pytest.approx(tip, abs=2)
    assert rows.max() == 95
    vessel = 47.5 - 20 * 1100 / 740 / 3  # frontal: the patient's right is to the left
    assert np.abs(columns - vessel).max() < 3


def test_a_catheter_has_a_wall_and_a_lumen():
    fine = CArm(1100.0, 740.0, 0.0, 0.0, 256, 256, 0.1)
    lumens = 0
    for seed in range(6):
        path = INLET - (20, 0, 0)
        paths = draw_static(fine, path, np.random.default_rng(seed), 1.0)
        without = draw_static(fine, path + FAR, np.random.default_rng(seed), 1.0)
        profile = (paths - without)[0, 200:].mean(0)  # water: a guide wire is metal
        there = np.flatnonzero(profile > 0.2 * profile.max())
        assert 1.3 <= (np.ptp(there) + 1) * 0.1 * 740 / 1100 <= 2.1
        lumens += profile[round(there.mean())] < 0.8 * profile.max()
    assert lumens == 6


def test_implants_are_small_dense_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(20):
        implant = draw_implant(np.array((5.0, 6, 7)), np.array((60.0, 70, 50)), rng)
        assert np.ptp(implant.position, axis=0).max() < 18
        assert np.all(np.abs(implant.position.mean(0) - (5, 6, 7)) < (45, 50, 40))
        assert 0.02 < implant.amount.sum() / 1000 < 4  # g
        assert implant.radius.min() > 0
