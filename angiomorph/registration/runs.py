"""Many runs in one go: find them, register each, write its files, go on after a bad one."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.dicom import ANONYMOUS, Series, SeriesFiles, anonymize, find_series, name_run, open_series
from angiomorph.errors import InputError, say_failure
from angiomorph.images import ImageOptions, find_image_runs, read_image_run
from angiomorph.preprocessing.frame_numbers import say_frames
from angiomorph.registration.engines import check_engine, configure_engine
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import (
    BY_TENSORFLOW,
    FILES,
    MONTAGE,
    USUAL,
    EngineOptions,
    OutputOptions,
    RegistrationOptions,
    check_folder,
)
from angiomorph.registration.outputs import Spooling, check_images, check_run, forget_masks, name_results_in_errors
from angiomorph.registration.record import forget_record, hash_job, is_complete, write_record
from angiomorph.storage.atomic import remove_leftovers
from angiomorph.storage.digest import sha256
from angiomorph.storage.hold import hold_name, remove_dead_hold
from angiomorph.storage.paths import AnyPath, AnyPaths
from angiomorph.workers import Cluster, Died, map_tasks

if TYPE_CHECKING:
    from angiomorph.registration.model import Model
    from angiomorph.registration.result import Registration

THERE, HELD = "its results are there", "another process is registering it"
AHEAD = 50  # runs a worker of a cluster by which work runs ahead of the line that is printed next: outcomes are small
LONGEST_NAME = 200  # bytes, of the 255 that file systems take: room for a hash, endings, and names while writing


class ModelError(InputError):
    """No run can be registered with this model, or on this machine's GPU."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Args:
        name: the run's name.
        error: why it failed; empty if it did not.
        warnings: warnings about the run.
        summary: figures of the registration, ready for JSON; empty if it failed or was skipped.
        source: the run's file, or the folder of its files, as the user knows it.
        skipped: why it was skipped; empty if it was not.
    """

    name: str
    error: str
    warnings: tuple[str, ...]
    summary: dict[str, Any]
    source: str = ""
    skipped: str = ""

    def translate(self, words: Callable[[str], str]) -> Outcome:
        """Return the same with its error and its warnings in other words.

        Args:
            words: translates a message.
        """
        warnings = tuple(map(words, self.warnings))
        summary = {**self.summary, "warnings": list(warnings)} if self.summary else {}
        return replace(self, error=words(self.error), warnings=warnings, summary=summary)

    def report(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            **({"error": self.error} if self.error else {}),
            **({"skipped": self.skipped} if self.skipped else {}),
            **self.summary,
        }

    def line(self) -> str:
        """Return the summary in one line for people."""
        if self.skipped:
            return f"{self.source}: skipped, {self.skipped}"
        given = self.summary
        gain = 1 - given["residue_bsa"] / given["residue_dsa"] if given["residue_dsa"] else 0.0
        begins = "no iodine seen" if given["iodine_from"] is None else f"iodine from frame {given['iodine_from']}"
        sure = "" if given["background_sure"] else ", not sure"
        return (
            f"{self.source}: {given['frames']} frames of {given['rows']}x{given['columns']}, background "
            f"{_say_backgrounds(given)} (by {given['background_choice']}; {begins}{sure}), lambda {given['lambda']:.2f}: "
            f"bright residue (motion and noise) {given['residue_dsa_percent']:.2f}% of the run's range in plain DSA, "
            f"{given['residue_bsa_percent']:.2f}% in BSA, {abs(gain):.0%} {'less' if gain >= 0 else 'more'}; "
            f"frames left unwarped: {given['unwarped']}, warped in part: {given['partly_warped']}; "
            f"largest shift {given['largest_shift']:.1f} px, folded {given['folding']:.3%}, "
            f"{given['seconds']['all']:.1f} s to read, register and write, {given['ms_per_frame']:.0f} ms a frame to register; "
            f"written: {', '.join(given['outputs'])}"
        )


def _say_backgrounds(given: dict[str, Any]) -> str:
    """Return the background frames, and of which frames they are where there are several backgrounds."""
    steps = given["background_steps"]
    if not steps:
        return say_frames(given["background"])
    return ", ".join(f"{say_frames(step['background'])} of frames {say_frames(step['frames'])}" for step in steps)


@dataclass(frozen=True)
class Job:
    """What is made of every run, by whatever process.

    Args:
        out: folder for the results.
        model: its file.
        model_sha256: SHA-256 of that file.
        options: options of the registration.
        output: kinds of file to write, and their options.
        unsubtracted: see `register_runs`.
        images: see `register_runs`.
        gpu: see `backend.configure_gpu`.
        engine: see `register_runs`.
        skip_existing: see `register_runs`.
    """

    out: Path
    model: Path
    model_sha256: str
    options: RegistrationOptions
    output: OutputOptions
    unsubtracted: bool
    images: ImageOptions | None
    gpu: str | None
    engine: EngineOptions
    skip_existing: bool

    def read(self, files: SeriesFiles) -> Series:
        """Return a run as it is registered, checked for what is to be written of it.

        Raises:
            InputError: it cannot be read, or does not allow what is wanted.
        """
        if self.images:
            series = read_image_run(files, self.images)
        else:
            series = open_series(files, unsubtracted=self.unsubtracted, folder=self.out)
        series = anonymize(series) if self.output.anonymize else series
        check_run(forget_masks(series, self.options.background), self.output)
        return series

    @property
    def pattern(self) -> str | None:
        """The pattern of results' names, or None where they are called as their runs."""
        return self.output.name or (ANONYMOUS if self.output.anonymize else None)

    def hash(self, files: SeriesFiles) -> str:
        """Return what tells this job's results of a run from others; "" where nobody asks, or a file is gone."""
        if not self.skip_existing:
            return ""
        how = self.options, self.output, self.engine, self.unsubtracted, self.images
        try:
            return hash_job(files, self.model_sha256, *how)
        except OSError:  # reading the run says what is wrong
            return ""


def register_runs(
    paths: AnyPaths,
    out: AnyPath,
    model: AnyPath | None = None,
    options: RegistrationOptions = USUAL,
    output: OutputOptions = FILES,
    *,
    unsubtracted: bool = False,
    gpu: str | None = None,
    engine: EngineOptions = BY_TENSORFLOW,
    passed_over: Counter[str] | None = None,
    images: ImageOptions | None = None,
    skip_existing: bool = False,
    progress: Callable[[int, int], None] | None = None,
    search_progress: Callable[[int], None] | None = None,
    stage_progress: Callable[[str], None] | None = None,
    frame_progress: Callable[[int, int], None] | None = None,
    cluster: Cluster | None = None,
) -> Iterator[Outcome]:
    """Register every run found under `paths` and yield what became of each.

        >>> for outcome in am.register_runs("data/example_run.dcm", "out", options=am.RegistrationOptions(levels=1)):
        ...     print(outcome.name, outcome.error or "registered", outcome.summary["frames"])
        example_run registered 8

    A run that another process is just registering into the same folder is skipped.

    Args:
        paths: DICOM files, folders of single frames, or trees of series; or one of these.
        out: folder for the results; runs of a tree keep their folder in it.
        model: model `.h5`, or the name of a shipped one; None for the shipped default.
        options: how every run is registered.
        output: kinds of file to write of each, and their options.
        unsubtracted: take runs as acquired, whatever their headers say of subtraction.
        gpu: see `backend.configure_gpu`.
        engine: engine that computes the network.
        passed_over: see `find_series`.
        images: the user's description of runs that are images and not DICOM; `paths` are then files and folders of these.
        skip_existing: skip runs whose results are there whole, made by this argument too, of the same files, model and options.
        progress: called with (runs done, runs) before the first and after each.
        search_progress: called with the number of files looked at, for each file.
        stage_progress: called with what is done of the run under way: "reading ...", "loading ..."; not with `cluster`.
        frame_progress: called with (frames done, frames) of the run under way, first with 0, then by another thread; not with
            `cluster`.
        cluster: where the runs are registered, a run a task, instead of in this process; outcomes keep the order of the runs.

    Raises:
        InputError: a path that is not there, no run under `paths`, no usable model, or options that it cannot take; before
            TensorFlow is imported and before any run is read.
    """
    folder = check_folder(out)
    if images is not None:
        check_images(output)
    defaults = read_model_defaults(model)
    defaults.complete(options)
    check_engine(engine, gpu)
    found = find_image_runs(paths, passed_over) if images else find_series(paths, search_progress, passed_over)
    job = Job(folder, defaults.path, sha256(defaults.path), options, output, unsubtracted, images, gpu, engine, skip_existing)
    of_run = RunProgress(stage_progress or ignore_stage, frame_progress or ignore_progress)
    return _register_each(found, job, progress or ignore_progress, of_run, cluster)


def ignore_progress(done: int, total: int) -> None:
    """Take note of nothing."""


def ignore_stage(what: str) -> None:
    """Take note of nothing."""


@dataclass(frozen=True)
class RunProgress:
    """Who is told of the run under way.

    Args:
        stage: see `register_runs`, `stage_progress`.
        frames: see `register_runs`, `frame_progress`.
    """

    stage: Callable[[str], None] = ignore_stage
    frames: Callable[[int, int], None] = ignore_progress


def _register_each(
    found: Sequence[SeriesFiles],
    job: Job,
    progress: Callable[[int, int], None],
    of_run: RunProgress,
    cluster: Cluster | None,
) -> Iterator[Outcome]:
    progress(0, len(found))
    if cluster is not None:
        outcomes = _register_there(found, job, cluster)
    else:
        taken: set[Path] = set()
        outcomes = (register_run(files, job, taken, of_run) for files in found)
    for number, outcome in enumerate(outcomes, start=1):
        yield outcome
        progress(number, len(found))


def _register_there(found: Sequence[SeriesFiles], job: Job, cluster: Cluster) -> Iterator[Outcome]:
    tasks = list(zip(found, _find_taken(found, job, cluster), strict=True))
    for files, outcome in zip(found, map_tasks(partial(_register_task, job=job), tasks, 0, cluster, ahead=AHEAD), strict=True):
        yield _say_death(files, outcome) if isinstance(outcome, Died) else outcome


def _register_task(task: tuple[SeriesFiles, set[Path]], job: Job) -> Outcome:
    files, taken = task
    return register_run(files, job, taken)


def _find_taken(found: Sequence[SeriesFiles], job: Job, cluster: Cluster) -> list[set[Path]]:
    """Return of each run the places that a pattern gives to runs before it and to itself; each run is read once more for it."""
    if job.pattern is None:
        return [set() for _ in found]
    taken: dict[Path, set[Path]] = {}
    each = []
    for place in map_tasks(partial(_find_place, job=job), found, 0, cluster, ahead=AHEAD):
        if isinstance(place, Path):
            each.append(set(taken.setdefault(place, set())))
            taken[place].add(_choose_free(place, taken[place]))
        else:
            each.append(set())
    return each


def _find_place(files: SeriesFiles, job: Job) -> Path | None:
    """Return where a pattern puts a run's results if nothing is there yet, or None of a run that cannot be read."""
    try:
        return _place_by_pattern(files, job, job.read(files))
    except Exception:  # registering it says why
        return None


def _say_death(files: SeriesFiles, died: Died) -> Outcome:
    source = _name_source(files)
    error = (
        f"{source}: expected a run, but every process that registered it ended with {died}: memory may have run out; "
        "give fewer workers, or this run by itself"
    )
    return Outcome(files.name, error, (), {}, source)


def _name_source(files: SeriesFiles) -> str:
    """Return a run's file, or the folder of its files, as the user knows it."""
    first = files.sources()[0]
    return first if len(files.paths) == 1 else str(Path(first).parent)


def register_run(files: SeriesFiles, job: Job, taken: set[Path], told: RunProgress | None = None) -> Outcome:
    """Register one run and write its results; whatever it raises is its own failure, so that the next goes on.

    Args:
        files: the run's files.
        job: options and outputs of its registration.
        taken: places of results that patterns of names have given so far; added to.
        told: receiver of progress.

    Raises:
        InputError: the model cannot be rebuilt, or there is no such GPU.
    """
    source = _name_source(files)
    try:
        return replace(_register(files, job, taken, told or RunProgress()), source=source)
    except ModelError:
        raise
    except Exception as error:
        return Outcome(files.name, files.told(say_failure(files.sources()[0], error)), (), {}, source)


def _register(files: SeriesFiles, job: Job, taken: set[Path], told: RunProgress) -> Outcome:
    begun = time.perf_counter()
    digest = job.hash(files)  # before they are read: they may change meanwhile
    place = files.folder / name_results(files.name) if job.pattern is None else None
    if place is not None:
        with name_results_in_errors(job.out / place):
            remove_dead_hold(job.out / place)
            if digest and is_complete(job.out / place, digest):
                return Outcome(files.name, "", (), {}, skipped=THERE)
            remove_leftovers((job.out / place).parent)
    told.stage(f"reading {_name_source(files)}")
    series = job.read(files)
    read = time.perf_counter()
    if place is None:
        place = _choose_free(_place_by_pattern(files, job, series), taken)
        taken.add(place)
        with name_results_in_errors(job.out / place):
            remove_leftovers((job.out / place).parent)
    with ExitStack() as stack:
        with name_results_in_errors(job.out / place):
            held = stack.enter_context(hold_name(job.out / place))
        if not held:
            return Outcome(files.name, "", (), {}, skipped=HELD)
        if digest and is_complete(job.out / place, digest):
            return Outcome(files.name, "", (), {}, skipped=THERE)
        result = _register_frames(series, job, told)
        registered = time.perf_counter()
        told.stage("writing the results")
        with name_results_in_errors(job.out / place):
            forget_record(job.out / place)
            written = result.save(job.out / place, output=job.output)
            if digest:
                write_record(job.out / place, digest, written)
    moments = begun, read, registered, time.perf_counter()
    summary = result.summary() | _tell_costs(result, len(series.frames), moments)
    summary |= {"result": place.as_posix(), "outputs": [str(path) for path in written], "series_uid": files.uid}
    pictured = {"picture_frame": job.output.frame or result.key_frame} if "png" in job.output.kinds else {}
    return Outcome(files.name, "", tuple(summary["warnings"]), summary | pictured)


def _register_frames(series: Series, job: Job, told: RunProgress) -> Registration:
    if not _load_model.cache_info().currsize:
        told.stage(f"loading {job.model.name}")
    model = _load_model(job.model, job.model_sha256, job.gpu, job.engine)
    told.frames(0, len(series.frames))
    spooling = Spooling.for_files(job.out, job.output, told.frames)
    return model.register(series, job.options, spooling, MONTAGE if "html" in job.output.kinds else ())


def _tell_costs(result: Registration, frames: int, moments: Sequence[float]) -> dict[str, Any]:
    """Return what a run of some frames took; `moments` are when it was begun, read, registered and written, seconds."""
    read, register, write = (after - before for before, after in itertools.pairwise(moments))
    return {
        "ms_per_frame": 1e3 * register / frames,
        "seconds": {"read": read, "register": register, "write": write, "all": time.perf_counter() - moments[0]},
        "stages": dict(result.seconds),
        "peak_memory": _peak_memory(),
    }


@lru_cache(maxsize=1)
def _load_model(path: Path, model_sha256: str, gpu: str | None, engine: EngineOptions) -> Model:
    """Return the model, read once; with another digest, anew."""
    from angiomorph.registration.model import Model

    try:
        configure_engine(engine, gpu)
        return Model(path, engine)
    except InputError as error:
        raise ModelError(str(error)) from error


def _peak_memory() -> int | None:
    """Return the most memory that this process has held so far, bytes; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else None


def _place_by_pattern(files: SeriesFiles, job: Job, series: Series) -> Path:
    """Return the folder, in that of all results, and the name that a pattern gives to a run's results."""
    folder = Path() if job.output.anonymize else files.folder
    return folder / name_results(name_run(str(job.pattern), series, files.name))


def _choose_free(place: Path, taken: set[Path]) -> Path:
    """Return a place that is not taken: this one, or the first free with a number after it."""
    places = (place if count == 1 else place.with_name(f"{place.name}-{count}") for count in itertools.count(1))
    return next(path for path in places if path not in taken)


def name_results(name: str) -> str:
    """Return what a run's results are called; long names are cut, told apart by a hash, so that every ending fits."""
    name_bytes = os.fsencode(name)
    if len(name_bytes) <= LONGEST_NAME:
        return name
    cut = name_bytes[:LONGEST_NAME].decode("utf-8", "ignore")
    return f"{cut}-{hashlib.sha256(name_bytes).hexdigest()[:8]}"
