"""Vessels of one run: from a CT angiography, or grown in head, neck or chest; arteries, capillaries and veins."""

from __future__ import annotations

import os

import numpy as np

from angiomorph.errors import InputError
from angiomorph.simulate.scene.nifti import load_nifti
from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.arteries import head_arteries, neck_arteries
from angiomorph.simulate.vessels.capillaries import capillaries, scanned_capillaries
from angiomorph.simulate.vessels.cloud import ARTERY, Vessels, join_vessels, make_bodies
from angiomorph.simulate.vessels.thorax import chest_vessels
from angiomorph.simulate.vessels.veins import head_veins, neck_veins

__all__ = ["Vessels", "apply_pulse", "find_inlet", "grow_vessels", "load_vessels", "place_vessels"]

FULL = 0.7  # of a CTA's 99.9th percentile: from here a voxel is all vessel
OVERLAP = 2.0  # half a voxel is seen as a disc so much wider than a ball of its volume: wide vessels then look filled, to 4 %
EMPTY = 0.1  # below, it is noise
BRAIN_BLOOD = (0.02, 0.04)  # volume share of capillary blood in the brain about scanned vessels
SCANNED_SPEED = 125.0  # mm/s of the bolus over the distance from the inlet to a scanned vessel
PULSE = 0.35  # mm by which the pulse wave moves the widest artery
SWING = np.array(((0.05, 0.09, 0.12), (-0.1, 0.06, 0.05), (0.08, -0.09, 0.07)))  # 1/mm, wave vectors of its direction
# Placing a scan in another head, chosen by eye; lengths in half axes of the cavity.
BENT, TURNED = 0.06, 6.0  # deviation of the smooth change of shape, and degrees about each axis to either side
FILLED = (0.85, 0.97)  # of the cavity's half axes
WHOLE, HALF = 0.4, (-0.3, -0.1)  # share of injections that fill both sides, and where the midline lies for the others
SLOWEST, SLOWING = 3.0, 0.3  # how much later than the nearest the blood of some places comes, and how that varies
BELOW = 100.0  # mm of the catheter below the lowest scanned artery


def load_vessels(path: str | os.PathLike[str]) -> Vessels:
    """Read a CT angiography from which bone and tissue were removed (vessels bright, all else 0).

    Each voxel's blood share is its value over 0.7 of the 99.9th percentile of the vessels' values. `place_vessels` adds times.

    Args:
        path: NIfTI file.

    Returns:
        two bodies a vessel voxel, in the scan's own coordinates.

    Raises:
        InputError: as `nifti.load_nifti`; or more than a quarter of the volume is not 0: bone and tissue are still there.
    """
    values, spacing, origin = load_nifti(path)
    share = np.mean(values > 0)
    if share == 0 or share > 0.25:
        raise InputError(
            f"{path}: expected a CT angiography with bone and tissue removed (set to 0), found {share:.0%} of it above 0. "
            "Segment the vessels first or leave `vessels` out"
        )
    fraction = np.minimum(values / (FULL * np.percentile(values[values > 0], 99.9)), 1)
    index = np.argwhere(fraction > EMPTY)
    place, half = _halves(index[:, ::-1], np.array(spacing))
    amount = np.tile(fraction[tuple(index.T)] * half, 2)
    radius = np.full(len(amount), OVERLAP * (3 / (4 * np.pi) * half) ** (1 / 3), np.float32)
    return make_bodies(np.array(origin) + place, amount, radius, np.zeros_like(radius))


def _halves(index: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, float]:
    """Halve voxels along their longest side, scattered a little so that no lattice shows; positions and the volume of each."""
    longest = np.eye(3)[np.argmax(spacing)]
    places = np.concatenate([index - longest / 4, index + longest / 4])
    scatter = np.random.default_rng(0).uniform(-0.25, 0.25, places.shape) * (1 - longest / 2)
    return (places + scatter) * spacing, float(np.prod(spacing)) / 2


def place_vessels(vessels: Vessels, cavity: Territory, rng: np.random.Generator) -> Vessels:
    """Fit a scanned vessel cloud into a head's cavity, mirrored, stretched, turned and bent, sometimes one side alone.

    Arrival is the distance from the inlet, the lowest tenth's centre, over the bolus speed, unevenly slowed. The brain's
    capillaries are added, but no veins: a CT angiography shows them among its vessels.

    Args:
        vessels: vessels of a CT angiography, from `load_vessels`.
        cavity: the head's cavity.
        rng: source of the variation.

    Returns:
        the cloud in the head's coordinates, the catheter below its widest lowest vessel.
    """
    low, high = np.percentile(vessels.position, (1, 99), axis=0)
    unit = ((vessels.position - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)
    if rng.random() < 0.5:
        unit = unit * np.array((-1, 1, 1), np.float32)
    bent = unit + _smooth(unit, rng, BENT)
    angle = np.radians(rng.uniform(-TURNED, TURNED, 3))
    bent = bent + np.cross(angle, bent)
    position = cavity.centre + bent * cavity.half * rng.uniform(*FILLED, 3)
    keep = np.ones(len(unit), bool) if rng.random() < WHOLE else unit[:, 0] > rng.uniform(*HALF)
    lowest = position[:, 2] <= np.percentile(position[:, 2], 10)
    slowness = 1 + SLOWEST * np.abs(_smooth(unit, rng, SLOWING)[:, 0])
    arrival = np.linalg.norm(position - position[lowest].mean(axis=0), axis=1) / SCANNED_SPEED * slowness
    path = _widest(position[lowest & keep]) + np.linspace(-BELOW, 0, 51)[:, None] * (0.0, 0.05, 1)
    cloud = make_bodies(position[keep], vessels.amount[keep], vessels.radius[keep], arrival[keep], path=path)
    return join_vessels([cloud, scanned_capillaries(cloud, cavity, rng, rng.uniform(*BRAIN_BLOOD))])


def _widest(position: np.ndarray) -> np.ndarray:
    """Return the place `(3,)` with the most bodies within 3 mm."""
    from scipy.spatial import cKDTree

    some = position[:: max(1, len(position) // 3000)]
    near = cKDTree(some).query_ball_point(some, 3.0, return_length=True)
    return some[int(np.argmax(near))]


def _smooth(unit: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """Sum of a few random plane waves, standard deviation about `size`, at points of the cube [-1, 1]^3."""
    waves = rng.normal(0, 2.0, (4, 3)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    weights = rng.normal(0, size / np.sqrt(2), (4, 3)).astype(np.float32)
    return np.sin(unit @ waves.T + phases) @ weights


def grow_vessels(rng: np.random.Generator, territory: Territory, transit: float = 2.0) -> Vessels:
    """Grow the vessels that one injection shows: arteries, the tissue they feed, and the veins that drain it.

    At each fork r^3 = r1^3 + r2^3 (C. D. Murray, PNAS 12 (1926) 207-214); branches carry `pi r^2 * 400 mm/s * r / 2 mm`, trunks
    the sum of theirs, veins by 0.6 of the speed what drains into them. Blood takes volume over flow to pass any stretch, the
    capillaries too: iodine is neither made nor lost from the catheter's tip to where it leaves.

    Args:
        rng: source; decides which arteries are injected: in a head one or both internal carotids, a carotid with its external
            branches, or the vertebrobasilar system; in a neck one carotid; in a chest a coronary artery or one or both
            pulmonary arteries.
        territory: to fill.
        transit: mean time that blood takes through capillaries, s, as `contrast.Bolus.transit`.

    Returns:
        bodies along the centre lines, amount = pi r^2 ds, and of tissue, amount = its blood.
    """
    if territory.kind == "chest":
        return chest_vessels(rng, territory, transit)[0]
    if territory.kind == "neck":
        arteries, ends, upwards = neck_arteries(rng, territory)
        tissue, _ = capillaries(ends, territory, rng, transit, (0.0, 0.85))
        return join_vessels([arteries, tissue, neck_veins(rng, territory, upwards)[0]])
    arteries, ends = head_arteries(rng, territory)
    tissue, outflow = capillaries(ends, territory, rng, transit)
    return join_vessels([arteries, tissue, head_veins(rng, territory, outflow)[0]])


def find_inlet(cloud: Vessels) -> np.ndarray:
    """Return the catheter's way to its tip in the injected artery, from where it enters the region, `(M, 3)` float32, mm."""
    return cloud.path


def apply_pulse(cloud: Vessels, beat: float) -> np.ndarray:
    """Return where the pulse wave moves the vessels: arteries swing by up to 0.35 mm, the wider the more, neighbours alike.

    Args:
        cloud: the vessels at rest.
        beat: heartbeat from `motion.draw_pulse`, -1..1.

    Returns:
        `(N, 3)` float32 positions, mm; tissue and veins rest.
    """
    artery = cloud.phase == ARTERY
    if beat == 0 or not artery.any():
        return cloud.position
    moved = cloud.position.copy()
    place, radius = cloud.position[artery], cloud.radius[artery]
    swing = np.stack([np.sin(place @ wave) for wave in SWING.astype(np.float32)], axis=1)
    moved[artery] += np.float32(PULSE * beat) * (radius / radius.max())[:, None] * swing
    return moved
