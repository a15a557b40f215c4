"""The parenchymal blush: tissue about the ends of injected arteries, as large faint bodies."""

from __future__ import annotations

import numpy as np

from angiomorph.simulate.cloud import ARTERY, CAPILLARY, Vessels, bodies
from angiomorph.simulate.territory import Territory

MOST = 4000  # bodies of one region
SMALLEST = 5.0  # mm between them
FED = (6.0, 14.0)  # mm to the next thin artery: up to the first all of the tissue is fed by it, from the second nothing
THIN = 0.5  # mm radius of arteries that feed tissue


def capillaries(
    arteries: Vessels,
    region: Territory,
    rng: np.random.Generator,
    blood: float,
    depth: tuple[float, float] = (0.0, 0.95),
    thin: float = THIN,
) -> Vessels:
    """Fill the tissue that arteries feed with bodies of its blood.

    Args:
        arteries: of the region.
        region: ellipsoid of tissue.
        rng: source of their places.
        blood: volume share of blood in the tissue, 0..1.
        depth: from where to where, in the region's half axes, it is tissue.

        thin: radius up to which arteries feed tissue, mm.

    Returns:
        at most 4000 bodies of phase 1, each reached with its next thin artery; amount = blood times the volume fed.
    """
    from scipy.spatial import cKDTree

    spacing = max(SMALLEST, float((4 / 3 * np.pi * np.prod(region.half * depth[1]) / MOST) ** (1 / 3)))
    count = np.ceil(region.half * depth[1] / spacing).astype(int)
    axes = [np.arange(-n, n + 1) * spacing for n in count]
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    place = place + rng.uniform(-0.45, 0.45, place.shape) * spacing
    away = np.linalg.norm(place / region.half, axis=1)
    place = region.centre + place[(away > depth[0]) & (away < depth[1])]
    feeding = arteries.part((arteries.phase == ARTERY) & (arteries.radius <= thin))
    if not len(feeding.amount):
        return feeding
    distance, nearest = cKDTree(feeding.position).query(place)
    fed = np.clip((FED[1] - distance) / (FED[1] - FED[0]), 0, 1)
    keep = np.flatnonzero(fed > 0)[:MOST]
    radius = rng.uniform(0.6, 0.9, len(keep)) * spacing
    return bodies(place[keep], blood * spacing**3 * fed[keep], radius, feeding.arrival[nearest[keep]], CAPILLARY)
