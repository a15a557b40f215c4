"""An archive of DICOM runs as one training store, without identities."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from angiomorph import __version__
from angiomorph.archive.work_folder import Preparation
from angiomorph.dicom import SeriesFiles, find_series, read_series
from angiomorph.errors import InputError, say_failure
from angiomorph.images import ImageOptions, find_image_runs, find_pairs, read_image_run
from angiomorph.preprocessing.resizing import shrink_frames
from angiomorph.storage.paths import AnyPath, AnyPaths
from angiomorph.storage.store import StoredRun
from angiomorph.workers import Cluster, Died, map_tasks

PASSED_OVER = "passed-over"  # key of the manifest's lines for files that belong to no run
SECONDS = 10  # between two reports of how many files were searched


@dataclass(frozen=True)
class PrepareReport:
    """What became of an archive.

    Args:
        taken: number of runs in the store.
        left_out: name and reason of each run that is not.
        manifest: CSV file beside the store, one line a run, and one for each reason for which files were passed over.
        passed_over: number of files by that reason.
    """

    taken: int
    left_out: tuple[tuple[str, str], ...]
    manifest: Path
    passed_over: Counter[str]


def prepare(
    paths: AnyPaths,
    store_path: AnyPath,
    *,
    size: int | None = None,
    unsubtracted: bool = False,
    workers: int = 1,
    images: ImageOptions | None = None,
    pairs: Iterable[tuple[AnyPath, AnyPath]] = (),
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
    cluster: Cluster | None = None,
) -> PrepareReport:
    """Write every usable run of DICOM files, folders or trees to one training store.

        >>> report = am.prepare("data/sample_lin.dcm", "out/store.h5", size=64)
        >>> report.taken, report.left_out
        (1, ())

    Runs are numbered in the order of `find_series`: run-000001, run-000002 and so on. Unusable runs keep their number, so a
    run's key does not depend on the others. Neither the store nor the manifest beside it (`<store>.manifest.csv`) holds a
    name, a date, a path or a UID. The manifest tells runs apart by the SHA-256 of their SeriesInstanceUID.

    The store gets its name when it is complete; until then the folder `.<store>.partial` beside it holds the finished runs.
    After an interruption, the same call resumes behind the last of them; see `work_folder.Preparation`.

    A run is skipped where `read_series` refuses it, where its decoder dies, or where every frame is named as background; the
    manifest gives the reason. Runs that show iodine from the first frame on are kept: see docs/prepare.md.

    Args:
        paths: DICOM files and folders, or one of them.
        store_path: the store's final name.
        size: frames whose longer side is larger, pixels, shrink to it (`resizing.shrink_frames`); None for none.
        unsubtracted: take runs as acquired, whatever their headers say of subtraction.
        workers: processes that decode, at least 1; memory holds about `2 * workers` runs.
        images: of runs that are images and not DICOM, what the user says of them; `paths` are then files and folders of these.
        pairs: with `images`, files (moving, fixed) that become runs of two frames, the first of them background.
        progress: called with (runs done, runs); the first call counts the runs of an earlier, interrupted call.
        say: called with a line of text: progress of the search, warnings about grouping, and whether earlier work is resumed.
        cluster: where runs are decoded, a run a task, instead of by `workers`; this process alone writes the store.

    Raises:
        InputError: no run at all, or none that can be used; `.<store>.partial` holds other work; the store cannot be written,
            as on a full disk, in which case what is finished is kept.
    """
    for name, number in (("size", size), ("workers", workers)):
        if number is not None and number < 1:
            raise InputError(f"`{name}` {number}: expected a whole number from 1, got {number}")
    say = say or (lambda line: None)
    passed_over = Counter[str]()
    found = find_image_runs(paths, passed_over) if images else find_series(paths, _report_search(say), passed_over)
    found += find_pairs(pairs)
    for warning in (files.told(warning) for files in found for warning in files.warnings):
        say(f"warning: {warning}")
    path = Path(store_path)
    try:
        work = Preparation(path, _job(found, f"{size} {unsubtracted}{f' {images}' if images else ''}"))
        try:
            read = partial(read_run, size=size, unsubtracted=unsubtracted, images=images)
            with closing(map_tasks(read, found[work.done :], workers, cluster)) as results:
                return _prepare_runs(work, found, passed_over, results, progress or (lambda done, total: None), say)
        finally:
            work.close()
    except OSError as error:
        raise InputError(
            f"{path}: expected to write the store, but {error.strerror or error}; the runs finished so far are kept beside it: "
            "make room, give the same command again, and it goes on from there"
        ) from error


def _prepare_runs(
    work: Preparation,
    found: list[SeriesFiles],
    passed_over: Counter[str],
    results: Iterable[StoredRun | str | Died],
    progress: Callable[[int, int], None],
    say: Callable[[str], None],
) -> PrepareReport:
    reasons = {
        index: f"{found[index].sources()[0]}: {line['left_out']}" for index, line in enumerate(work.lines) if line["left_out"]
    }
    if work.done:
        say(f"resuming: {work.done} of {len(found)} runs already there")
    progress(work.done, len(found))
    for index, result in enumerate(results, work.done):
        run, reason = (result, "") if isinstance(result, StoredRun) else (None, _reason(result, found[index]))
        work.add(manifest_line(index, found[index], run, reason), run)
        if reason:
            reasons[index] = reason
        progress(index + 1, len(found))
    left_out = tuple((found[index].name, reason) for index, reason in reasons.items())
    if len(left_out) == len(found):
        work.discard()
        raise InputError(
            f"{work.path}: expected at least one usable run among {len(found)}, found none; the first: {left_out[0][1]}"
        )
    work.finish({"key": PASSED_OVER, "left_out": f"{reason}: {count}"} for reason, count in sorted(passed_over.items()))
    return PrepareReport(len(found) - len(left_out), left_out, work.manifest, passed_over)


def _report_search(say: Callable[[str], None]) -> Callable[[int], None]:
    last = [time.monotonic()]

    def update(files: int) -> None:
        if time.monotonic() - last[0] >= SECONDS:
            last[0] = time.monotonic()
            say(f"looking for runs: {files} files looked at")

    return update


def _job(found: list[SeriesFiles], options: str) -> str:
    """Return a SHA-256 of the files, their sizes and times, the options, and the program's version."""
    job = hashlib.sha256(f"{__version__} {options}".encode())
    for files in found:
        for path, source in zip(files.paths, files.sources(), strict=True):
            original = files.original(path)
            status = original.stat() if original.exists() else None
            stated = status and (status.st_size, status.st_mtime_ns)
            job.update(repr((os.path.realpath(source), stated)).encode("utf-8", "replace"))
    return job.hexdigest()


def read_run(
    files: SeriesFiles, *, size: int | None, unsubtracted: bool, images: ImageOptions | None = None
) -> StoredRun | str:
    """Return a run as the store keeps it, or why it cannot be used."""
    subject = files.sources()[0]
    try:
        series = read_image_run(files, images) if images else read_series(files, unsubtracted=unsubtracted)
        if len(set(series.background_numbers)) == len(series.frames):
            return f"{subject}: expected a contrast frame, found every frame named as background; give the whole run"
        frames = series.frames if size is None else shrink_frames(series.frames, size)
    except MemoryError:
        return (
            f"{subject}: expected a run that fits into memory, found a larger one, or a header that says so; try fewer workers"
        )
    except Exception as error:  # whatever a run raises is its own failure, and the next goes on
        return say_failure(subject, error)
    return StoredRun(frames, series.relation, series.bits_stored, series.background_numbers, series.frame_time)


def _reason(result: str | Died, files: SeriesFiles) -> str:
    if isinstance(result, str):
        return result
    return (
        f"{files.sources()[0]}: expected pixels that decode, but the process that decoded them ended with {result}: the "
        "file is damaged, its decoder at fault, or memory ran out; fetch the file again, or try fewer workers"
    )


def manifest_line(index: int, files: SeriesFiles, run: StoredRun | None, reason: str) -> dict[str, Any]:
    """Return a run's line of the manifest."""
    line: dict[str, Any] = {
        "key": f"run-{index + 1:06d}",
        "series_sha256": hashlib.sha256(files.uid.encode()).hexdigest() if files.uid else "",
        "left_out": _hide_names(reason, files),
    }
    if run is None:
        return line
    frames, rows, columns = run.frames.shape
    return line | {
        "frames": frames,
        "rows": rows,
        "columns": columns,
        "relation": run.relation,
        "bits_stored": run.bits_stored,
        "background": " ".join(map(str, run.background)),
    }


def _hide_names(reason: str, files: SeriesFiles) -> str:
    """Return an error text without file names, which archives often make of patients' names."""
    if not reason:
        return ""
    known = [*map(str, files.paths), *files.sources(), *(str(files.original(path)) for path in files.paths)]
    for name in sorted(known, key=len, reverse=True):
        reason = reason.replace(name, "file")
    for name in {Path(name).name for name in known}:
        # Whole words: a file that is called 1 must not change the numbers in the text that have a 1 in them.
        reason = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", "file", reason)
    return reason
