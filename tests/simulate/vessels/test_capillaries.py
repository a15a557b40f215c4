import numpy as np
import pytest

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.arteries import head_arteries
from angiomorph.simulate.vessels.capillaries import FED, MOST, capillaries, scanned_capillaries
from angiomorph.simulate.vessels.cloud import Inflow, make_bodies

CAVITY = Territory("head", np.array((5.0, -10.0, 20.0)), np.array((64.0, 76.0, 62.0)))
SMALL = Territory("head", np.array((3.0, 2.0, 1.0)), np.array((40.0, 50.0, 60.0)))


def ends(position, flow=10.0, arrival=1.0):
    position = np.atleast_2d(np.asarray(position, float))
    flow = np.broadcast_to(flow, len(position)).astype(float)
    return Inflow(position, flow, flow, np.broadcast_to(arrival, len(position)).astype(float))


def grid():
    return np.stack(np.meshgrid(*[np.arange(-60, 61, 5.0)] * 3, indexing="ij"), -1).reshape(-1, 3)


def test_the_bed_holds_flow_times_transit_about_the_end():
    """One end of 10 mm^3/s and 3 s: 30 mm^3 of blood within 14 mm, all reached when the end is, none elsewhere."""
    cloud, out = capillaries(ends((3.0, 2.0, 1.0)), SMALL, np.random.default_rng(0), 3.0)
    assert cloud.amount.sum() == pytest.approx(30, rel=1e-6)
    assert np.linalg.norm(cloud.position - (3, 2, 1), axis=1).max() < FED[1]
    np.testing.assert_allclose(cloud.arrival, 1, rtol=1e-6)
    assert out.fed.sum() == pytest.approx(10, rel=1e-9)
    assert (out.fed <= out.flow).all()
    np.testing.assert_allclose(out.flow[out.fed == 0], out.fed.sum() / (out.fed > 0).sum())
    assert len(out.flow) > 3 * len(cloud.amount)


def test_streams_that_meet_keep_their_mean_arrival():
    two = ends([(0.0, 2.0, 1.0), (6.0, 2.0, 1.0)], np.array((10.0, 30.0)), np.array((1.0, 2.0)))
    _, out = capillaries(two, SMALL, np.random.default_rng(0), 2.0)
    assert out.fed.sum() == pytest.approx(40, rel=1e-9)
    assert out.mean_arrival() == pytest.approx(1.75, rel=1e-9)
    assert 1 <= out.arrival[out.fed > 0].min() < out.arrival.max() <= 2


def test_an_end_far_from_all_tissue_feeds_what_is_not_shown():
    cloud, out = capillaries(ends([(3.0, 2.0, 1.0), (3.0, 2.0, 90.0)]), SMALL, np.random.default_rng(0), 2.0)
    assert out.fed.sum() == pytest.approx(10, rel=1e-9)
    cloud, out = capillaries(ends((3.0, 2.0, 90.0)), SMALL, np.random.default_rng(0), 2.0)
    assert len(cloud.amount) == 0
    assert not out.flow.any()


def test_tissue_among_unlike_ends_is_perfused_alike():
    """Ends of 1 to 9 mm^3/s on a lattice: the pieces' flow varies far less."""
    places = grid()
    flow = np.random.default_rng(1).uniform(1, 9, len(places))
    cloud, _ = capillaries(ends(places, flow), SMALL, np.random.default_rng(0), 1.0)
    depth = np.linalg.norm((cloud.position - SMALL.centre) / SMALL.half, axis=1)
    inner = cloud.amount[depth < 0.7]
    assert inner.std() / inner.mean() < 0.1 < flow.std() / flow.mean()


@pytest.mark.parametrize("seed", range(6))
def test_a_brains_tissue_gets_what_its_arteries_bring(seed):
    """1 to 5 % of blood in the mean; only an external carotid's branches feed what is not shown."""
    _, into = head_arteries(np.random.default_rng(seed), CAVITY)
    cloud, out = capillaries(into, CAVITY, np.random.default_rng(seed), 2.0)
    beyond = np.linalg.norm((into.position - CAVITY.centre) / CAVITY.half, axis=1) > 1.0
    assert into.fed[~beyond].sum() * (1 - 1e-9) <= out.fed.sum() <= into.fed.sum() * (1 + 1e-9)
    assert cloud.amount.sum(dtype=float) == pytest.approx(2 * out.fed.sum(), rel=1e-6)
    assert 0.01 < cloud.amount.mean() / 125 < 0.05
    assert (out.fed <= out.flow).all()


def test_tissue_holds_its_share_of_blood_near_scanned_arteries():
    """Arteries everywhere: 0.04 * 4/3 pi a b c * 0.95^3 of blood. In one half: about half of it, none far from them."""
    places = grid()
    every = make_bodies(places, np.ones(len(places)), 0.3, places[:, 2] + 100)
    tissue = scanned_capillaries(every, SMALL, np.random.default_rng(0), 0.04)
    whole = 0.04 * 4 / 3 * np.pi * 40 * 50 * 60 * 0.95**3
    assert tissue.amount.sum() == pytest.approx(whole, rel=0.03)
    assert len(tissue.amount) <= MOST
    np.testing.assert_allclose(tissue.arrival, tissue.position[:, 2] + 100, atol=4.5)
    half = scanned_capillaries(every.part(places[:, 0] < 0), SMALL, np.random.default_rng(0), 0.04)
    assert half.position[:, 0].max() < -5 + FED[1]
    assert 0.4 * whole < half.amount.sum() < 0.7 * whole
