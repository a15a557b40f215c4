import nibabel
import numpy as np
import pytest
from scipy.spatial import cKDTree

from angiomorph.errors import InputError
from angiomorph.simulate.capillaries import FED, MOST, capillaries
from angiomorph.simulate.cloud import bodies, joined
from angiomorph.simulate.contrast import Bolus, share
from angiomorph.simulate.geometry import CArm
from angiomorph.simulate.growth import THINNEST
from angiomorph.simulate.projector import project_points
from angiomorph.simulate.territory import Territory
from angiomorph.simulate.vessels import PULSE, inlet, load_vessels, place, pulsed, vessel_tree

CAVITY = Territory("head", np.array((5.0, -10.0, 20.0)), np.array((64.0, 76.0, 62.0)))
NECK = Territory("neck", np.array((0.0, 5.0, 40.0)), np.array((54.0, 57.0, 110.0)))
HEART = Territory("chest", np.array((-30.0, 15.0, -146.0)), np.array((53.0, 49.0, 63.0)))
REGIONS = (CAVITY, NECK, HEART)
SEEDS = range(6)


def grown(territory, seed):
    return vessel_tree(np.random.default_rng(seed), territory)


def phase(cloud, number):
    return cloud.part(cloud.phase == number)


def save(path, values, affine=None):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("seed", SEEDS)
def test_cerebral_arteries_grow_inside_the_cavity_from_a_trunk_below_it(seed):
    tree = phase(grown(CAVITY, seed), 0)
    depth = np.linalg.norm((tree.position - CAVITY.centre) / CAVITY.half, axis=1)
    inner = (tree.radius < 1) & (tree.position[:, 2] > CAVITY.centre[2] - 0.5 * CAVITY.half[2])
    assert np.percentile(depth[inner], 90) < 1.2
    assert np.ptp(tree.position[inner], axis=0).min() > 30
    assert tree.position[:, 2].min() < CAVITY.centre[2] - CAVITY.half[2] - 30
    assert THINNEST < tree.radius.min() < 0.3
    assert 1.4 < tree.radius.max() < 3


@pytest.mark.parametrize("territory", REGIONS, ids=lambda t: t.kind)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_injection_shows_arteries_then_tissue_then_veins(territory, seed):
    cloud = grown(territory, seed)
    artery, tissue, vein = (phase(cloud, number) for number in range(3))
    assert len(artery.amount) + len(vein.amount) < 160_000
    assert 200 < len(tissue.amount) <= 2 * MOST
    assert artery.arrival.min() < 0.1
    assert 0.3 < artery.arrival.max() < 4
    assert np.median(artery.arrival) < np.median(vein.arrival)
    assert vein.arrival.max() > artery.arrival.max()
    assert 3 <= tissue.radius.min() < tissue.radius.max() <= 8
    np.testing.assert_array_equal(joined([artery, tissue]).dilution, 1)
    assert 0 < vein.dilution.min() <= vein.dilution.max() <= 1
    for column in (cloud.position, cloud.amount, cloud.radius, cloud.arrival, cloud.dilution, cloud.path):
        assert column.dtype == np.float32
        assert np.isfinite(column).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_bolus_passes_wide_arteries_first(seed):
    tree = phase(grown(CAVITY, seed), 0)
    assert np.median(tree.arrival[tree.radius < 0.3]) > np.median(tree.arrival[tree.radius > 1.2]) + 0.1


@pytest.mark.parametrize("territory", REGIONS, ids=lambda t: t.kind)
def test_the_amount_is_the_volume_of_the_tubes(territory):
    """Bodies of one radius r stand for a length of amount / (pi r^2): none so long that a tube shows gaps."""
    for seed in range(3):
        cloud = grown(territory, seed)
        tubes = cloud.part(cloud.phase != 1)
        piece = tubes.amount / (np.pi * tubes.radius**2)
        assert 0.05 < piece.min() < piece.max()
        assert np.all(piece < 2.5 * tubes.radius + 0.7)


@pytest.mark.parametrize("territory", REGIONS[:2], ids=lambda t: t.kind)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_catheter_comes_from_below_and_the_bolus_starts_at_its_tip(territory, seed):
    cloud = grown(territory, seed)
    artery, path = phase(cloud, 0), inlet(cloud)
    assert path.shape[1] == 3
    assert path[0, 2] < path[-1, 2] - 60
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 3
    first = artery.position[artery.arrival < 0.02]
    assert np.linalg.norm(first - path[-1], axis=1).min() < 3
    upstream = cKDTree(path[:-3]).query(artery.position)[0]
    assert upstream.min() > 1.5


@pytest.mark.parametrize("seed", range(8))
def test_the_catheter_reaches_the_hearts_vessels_through_aorta_or_cava(seed):
    cloud = grown(HEART, seed)
    artery, path = phase(cloud, 0), inlet(cloud)
    assert path[0, 2] < HEART.centre[2] - 3 * HEART.half[2]
    assert np.linalg.norm(artery.position[artery.arrival < 0.02] - path[-1], axis=1).min() < 4


def test_coronary_arteries_lie_on_the_heart():
    for seed in range(8):
        artery = phase(grown(HEART, seed), 0)
        if artery.radius.max() > 4:
            continue  # pulmonary
        depth = np.linalg.norm((artery.position - HEART.centre) / HEART.half, axis=1)
        assert np.percentile(depth, 10) > 0.75
        assert np.percentile(depth, 99) < 1.15
        return
    pytest.fail("no coronary artery in eight injections")


def test_neck_arteries_fork_into_internal_and_external():
    """Below the fork one wide vessel; near the top two, the internal wider than 2 mm and the external with its branches."""
    artery = phase(grown(NECK, 0), 0)
    low = artery.position[artery.position[:, 2] < artery.position[:, 2].min() + 15]
    assert np.ptp(low[:, :2], axis=0).max() < 10
    high = np.abs(artery.position[:, 2] - (NECK.centre[2] + 0.6 * NECK.half[2])) < 3
    assert artery.radius[high].max() > 2
    assert np.ptp(artery.position[high][:, 1]) > 10


def test_tissue_holds_its_share_of_blood_where_arteries_feed_it():
    """Thin arteries everywhere: 0.04 * 4/3 pi a b c * 0.95^3 of blood. In one half: about half of it, none far from them."""
    region = Territory("head", np.array((3.0, 2.0, 1.0)), np.array((40.0, 50.0, 60.0)))
    grid = np.stack(np.meshgrid(*[np.arange(-60, 61, 5.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    every = bodies(grid, np.ones(len(grid)), 0.3, grid[:, 2] + 100)
    tissue = capillaries(every, region, np.random.default_rng(0), 0.04)
    whole = 0.04 * 4 / 3 * np.pi * 40 * 50 * 60 * 0.95**3
    assert tissue.amount.sum() == pytest.approx(whole, rel=0.03)
    assert len(tissue.amount) <= MOST
    np.testing.assert_allclose(tissue.arrival, tissue.position[:, 2] + 100, atol=4.5)
    half = capillaries(every.part(grid[:, 0] < 0), region, np.random.default_rng(0), 0.04)
    assert half.position[:, 0].max() < -5 + FED[1]
    assert 0.4 * whole < half.amount.sum() < 0.7 * whole


def test_wide_arteries_feed_no_tissue():
    wide = bodies(np.zeros((5, 3)), np.ones(5), 2.0, np.zeros(5))
    assert len(capillaries(wide, CAVITY, np.random.default_rng(0), 0.04).amount) == 0


def test_iodine_is_neither_made_nor_lost_on_its_way():
    """What ever passes through the cloud: the sum over bodies of blood times duration times dilution."""
    cloud = grown(CAVITY, 2).part(np.arange(0, 90_000, 97))
    bolus = Bolus(1.3, 2.0, 0.2, transit=1.5)
    times = np.arange(0, 25, 0.05)
    mass = np.array([(cloud.amount * share(bolus, cloud, time)).sum(dtype=float) for time in times])
    assert mass.sum() * 0.05 == pytest.approx(1.3 * (cloud.amount * cloud.dilution).sum(dtype=float), rel=2e-3)
    assert mass[-1] < 1e-3 * mass.max()


def test_the_same_seed_grows_the_same_vessels():
    one, again, other = grown(CAVITY, 1), grown(CAVITY, 1), grown(CAVITY, 3)
    np.testing.assert_array_equal(one.position, again.position)
    assert len(one.amount) != len(other.amount)


def test_the_pulse_moves_arteries_alone_smoothly_and_by_little():
    cloud = grown(CAVITY, 4)
    np.testing.assert_array_equal(pulsed(cloud, 0.0), cloud.position)
    moved = pulsed(cloud, 1.0) - cloud.position
    np.testing.assert_array_equal(moved[cloud.phase != 0], 0)
    length = np.linalg.norm(moved, axis=1)
    assert 0.3 * PULSE < length.max() <= np.sqrt(3) * PULSE
    np.testing.assert_allclose(pulsed(cloud, -1.0) - cloud.position, -moved, atol=2e-5)
    wide = cloud.phase == 0
    pairs = cKDTree(cloud.position[wide][::20]).query_pairs(1.0, output_type="ndarray")
    apart = np.abs(moved[wide][::20][pairs[:, 0]] - moved[wide][::20][pairs[:, 1]]).max()
    assert apart < 0.25


def angiography(tmp_path):
    values = np.zeros((30, 40, 20))
    values[14:16, 20, :] = 400
    values[5:25, 20, 15] = 100
    return save(tmp_path / "cta.nii", values, np.diag((2.0, 2.0, 3.0, 1.0)))


def test_reads_vessels_as_bodies_with_their_blood_volume(tmp_path):
    cloud = load_vessels(angiography(tmp_path))
    full, part = 38 * 12.0, 20 * 12 * 100 / (0.7 * 400)
    assert cloud.amount.sum() == pytest.approx(full + part, rel=1e-4)
    assert cloud.position[:, 1].min() >= 39
    assert cloud.position[:, 1].max() <= 41
    np.testing.assert_array_equal(cloud.phase, 0)


def test_a_wide_scanned_vessel_shows_no_lattice(tmp_path):
    """Eight voxels of 0.65 x 0.65 x 0.9 mm deep, seen along their rows, where a lattice would show most."""
    values = np.zeros((60, 60, 60))
    values[10:50, 26:34, 15:45] = 300
    affine = np.diag((0.65, 0.65, 0.9, 1.0))
    affine[:3, 3] = -30 * np.diag(affine)[:3]
    cloud = load_vessels(save(tmp_path / "cta.nii", values, affine))
    image = project_points(cloud.position, cloud.amount, cloud.radius, CArm(1100, 740, 0, 0, 128, 128, 0.55), np.zeros(6))
    middle = image[50:78, 50:78]
    assert middle.mean() == pytest.approx(8 * 0.65, rel=0.02)
    assert middle.std() < 0.05 * middle.mean()


def test_placed_vessels_fill_the_cavity_with_their_tissue_and_arrive_from_below(tmp_path):
    placed = place(load_vessels(angiography(tmp_path)), CAVITY, np.random.default_rng(0))
    vessel, tissue = phase(placed, 0), phase(placed, 1)
    assert np.abs((vessel.position - CAVITY.centre) / CAVITY.half).max() < 1.5
    order = np.argsort(vessel.position[:, 2])
    assert vessel.arrival[order[:5]].mean() < vessel.arrival[order[-5:]].mean()
    assert vessel.arrival.min() >= 0
    assert 0 < len(tissue.amount) <= MOST
    assert len(vessel.amount) + len(tissue.amount) == len(placed.amount)
    assert cKDTree(vessel.position).query(tissue.position)[0].max() < FED[1]
    path = inlet(placed)
    assert path[0, 2] == pytest.approx(path[-1, 2] - 100, abs=0.01)
    assert path[-1, 2] <= np.percentile(vessel.position[:, 2], 11)
    assert np.linalg.norm(vessel.position - path[-1], axis=1).min() < 0.01


def test_a_scan_with_its_bone_is_no_vessel_volume(tmp_path):
    with pytest.raises(InputError, match="removed"):
        load_vessels(save(tmp_path / "ct.nii", np.random.default_rng(0).uniform(1, 2000, (12, 14, 16))))
