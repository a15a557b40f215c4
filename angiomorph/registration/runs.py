"""Many runs in one go: find them, register each, write its files, go on after a bad one."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.dicom import ANONYMOUS, Series, SeriesFiles, anonymize, find_series, name_run, read_series
from angiomorph.errors import say_failure
from angiomorph.images import ImageOptions, find_image_runs, read_image_run
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import FILES, USUAL, OutputOptions, RegistrationOptions, check_folder
from angiomorph.registration.outputs import check_images, check_run, forget_masks

if TYPE_CHECKING:
    from angiomorph.registration.model import Model

LONGEST_NAME = 200  # bytes, of the 255 that file systems take: room for a hash, endings, and names while writing


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Args:
        name: the run's name.
        error: why it failed; empty if it did not.
        warnings: what a user should know about the run.
        summary: figures of the registration, ready for JSON; empty if it failed.
    """

    name: str
    error: str
    warnings: tuple[str, ...]
    summary: dict[str, Any]

    def translate(self, words: Callable[[str], str]) -> Outcome:
        """Return the same with its error and its warnings in other words.

        Args:
            words: translates a message.
        """
        warnings = tuple(map(words, self.warnings))
        summary = {**self.summary, "warnings": list(warnings)} if self.summary else {}
        return replace(self, error=words(self.error), warnings=warnings, summary=summary)

    def line(self) -> str:
        """Return the summary in one line for people."""
        given = self.summary
        gain = 1 - given["residue_bsa"] / given["residue_dsa"] if given["residue_dsa"] else 0.0
        return (
            f"{self.name}: {given['frames']} frames of {given['rows']}x{given['columns']}, "
            f"background {_backgrounds(given)} ({_said_of_background(given)}), lambda {given['lambda']:.2f}: "
            f"bright residue (motion and noise) {given['residue_dsa_percent']:.2f}% of the run's range in plain DSA, "
            f"{given['residue_bsa_percent']:.2f}% in BSA, {abs(gain):.0%} {'less' if gain >= 0 else 'more'}; "
            f"frames left unwarped: {given['unwarped']}, warped in part: {given['partly_warped']}; "
            f"largest shift {given['largest_shift']:.1f} px, folded {given['folding']:.3%}, "
            f"{given['ms_per_frame']:.0f} ms a frame"
        )


def _said_of_background(given: dict[str, Any]) -> str:
    """Return how the background was chosen, where iodine begins and how sure that is, in words."""
    begins = "no iodine seen" if given["iodine_from"] is None else f"iodine from frame {given['iodine_from']}"
    return f"by {given['background_choice']}; {begins}{'' if given['background_sure'] else ', not sure'}"


def _backgrounds(given: dict[str, Any]) -> str:
    """Return the background frames, and of which frames they are where there are several backgrounds."""
    steps = given["background_steps"]
    if not steps:
        return _ranges(given["background"])
    return ", ".join(f"{_ranges(step['background'])} of frames {_ranges(step['frames'])}" for step in steps)


def _ranges(numbers: Sequence[int]) -> str:
    if numbers[-1] - numbers[0] + 1 != len(numbers):
        return ", ".join(map(str, numbers))
    return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"


def register_runs(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    options: RegistrationOptions = USUAL,
    output: OutputOptions = FILES,
    *,
    unsubtracted: bool = False,
    gpu: str | None = None,
    passed_over: Counter[str] | None = None,
    images: ImageOptions | None = None,
) -> Iterator[Outcome]:
    """Register every run found under `paths` and yield what became of each.

        >>> for outcome in am.register_runs(["data/example_run.dcm"], "out", options=am.RegistrationOptions(levels=1)):
        ...     print(outcome.name, outcome.error or "registered", outcome.summary["frames"])
        example_run registered 8

    Args:
        paths: DICOM files, folders of single frames, or trees of series.
        out: folder for the results; runs of a tree keep their folder in it.
        model: model `.h5`, or the name of a shipped one; None for the shipped default.
        options: how every run is registered.
        output: what is written of each.
        unsubtracted: take runs as acquired, whatever their headers say of subtraction.
        gpu: see `backend.configure_gpu`.
        passed_over: see `find_series`.
        images: of runs that are images and not DICOM, what the user says of them; `paths` are then files and folders of these.

    Raises:
        InputError: a path that is not there, no run under `paths`, no usable model, or options that it cannot take; before
            TensorFlow is imported and before any run is read.
    """
    folder = check_folder(out)
    if images is not None:
        check_images(output)
    read_model_defaults(model).complete(options)
    found = find_image_runs(paths, passed_over) if images else find_series(paths, passed_over=passed_over)
    read = partial(read_image_run, options=images) if images else partial(read_series, unsubtracted=unsubtracted)
    from angiomorph.backend import configure_gpu
    from angiomorph.registration.model import Model

    configure_gpu(gpu)
    network = Model(model)
    taken: set[Path] = set()
    return (_register(files, read, folder, network, options, output, taken) for files in found)


def _register(
    files: SeriesFiles,
    read: Callable[[SeriesFiles], Series],
    out: Path,
    model: Model,
    options: RegistrationOptions,
    output: OutputOptions,
    taken: set[Path],
) -> Outcome:
    try:
        series = read(files)
        series = anonymize(series) if output.anonymize else series
        check_run(forget_masks(series, options.background), output)
        start = time.perf_counter()
        result = model.register(series, options)
        seconds = time.perf_counter() - start
        stem = _place_results(files, series, output, taken)
        result.save(out / stem, output=output)
        summary = result.summary() | {"ms_per_frame": 1e3 * seconds / len(series.frames), "result": stem.as_posix()}
        pictured = {"picture_frame": output.frame or result.fullest_frame} if "png" in output.kinds else {}
    except Exception as error:  # whatever a run raises is its own failure, and the next goes on
        return Outcome(files.name, say_failure(files.sources()[0], error), (), {})
    return Outcome(files.name, "", tuple(summary["warnings"]), summary | pictured)


def _place_results(files: SeriesFiles, series: Series, output: OutputOptions, taken: set[Path]) -> Path:
    """Return the folder, in that of all results, and the name of a run's results; of patterns none that is taken."""
    pattern = output.name or (ANONYMOUS if output.anonymize else None)
    if pattern is None:
        return files.folder / name_results(files.name)
    folder = Path() if output.anonymize else files.folder
    name = name_results(name_run(pattern, series, files.name))
    names = (name if count == 1 else f"{name}-{count}" for count in itertools.count(1))
    stem = next(path for path in (folder / name for name in names) if path not in taken)
    taken.add(stem)
    return stem


def name_results(name: str) -> str:
    """Return what a run's results are called; long names are cut, told apart by a hash, so that every ending fits."""
    name_bytes = os.fsencode(name)
    if len(name_bytes) <= LONGEST_NAME:
        return name
    cut = name_bytes[:LONGEST_NAME].decode("utf-8", "ignore")
    return f"{cut}-{hashlib.sha256(name_bytes).hexdigest()[:8]}"
