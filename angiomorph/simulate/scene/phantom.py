"""A procedural head, for when there is no CT: ellipsoids of tissue, bone and air arranged as in a head and neck."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from angiomorph.simulate.scene.volume import Volume, attenuation_from_hu

SPACING = 1.5  # mm
LOW, HIGH = np.array((-90.0, -115.0, -190.0)), np.array((90.0, 125.0, 90.0))  # mm, the brain's centre at 0
SOFT, FAT, BRAIN, AIR, SPONGY, COMPACT, PETROUS, ENAMEL, FILLING = 50, -80, 35, -1000, 500, 1100, 1500, 2000, 3000  # HU

# The parts below are (centre, half axes) in mm and a value in HU, arranged by eye on a head of usual size; so is what is drawn:
PLACE_SPREAD, SIZE_RANGE = 0.5, (0.96, 1.04)  # standard deviation of each centre, mm; factors of each half axis
TEXTURE, TEXTURE_WIDTH, TEXTURED = 15, 2, -200  # HU and voxels, standard deviations; HU above which tissue has a texture
SKULL_THICKNESS, INNER_TABLE = (5, 8), 1.5  # mm
MASTOID_CELLS, MASTOID_SPREAD = 25, 5  # a side; standard deviation of their places, mm
FRONTAL_SINUS = (8, 16)  # half axis along the body, mm
TEETH, MISSING, FILLED = 14, 0.1, 0.25  # of a jaw; shares of all, and of those there are
INNER_EAR, EYE, VENTRICLE = 2200, 20, 8  # HU

Part = tuple[tuple[float, float, float], tuple[float, float, float], float]  # centre, half axes, mm; HU


def procedural_head(seed: int) -> Volume:
    """Build a head: skull with its base, petrous bones, sinuses, orbits, teeth with fillings, jaw, airway and cervical spine.

    Args:
        seed: random seed of sizes, asymmetry and textures.

    Returns:
        the volume, 1.5 mm, centred on the brain; the same for the same seed.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0)))
    shape = np.ceil((HIGH - LOW) / SPACING).astype(int)[::-1]
    hu = np.full(shape, float(AIR), np.float32)
    for centre, half, value in (*_outside(), *_skull(rng), *_base(rng), *_face(rng), *_teeth(rng), *_spine(rng)):
        _paint(hu, np.array(centre) + rng.normal(0, PLACE_SPREAD, 3), np.array(half) * rng.uniform(*SIZE_RANGE, 3), value)
    texture = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), TEXTURE_WIDTH)
    hu += np.where(hu > TEXTURED, TEXTURE * texture / texture.std(), 0).astype(np.float32)
    return Volume(attenuation_from_hu(hu), (SPACING,) * 3, (float(LOW[0]), float(LOW[1]), float(LOW[2])))


def _paint(hu: np.ndarray, centre: np.ndarray, half: np.ndarray, value: float) -> None:
    """Fill an ellipsoid, its edge voxels in part."""
    low = np.maximum(np.floor((centre - half - LOW) / SPACING).astype(int) - 1, 0)[::-1]
    high = (np.ceil((centre + half - LOW) / SPACING).astype(int) + 2)[::-1]
    box = hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    axes = [
        ((np.arange(n) + start) * SPACING + LOW[axis] - centre[axis]) / half[axis]
        for n, start, axis in zip(box.shape, low, (2, 1, 0), strict=True)
    ]
    away = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    share = np.clip((1 - away) * float(half.min()) / SPACING + 0.5, 0, 1)
    box += (share * (value - box)).astype(np.float32)


def _outside() -> Iterator[Part]:
    yield (0, 0, 0), (77, 96, 84), SOFT
    yield (0, 45, -60), (58, 55, 62), SOFT
    yield (0, 102, -38), (15, 18, 20), SOFT
    for z in range(-190, -50, 10):
        yield (0, -18, z), (56, 58, 24), FAT
        yield (0, -16, z), (50, 52, 22), SOFT


def _skull(rng: np.random.Generator) -> Iterator[Part]:
    thick = rng.uniform(*SKULL_THICKNESS)
    yield (0, -4, 2), (63 + thick, 77 + thick, 62 + thick), COMPACT
    yield (0, -4, 2), (65 + thick / 2, 79 + thick / 2, 64 + thick / 2), SPONGY
    yield (0, -4, 2), (63 + INNER_TABLE, 77 + INNER_TABLE, 62 + INNER_TABLE), COMPACT
    yield (0, -4, 2), (63, 77, 62), BRAIN
    for side in (-1, 1):
        yield (9 * side, 2, 8), (7, 22, 7), VENTRICLE


def _base(rng: np.random.Generator) -> Iterator[Part]:
    """Give the cranial fossae their steps, the petrous bones with mastoid cells and inner ear, the clivus and the sella."""
    yield (0, 40, -40), (50, 34, 5), COMPACT
    yield (0, 8, -42), (12, 12, 9), SPONGY
    yield (0, 7, -40), (6, 6, 5), AIR
    yield (0, -12, -52), (11, 12, 14), SPONGY
    for side in (-1, 1):
        for step in np.linspace(0, 1, 6):
            yield (side * (18 + 42 * step), -6 - 22 * step, -44), (10, 10, 9), PETROUS
        yield (side * 42, -20, -43), (5, 5, 4), INNER_EAR
        for _ in range(MASTOID_CELLS):
            x, y, z = rng.normal(0, MASTOID_SPREAD, 3)
            yield (side * 62 + x, y - 32, z - 54), (2.5, 2.5, 3), AIR
    yield (0, -32, -62), (15, 17, 12), BRAIN


def _face(rng: np.random.Generator) -> Iterator[Part]:
    yield (0, 82, -18), (15, 6, rng.uniform(*FRONTAL_SINUS)), AIR
    yield (0, 62, -52), (12, 30, 20), AIR
    yield (0, 62, -50), (1.5, 28, 18), SPONGY
    yield (0, 10, -85), (10, 9, 40), AIR
    for side in (-1, 1):
        yield (33 * side, 66, -26), (21, 26, 19), SPONGY
        yield (33 * side, 70, -26), (18, 26, 16), FAT
        yield (33 * side, 78, -26), (12, 12, 12), EYE
        yield (30 * side, 58, -58), (17, 19, 17), COMPACT
        yield (30 * side, 58, -58), (15, 17, 15), AIR
        yield (6 * side, 55, -38), (4, 16, 8), AIR
        yield (56 * side, 52, -40), (5, 26, 5), COMPACT
        for step in np.linspace(0, 1, 5):
            yield (49 * side, 16 + 8 * step, -60 - 38 * step), (5, 11, 10), COMPACT
    for angle in np.linspace(-1.4, 1.4, 23):
        yield (46 * np.sin(angle), 34 + 50 * np.cos(angle), -104), (6, 6, 13), COMPACT
        yield (42 * np.sin(angle), 36 + 46 * np.cos(angle), -74), (7, 7, 7), SPONGY


def _teeth(rng: np.random.Generator) -> Iterator[Part]:
    for angle in np.linspace(-1.25, 1.25, TEETH):
        for z in (-81, -92):
            if rng.random() < MISSING:
                continue
            place = 40 * math.sin(angle), 38 + 46 * math.cos(angle), z
            yield place, (3.2, 3.2, 6.5), ENAMEL
            if rng.random() < FILLED:
                yield place, (2.5, 2.5, 2.5), FILLING


def _spine(rng: np.random.Generator) -> Iterator[Part]:
    for number, z in enumerate(np.arange(-74.0, -200, -17).tolist()):
        y = -22 + 6 * math.sin(number / 2)
        yield (0, y, z), (14, 11, 7.5), COMPACT
        yield (0, y, z), (12, 9, 5.5), SPONGY
        yield (0, y - 32, z - 4), (4, 16, 5), COMPACT
        for side in (-1, 1):
            yield (20 * side, y - 10, z), (7, 8, 8), COMPACT
            yield (12 * side, y - 22, z), (10, 4, 6), COMPACT
