"""Reading NIfTI volumes."""

from __future__ import annotations

import os
import zlib
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.simulate.extra import import_extra

Triple = tuple[float, float, float]  # x, y, z

MAX_OBLIQUE = 5.0  # degrees


def load_nifti(path: str | os.PathLike[str]) -> tuple[np.ndarray, Triple, Triple]:
    """Read a 3-D NIfTI volume in RAS axes.

    Args:
        path: `.nii` or `.nii.gz`.

    Returns:
        values `(Z, Y, X)` float32, spacing and origin (x, y, z) in mm.

    Raises:
        InputError: not NIfTI, not 3-D, empty, without a voxel size, or with axes oblique by more than 5 degrees.
    """
    nibabel = import_extra("nibabel")
    unreadable = (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, zlib.error)
    try:
        source = nibabel.load(os.fspath(path))
        if not isinstance(source, nibabel.Nifti1Pair):
            raise InputError(
                f"{path}: expected a NIfTI volume (.nii, .nii.gz), found {type(source).__name__}; convert it to NIfTI"
            )
        _check_spacing(path, source.header, source.affine)
        image = nibabel.as_closest_canonical(nibabel.funcs.squeeze_image(source))
        values = np.asanyarray(image.dataobj)
    except InputError:
        raise
    except (*unreadable, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: expected a NIfTI volume (.nii, .nii.gz), but it cannot be read: {error}") from error
    if values.ndim != 3 or min(values.shape) < 2:
        raise InputError(f"{path}: expected one 3-D volume, found shape {values.shape}; give a single CT volume")
    spacing, origin = _axes(path, image.affine)
    values = np.ascontiguousarray(values.transpose(2, 1, 0), dtype=np.float32)
    if not np.isfinite(values).all() or values.min() == values.max():
        raise InputError(f"{path}: expected a CT volume, found no finite, varying values in it; check how it was converted")
    return values, spacing, origin


def _check_spacing(path: str | os.PathLike[str], header: Any, affine: np.ndarray) -> None:
    if not (header["sform_code"] or header["qform_code"] or np.any(header["pixdim"][1:4] != 1)):
        raise InputError(
            f"{path}: expected a voxel size in mm, found neither qform nor sform nor pixdim; convert the CT anew with them"
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(spacing)) or spacing.min() <= 0:
        raise InputError(f"{path}: expected voxel sizes above 0 mm, found {spacing}; set the volume's geometry")


def _axes(path: str | os.PathLike[str], affine: np.ndarray) -> tuple[Triple, Triple]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(np.diag(affine[:3, :3])) / spacing
    if np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))) > MAX_OBLIQUE:
        raise InputError(
            f"{path}: expected axes within {MAX_OBLIQUE:g} degrees of the patient's, found an oblique volume; resample it to "
            "axial slices first"
        )
    return _triple(spacing), _triple(affine[:3, 3])


def _triple(values: np.ndarray) -> Triple:
    x, y, z = values
    return float(x), float(y), float(z)
