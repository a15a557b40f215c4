"""What can be written of a run, and files that appear together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from angiomorph.dicom import Series, check_dsa_run, check_dsa_state, check_save_class, check_shift_state
from angiomorph.errors import InputError
from angiomorph.preprocessing.frame_numbers import named_frames
from angiomorph.registration import kept_frames
from angiomorph.registration.options import OutputOptions
from angiomorph.storage.atomic import replace_together

OF_SOURCES = {  # kinds that not every source allows
    "dsa": check_dsa_run,
    "dsa-state": check_dsa_state,
    "shift-state": check_shift_state,
}
OF_WARPS = frozenset({"h5", "nifti"})  # kinds that hold every frame's warp


@dataclass(frozen=True)
class Spooling:
    """That a registration's frames go to the disk, so that memory holds a run of any length.

    Args:
        folder: on whose disk temporary files without names lie.
        keep_warps: whether warps of final frames are wanted, or only what is said of them.
        tell: is told how many frames are done, of how many.
    """

    folder: Path
    keep_warps: bool = True
    tell: Callable[[int, int], None] = lambda done, count: None

    @classmethod
    def for_files(cls, folder: Path, output: OutputOptions, tell: Callable[[int, int], None]) -> Spooling:
        """Return how a run's frames are kept until the files that are wanted of it are written into a folder."""
        return cls(folder, not OF_WARPS.isdisjoint(output.kinds), tell)


def forget_masks(series: Series, background: str) -> Series:
    """Return the run without the masks of its source, where the user names a background, which then serves all frames.

    Args:
        series: the run.
        background: see `RegistrationOptions`.
    """
    return series if named_frames(background) is None else replace(series, steps=())


def check_images(output: OutputOptions) -> None:
    """Raise where something is wanted of images that only DICOM headers give.

    Args:
        output: wanted kinds of file, and their options.

    Raises:
        InputError: identity is to be taken out, or names are to follow a pattern.
    """
    if output.anonymize:
        raise InputError("`anonymize`: expected DICOM runs with it, got images, which have no headers; leave it out")
    if output.name is not None:
        raise InputError(f"`name` {output.name}: expected DICOM runs with it, got images, which have no headers; leave it out")


def check_run(series: Series, output: OutputOptions) -> None:
    """Raise where not all that is wanted can be written of a run.

    Args:
        series: the run.
        output: wanted kinds of file, and their options.

    Raises:
        InputError: a frame of the picture that the run does not have, or a kind or a class that it does not
            allow, or frames that it does not have.
    """
    count = len(series.frames)
    if output.frame is not None and output.frame > count:
        raise InputError(f"{series.name}: `frame` {output.frame}: expected a frame number from 1 to {count}, the run's last")
    for kind in OF_SOURCES.keys() & set(output.kinds):
        OF_SOURCES[kind](series)
    if "dicom" in output.kinds:
        check_save_class(series, output.encoding)
        kept_frames.check_frames(series.name, output.keep_frames, count)


@contextmanager
def write_together(stem: Path, endings: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Yield a path to write for each kind of file; all get their final names when the block succeeds, else none.

    Args:
        stem: common start of their names, with their folder, which is made if missing.
        endings: by kind.

    Raises:
        InputError: the folder cannot be made, written or filled.
    """
    with name_results_in_errors(stem), replace_together():
        yield {kind: stem.with_name(f"{stem.name}{ending}") for kind, ending in endings.items()}


@contextmanager
def name_results_in_errors(stem: Path) -> Iterator[None]:
    """Say of what the system refuses within the block that it concerns the results of a run.

    Args:
        stem: common start of their names, with their folder.

    Raises:
        InputError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{stem}: expected to write the results there, but: {error.strerror or error}; make room, or name another folder "
            "with `out`"
        ) from error
