import numpy as np
import pytest

from angiomorph.simulate.cloud import VEIN, bodies
from angiomorph.simulate.growth import Generation, trunk
from angiomorph.simulate.territory import Territory
from angiomorph.simulate.veins import DRAINED, SINUS, SLOWER, Inflow, both, collect, drain
from angiomorph.simulate.vessels import vessel_tree

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


def way(length, radius):
    return length / (SLOWER * 250 * np.sqrt(radius / 2))


def test_a_vein_that_drains_injected_and_other_tissue_is_half_diluted():
    """Tissue lies at the end of the one branch alone, reached after 1.5 s: the root has half of its blood from there."""
    tissue = bodies(np.array([(32.0, 28.0, 0.0)]), np.ones(1), 5.0, np.array([1.5]))
    veins, out = drain(fork(), tissue)
    assert (veins.phase == VEIN).all()
    branch, root = veins.position[:, 1] > 0.1, veins.position[:, 1] == 0
    assert branch.sum() == root.sum() == 4
    assert len(veins.amount) == 8  # the branch without injected blood is left out
    np.testing.assert_array_equal(veins.dilution[branch], 1)
    np.testing.assert_allclose(veins.dilution[root], 0.5, rtol=1e-6)
    order = np.argsort(-veins.position[branch, 1])
    np.testing.assert_allclose(
        veins.arrival[branch][order], 1.5 + way(32, 1.0) * np.array((0.125, 0.375, 0.625, 0.875)), rtol=1e-5
    )
    end = 1.5 + way(32, 1.0) + way(32, 2 ** (1 / 3))
    np.testing.assert_allclose((out.flow, out.fed, out.arrival), ([2], [1], [end]), rtol=1e-6)
    np.testing.assert_allclose(veins.amount[root], np.pi * 2 ** (2 / 3) * 8, rtol=1e-6)


def test_arrivals_mix_by_what_flows():
    tissue = bodies(np.array([(32.0, 28.0, 0.0), (32.0, -28.0, 0.0)]), np.ones(2), 5.0, np.array([1.0, 3.0]))
    _, out = drain(fork(), tissue)
    end = 2.0 + way(32, 1.0) + way(32, 2 ** (1 / 3))
    np.testing.assert_allclose((out.flow, out.fed, out.arrival), ([2], [2], [end]), rtol=1e-6)


def test_what_branches_do_not_bring_comes_from_the_tissue_at_the_fork():
    """A root of radius 3^(1/3) with two branches of 1 drains a third of its blood where they join it."""
    generations = fork()
    generations[0] = Generation(generations[0].track, np.array([32.0]), np.array([3 ** (1 / 3)]), np.array([0]))
    _, out = drain(generations, bodies(np.array([(28.0, 0.0, 0.0)]), np.ones(1), 5.0, np.array([1.0])))
    np.testing.assert_allclose((out.flow, out.fed), ([3], [1]), rtol=1e-6)


def test_injected_tissue_further_away_is_drained_in_part_or_not():
    """Half way between both distances: half of it."""
    generations = fork()[:1]
    end = generations[0].track[-1, 0]
    for distance, part in ((DRAINED[0], 1), (sum(DRAINED) / 2, 0.5), (DRAINED[1] + 1, 0)):
        _, out = drain(generations, bodies(end[None] + (0, 0, distance), np.ones(1), 5.0, np.zeros(1)))
        np.testing.assert_allclose(out.fed, [2 * part], rtol=1e-6)
    assert len(drain(generations, bodies(np.empty((0, 3)), np.empty(0), 1.0, np.empty(0)))[0].amount) == 0


def test_a_sinus_widens_dilutes_and_keeps_the_injected_blood():
    """Flow 8 with 6 injected at its start, 19 without any at its half: radius 1.2 * 2 and 1.2 * 3, dilution 3/4 and 6/27."""
    tube = trunk(np.array([(0.0, 0, 0), (0, 0, 20), (0, 0, 40)]), 1.0)
    inflow = both(Inflow(*np.array([[8.0], [6.0], [2.0]])), Inflow(*np.array([[19.0], [0.0], [0.0]])))
    cloud, out = collect(tube, np.array([0, 50]), inflow)
    first, second = cloud.position[:, 2] < 20, cloud.position[:, 2] > 20
    np.testing.assert_allclose(cloud.radius[first], SINUS * 2, rtol=1e-6)
    np.testing.assert_allclose(cloud.radius[second], SINUS * 3, rtol=1e-6)
    np.testing.assert_allclose(cloud.dilution[first], 0.75, rtol=1e-6)
    np.testing.assert_allclose(cloud.dilution[second], 6 / 27, rtol=1e-6)
    np.testing.assert_allclose((out.flow, out.fed), ([27], [6]), rtol=1e-9)
    assert out.arrival[0] == pytest.approx(2 + way(20, SINUS * 2) + way(19.6, SINUS * 3), abs=0.01)


def test_a_whole_share_keeps_ratio_and_mean():
    inflow = Inflow(np.array([1.0, 3.0]), np.array([1.0, 1.0]), np.array([2.0, 4.0]))
    part = inflow.whole(0.25)
    np.testing.assert_allclose((part.flow, part.fed, part.arrival), ([1], [0.5], [3]))


@pytest.mark.parametrize("seed", range(4))
def test_late_frames_show_a_cerebral_venogram(seed):
    """A midline sinus along the inner vault, fed by cortical veins, and both jugular veins below the skull, in this order."""
    cloud = vessel_tree(np.random.default_rng(seed), CAVITY)
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
