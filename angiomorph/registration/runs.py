"""Many runs in one go: find them, register each, write its files, go on after a bad one."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph import __version__
from angiomorph.backend import configure_gpu
from angiomorph.dicom import (
    Series,
    SeriesFiles,
    check_dsa_run,
    check_dsa_state,
    check_encoding,
    find_series,
    imager_spacing,
    read_series,
    write_bsa,
    write_dsa_run,
    write_dsa_state,
)
from angiomorph.dicom.encoding import USUAL, Encoding
from angiomorph.errors import InputError, say_failure
from angiomorph.images import ImageOptions, find_image_runs, read_image_run
from angiomorph.metrics import against_truth
from angiomorph.pictures import Panel, frame_window, side_by_side, subtraction_window
from angiomorph.preprocessing.background import named_frames
from angiomorph.preprocessing.intensity import LN, exposed_range
from angiomorph.registration.series import SHIPPED, Model, Registration, register_series
from angiomorph.storage import store
from angiomorph.storage.nifti import write_warp

LONGEST_NAME = 200  # bytes, of the 255 that file systems take: room for a hash, endings, and names while writing
ENDINGS = {
    "dicom": "_bsa.dcm",
    "h5": "_bsa.h5",
    "png": "_bsa.png",
    "dsa": "_dsa.dcm",
    "dsa-state": "_dsa_state.dcm",
    "nifti": "_warp.nii.gz",
}
OF_SOURCES = {"dsa": check_dsa_run, "dsa-state": check_dsa_state}  # kinds that not every source allows


@dataclass(frozen=True)
class Options:
    """What every run of a batch is registered with.

    Args:
        hyper: λ in [0, 1]; None for the model's own.
        background: "auto", "tag", "N" or "N-M".
        intensity: "auto", "log", "linear"; None for the model's own.
        save: what to write, of `ENDINGS`.
        frame: frame number (from 1) of the picture; None for the one with the most iodine.
        levels: sizes at which the network sees the frames; None for the model's own.
        rounds: further passes of the network, see `registration.register_series`.
        refine: steps of refinement after the network; None for the model's own.
        guard: weigh warps by the evidence of motion, see `registration.register_series`.
        batch_size: frames at a time.
        require_clean: refuse a run whose background shows iodine, or may show it.
        unsubtracted: take runs as acquired, whatever their headers say of subtraction.
        encoding: how the pixels of written runs are stored.
    """

    hyper: float | None = None
    background: str = "auto"
    intensity: str | None = None
    save: Sequence[str] = ("dicom", "h5")
    frame: int | None = None
    levels: int | None = None
    rounds: int = 0
    refine: int | None = None
    guard: bool = True
    batch_size: int = 4
    require_clean: bool = False
    unsubtracted: bool = False
    encoding: Encoding = USUAL


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
    paths: Sequence[str],
    out: Path,
    model_path: str | None,
    options: Options,
    *,
    gpu: str | None = None,
    passed_over: Counter[str] | None = None,
    images: ImageOptions | None = None,
) -> Iterator[Outcome]:
    """Register every run found under `paths` and yield what became of each.

    Args:
        paths: DICOM files, folders of single frames, or trees of series.
        out: folder for the results; runs of a tree keep their folder in it.
        model_path: model `.h5`; None for the shipped one.
        options: for every run.
        gpu: see `backend.configure_gpu`.
        passed_over: see `find_series`.
        images: of runs that are images and not DICOM, what the user says of them; `paths` are then files and folders of these.

    Raises:
        InputError: wrong options, a path that is not there, no run under `paths`, no usable model, or options that it cannot
            take; before any run is read.
    """
    _check(options)
    _check_folder(out)
    configure_gpu(gpu)
    model = Model(model_path or SHIPPED)
    model.choose_hyper(options.hyper)
    model.refine_steps(options.refine)
    found = find_image_runs(paths, passed_over) if images else find_series(paths, passed_over=passed_over)
    read = partial(read_image_run, options=images) if images else partial(read_series, unsubtracted=options.unsubtracted)
    return (_register(files, read, out, model, options) for files in found)


def _check(options: Options) -> None:
    unknown = [kind for kind in options.save if kind not in ENDINGS]
    if unknown or not options.save:
        raise InputError(
            f"--save {','.join(options.save)}: expected some of {','.join(ENDINGS)}, got {', '.join(unknown) or 'none'}"
        )
    if options.frame is not None and options.frame < 1:
        raise InputError(f"--frame {options.frame}: expected a frame number, counted from 1")
    named_frames(options.background)
    check_encoding(options.encoding)


def _check_folder(out: Path) -> None:
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--out {out}: expected a folder or a name for a new one, found the file {there}; name another")


def _register(files: SeriesFiles, read: Callable[[SeriesFiles], Series], out: Path, model: Model, options: Options) -> Outcome:
    try:
        series = read(files)
        _check_frame(series, options.frame)
        for kind in OF_SOURCES.keys() & set(options.save):
            OF_SOURCES[kind](series)
        start = time.perf_counter()
        result = register_series(
            series,
            model,
            hyper=options.hyper,
            background=options.background,
            intensity=options.intensity,
            levels=options.levels,
            rounds=options.rounds,
            refine_steps=options.refine,
            guard=options.guard,
            batch_size=options.batch_size,
            require_clean=options.require_clean,
        )
        seconds = time.perf_counter() - start
        picture = _picture_frame(series, result, options)
        _write(series, result, out / files.folder / _stem(files.name), model, options, picture)
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
            f"{series.name}: --frame {frame}: expected a frame number from 1 to {len(series.frames)}, the run's last"
        )


def _contrast_frames(result: Registration) -> np.ndarray:
    """Return the indices of the frames that are not background, or of all where every one is."""
    indices = np.setdiff1d(np.arange(len(result.bsa)), np.array(result.background.numbers) - 1)
    return indices if indices.size else np.arange(len(result.bsa))


def _unwarped(result: Registration) -> list[int]:
    """Return the numbers of the frames that are not background and of which the warp is zero."""
    still = np.flatnonzero(~result.warp.any(axis=(1, 2, 3))) + 1
    return [int(number) for number in still if number not in result.background.numbers]


def _picture_frame(series: Series, result: Registration, options: Options) -> int | None:
    """Return the number of the frame that the picture shows, None where there is no picture."""
    if "png" not in options.save:
        return None
    return _most_iodine(result) + 1 if options.frame is None else options.frame


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
            f"{folder / name}: expected to write the results there, but: {reason}; make room, or name another folder with --out"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(series: Series, result: Registration, stem: Path, model: Model, options: Options, picture: int | None) -> None:
    with _together(stem.parent, stem.name, options.save) as paths:
        _write_kinds(series, result, paths, model, options.encoding)
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
        write_warp(paths["nifti"], result.warp, imager_spacing(series.headers[0]) if series.headers else None)
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
