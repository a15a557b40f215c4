import numpy as np
import pytest

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.arteries import head_arteries
from angiomorph.simulate.vessels.capillaries import capillaries
from angiomorph.simulate.vessels.cloud import VEIN, Inflow, join_inflows
from angiomorph.simulate.vessels.growth import Generation, lay_trunk
from angiomorph.simulate.vessels.trees import grow_vessels
from angiomorph.simulate.vessels.veins import SINUS, SLOWER, collect, drain, head_veins

CAVITY = Territory("head", np.array((5.0, -10.0, 20.0)), np.array((64.0, 76.0, 62.0)))


def straight(start, end, count=4):
    """Middles of the pieces of one straight branch `(S, 1, 3)`."""
    share = (np.arange(count) + 0.5) / count
    return (np.array(start) + share[:, None] * (np.array(end, float) - start))[:, None]


def fork():
    """A root of radius 2^(1/3) along x to 32 mm, and two branches of radius 1 from there, 32 mm each, to either side."""
    root = Generation(straight((0, 0, 0), (32, 0, 0)), np.array([32.0]), np.array([2 ** (1 / 3)]), np.array([0]))
    track = np.concatenate([straight((32, 0, 0), (32, 32, 0)), straight((32, 0, 0), (32, -32, 0))], axis=1)
    return [root, Generation(track, np.full(2, 32.0), np.ones(2), np.zeros(2, int))]


def tissue(position, flow, fed, arrival):
    return Inflow(np.array(position, float), *(np.array(column, float) for column in (flow, fed, arrival)))


def way(length, flow):
    """Seconds through a vein, with its radius from `flow = 0.6 * 200 pi radius^3` written out."""
    radius = (flow / (SLOWER * 200 * np.pi)) ** (1 / 3)
    return np.pi * radius**2 * length / flow


LEFT, RIGHT, MIDDLE = (32.0, 28.0, 0.0), (32.0, -28.0, 0.0), (28.0, 1.0, 0.0)


def test_a_vein_of_injected_and_other_tissue_is_half_diluted():
    """As much blood from either branch's tissue, only the one's injected and there after 1.5 s: the root has half of it."""
    [(veins, out)] = drain([fork()], tissue([LEFT, RIGHT], (300, 300), (300, 0), (1.5, 0)))
    assert (veins.phase == VEIN).all()
    branch, root = veins.position[:, 1] > 0.1, veins.position[:, 1] == 0
    assert branch.sum() == root.sum() == 4
    assert len(veins.amount) == 8  # the branch without injected blood is left out
    np.testing.assert_array_equal(veins.dilution[branch], 1)
    np.testing.assert_allclose(veins.dilution[root], 0.5, rtol=1e-6)
    order = np.argsort(-veins.position[branch, 1])
    arrival = 1.5 + way(32, 300) * np.array((0.125, 0.375, 0.625, 0.875))
    np.testing.assert_allclose(veins.arrival[branch][order], arrival, rtol=1e-5)
    end = 1.5 + way(32, 300) + way(32, 600)
    np.testing.assert_allclose((out.flow, out.fed, out.arrival), ([600], [300], [end]), rtol=1e-6)
    np.testing.assert_allclose(veins.radius[root], (600 / (120 * np.pi)) ** (1 / 3), rtol=1e-6)
    np.testing.assert_allclose(veins.amount[root], np.pi * (600 / (120 * np.pi)) ** (2 / 3) * 8, rtol=1e-6)


def test_arrivals_mix_by_what_flows():
    """100 after 1 s and 300 after 3 s, each by its branch."""
    [(_, out)] = drain([fork()], tissue([LEFT, RIGHT], (100, 300), (100, 300), (1, 3)))
    end = (1 + way(32, 100) + 3 * (3 + way(32, 300))) / 4 + way(32, 400)
    np.testing.assert_allclose((out.flow, out.fed, out.arrival), ([400], [400], [end]), rtol=1e-6)


def test_tissue_drains_once_into_the_next_end_or_fork():
    """Two trees 100 mm apart; what lies at the fork of the first enters there, far tissue the tree that is nearer."""
    other = [Generation(one.track + np.array((100.0, 0, 0)), one.length, one.radius, one.parent) for one in fork()]
    places = [LEFT, MIDDLE, (150.0, 28.0, 0.0), (132.0, 28.0, 40.0)]
    (veins, first), (more, second) = drain([fork(), other], tissue(places, (1, 2, 4, 8), (1, 1, 1, 1), np.zeros(4)))
    np.testing.assert_allclose((first.flow, first.fed), ([3], [2]))
    np.testing.assert_allclose((second.flow, second.fed), ([12], [2]))
    assert sorted(set(veins.dilution.round(6))) == pytest.approx([2 / 3, 1], abs=1e-6)
    np.testing.assert_allclose(more.dilution, 1 / 6, rtol=1e-6)


def test_tissue_without_injected_blood_shows_no_veins():
    [(veins, out)] = drain([fork()], tissue([LEFT], [5], [0], [0]))
    assert len(veins.amount) == 0
    np.testing.assert_allclose((out.flow, out.fed), ([5], [0]))


def test_a_sinus_widens_dilutes_and_keeps_the_injected_blood():
    """Flow 8 k, 6 k injected, at its start, 19 k, none injected, at its half: radius 2.4 and 3.6, dilution 3/4 and 6/27."""
    k = 0.6 * 200 * np.pi
    tube = lay_trunk(np.array([(0.0, 0, 0), (0, 0, 20), (0, 0, 40)]), 1.0)
    inflow = tissue([(0, 0, 0), (0, 0, 20)], (8 * k, 19 * k), (6 * k, 0), (2, 0))
    cloud, out = collect(tube, np.array([0, 50]), inflow)
    first, second = cloud.position[:, 2] < 20, cloud.position[:, 2] > 20
    np.testing.assert_allclose(cloud.radius[first], SINUS * 2, rtol=1e-6)
    np.testing.assert_allclose(cloud.radius[second], SINUS * 3, rtol=1e-6)
    np.testing.assert_allclose(cloud.dilution[first], 0.75, rtol=1e-6)
    np.testing.assert_allclose(cloud.dilution[second], 6 / 27, rtol=1e-6)
    np.testing.assert_allclose((out.flow, out.fed), ([27 * k], [6 * k]), rtol=1e-9)
    slow = np.pi * (SINUS * np.array((2, 3))) ** 2 / (k * np.array((8, 27)))  # s/mm
    length = np.array((50 * 0.4, (len(tube.length) - 50) * 0.4))
    assert out.arrival[0] == pytest.approx(2 + (slow * length).sum(), rel=1e-5)
    assert cloud.arrival[0] == pytest.approx(2 + slow[0] * 0.2, rel=1e-5)


def test_a_whole_share_keeps_ratio_and_mean():
    part = tissue(np.zeros((2, 3)), (1, 3), (1, 1), (2, 4)).whole(0.25)
    np.testing.assert_allclose((part.flow, part.fed, part.arrival), ([1], [0.5], [3]))
    assert join_inflows(part, part).flow.sum() == 2


@pytest.mark.parametrize("seed", range(6))
def test_the_jugular_veins_carry_what_the_tissue_gives(seed):
    """Of all blood and of the injected; and the volume of injected blood is its flow times its time on the way."""
    rng = np.random.default_rng(seed)
    _, given = capillaries(head_arteries(rng, CAVITY)[1], CAVITY, rng, 2.0)
    veins, out = head_veins(rng, CAVITY, given)
    assert out.flow.sum() == pytest.approx(given.flow.sum(), rel=1e-9)
    assert out.fed.sum() == pytest.approx(given.fed.sum(), rel=1e-9)
    assert 0 < veins.dilution.min() < veins.dilution.max() <= 1
    held = (veins.amount.astype(float) * veins.dilution).sum()
    on_the_way = (out.fed * out.arrival).sum() - (given.fed * given.arrival).sum()
    assert held == pytest.approx(on_the_way, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_late_frames_show_a_cerebral_venogram(seed):
    """A midline sinus along the inner vault, fed by cortical veins, and both jugular veins below the skull, in this order."""
    cloud = grow_vessels(np.random.default_rng(seed), CAVITY)
    vein = cloud.part(cloud.phase == VEIN)
    unit = (vein.position - CAVITY.centre) / CAVITY.half
    depth = np.linalg.norm(unit, axis=1)
    sagittal = (np.abs(unit[:, 0]) < 0.03) & (unit[:, 2] > 0.1) & (vein.radius > 2) & (unit[:, 1] < 0)
    assert sagittal.sum() > 100
    assert 0.9 < depth[sagittal].min() < depth[sagittal].max() < 1.08
    assert np.corrcoef(vein.radius[sagittal], -unit[sagittal, 1])[0, 1] > 0.6  # wider towards the back
    cortical = (depth > 0.85) & (unit[:, 2] > 0) & (np.abs(unit[:, 0]) > 0.15)
    assert cortical.sum() > 1000
    below = unit[:, 2] < -1.2
    left, right = below & (unit[:, 0] < -0.3), below & (unit[:, 0] > 0.3)
    assert left.sum() > 100
    assert right.sum() > 100
    arrivals = [np.median(vein.arrival[which]) for which in (cortical, sagittal, below)]
    assert arrivals == sorted(arrivals)
