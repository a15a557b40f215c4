import numpy as np
import pytest

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.arteries import head_arteries, neck_arteries
from angiomorph.simulate.vessels.cloud import murray_flow, speed, width
from angiomorph.simulate.vessels.growth import (
    THINNEST,
    Generation,
    Tips,
    arteries,
    flow_into,
    grow,
    keep_within,
    lay_trunk,
    supply_branches,
)
from angiomorph.simulate.vessels.thorax import coronary_arteries, pulmonary_arteries

CAVITY = Territory("head", np.array((5.0, -10.0, 20.0)), np.array((64.0, 76.0, 62.0)))
NECK = Territory("neck", np.array((0.0, 5.0, 40.0)), np.array((54.0, 57.0, 110.0)))
HEART = Territory("chest", np.array((-30.0, 15.0, -146.0)), np.array((53.0, 49.0, 63.0)))


def grown(seed=0):
    tips = Tips(np.zeros((2, 3)), np.eye(3)[:2], np.array((1.5, 1.0)), np.array([(30.0, 0, 0), (0, 30.0, 0)]))
    return grow(tips, np.random.default_rng(seed), keep_within(CAVITY), CAVITY.half)


def test_flow_is_cross_section_times_speed():
    """2 mm: 400 mm/s through 4 pi mm^2; half of the radius carries an eighth."""
    np.testing.assert_allclose(murray_flow(np.array((2.0, 1.0))), (1600 * np.pi, 200 * np.pi))
    np.testing.assert_allclose(speed(np.array((2.0, 1.0))), (400, 200))
    np.testing.assert_allclose(width(murray_flow(np.array((0.3, 7.0)))), (0.3, 7.0))


@pytest.mark.parametrize("seed", range(3))
def test_flow_is_kept_at_every_fork(seed):
    """Independently of `arteries`: each fork's branches, with the one too thin to be shown, make up r^3."""
    tree = grown(seed)
    _, ends = arteries(tree, np.zeros(2))
    for one, children in zip(tree, [*tree[1:], None], strict=True):
        for index, radius in enumerate(one.radius):
            branches = np.empty(0) if children is None else children.radius[children.parent == index]
            here = np.linalg.norm(ends.position - one.track[-1, index], axis=1) < 1e-9
            assert len(branches) + here.sum() == 2 or (len(branches) == 0 and here.sum() == 1)
            assert 200 * np.pi * (branches**3).sum() + ends.flow[here].sum() == pytest.approx(200 * np.pi * radius**3, rel=1e-9)


def test_a_branch_that_is_too_thin_leaves_its_blood_at_the_fork():
    """Radius 1 into 0.9 and one that is not shown: 1 - 0.729 of the flow leaves there, the rest 20 mm further."""
    straight = np.linspace(0, 20, 5)[:, None, None] * np.array((1.0, 0, 0))
    root = Generation(straight, np.array([20.0]), np.array([1.0]), np.array([0]))
    branch = Generation(straight + np.array((20.0, 0, 0)), np.array([20.0]), np.array([0.9]), np.array([0]))
    _, ends = arteries([root, branch], np.array([0.5]))
    np.testing.assert_allclose(ends.flow, 200 * np.pi * np.array((0.271, 0.729)))
    np.testing.assert_allclose(ends.arrival, 0.5 + np.array((0.1, 0.1 + 20 / 180)))


def test_a_trunk_carries_what_leaves_it_and_ends_there():
    """Radius 2, flow pi * 400 and from 10 mm on pi * 100: 100 mm/s, then 25 mm/s; nothing after 20 mm."""
    tube = lay_trunk(np.array([(0.0, 0, 0), (0, 0, 20), (0, 0, 40)]), 2.0)
    cloud, times = tube.supply(np.array([24, 49]), np.pi * np.array((300.0, 100.0)), 1.0)
    assert len(cloud.amount) == 50
    np.testing.assert_allclose(times[[24, 49, -1]], (1.1, 1.5, 1.5), rtol=1e-6)
    np.testing.assert_allclose(cloud.arrival[[0, 25]], (1.002, 1.108), rtol=1e-5)
    np.testing.assert_allclose(cloud.amount, 4 * np.pi * 0.4, rtol=1e-5)


def test_a_trunk_with_branches_keeps_volume_over_flow():
    tube, tree = lay_trunk(np.array([(0.0, 0, 0), (0, 0, 20), (0, 0, 40)]), 2.0), grown()
    branches = [(np.array([40, 90]), tree)]
    cloud, ends, times = supply_branches(tube, branches, 0.0, [(60, 500.0)])
    assert ends.flow.sum() == pytest.approx(flow_into(branches)) == pytest.approx(200 * np.pi * (1.5**3 + 1), rel=1e-9)
    leaving = (ends.flow * ends.arrival).sum() + 500 * times[60]
    assert cloud.amount.sum(dtype=float) == pytest.approx(leaving, rel=1e-6)


def volume_and_way(seed, territory):
    rng = np.random.default_rng(seed)
    if territory == "head":
        return head_arteries(rng, CAVITY)
    if territory == "coronary":
        return coronary_arteries(rng, HEART)
    return pulmonary_arteries(rng, HEART, 1, True)


@pytest.mark.parametrize("territory", ["head", "coronary", "pulmonary"])
@pytest.mark.parametrize("seed", range(6))
def test_all_that_enters_the_arteries_leaves_at_their_ends(seed, territory):
    """Every body holds flow times the time in it, so that their sum is that of the ends' flow times their arrival."""
    cloud, ends = volume_and_way(seed, territory)
    assert cloud.amount.sum(dtype=float) == pytest.approx((ends.flow * ends.arrival).sum(), rel=1e-6)
    np.testing.assert_array_equal(ends.fed, ends.flow)
    assert (cloud.dilution == 1).all()


def root_flow(cloud):
    """Volume over time between the middles of the first piece and the 41st, from the bodies alone."""
    amount, arrival = cloud.amount[:41].astype(float), cloud.arrival[:41].astype(float)
    return (amount.sum() - (amount[0] + amount[-1]) / 2) / (arrival[-1] - arrival[0])


@pytest.mark.parametrize(("seed", "part"), [(3, 0.8**3), (4, 2 * 0.75**3 + 2 * 0.5**3), (5, 2 * 0.75**3 + 2 * 0.5**3)])
def test_the_root_carries_what_all_ends_bring(seed, part):
    """A carotid and vertebrobasilar systems; their flow by Murray's law over the trunk's."""
    cloud, ends = head_arteries(np.random.default_rng(seed), CAVITY)
    assert root_flow(cloud) == pytest.approx(ends.flow.sum(), rel=1e-3)
    assert ends.flow.sum() == pytest.approx(200 * np.pi * part * cloud.radius[0] ** 3, rel=1e-6)
    assert 1500 < ends.flow.sum() < 8000  # mm^3/s: 90 to 480 ml/min
    assert cloud.radius.min() > THINNEST


@pytest.mark.parametrize("seed", range(4))
def test_a_necks_carotid_feeds_the_neck_and_the_brain(seed):
    cloud, ends, upwards = neck_arteries(np.random.default_rng(seed), NECK)
    leaving = (ends.flow * ends.arrival).sum() + (upwards.flow * upwards.arrival).sum()
    assert cloud.amount.sum(dtype=float) == pytest.approx(leaving, rel=1e-6)
    assert root_flow(cloud) == pytest.approx(ends.flow.sum() + upwards.flow.sum(), rel=1e-3)
