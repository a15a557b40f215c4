"""Bodies of ellipsoids, simple enough that where their parts lie is known.

from tests.simulate.bodies import chest, neck
"""

import numpy as np

from angiomorph.simulate.scene.volume import Volume, attenuation_from_hu

SPACING = (3.0, 3.0, 4.0)  # mm
CHEST_ORIGIN, NECK_ORIGIN = (-200.0, -150.0, -200.0), (-120.0, -120.0, -150.0)
HEART, HEART_HALF = np.array((-25.0, 25.0, -20.0)), np.array((48.0, 45.0, 50.0))
LARYNX_FRONT = 55.0  # mm


def _axes(shape, origin):
    return np.meshgrid(*(np.arange(n) * SPACING[2 - a] + origin[2 - a] for a, n in enumerate(shape)), indexing="ij")


def _within(axes, centre, half):
    z, y, x = axes
    return ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2 + ((z - centre[2]) / half[2]) ** 2 < 1


def chest() -> Volume:
    """Return a trunk with spine, two lungs above a diaphragm, and the heart between them, on a thin table."""
    axes = z, y, x = _axes((100, 100, 134), CHEST_ORIGIN)
    hu = np.where((x / 165) ** 2 + (y / 105) ** 2 < 1, 20.0, -1000.0)
    hu[_within(axes, (0, 0, -20), (130, 85, 150)) & (np.abs(x) > 20) & (z > -70)] = -850
    hu[_within(axes, HEART, HEART_HALF)] = 40
    hu[(np.hypot(x, y + 65) < 18)] = 300
    hu[(np.abs(x) < 4) & (y > -100) & (y < -65)] = 300
    hu[np.abs(y + 135) < 4] = 0
    return Volume(attenuation_from_hu(hu), SPACING, CHEST_ORIGIN)


def neck() -> Volume:
    """Return a neck that widens to shoulders below, with its spine and airway."""
    z, y, x = _axes((80, 80, 80), NECK_ORIGIN)
    wide = 1 + 0.6 / (1 + np.exp((z + 80) / 12))
    hu = np.where((x / (58 * wide)) ** 2 + (y / 60) ** 2 < 1, 40.0, -1000.0)
    hu[(np.hypot(x, y + 5) < 16) & (np.abs((z + 400) % 18 - 9) > 1)] = 350
    hu[(np.abs(x) < 4) & (y > -45) & (y < -20)] = 350
    hu[np.hypot(x, y - 35) < 8] = -1000
    return Volume(attenuation_from_hu(hu), SPACING, NECK_ORIGIN)
