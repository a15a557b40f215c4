"""A patient's CT as attenuation on a regular grid, and what it is made of.

World coordinates are RAS millimetres: x to the patient's right, y anterior, z superior (NIfTI's RAS+).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from angiomorph.simulate.scene.nifti import Triple

BONE = 1.25  # attenuation from which a voxel counts as bone: 250 HU
TISSUE = 0.5
SOFT = 1.1  # attenuation up to which a voxel is water-like alone: 100 HU
BONE_DENSITY = 1.92  # g/cm^3 of cortical bone
BONE_OVER_WATER = 0.2616 / 0.1937  # of the mass attenuation coefficients, cm^2/g, at 70 keV, about CT's mean energy at 120 kV


@dataclass(frozen=True)
class Volume:
    """Linear attenuation on a regular grid aligned with the world axes.

    Args:
        attenuation: `(Z, Y, X)` float32, relative to water at CT energy, `max(1 + HU / 1000, 0)`.
        spacing: voxel size along x, y, z, mm.
        origin: world position of the centre of voxel [0, 0, 0], x, y, z, mm.
    """

    attenuation: np.ndarray
    spacing: Triple
    origin: Triple


def attenuation_from_hu(hu: np.ndarray) -> np.ndarray:
    """Linear attenuation of CT numbers relative to water: `1 + hu / 1000`.

    Args:
        hu: any shape, Hounsfield units.

    Returns:
        float32, >= 0, and 0 below -900 HU, where a scan holds only air and noise.
    """
    hu = np.asarray(hu, np.float32)
    return np.where(hu < -900, 0, np.maximum(1 + hu / 1000, 0)).astype(np.float32)


def materials(volume: Volume) -> np.ndarray:
    """Split a volume into water-like tissue and bone mineral that together have its attenuation at CT energy.

    With the attenuation a and the bone share `f = clip((a - 1.1) / (c - 1.1), 0, 1)`, c that of cortical bone of 1.92 g/cm^3:
    `water = a` up to 1.1 (100 HU) and `1.1 (1 - f)` from there, `bone = (a - water) / BONE_OVER_WATER`, so that
    `water + BONE_OVER_WATER * bone = a`. Above c, as in enamel and fillings, it is bone denser than 1.92 g/cm^3.

    Args:
        volume: CT of anything in a patient.

    Returns:
        `(Z, Y, X, 2)` float32, densities of tissue and of bone, g/cm^3, >= 0.

    Source:
        mass attenuation coefficients of water and cortical bone (ICRU-44) at 70 keV, interpolated in log-log between 60 and
        80 keV of J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (NIST Standard Reference Database 126).
    """
    cortical = BONE_DENSITY * BONE_OVER_WATER
    share = np.clip((volume.attenuation - SOFT) / np.float32(cortical - SOFT), 0, 1)
    densities = np.empty((*volume.attenuation.shape, 2), np.float32)
    densities[..., 0] = np.minimum(volume.attenuation, SOFT) * (1 - share)
    densities[..., 1] = (volume.attenuation - densities[..., 0]) / np.float32(BONE_OVER_WATER)
    return densities
