"""The vessels of heart and lungs that an injection fills."""

from __future__ import annotations

import numpy as np

from angiomorph.simulate.scene.territory import Territory
from angiomorph.simulate.vessels.arteries import Points, places, side_tips
from angiomorph.simulate.vessels.capillaries import capillaries
from angiomorph.simulate.vessels.cloud import Inflow, Vessels, join_inflows, join_vessels
from angiomorph.simulate.vessels.growth import (
    Branches,
    Trunk,
    flow_into,
    grow,
    keep_along,
    keep_within,
    lay_trunk,
    supply_branches,
)
from angiomorph.simulate.vessels.veins import LAID, collect, drain, tributaries

THINNEST_CORONARY, THINNEST_PULMONARY, THINNEST_PULMONARY_VEIN = 0.25, 0.5, 0.75  # mm radius
SHORTER = 0.5  # branches of pulmonary vessels, for their width

# All below is chosen by eye. What is injected, drawn once a chest: shares.
CORONARY = 0.7  # of chests, a coronary artery; else pulmonary ones
RIGHT_CORONARY = 0.4  # of the former, the right one
ONE_LUNG = 0.6  # of the latter, the artery of one lung; else both

# Radii, mm: drawn (low, high), or that of a tube from its beginning on.
RIGHT_RADIUS, MAIN_RADIUS, ANTERIOR_RADIUS, CIRCUMFLEX_RADIUS = (1.6, 2.1), (1.9, 2.4), 1.8, 1.6
PULMONARY_RADIUS, PULMONARY_END = (6.5, 8.5), 6.0
CARDIAC_VEIN_RADIUS, PULMONARY_VEIN_RADIUS = (0.6, 1.1), (3.0, 4.5)
CORONARY_TAPER = 0.5  # of the radius at its end over that at its beginning

# Branches of a coronary artery: how many, the part of its length along which they leave, where the last carries it on, and
# their radii over its own there.
SIDE_BRANCHES, LEAVE_ALONG, CARRIED_ON, SIDE_PART = 8, (0.12, 0.95), 0.97, 0.6
VEIN_BRANCHES, ENTER_ALONG = 10, (0.0, 0.9)  # the same of the great cardiac vein
PULMONARY_LEAVES, PULMONARY_PART = (0.8, 0.98, 0.98, 0.9), 0.42  # the same of a pulmonary artery

MUSCLE = (0.72, 1.02)  # the heart's muscle from its inner to its outer surface, half axes
ON_HEART, ON_VEIN = 0.97, 1.0  # surfaces that vessels keep to, half axes
HEART_SCATTER, BRANCH_SPREAD, VEIN_SPREAD = 0.45, 0.5, 0.6  # of targets, half axes of the heart
CORONARY_SPREAD = 1.5  # standard deviation of a coronary artery's points, mm
EVERY = 5  # points of a tube that a catheter's path has

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


def chest_vessels(rng: np.random.Generator, heart: Territory, transit: float) -> tuple[Vessels, Inflow]:
    """Grow the vessels that an injection into a coronary artery or the pulmonary artery shows.

    Args:
        rng: source; decides which.
        heart: territory of a chest.
        transit: mean time that blood takes through capillaries, s.

    Returns:
        arteries, capillaries and veins, and what leaves the veins.
    """
    if rng.random() < CORONARY:
        arteries, ends = coronary_arteries(rng, heart)
        muscle, outflow = capillaries(ends, heart, rng, transit, MUSCLE)
        veins, out = cardiac_veins(rng, heart, outflow)
        return join_vessels([arteries, muscle, veins]), out
    sides = [int(rng.choice([-1, 1]))] if rng.random() < ONE_LUNG else [-1, 1]
    lungs = [_lung_vessels(rng, heart, side, len(sides) == 2, transit) for side in sides]
    clouds, outs = zip(*lungs, strict=True)
    way = CAVA if len(sides) == 2 else [*CAVA, TO_LUNG[sides[0]][0]]
    return join_vessels(clouds).replace_path(lay_trunk(places(heart, way), LAID).position[::EVERY]), join_inflows(*outs)


def _lung_vessels(
    rng: np.random.Generator, heart: Territory, side: int, from_trunk: bool, transit: float
) -> tuple[Vessels, Inflow]:
    arteries, ends = pulmonary_arteries(rng, heart, side, from_trunk)
    tissue, outflow = capillaries(ends, lung(heart, side), rng, transit)
    veins, out = pulmonary_veins(rng, heart, side, outflow)
    return join_vessels([arteries, tissue, veins]), out


def cardiac_veins(rng: np.random.Generator, heart: Territory, tissue: Inflow) -> tuple[Vessels, Inflow]:
    """Grow the great cardiac vein with its branches, into the coronary sinus.

    Args:
        rng: source.
        heart: territory of a chest.
        tissue: outflow of its muscle.

    Returns:
        bodies of phase 2, and what leaves the coronary sinus.
    """
    tube = lay_trunk(places(heart, CARDIAC_VEIN), LAID)
    at = np.sort((rng.uniform(*ENTER_ALONG, VEIN_BRANCHES) * len(tube.length)).astype(int))
    targets = tube.position[at] + rng.normal(0, VEIN_SPREAD, (VEIN_BRANCHES, 3)) * heart.half
    radius = rng.uniform(*CARDIAC_VEIN_RADIUS, VEIN_BRANCHES)
    [(veins, inflow)] = drain(
        [tributaries(rng, tube, at, targets, radius, keep_along(heart, ON_VEIN), HEART_SCATTER * heart.half)], tissue
    )
    sinus, out = collect(tube, at, inflow)
    return join_vessels([veins, sinus]), out


def pulmonary_veins(rng: np.random.Generator, heart: Territory, side: int, tissue: Inflow) -> tuple[Vessels, Inflow]:
    """Grow the veins of a lung, into the left atrium; arguments and returns as of `cardiac_veins` and `lung`."""
    region = lung(heart, side)
    tube = lay_trunk(places(heart, FROM_LUNG[side]), LAID)
    at = np.zeros(4, int)
    targets = places(region, [(0.1 * side, 0.2, 0.6), (0.2 * side, -0.3, -0.6), (0.4 * side, 0.4, -0.2), (0.0, -0.6, 0.2)])
    radius = rng.uniform(*PULMONARY_VEIN_RADIUS, 4)
    tree = tributaries(rng, tube, at, targets, radius, keep_within(region), region.half, THINNEST_PULMONARY_VEIN, SHORTER)
    [(veins, inflow)] = drain([tree], tissue)
    wide, out = collect(tube, at, inflow)
    return join_vessels([veins, wide]), out


def coronary_arteries(rng: np.random.Generator, heart: Territory) -> tuple[Vessels, Inflow]:
    """Grow the left or the right coronary artery on the heart's surface, the catheter coming through the aortic arch.

    Args:
        rng: source.
        heart: territory of a chest.

    Returns:
        bodies along the centre lines, amount = pi radius^2 ds, with the catheter's path; and what they bring to the tissue.
    """
    if rng.random() < RIGHT_CORONARY:
        tube, branches = _coronary(rng, heart, RIGHT, rng.uniform(*RIGHT_RADIUS))
        cloud, ends, _ = supply_branches(tube, [branches])
        return cloud.replace_path(_through_aorta(heart, RIGHT[0])), ends
    main = lay_trunk(places(heart, LEFT_MAIN), rng.uniform(*MAIN_RADIUS))
    grown = [_coronary(rng, heart, LEFT_ANTERIOR, ANTERIOR_RADIUS), _coronary(rng, heart, CIRCUMFLEX, CIRCUMFLEX_RADIUS)]
    whole = flow_into([branches for _, branches in grown])
    cloud, times = main.supply(np.array([len(main.length) - 1]), np.array([whole]))
    trees = [supply_branches(tube, [branches], times[-1]) for tube, branches in grown]
    joint = join_vessels([cloud, *(cloud for cloud, _, _ in trees)])
    return joint.replace_path(_through_aorta(heart, LEFT_MAIN[0])), join_inflows(*(ends for _, ends, _ in trees))


def _coronary(rng: np.random.Generator, heart: Territory, points: Points, radius: float) -> tuple[Trunk, Branches]:
    """Lay a coronary artery and let branches grow from it, the last of which carries it on."""
    bent = places(heart, points)
    bent[1:] += rng.normal(0, CORONARY_SPREAD, bent[1:].shape)
    tube = lay_trunk(bent, radius, CORONARY_TAPER * radius)
    share = np.append(np.sort(rng.uniform(*LEAVE_ALONG, SIDE_BRANCHES)), CARRIED_ON)
    targets = tube.position[(share * len(tube.radius)).astype(int)] + rng.normal(0, BRANCH_SPREAD, (len(share), 3)) * heart.half
    index, tips = side_tips(rng, tube, share, targets, np.array([SIDE_PART] * SIDE_BRANCHES + [1.0]))
    return tube, (index, grow(tips, rng, keep_along(heart, ON_HEART), HEART_SCATTER * heart.half, THINNEST_CORONARY))


def _through_aorta(heart: Territory, ostium: tuple[float, float, float]) -> np.ndarray:
    return lay_trunk(places(heart, [*AORTA, ostium]), LAID).position[::EVERY]


def lung(heart: Territory, side: int) -> Territory:
    """Return about where a lung lies beside a heart; side 1 is the patient's right, -1 the left."""
    centre, half = LUNG[side]
    return Territory("lung", places(heart, [centre])[0], heart.half * half)


def pulmonary_arteries(rng: np.random.Generator, heart: Territory, side: int, from_trunk: bool) -> tuple[Vessels, Inflow]:
    """Grow the pulmonary arteries of one lung.

    Args:
        rng: source.
        heart: territory of a chest.
        side: side of the lung, as in `lung`.
        from_trunk: let the injection be where both lungs' arteries part, else in this one's.

    Returns:
        bodies along the centre lines, amount = pi radius^2 ds, and what they bring to the tissue.
    """
    first = [CAVA[-1]] if from_trunk else []
    tube = lay_trunk(places(heart, [*first, *TO_LUNG[side]]), rng.uniform(*PULMONARY_RADIUS), PULMONARY_END)
    region = lung(heart, side)
    targets = places(region, [(0.1 * side, 0.3, 0.6), (0.2 * side, -0.3, -0.5), (0.4 * side, 0.4, -0.2), (0.0, -0.6, 0.3)])
    index, tips = side_tips(rng, tube, np.array(PULMONARY_LEAVES), targets, PULMONARY_PART)
    cloud, ends, _ = supply_branches(
        tube, [(index, grow(tips, rng, keep_within(region), region.half, THINNEST_PULMONARY, stretch=SHORTER))]
    )
    return cloud, ends
