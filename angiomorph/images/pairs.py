"""Pairs of images as VoxelMorph's programs take them: one moving, one fixed image, and files of the same kinds as results."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from angiomorph.dicom import Series
from angiomorph.dicom.read import read_frame
from angiomorph.errors import InputError
from angiomorph.images.formats import NIFTI, ending_of, import_nibabel, read_affine, read_volume
from angiomorph.images.values import store_values
from angiomorph.storage.atomic import replace_file

WARPS = (".npz", *NIFTI)
MOVED = (*WARPS, ".png")


@dataclass(frozen=True, eq=False)
class Image:
    """One image of a pair.

    Args:
        path: its file.
        values: `(H, W)`, as the file has them.
        relation: "LIN", "LOG" or "DISP"; "" where the file does not say.
        affine: affine matrix of NIfTI, `(4, 4)`; else None.
    """

    path: Path
    values: np.ndarray
    relation: str = ""
    affine: np.ndarray | None = None


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read one image: DICOM of one frame, or another format, as VoxelMorph's `load_volfile` reads it.

    Raises:
        InputError: the file cannot be read, or holds another thing than one grey image.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected an image file, found none there; check the path")
    if ending_of(path):
        return Image(path, read_volume(path), affine=read_affine(path))
    series = read_frame(path)
    return Image(path, series.frames[0], series.relation)


def join_pair(moving: Image, fixed: Image, relation: str | None = None) -> Series:
    """Return a pair as a run of two frames, of which the first, `moving`, is the background.

    Args:
        moving: the image to be warped.
        fixed: the image that it is warped onto.
        relation: the user's word on values; None where DICOM says it, or for "DISP".

    Raises:
        InputError: images of two sizes or relations, values that no run can have (see `values.store_values`), or a relation
            given by the user beside DICOM's.
    """
    if moving.values.shape != fixed.values.shape:
        raise InputError(
            f"{fixed.path}: expected {moving.values.shape} as {moving.path}, found {fixed.values.shape}; resample one of them"
        )
    known = {image.relation for image in (moving, fixed) if image.relation}
    if known and relation:
        raise InputError(f"`relation` {relation}: expected none with DICOM, which says its own ({', '.join(sorted(known))})")
    if len(known) > 1:
        raise InputError(f"{fixed.path}: expected PixelIntensityRelationship {moving.relation} as {moving.path}, found others")
    frames, bits, _ = store_values(str(moving.path), np.stack([moving.values, fixed.values]))
    return Series(
        frames=frames,
        relation=relation or next(iter(known), "DISP"),
        bits_stored=bits,
        frame_times=np.zeros(2),
        background_numbers=(1,),
        name=str(fixed.path),
        shutter=np.ones(frames.shape[1:], bool),
        headers=(),
    )


def check_outputs(moving: Path, fixed: Path, moved: Path, warp: Path | None) -> None:
    """Check the names of results before anything is computed.

    Raises:
        InputError: a name of another kind, or one file under two names.
    """
    for option, path, endings in (("moved", moved, MOVED), ("warp", warp, WARPS)):
        if path is not None and not path.name.lower().endswith(endings):
            raise InputError(f"`{option}` {path}: expected a name that ends in {' or '.join(endings)}, got another; rename it")
        if path is not None and path.is_dir():
            raise InputError(f"`{option}` {path}: expected a file to write, found a folder; name a file in it")
    paths = [path.resolve() for path in (moving, fixed, moved, warp) if path is not None]
    if len(set(paths[-2:])) < 2 or set(paths[2:]) & set(paths[:2]):
        raise InputError(f"`moved` {moved}: expected names of their own for the results, got one twice; rename it")


def write_results(
    moved_path: Path, moved: np.ndarray, warp_path: Path | None, warp: np.ndarray, pair: tuple[Image, Image]
) -> None:
    """Write what VoxelMorph's `register.py` writes, as it does, whole or not at all.

    Args:
        moved_path: for the moved image; PNG takes it rounded to whole numbers of the moving image's type.
        moved: `(H, W)` float32, in the moving image's values.
        warp_path: for the warp; None for none.
        warp: `(H, W, 2)` float32, pixels, ij order: moved(x) = moving(x + warp(x)).
        pair: moving and fixed; NIfTI takes the fixed image's affine matrix.

    Raises:
        InputError: PNG for values that it cannot hold.
    """
    moving, fixed = pair
    with replace_file(moved_path) as partial:
        if ending_of(moved_path) == ".png":
            _write_png(partial, moved, moving)
        else:
            _write_volume(partial, ending_of(moved_path), moved, fixed.affine)
        if warp_path is not None:
            with replace_file(warp_path) as partial_warp:
                _write_volume(partial_warp, ending_of(warp_path), warp, fixed.affine)


def _write_png(path: Path, moved: np.ndarray, moving: Image) -> None:
    import PIL.Image

    kind = moving.values.dtype
    if kind not in (np.uint8, np.uint16):
        raise InputError(f"{moving.path}: expected 8 or 16 bits for a PNG as `moved`, found {kind}; name a .npz or .nii.gz")
    stored = np.clip(np.rint(moved), 0, np.iinfo(kind).max).astype(np.uint8 if kind == np.uint8 else np.uint16)
    with path.open("wb") as file:
        PIL.Image.fromarray(stored).save(file, "PNG")


def _write_volume(path: Path, ending: str, array: np.ndarray, affine: np.ndarray | None) -> None:
    if ending == ".npz":
        with path.open("wb") as file:
            np.savez_compressed(file, vol=array)
        return
    nibabel = import_nibabel(path)
    if affine is None and array.ndim >= 3:
        affine = _default_affine(array.shape)
    content = nibabel.Nifti1Image(array, affine).to_bytes()
    path.write_bytes(gzip.compress(content, mtime=0) if ending == ".nii.gz" else content)


def _default_affine(shape: tuple[int, ...]) -> np.ndarray:
    """Return VoxelMorph's own: axes left, inferior, anterior, the origin in the middle."""
    affine = np.array([[-1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], float)
    affine[:3, 3] = -(affine @ np.append(np.array(shape[:3]) / 2, 1))[:3]
    return affine
