"""What `register`, `prepare` and `train` take of runs that are not DICOM."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path

from angiomorph.dicom.find import is_marked
from angiomorph.errors import InputError
from angiomorph.images import ImageOptions, find_image_runs
from angiomorph.images.options import RELATIONS
from angiomorph.images.readers import ending_of


def read_milliseconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected milliseconds above 0, got {text}")


def add_images(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group(
        "images", "Runs that are not DICOM: PNG, JPEG, TIFF, AVI, MP4, NumPy and NIfTI files, and folders of them."
    )
    said = "; ".join(f"{name}: {meaning}" for name, meaning in RELATIONS.items())
    group.add_argument("--relation", choices=tuple(RELATIONS), help=f"the runs are images. {said}")
    group.add_argument("--frame-time", type=read_milliseconds, metavar="MS", help="between frames (default: unknown)")


def read_images(arguments: argparse.Namespace, paths: Sequence[str | PathLike[str]]) -> ImageOptions | None:
    """Return what the user says of images, None where the runs are DICOM; without TensorFlow.

    Raises:
        InputError: images without --relation, --frame-time without it, or paths under which there is no image.
    """
    if arguments.relation is None:
        _refuse_images(arguments, [Path(path) for path in paths])
        return None
    options = ImageOptions(arguments.relation, arguments.frame_time or 0.0)
    find_image_runs(paths)
    return options


def _refuse_images(arguments: argparse.Namespace, paths: Sequence[Path]) -> None:
    if arguments.frame_time is not None:
        raise InputError("--frame-time: expected --relation with it, got none; DICOM says its own time")
    for path in paths:
        if ending_of(path) and path.is_file() and not is_marked(path):
            raise InputError(
                f"{path}: expected --relation with images, got none; add --relation LIN, LOG or DISP, by what their values "
                "have to do with X-ray intensity"
            )
