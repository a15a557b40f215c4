"""The patient that is projected: a CT and its random variations."""

from __future__ import annotations

import os

import numpy as np
from scipy import ndimage

from angiomorph.dicom.ct import is_dicom, read_ct
from angiomorph.errors import InputError
from angiomorph.simulate.nifti import load_nifti
from angiomorph.simulate.projector import resample
from angiomorph.simulate.territory import patient
from angiomorph.simulate.volume import BONE, TISSUE, Volume, attenuation_from_hu

__all__ = ["Volume", "elastic_control", "load_ct", "prolong", "thin_out", "vary"]

TRABECULAE = 0.25  # relative density variation of bone from voxel to voxel
NECK = 60.0  # mm of body added where a scan ends in it
CUT = 0.005  # of a slice that tissue fills if it cuts through the body
LARGEST, FINEST = 32_000_000, 0.9  # voxels, mm


def load_ct(path: str | os.PathLike[str]) -> Volume:
    """Read a CT as attenuation, without its table, prolonged where the scan ends in the body, thinned out if it is very large.

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
    return prolong(patient(thin_out(Volume(attenuation, spacing, origin))))


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
