"""Reading a run of images into what a DICOM run gives."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from angiomorph.dicom import Series, SeriesFiles
from angiomorph.errors import InputError
from angiomorph.images.find import find_image_runs
from angiomorph.images.formats import MOST_BYTES, read_frames, read_volume
from angiomorph.images.options import ImageOptions
from angiomorph.images.values import store_values
from angiomorph.storage.paths import AnyPaths, list_paths


def read_images(source: AnyPaths, options: ImageOptions) -> Series:
    """Read one run of images, in which iodine is dark: PNG, JPEG, BMP, TIFF, video, NumPy or NIfTI.

        >>> import numpy as np
        >>> np.save("frames.npy", am.read_series("data/sample_lin.dcm").frames)
        >>> images = am.read_images("frames.npy", am.ImageOptions(relation="LIN", frame_time=250))
        >>> images.name, images.frames.shape, images.relation
        ('frames', (6, 256, 256), 'LIN')

    Of two frames the first is the background: they are a pair, moving and fixed.

    Args:
        source: a file of several images, a folder of one run, or the files of its images.
        options: facts that the files do not hold.

    Returns:
        the run, without headers, and warnings.

    Raises:
        InputError: a file that is absent, of another format or damaged; several runs; one image alone, images of several sizes
            or types, negative values, or values that are not finite.
    """
    paths = list_paths(source)
    if not paths:
        raise InputError("expected the files of a run, got none; give an image file or a folder of them")
    found = find_image_runs(paths)
    if len(found) > 1:
        raise InputError(f"{paths[0]}: expected one run, found {len(found)}; give one of them")
    return read_image_run(found[0], options)


def read_image_run(files: SeriesFiles, options: ImageOptions) -> Series:
    """Read one run of images, in which iodine is dark.

    Of two frames the first is the background: they are a pair, moving and fixed.

    Args:
        files: one file of several images, or files of one each, in order.
        options: the user's description of it.

    Returns:
        the run, without headers, and warnings.

    Raises:
        InputError: a file that cannot be read, see `formats.read_frames`; one image alone, images of several sizes or types,
            negative values, or values that are not finite.
    """
    return files.read(partial(_read, options=options))


def _read(files: SeriesFiles, options: ImageOptions) -> Series:
    frames = read_frames(files.paths[0]) if len(files.paths) == 1 else _stack(files.paths)
    if len(frames) < 2:
        raise InputError(
            f"{files.paths[0]}: expected a run of at least one background and one contrast frame, found one image; give the "
            "folder or all files of the run"
        )
    stored, bits, warnings = store_values(str(files.paths[0]), frames)
    return Series(
        frames=stored,
        relation=options.relation,
        bits_stored=bits,
        frame_times=np.arange(len(stored)) * options.frame_time,
        background_numbers=(1,) if len(stored) == 2 else (),
        name=files.name,
        shutter=np.ones(stored.shape[1:], bool),
        headers=(),
        warnings=warnings,
    )


def _stack(paths: tuple[Path, ...]) -> np.ndarray:
    first = read_volume(paths[0])
    if first.nbytes * len(paths) > MOST_BYTES:
        raise InputError(
            f"{paths[0].parent}: expected at most {MOST_BYTES / 2**30:.0f} GiB of pixels, found {len(paths)} images of shape "
            f"{first.shape}; give fewer"
        )
    frames = np.empty((len(paths), *first.shape), first.dtype)
    for place, path in enumerate(paths):
        frame = read_volume(path) if place else first
        if (frame.shape, frame.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{path}: expected {first.shape} of {first.dtype} as {paths[0].name}, found {frame.shape} of {frame.dtype}; "
                "give the frames of one run"
            )
        frames[place] = frame
    return frames
