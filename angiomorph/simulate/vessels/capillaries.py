"""The parenchymal blush: tissue about the ends of injected arteries, as large faint bodies."""

from __future__ import annotations

import numpy as np

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.cloud import CAPILLARY, NO_FLOW, Inflow, Vessels, make_bodies

MOST = 4000  # bodies of one region
SMALLEST = 5.0  # mm between them
FED = (6.0, 14.0)  # mm to an artery: up to the first tissue gets its full share of the blood, from the second nothing
ABOUT = 64  # pieces of tissue among which an end's blood is parted at most
EVENING = 10  # steps towards alike perfusion of all pieces


def capillaries(
    ends: Inflow, region: Territory, rng: np.random.Generator, transit: float, depth: tuple[float, float] = (0.0, 0.95)
) -> tuple[Vessels, Inflow]:
    """Let the ends of arteries feed the tissue about them.

    Each end's blood is shared by the 64 nearest pieces within 14 mm, less where they are further than 6 mm. Ends without any,
    as those of the scalp, feed what is not shown. A piece of tissue holds the blood that passes it in the time that this takes,
    `amount = fed * transit` (P. Meier, K. L. Zierler, J. Appl. Physiol. 6 (1954) 731-744); its share of the tissue's volume is
    then perfusion times transit, with 0.5 ml/min per ml of tissue and 2 s 1.7 %. Tissue that other arteries feed has the mean
    flow of what is fed.

    Args:
        ends: ends of arteries.
        region: ellipsoid of tissue.
        rng: source of the places.
        transit: mean time that blood takes through capillaries, s, >= 0.
        depth: range that is tissue, in the region's half axes.

    Returns:
        at most 4000 bodies of phase 1, each reached in the mean when its arteries are; and what flows out of all tissue of the
        region. Its arrival is without the transit, as in `Vessels`.
    """
    from scipy.spatial import cKDTree

    place, spacing = _pieces(region, rng, depth)
    distance, nearest = cKDTree(place).query(ends.position, k=min(ABOUT, len(place)))
    part = _part_blood(_near(distance), nearest, ends.fed, len(place))
    fed, moment = (
        np.bincount(nearest.ravel(), (value[:, None] * part).ravel(), len(place))
        for value in (ends.fed, ends.fed * ends.arrival)
    )
    keep = np.flatnonzero(fed > NO_FLOW)
    fed = np.where(fed > NO_FLOW, fed, 0.0)
    arrival = moment / np.maximum(fed, NO_FLOW)
    perfusion = fed.sum() / max(len(keep), 1)
    cloud = make_bodies(place[keep], transit * fed[keep], _radius(rng, len(keep), spacing), arrival[keep], CAPILLARY)
    return cloud, Inflow(place, np.maximum(fed, perfusion), fed, arrival)


def _part_blood(weight: np.ndarray, nearest: np.ndarray, fed: np.ndarray, count: int) -> np.ndarray:
    """Part of each end's blood that each piece gets, `(n, 64)`, so that pieces get alike where that is possible."""
    for _ in range(EVENING):
        part = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
        got = np.bincount(nearest.ravel(), (fed[:, None] * part).ravel(), count)
        weight = part / np.maximum(got, NO_FLOW)[nearest]
    return weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)


def scanned_capillaries(arteries: Vessels, region: Territory, rng: np.random.Generator, blood: float) -> Vessels:
    """Fill the tissue near scanned vessels, whose flow is not known, with bodies of its blood.

    Args:
        arteries: scanned.
        region: ellipsoid of tissue.
        rng: source of the places.
        blood: volume share of blood in the tissue, 0..1.

    Returns:
        at most 4000 bodies of phase 1, each reached with the vessel next to it; amount = blood times the volume fed.
    """
    from scipy.spatial import cKDTree

    place, spacing = _pieces(region, rng, (0.0, 0.95))
    distance, nearest = cKDTree(arteries.position).query(place)
    fed = _near(distance)
    keep = np.flatnonzero(fed > 0)
    amount = blood * spacing**3 * fed[keep]
    return make_bodies(place[keep], amount, _radius(rng, len(keep), spacing), arteries.arrival[nearest[keep]], CAPILLARY)


def _pieces(region: Territory, rng: np.random.Generator, depth: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Return where pieces of tissue lie, `(n, 3)` mm, n <= 4000, and their spacing, mm."""
    spacing = max(SMALLEST, float((4 / 3 * np.pi * np.prod(region.half * depth[1]) / MOST) ** (1 / 3)))
    count = np.ceil(region.half * depth[1] / spacing).astype(int)
    axes = [np.arange(-n, n + 1) * spacing for n in count]
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    place = place + rng.uniform(-0.45, 0.45, place.shape) * spacing
    away = np.linalg.norm(place / region.half, axis=1)
    return region.centre + place[(away > depth[0]) & (away < depth[1])], spacing


def _near(distance: np.ndarray) -> np.ndarray:
    return np.clip((FED[1] - distance) / (FED[1] - FED[0]), 0, 1)


def _radius(rng: np.random.Generator, count: int, spacing: float) -> np.ndarray:
    return rng.uniform(0.6, 0.9, count) * spacing
