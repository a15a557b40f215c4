"""The patient that is projected: a CT and its random variations."""

from __future__ import annotations

import os

import numpy as np
from scipy import fft, ndimage

from angiomorph.dicom.ct import is_dicom, read_ct
from angiomorph.errors import InputError
from angiomorph.simulate.compiled import njit, prange
from angiomorph.simulate.scene.nifti import Triple, load_nifti
from angiomorph.simulate.scene.territory import patient
from angiomorph.simulate.scene.volume import BONE, TISSUE, Volume, attenuation_from_hu
from angiomorph.simulate.xray.projector import resample

__all__ = ["Volume", "elastic_control", "load_ct", "prolong", "sharpen_bone", "thin_out", "vary_anatomy"]

POINT_SPREAD = (0.45, 0.55)  # mm and voxels, the larger: standard deviation of a CT's blur and of its interpolation
DEBLURRINGS = 2  # iterations: more amplify the CT's noise
DENSEST = 1.2  # attenuation over BONE up to which bone is deblurred: fillings would ring
TRABECULAE = (0.1, 0.3)  # relative density variation of bone
ROUGHNESS, COARSE = 2.6, 10.0  # its power falls by frequency to this power from this wavelength, mm, as in an angiogram's bone
WINDING, STRETCH = 7.0, 50.0  # the same of the field whose zeros are sutures and vessels' grooves
GROOVE = (0.4, 0.9)  # share of bone that a groove lacks
HALF_WIDTH = 0.8  # mm, of a groove
TILE = (108, 120, 125)  # voxels along z, y, x, of texture that is repeated
NECK = 60.0  # mm of body added where a scan ends in it
CUT = 0.005  # of a slice that tissue fills if it cuts through the body
LARGEST, FINEST = 32_000_000, 0.9  # voxels, mm


def load_ct(path: str | os.PathLike[str]) -> Volume:
    """Read a CT as attenuation: without its table, bone sharpened, prolonged where it ends in the body, thinned out if large.

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
    return prolong(sharpen_bone(patient(thin_out(Volume(attenuation, spacing, origin)))))


def thin_out(volume: Volume, largest: int = LARGEST) -> Volume:
    """Average the voxels of a very large volume along each axis where they are smaller than 0.9 mm.

    Args:
        volume: CT of any size.
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
            values = _average(values, 2 - axis, count)
            origin[axis] += (size / count - 1) / 2 * spacing[axis]
            spacing[axis] *= size / count
    return Volume(values, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))


def _average(values: np.ndarray, axis: int, count: int) -> np.ndarray:
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


def vary_anatomy(volume: Volume, rng: np.random.Generator, deformation: float) -> Volume:
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
    return Volume(_vary_bone(moved, volume.spacing, rng), volume.spacing, volume.origin)


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


def sharpen_bone(volume: Volume) -> Volume:
    """Undo part of a CT's blur in bone, by Van Cittert's iteration with the constraint that bone stays bone.

    With the excess e over 250 HU and Gaussian blur G: `e_(n+1) = max(e_n + e_0 - G e_n, e_0 / 5)` where e_0 > 0, then scaled to
    the sum of e_0. What exceeds 1450 HU is left as it is.

    Args:
        volume: a CT.

    Returns:
        the same volume where there is no bone.

    Source: P. A. Jansson, Deconvolution of Images and Spectra, 2nd ed., Academic Press 1997, ch. 4.
    """
    excess = np.maximum(volume.attenuation - np.float32(BONE), 0)
    blurred = np.minimum(excess, np.float32(DENSEST))
    spread = [max(POINT_SPREAD[0] / size, POINT_SPREAD[1]) for size in volume.spacing[::-1]]
    sharp = blurred
    for _ in range(DEBLURRINGS):
        sharp = np.maximum(sharp + blurred - ndimage.gaussian_filter(sharp, spread, truncate=3.0), blurred / 5)
        sharp[blurred == 0] = 0
    sharp *= blurred.sum(dtype=np.float64) / max(sharp.sum(dtype=np.float64), 1e-6)
    return Volume(volume.attenuation + np.where(blurred > 0, sharp - blurred, 0), volume.spacing, volume.origin)


def _vary_bone(attenuation: np.ndarray, spacing: Triple, rng: np.random.Generator) -> np.ndarray:
    density = np.float32(rng.uniform(0.85, 1.25)) * _texture(spacing, rng)
    _scale_bone(attenuation, density)
    return attenuation


@njit(parallel=True, cache=True)
def _scale_bone(attenuation, density):  # type: ignore[no-untyped-def]
    """Multiply what is above BONE by a density that is repeated over the volume."""
    threshold = np.float32(BONE)
    for i in prange(attenuation.shape[0]):
        for j in range(attenuation.shape[1]):
            for k in range(attenuation.shape[2]):
                if attenuation[i, j, k] > threshold:
                    relative = density[i % density.shape[0], j % density.shape[1], k % density.shape[2]]
                    attenuation[i, j, k] = threshold + (attenuation[i, j, k] - threshold) * relative


def _texture(spacing: Triple, rng: np.random.Generator) -> np.ndarray:
    """Relative density of bone of mean 1, `TILE` voxels that fit one another at opposite faces: trabeculae and grooves."""
    trabeculae, _ = _fractal(spacing, ROUGHNESS, COARSE, rng)
    field, rise = _fractal(spacing, WINDING, STRETCH, rng)
    groove = np.exp(-((field / np.float32(rise * HALF_WIDTH)) ** 2))
    density = np.exp(np.float32(rng.uniform(*TRABECULAE)) * trabeculae) * (1 - np.float32(rng.uniform(*GROOVE)) * groove)
    return np.asarray(density / density.mean(dtype=np.float64), np.float32)


def _fractal(spacing: Triple, power: float, coarsest: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Noise of deviation 1 and power spectrum `(f^2 + 1 / coarsest^2)^(-power / 2)`, and its root mean square rise per mm."""
    cycles = [np.fft.fftfreq(size, step) for size, step in zip(TILE, spacing[::-1], strict=True)]
    cycles[2] = np.fft.rfftfreq(TILE[2], spacing[0])
    z, y, x = np.ix_(*(np.float32(c**2) for c in cycles))
    square = z + y + x
    gain = (square + np.float32(coarsest**-2)) ** np.float32(-power / 4)
    noise = fft.irfftn(fft.rfftn(rng.standard_normal(TILE, np.float32)) * gain, TILE)
    rise = 2 * np.pi * np.sqrt(np.average(square, weights=gain**2) / 3)
    return noise / noise.std(), float(rise)
