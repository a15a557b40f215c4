"""Many runs in one go: find them, register each, write its files, go on after a bad one."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiomorph import __version__
from angiomorph.dicom import (
    Series,
    SeriesFiles,
    check_dsa_run,
    check_dsa_state,
    find_series,
    imager_spacing,
    read_series,
    write_bsa,
    write_dsa_run,
    write_dsa_state,
)
from angiomorph.dicom.encoding import Encoding
from angiomorph.errors import InputError, say_failure
from angiomorph.metrics import against_truth
from angiomorph.pictures import Panel, frame_window, side_by_side, subtraction_window
from angiomorph.preprocessing.intensity import LN, exposed_range
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import ENDINGS, FILES, USUAL, OutputOptions, RegistrationOptions, check_folder
from angiomorph.storage import store
from angiomorph.storage.nifti import write_warp

if TYPE_CHECKING:
    from angiomorph.registration.series import Model, Registration

LONGEST_NAME = 200  # bytes, of the 255 that file systems take: room for a hash, endings, and names while writing
OF_SOURCES = {"dsa": check_dsa_run, "dsa-state": check_dsa_state}  # kinds that not every source allows


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
            f"background {_ranges(given['background'])} ({_said_of_background(given)}), lambda {given['lambda']:.2f}: "
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
) -> Iterator[Outcome]:
    """Register every run found under `paths` and yield what became of each.

    Args:
        paths: DICOM files, folders of single frames, or trees of series.
        out: folder for the results; runs of a tree keep their folder in it.
        model: model `.h5`, or the name of a shipped one; None for the shipped default.
        options: how every run is registered.
        output: what is written of each.
        unsubtracted: take runs as acquired, whatever their headers say of subtraction.
        gpu: see `backend.configure_gpu`.
        passed_over: see `find_series`.

    Raises:
        InputError: a path that is not there, no run under `paths`, no usable model, or options that it cannot take; before
            TensorFlow is imported and before any run is read.
    """
    folder = check_folder(out)
    read_model_defaults(model).complete(options)
    found = find_series(paths, passed_over=passed_over)
    from angiomorph.backend import configure_gpu
    from angiomorph.registration.series import Model

    configure_gpu(gpu)
    network = Model(model)
    return (_register(files, folder, network, options, output, unsubtracted) for files in found)


def _register(
    files: SeriesFiles, out: Path, model: Model, options: RegistrationOptions, output: OutputOptions, unsubtracted: bool
) -> Outcome:
    from angiomorph.registration.series import register_series

    try:
        series = read_series(files, unsubtracted=unsubtracted)
        _check_frame(series, output.frame)
        for kind in OF_SOURCES.keys() & set(output.kinds):
            OF_SOURCES[kind](series)
        start = time.perf_counter()
        result = register_series(series, model, options)
        seconds = time.perf_counter() - start
        picture = _picture_frame(result, output)
        _write(series, result, out / files.folder / _stem(files.name), model, output, picture)
    except Exception as error:  # whatever a run raises is its own failure, and the next goes on
        return Outcome(files.name, say_failure(files.sources()[0], error), (), {})
    pictured = {} if picture is None else {"picture_frame": picture}
    summary = _summary(series, result, seconds) | pictured
    return Outcome(files.name, "", tuple(summary["warnings"]), summary)


def _stem(name: str) -> str:
    """Return what a run's results are called; long names are cut, told apart by a hash, so that every ending fits."""
    name_bytes = os.fsencode(name)
    if len(name_bytes) <= LONGEST_NAME:
        return name
    cut = name_bytes[:LONGEST_NAME].decode("utf-8", "ignore")
    return f"{cut}-{hashlib.sha256(name_bytes).hexdigest()[:8]}"


def _check_frame(series: Series, frame: int | None) -> None:
    if frame is not None and frame > len(series.frames):
        raise InputError(
            f"{series.name}: `frame` {frame}: expected a frame number from 1 to {len(series.frames)}, the run's last"
        )


def _contrast_frames(result: Registration) -> np.ndarray:
    """Return the indices of the frames that are not background, or of all where every one is."""
    indices = np.setdiff1d(np.arange(len(result.bsa)), np.array(result.background.numbers) - 1)
    return indices if indices.size else np.arange(len(result.bsa))


def _unwarped(result: Registration) -> list[int]:
    """Return the numbers of the frames that are not background and of which the warp is zero."""
    still = np.flatnonzero(~result.warp.any(axis=(1, 2, 3))) + 1
    return [int(number) for number in still if number not in result.background.numbers]


def _picture_frame(result: Registration, output: OutputOptions) -> int | None:
    """Return the number of the frame that the picture shows, None where there is no picture."""
    if "png" not in output.kinds:
        return None
    return _most_iodine(result) + 1 if output.frame is None else output.frame


def _summary(series: Series, result: Registration, seconds: float) -> dict[str, Any]:
    frames, rows, columns = series.frames.shape
    contrast = _contrast_frames(result)
    unwarped = _unwarped(result)
    reach = exposed_range(series.frames, result.field, "log" if result.units == LN else "linear")
    residue_dsa, residue_bsa = (against_truth.bright_residue(part[contrast], result.field) for part in (result.dsa, result.bsa))
    return {
        "name": series.name,
        "frames": frames,
        "rows": rows,
        "columns": columns,
        "background": list(result.background.numbers),
        "background_choice": result.background.choice,
        "background_sure": result.background.sure,
        "background_shows_iodine": result.background.shows_iodine,
        "iodine_from": result.background.iodine_from,
        "lambda": result.hyper,
        "levels": result.levels,
        "rounds": result.rounds,
        "refine": result.refine,
        "unwarped": len(unwarped),
        "partly_warped": int(np.sum((result.weights[contrast] > 0) & (result.weights[contrast] < 1))),
        "unwarped_frames": unwarped,
        "intensity": result.intensity,
        "units": result.units,
        "exposed_range": reach,
        "residue_dsa": residue_dsa,
        "residue_bsa": residue_bsa,
        "residue_dsa_percent": _percent(residue_dsa, reach),
        "residue_bsa_percent": _percent(residue_bsa, reach),
        "largest_shift": float(np.sqrt(np.max(np.sum(result.warp**2, axis=-1)))),
        "folding": against_truth.folding(result.warp),
        "ms_per_frame": 1e3 * seconds / frames,
        "warnings": [*series.warnings, *result.background.warnings],
    }


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


@contextmanager
def _together(folder: Path, name: str, kinds: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Yield a path to write for each kind; all of them get their final names when the block succeeds, else none.

    Raises:
        InputError: the folder cannot be made, written or filled.
    """
    finals = {kind: folder / f"{name}{ENDINGS[kind]}" for kind in kinds}
    partial = folder / f".{name}.{os.getpid()}.partial"
    try:
        for taken in filter(Path.is_dir, finals.values()):
            raise IsADirectoryError(None, "a folder has that name", str(taken))
        partial.mkdir(parents=True, exist_ok=True)
        yield {kind: partial / final.name for kind, final in finals.items()}
        for final in finals.values():
            os.replace(partial / final.name, final)
    except InputError as error:
        raise InputError(str(error).replace(str(partial), str(folder))) from error
    except OSError as error:
        reason = error.strerror or str(error).replace(str(partial), str(folder))
        raise InputError(
            f"{folder / name}: expected to write the results there, but: {reason}; make room, or name another folder with `out`"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(series: Series, result: Registration, stem: Path, model: Model, output: OutputOptions, picture: int | None) -> None:
    with _together(stem.parent, stem.name, output.kinds) as paths:
        _write_kinds(series, result, paths, model, output.encoding)
        if picture is not None:
            _write_png(result, paths["png"], picture)


def _write_kinds(series: Series, result: Registration, paths: dict[str, Path], model: Model, encoding: Encoding) -> None:
    if "dicom" in paths:
        write_bsa(
            paths["dicom"],
            series,
            result.bsa,
            units=result.units,
            model_name=model.path.stem,
            model_sha256=model.sha256,
            hyper=result.hyper,
            background_numbers=result.background.numbers,
            encoding=encoding,
        )
    if "dsa" in paths:
        write_dsa_run(paths["dsa"], series, result.background.numbers, compression=encoding.compress)
    if "dsa-state" in paths:
        write_dsa_state(paths["dsa-state"], series, result.background.numbers)
    if "nifti" in paths:
        write_warp(paths["nifti"], result.warp, imager_spacing(series.headers[0]))
    if "h5" in paths:
        _write_h5(result, paths["h5"], model, series.relation)


def _write_h5(result: Registration, path: Path, model: Model, relation: str) -> None:
    arrays = {
        "bsa": result.bsa,
        "moved": result.moved,
        "warp": result.warp,
        "background": np.array(result.background.numbers, np.int64),
    }
    attributes = {
        "lambda": result.hyper,
        "model_sha256": model.sha256,
        "intensity": result.intensity,
        "relation": relation,
        "units": result.units,
        "levels": result.levels,
        "rounds": result.rounds,
        "refine": result.refine,
        "version": __version__,
    }
    store.write_arrays(path, arrays, attributes)


def _write_png(result: Registration, path: Path, number: int) -> None:
    index = number - 1
    filled = result.bsa[index] + result.moved[index]
    level = np.median(result.bsa[index][result.field])  # of exposure, which differs from frame to frame
    # Behind a collimator there is nothing to subtract but noise.
    dsa, bsa = (np.where(result.field, part[index] - level, 0) for part in (result.dsa, result.bsa))
    window = subtraction_window(bsa[result.field])
    done = f"registered (λ {result.hyper:.2f})" if result.warp[index].any() else "left unwarped"
    panels = (
        Panel(_frame_title(number, result.background.numbers), filled, frame_window(filled[result.field])),
        Panel("plain DSA", dsa, window),
        Panel(f"BSA, {done}", bsa, window),
    )
    side_by_side(panels, path)


def _frame_title(number: int, background: Sequence[int]) -> str:
    if number in background:
        return f"background frame {number}"
    return f"contrast frame {number}" if number > background[-1] else f"frame {number}"  # before it there may be no iodine


def _most_iodine(result: Registration) -> int:
    contrast = _contrast_frames(result)
    after = contrast[contrast >= result.background.numbers[-1]]
    if len(after) and result.background.choice != "number":
        contrast = after  # before the background an exposure ramp may look like iodine
    inside = result.bsa[contrast][:, result.field]
    darker = np.minimum(inside - np.median(inside, axis=1, keepdims=True), 0)
    return int(contrast[np.argmin(darker.mean(axis=1))])
