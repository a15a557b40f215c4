"""The vessels of heart and lungs that an injection fills."""

from __future__ import annotations

import numpy as np

from angiomorph.simulate.arteries import places, side_arteries, side_branches
from angiomorph.simulate.capillaries import capillaries
from angiomorph.simulate.cloud import Vessels, joined
from angiomorph.simulate.growth import along, trunk, within
from angiomorph.simulate.territory import Territory
from angiomorph.simulate.veins import collect, tributaries

THINNEST_CORONARY, THINNEST_PULMONARY = 0.25, 0.75  # mm radius
MUSCLE_BLOOD, LUNG_BLOOD = (0.03, 0.06), (0.01, 0.03)  # volume share of capillary blood
SHORTER = 0.5  # branches of pulmonary vessels, for their width

# Points on their way, in the heart's half axes from its centre, x to the patient's right.
AORTA = [(-0.1, -1.15, -3.2), (-0.15, -1.15, 0.5), (-0.3, -0.8, 1.6), (0.0, -0.1, 1.9), (0.25, 0.15, 1.3), (0.05, 0.15, 0.6)]
LEFT_MAIN = [(0.0, 0.15, 0.5), (-0.2, 0.25, 0.55), (-0.35, 0.35, 0.58)]
LEFT_ANTERIOR = [(-0.35, 0.35, 0.58), (-0.45, 0.65, 0.45), (-0.55, 0.75, 0.05), (-0.65, 0.62, -0.35), (-0.62, 0.4, -0.66)]
CIRCUMFLEX = [(-0.35, 0.35, 0.58), (-0.75, 0.2, 0.5), (-0.9, -0.2, 0.2), (-0.7, -0.62, -0.15), (-0.45, -0.7, -0.45)]
RIGHT = [(0.05, 0.25, 0.45), (0.3, 0.6, 0.5), (0.68, 0.6, 0.2), (0.78, 0.35, -0.35), (0.5, -0.1, -0.8), (0.0, -0.3, -0.92)]
CAVA = [(0.45, -0.45, -3.2), (0.45, -0.4, -1.0), (0.35, 0.0, -0.5), (0.0, 0.45, -0.4), (-0.2, 0.45, 0.4), (-0.2, 0.25, 0.95)]
CARDIAC_VEIN = [
    (-0.6, 0.5, -0.55),
    (-0.52, 0.72, 0.0),
    (-0.5, 0.6, 0.45),
    (-0.85, 0.1, 0.35),
    (-0.65, -0.65, 0.05),
    (0.1, -0.85, -0.3),
]
FROM_LUNG = {
    1: [(1.0, -0.35, 0.35), (0.6, -0.5, 0.3), (0.3, -0.5, 0.25)],
    -1: [(-1.0, -0.55, 0.4), (-0.6, -0.55, 0.35), (-0.25, -0.5, 0.25)],
}
TO_LUNG = {1: [(0.2, -0.15, 1.0), (0.75, -0.4, 0.75)], -1: [(-0.5, -0.15, 1.0), (-0.8, -0.5, 0.8)]}
LUNG = {1: ((1.25, -0.3, 0.1), (1.0, 1.45, 1.4)), -1: ((-1.15, -0.5, 0.1), (0.8, 1.35, 1.4))}


def chest_vessels(rng: np.random.Generator, heart: Territory) -> Vessels:
    """Grow the vessels that an injection into a coronary artery or the pulmonary artery shows.

    Args:
        rng: source; decides which.
        heart: territory of a chest.

    Returns:
        arteries, capillaries and veins.
    """
    if rng.random() < 0.7:
        arteries = coronary_arteries(rng, heart)
        tissue = capillaries(arteries, heart, rng, rng.uniform(*MUSCLE_BLOOD), (0.72, 1.02))
        return joined([arteries, tissue, cardiac_veins(rng, heart, tissue)])
    sides = [int(rng.choice([-1, 1]))] if rng.random() < 0.6 else [-1, 1]
    arteries = pulmonary_arteries(rng, heart, sides)
    blood = rng.uniform(*LUNG_BLOOD)
    clouds = [arteries]
    for side in sides:
        tissue = capillaries(arteries, lung(heart, side), rng, blood, thin=1.5)
        clouds += [tissue, pulmonary_veins(rng, heart, side, tissue)]
    return joined(clouds)


def cardiac_veins(rng: np.random.Generator, heart: Territory, tissue: Vessels) -> Vessels:
    """Grow the great cardiac vein with its branches, into the coronary sinus.

    Args:
        rng: source.
        heart: territory of a chest.
        tissue: its capillaries.

    Returns:
        bodies of phase 2.
    """
    tube = trunk(places(heart, CARDIAC_VEIN), 1.0)
    at = np.sort((rng.uniform(0, 0.9, 10) * len(tube.length)).astype(int))
    targets = tube.position[at] + rng.normal(0, 0.6, (10, 3)) * heart.half
    radius = rng.uniform(0.6, 1.1, 10)
    veins, inflow = tributaries(rng, tube, at, targets, radius, along(heart, 1.0), 0.45 * heart.half, tissue)
    return joined([veins, collect(tube, at, inflow)[0]])


def pulmonary_veins(rng: np.random.Generator, heart: Territory, side: int, tissue: Vessels) -> Vessels:
    """Grow the veins of a lung, into the left atrium; arguments as `cardiac_veins` and `lung`."""
    region = lung(heart, side)
    tube = trunk(places(heart, FROM_LUNG[side]), 1.0)
    at = np.zeros(4, int)
    targets = places(region, [(0.1 * side, 0.2, 0.6), (0.2 * side, -0.3, -0.6), (0.4 * side, 0.4, -0.2), (0.0, -0.6, 0.2)])
    radius = rng.uniform(3.0, 4.5, 4)
    steer = within(region)
    veins, inflow = tributaries(rng, tube, at, targets, radius, steer, region.half, tissue, THINNEST_PULMONARY, SHORTER)
    return joined([veins, collect(tube, at, inflow)[0]])


def coronary_arteries(rng: np.random.Generator, heart: Territory) -> Vessels:
    """Grow the left or the right coronary artery on the heart's surface, the catheter coming through the aortic arch.

    Args:
        rng: source.
        heart: territory of a chest.

    Returns:
        bodies along the centre lines, amount = pi radius^2 ds, and the catheter's path.
    """
    if rng.random() < 0.4:
        tubes = [(RIGHT, rng.uniform(1.6, 2.1), 0.0)]
        clouds, ostium = [], RIGHT[0]
    else:
        main = trunk(places(heart, LEFT_MAIN), rng.uniform(1.9, 2.4))
        start = float(main.times()[-1])
        tubes = [(LEFT_ANTERIOR, 1.8, start), (CIRCUMFLEX, 1.6, start)]
        clouds, ostium = [main.cloud()], LEFT_MAIN[0]
    for points, radius, start in tubes:
        bent = places(heart, points)
        bent[1:] += rng.normal(0, 1.5, bent[1:].shape)
        tube = trunk(bent, radius, 0.5 * radius)
        share = np.sort(rng.uniform(0.12, 0.97, 9))
        targets = tube.position[(share * len(tube.radius)).astype(int)] + rng.normal(0, 0.5, (9, 3)) * heart.half
        branches = side_branches(rng, tube, share, targets, 0.6)
        grown = side_arteries(rng, tube, start, branches, along(heart, 0.97), 0.45 * heart.half, THINNEST_CORONARY)
        clouds += [tube.cloud(start), grown]
    return joined(clouds).reached_by(trunk(places(heart, [*AORTA, ostium]), 1.0).position[::5])


def lung(heart: Territory, side: int) -> Territory:
    """Return about where a lung lies beside a heart; side 1 is the patient's right, -1 the left."""
    centre, half = LUNG[side]
    return Territory("lung", places(heart, [centre])[0], heart.half * half)


def pulmonary_arteries(rng: np.random.Generator, heart: Territory, sides: list[int]) -> Vessels:
    """Grow the pulmonary arteries of one lung or both, the catheter coming through vena cava and right heart.

    Args:
        rng: source.
        heart: territory of a chest.
        sides: of the lungs, as in `lung`.

    Returns:
        as `coronary_arteries`.
    """
    clouds = []
    for side in sides:
        first = [CAVA[-1]] if len(sides) == 2 else []
        tube = trunk(places(heart, [*first, *TO_LUNG[side]]), rng.uniform(6.5, 8.5), 6.0)
        region = lung(heart, side)
        targets = places(region, [(0.1 * side, 0.3, 0.6), (0.2 * side, -0.3, -0.5), (0.4 * side, 0.4, -0.2), (0.0, -0.6, 0.3)])
        branches = side_branches(rng, tube, np.array([0.8, 0.98, 0.98, 0.9]), targets, 0.6)
        grown = side_arteries(rng, tube, 0.0, branches, within(region), region.half, THINNEST_PULMONARY, SHORTER)
        clouds += [tube.cloud(), grown]
    way = CAVA if len(sides) == 2 else [*CAVA, TO_LUNG[sides[0]][0]]
    return joined(clouds).reached_by(trunk(places(heart, way), 1.0).position[::5])
