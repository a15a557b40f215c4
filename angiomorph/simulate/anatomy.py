"""The head that is projected: a CT volume, or a procedural head, and its random variations.

World coordinates are RAS millimetres: x to the patient's right, y anterior, z superior (NIfTI's RAS+).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from angiomorph.dicom.ct import is_dicom, read_ct
from angiomorph.errors import InputError
from angiomorph.simulate.nifti import Triple, load_nifti
from angiomorph.simulate.projector import resample

BONE = 1.25  # attenuation from which a voxel counts as bone: 250 HU
TISSUE = 0.5
SOFT = 1.1  # attenuation up to which a voxel is water-like alone: 100 HU
BONE_DENSITY = 1.92  # g/cm^3 of cortical bone
BONE_OVER_WATER = 0.2616 / 0.1937  # of the mass attenuation coefficients, cm^2/g, at 70 keV, about CT's mean energy at 120 kV
TRABECULAE = 0.25  # relative density variation of bone from voxel to voxel
NECK = 60.0  # mm of body added where a scan ends in it
CUT = 0.005  # of a slice that tissue fills if it cuts through the body
LARGEST, FINEST = 32_000_000, 0.9  # voxels, mm


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


@dataclass(frozen=True)
class Cavity:
    """The intracranial cavity as an axis-aligned ellipsoid: centre and half axes (x, y, z), mm."""

    centre: np.ndarray
    half: np.ndarray


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
        volume: of anything in a patient.

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


def load_ct(path: str | os.PathLike[str]) -> Volume:
    """Read a CT as attenuation, prolonged where the scan ends in the body, and thinned out if it is very large.

    Values of a NIfTI file within 0..1 are taken as `(HU + 1000) / 2900`, all others as HU. Of a volume of more than 32 million
    voxels, those smaller than 0.9 mm are averaged to that size.

    Args:
        path: NIfTI file, or a DICOM CT series: its folder or one file of it.

    Returns:
        the volume in RAS axes.

    Raises:
        InputError: as `nifti.load_nifti` and `dicom.ct.read_ct`; or nothing in it attenuates like tissue.
    """
    values, spacing, origin = read_ct(path) if is_dicom(path) else load_nifti(path)
    if values.min() >= 0 and values.max() <= 1:
        values = 2900 * values - 1000
    attenuation = attenuation_from_hu(values)
    if np.mean(attenuation > TISSUE) < 0.01:
        raise InputError(
            f"{path}: expected a CT in Hounsfield units (or scaled to 0..1), found values {values.min():g}..{values.max():g}, "
            "nearly all of them air; check its rescale"
        )
    return prolong(thin_out(Volume(attenuation, spacing, origin)))


def thin_out(volume: Volume, largest: int = LARGEST) -> Volume:
    """Average the voxels of a very large volume along each axis where they are smaller than 0.9 mm.

    Args:
        volume: of any size.
        largest: voxel count up to which nothing is done.

    Returns:
        a volume of the same extent and mean; the volume itself if it is not so large.
    """
    if volume.attenuation.size <= largest:
        return volume
    values, spacing, origin = volume.attenuation, list(volume.spacing), list(volume.origin)
    for axis in range(3):
        size = values.shape[2 - axis]
        count = max(int(size * spacing[axis] / FINEST + 1e-6), 2)
        if count < size:
            values = _averaged(values, 2 - axis, count)
            origin[axis] += (size / count - 1) / 2 * spacing[axis]
            spacing[axis] *= size / count
    return Volume(values, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))


def _averaged(values: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Means over `count` equal intervals of an axis, voxels that two intervals share in part."""
    size = values.shape[axis]
    edges = np.arange(count + 1) * (size / count)
    voxel = np.arange(size)
    shares = np.clip(np.minimum(edges[1:, None], voxel + 1) - np.maximum(edges[:-1, None], voxel), 0, None) * (count / size)
    moved = np.moveaxis(values, axis, -1) @ shares.T.astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(moved, -1, axis))


def prolong(volume: Volume, length: float = NECK) -> Volume:
    """Repeat the lowest and the highest slice outwards where they cut through tissue, so that no view shows the scan's end.

    Args:
        volume: with RAS axes.
        length: mm to add at either end.

    Returns:
        the longer volume.
    """
    slices = round(length / volume.spacing[2])
    low, high = (slices if np.mean(volume.attenuation[end] > TISSUE) > CUT else 0 for end in (0, -1))
    if not low and not high:
        return volume
    attenuation = np.pad(volume.attenuation, ((low, high), (0, 0), (0, 0)), mode="edge")
    x, y, z = volume.origin
    return Volume(attenuation, volume.spacing, (x, y, z - low * volume.spacing[2]))


def find_cavity(volume: Volume) -> Cavity:
    """Find the intracranial cavity: the largest soft region with bone on its left, right, front, back and above it.

    Args:
        volume: a head.

    Returns:
        the ellipsoid that spans it.

    Raises:
        InputError: there is no such region.
    """
    step = tuple(max(1, round(3 / volume.spacing[axis])) for axis in (2, 1, 0))
    coarse = volume.attenuation[:: step[0], :: step[1], :: step[2]]
    bone = coarse > BONE
    enclosed = ~bone & (coarse > TISSUE) & _bone_after(bone, 0)
    for axis in (1, 2):
        enclosed &= _bone_after(bone, axis) & _bone_after(bone[::-1, ::-1, ::-1], axis)[::-1, ::-1, ::-1]
    parts, count = ndimage.label(ndimage.binary_erosion(enclosed, iterations=2))
    if count == 0:
        raise InputError("CT: expected a head with a skull around its brain, found no region enclosed by bone; give a head CT")
    largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    index = np.argwhere(largest) * step
    low, high = np.percentile(index, (0.5, 99.5), axis=0)
    spacing = np.array(volume.spacing)
    margin = 2 * np.array(step)[::-1] * spacing
    centre = np.array(volume.origin) + (low + high)[::-1] / 2 * spacing
    return Cavity(centre, (high - low)[::-1] / 2 * spacing + margin)


def _bone_after(bone: np.ndarray, axis: int) -> np.ndarray:
    return np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis), axis)


def vary(volume: Volume, rng: np.random.Generator, deformation: float) -> Volume:
    """Make another patient of a head: mirrored or not, scaled, elastically deformed, with other bone.

    Args:
        volume: the head.
        rng: source of the differences.
        deformation: standard deviation of the elastic displacement, mm; scaling is within +-2 % per mm of it.

    Returns:
        a volume on the same grid.
    """
    spacing, shape = np.array(volume.spacing), np.array(volume.attenuation.shape)
    amplitude = min(0.02 * deformation, 0.1)
    scale = (1 + rng.uniform(-amplitude, amplitude)) * (1 + rng.uniform(-amplitude / 2, amplitude / 2, 3))
    mirror = rng.random() < 0.5
    control = elastic_control(rng, deformation) / spacing[:, None, None, None]
    attenuation = volume.attenuation[:, :, ::-1] if mirror else volume.attenuation
    moved = resample(np.ascontiguousarray(attenuation), 1 / scale[::-1], (shape - 1) / 2, control)
    return Volume(_vary_bone(moved, rng), volume.spacing, volume.origin)


def elastic_control(rng: np.random.Generator, deformation: float) -> np.ndarray:
    """Draw a smooth random displacement field.

    Args:
        rng: source.
        deformation: standard deviation, mm.

    Returns:
        `(3, 24, 24, 24)` float32, mm along x, y, z, sampled over the whole volume (axes Z, Y, X).
    """
    coarse = rng.normal(0, deformation, (3, 6, 6, 6))
    return np.stack([ndimage.zoom(c, 4, order=3, mode="nearest", grid_mode=True) for c in coarse]).astype(np.float32)


def _vary_bone(attenuation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    bone = attenuation > BONE
    density = np.float32(rng.uniform(0.85, 1.25))
    texture = 1 + np.float32(TRABECULAE) * rng.standard_normal(int(bone.sum()), np.float32)
    attenuation[bone] += (attenuation[bone] - np.float32(BONE)) * (density * texture - 1)
    return attenuation
