"""What `register`, `prepare` and `train` take of runs that are not DICOM."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from angiomorph.cli.arguments import add_options, read_options
from angiomorph.cli.voxelmorph import add_answer
from angiomorph.dicom import Series, read_series
from angiomorph.dicom.find import is_marked
from angiomorph.errors import InputError
from angiomorph.images import ImageOptions, find_image_runs, find_pairs
from angiomorph.images import read_images as read_image_files
from angiomorph.images.formats import ending_of
from angiomorph.storage.store import is_hdf5


def add_images(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group(
        "images", "Runs that are not DICOM: PNG, JPEG, TIFF, AVI, MP4, NumPy and NIfTI files, and folders of them."
    )
    add_options(group, ImageOptions)


def read_images(arguments: argparse.Namespace, paths: Sequence[str | PathLike[str]]) -> ImageOptions | None:
    """Return what the user says of images, None where the runs are DICOM; without TensorFlow.

    Raises:
        InputError: images without --relation, --frame-time without it, or paths under which there is no image.
    """
    if arguments.relation is None:
        _refuse_images(arguments, [Path(path) for path in paths])
        return None
    find_image_runs(paths)
    return read_options(arguments, ImageOptions)


def read_one_run(arguments: argparse.Namespace) -> Series:
    """Return the run that `arguments.source` names, DICOM or images.

    Raises:
        InputError: it is no run, or there are several of images.
    """
    images = read_images(arguments, [Path(arguments.source)])
    if images is None:
        return read_series(arguments.source, unsubtracted=arguments.unsubtracted)
    return read_image_files(arguments.source, images)


def _refuse_images(arguments: argparse.Namespace, paths: Sequence[Path]) -> None:
    if arguments.frame_time:
        raise InputError("--frame-time: expected --relation with it, got none; DICOM says its own time")
    for path in paths:
        if ending_of(path) and path.is_file() and not is_marked(path):
            raise InputError(
                f"{path}: expected --relation with images, got none; add --relation LIN, LOG or DISP, by what their values "
                "have to do with X-ray intensity"
            )


@dataclass(frozen=True)
class TrainingData:
    """What the user gives to train on.

    Args:
        paths: stores, and DICOM or, with `images`, image files and folders.
        pairs: image files, moving and fixed.
        images: the user's description of images; None where there are none.
    """

    paths: list[Path]
    pairs: list[tuple[Path, Path]]
    images: ImageOptions | None


def add_image_lists(verb: argparse.ArgumentParser) -> None:
    """Add --img-list and what VoxelMorph's programs have beside it."""
    verb.add_argument(
        "--img-list",
        metavar="FILE",
        help="text file that names DATA, one a line, or pairs of images: moving fixed; # begins a comment",
    )
    verb.add_argument("--img-prefix", metavar="TEXT", default="", help="before each name in --img-list")
    verb.add_argument("--img-suffix", metavar="TEXT", default="", help="after each name in --img-list")
    add_images(verb)
    add_answer(verb, "--multichannel", "images have one grey channel here; save it by itself")
    add_answer(verb, "--bidir", "warps go one way here, from the background to each frame; leave it out")
    add_answer(verb, "--use-probs", "a warp is one field here, no distribution; leave it out")
    add_answer(
        verb, "--kl-lambda", "there is no distribution of warps here; training draws the weight of smoothness; leave it out"
    )
    add_answer(verb, "--test-reg", "register a run or a pair with `angiomorph register --model` instead")
    add_answer(verb, "--legacy-image-sigma", "the scale of every loss is --image-sigma; name that one")
    add_answer(verb, "--atlas", "each run has its own moving image, its background; list pairs (moving fixed) in --img-list")


def read_training_data(arguments: argparse.Namespace) -> TrainingData:
    """Return DATA and what --img-list names, checked as far as they are images; without TensorFlow.

    Pairs count as `DISP` unless --relation says otherwise, as in `register`.

    Raises:
        InputError: a list that cannot be read, a pair that is not there, or what `read_images` refuses.
    """
    paths = [Path(path) for path in arguments.data]
    pairs: list[tuple[Path, Path]] = []
    if arguments.img_list:
        listed, pairs = _read_list(Path(arguments.img_list), arguments.img_prefix, arguments.img_suffix)
        paths += listed
    elif arguments.img_prefix or arguments.img_suffix:
        raise InputError("--img-prefix, --img-suffix: expected --img-list with them, got none; name DATA in full")
    find_pairs(pairs)
    runs = [path for path in paths if not is_hdf5(path)]
    if pairs and not runs and arguments.relation is None:
        return TrainingData(paths, pairs, ImageOptions("DISP"))
    images = read_images(arguments, runs)
    if pairs and images is None:
        raise InputError(f"{runs[0]}: expected no DICOM beside pairs of images; prepare it first, and give the store as DATA")
    return TrainingData(paths, pairs, images)


def _read_list(path: Path, prefix: str, suffix: str) -> tuple[list[Path], list[tuple[Path, Path]]]:
    """Return the names in a list, and its pairs: lines of two names with space between that are no name as a whole.

    Lines that begin with # are comments.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--img-list {path}: expected a text file of paths, one a line, but: {error}") from error
    paths, pairs = [], []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        whole = Path(f"{prefix}{line}{suffix}")
        names = [Path(f"{prefix}{name}{suffix}") for name in line.split()]
        if len(names) == 2 and not whole.exists():
            pairs.append((names[0], names[1]))
        else:
            paths.append(whole)
    return paths, pairs
