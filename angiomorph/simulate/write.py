"""Many simulated runs, written as DICOM with their truth, into a training store, or both."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from angiomorph import __version__
from angiomorph.dicom import create as dicom
from angiomorph.errors import InputError
from angiomorph.options import refuse
from angiomorph.simulate.compiled import set_num_threads
from angiomorph.simulate.extra import check_extra
from angiomorph.simulate.run import SimulatedRun, simulate_run
from angiomorph.simulate.scene import anatomy
from angiomorph.simulate.scene.anatomy import Volume
from angiomorph.simulate.scene.phantom import procedural_head
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.vessels.trees import Vessels, load_vessels
from angiomorph.simulate.xray.detector import modality_lut
from angiomorph.storage import store as stores
from angiomorph.storage.atomic import remove_leftovers, replace_file, replace_together
from angiomorph.storage.truth import truth_path, write_truth
from angiomorph.workers import Cluster, Died, map_tasks


def to_stored_run(run: SimulatedRun) -> stores.StoredRun:
    """Return what a training store keeps of a run."""
    numbers = tuple(range(1, run.background_frames + 1))
    encoding = run.detector.encoding
    clean = round_clean_frames(run)
    return stores.StoredRun(run.frames, encoding.relation, encoding.bits_stored, numbers, run.frame_time, clean)


def round_clean_frames(run: SimulatedRun) -> np.ndarray:
    """Return what the frames would store without contrast agent and noise: `RunTruth.clean_values`, rounded.

    Args:
        run: with its truth.

    Returns:
        `(T, H, W)`, the frames' type.
    """
    encoding = run.detector.encoding
    return np.clip(np.rint(run.truth.clean_values(encoding.relation)), 0, encoding.top).astype(run.frames.dtype)


def simulate(
    out: str | os.PathLike[str] | None,
    *,
    runs: int,
    seed: int,
    ct: str | os.PathLike[str] | None = None,
    vessels: str | os.PathLike[str] | None = None,
    settings: SimulationSettings | None = None,
    store: str | os.PathLike[str] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Simulate runs `run-000001`, `run-000002`, ... into a folder (DICOM and truth), a training store, or both.

        >>> am.simulate("out/simulated", runs=1, seed=1, settings=am.SimulationSettings(size=32, frames=2, background=1))
        >>> am.read_series("out/simulated/run-000001.dcm").frames.shape
        (2, 32, 32)

    Run k is drawn from `SeedSequence((seed, k))`, so neither the count nor the workers change it.

    Args:
        out: folder for `<name>.dcm` and `<name>_truth.h5`, or None.
        runs: how many, >= 1.
        seed: >= 0.
        ct: CT of a head, neck or chest: NIfTI file or DICOM folder; or None for the procedural head.
        vessels: NIfTI CT angiography without bone, or None to grow all arteries.
        settings: settings of the runs; None for the defaults.
        store: training store to create, or None.
        workers: processes.
        progress: called with (runs done, runs) after each.
        cluster: where runs are made, a run a task, instead of by `workers`; this process alone writes the store.

    Raises:
        InputError: unusable volumes or settings; neither `out` nor `store`; a package of the extra is
            missing; a worker process has died.
    """
    if out is None and store is None:
        raise InputError("`out`, `store`: expected a folder or a training store to write to, got neither; name one")
    for name, value, least in (("runs", runs, 1), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise refuse(name, f"a whole number from {least}", value)
    check_extra()
    job = _Job(seed, ct, vessels, settings or SimulationSettings(), None if out is None else Path(out))
    with ExitStack() as stack:
        for folder in filter(None, {job.out, None if store is None else Path(store).parent}):
            remove_leftovers(folder)
            stack.callback(remove_leftovers, folder)  # of workers that are killed meanwhile
        stack.callback(_read_volumes.cache_clear)
        _read_volumes(job)  # in this process too: unusable input is refused before any worker starts
        training = None
        if store is not None:
            training = stack.enter_context(stores.create(stack.enter_context(replace_file(store))))
        made = _make_runs(job, range(1, runs + 1), workers, cluster)
        stack.callback(made.close)
        for number, run in enumerate(made, start=1):
            if training is not None:
                stores.append(training, _name_run(number), run)
            if progress is not None:
                progress(number, runs)


def run_path(out: Path, number: int) -> Path:
    """Return where `simulate` writes run `number`, counted from 1."""
    return out / f"{_name_run(number)}.dcm"


def _name_run(number: int) -> str:
    return f"run-{number:06d}"


@dataclass(frozen=True)
class _Job:
    """What every run of one simulation is made from."""

    seed: int
    ct: str | os.PathLike[str] | None
    vessels: str | os.PathLike[str] | None
    settings: SimulationSettings
    out: Path | None


@functools.lru_cache(maxsize=1)
def _read_volumes(job: _Job) -> tuple[Volume, Vessels | None]:
    """Read CT and vessels, once in each process."""
    body = procedural_head(job.seed) if job.ct is None else anatomy.load_ct(job.ct)
    return body, None if job.vessels is None else load_vessels(job.vessels)


def _make_run(number: int, job: _Job) -> stores.StoredRun:
    """Make a run, write its files if there is a folder, and return what a store keeps of it."""
    run = simulate_run(*_read_volumes(job), job.settings, (job.seed, number))
    if job.out is not None:
        job.out.mkdir(parents=True, exist_ok=True)
        with replace_together():
            write_simulated_run(run, job.out, _name_run(number), job.settings)
    return to_stored_run(run)


def _make_run_in_worker(number: int, job: _Job) -> stores.StoredRun:
    set_num_threads(1)  # the processes already share out the cores
    return _make_run(number, job)


def _make_runs(
    job: _Job, numbers: Sequence[int], workers: int, cluster: Cluster | None
) -> Generator[stores.StoredRun, None, None]:
    """Yield the runs in order, made here, by worker processes, or on a cluster.

    Raises:
        InputError: a worker process has died.
    """
    here = workers == 1 and cluster is None
    make = functools.partial(_make_run if here else _make_run_in_worker, job=job)
    with closing(map_tasks(make, numbers, 0 if here else workers, cluster)) as results:
        for number, result in zip(numbers, results, strict=True):
            if isinstance(result, Died):
                raise InputError(
                    f"{_name_run(number)}: expected a run, but the process that made it ended with {result}: it may have run "
                    "out of memory; use fewer workers"
                )
            yield result


def write_simulated_run(run: SimulatedRun, folder: Path, name: str, settings: SimulationSettings) -> None:
    """Write a run as `<name>.dcm` and its truth as `<name>_truth.h5`.

    Args:
        run: the run to write.
        folder: existing folder.
        name: file name without ending.
        settings: kept in the truth file.
    """
    arm, encoding = run.arm, run.detector.encoding
    attributes = {
        "KVP": run.detector.beam.kv,
        "BodyPartExamined": run.territory.upper(),
        "DistanceSourceToDetector": arm.source_detector,
        "DistanceSourceToPatient": arm.source_isocentre,
        "EstimatedRadiographicMagnificationFactor": arm.source_detector / arm.source_isocentre,
        "PositionerPrimaryAngle": arm.primary,
        "PositionerSecondaryAngle": arm.secondary,
        "ImagerPixelSpacing": [arm.pixel_spacing, arm.pixel_spacing],
        "MaskFrameNumbers": list(range(1, run.background_frames + 1)),
        **run.detector.aperture.attributes,
    }
    path = folder / f"{name}.dcm"
    dicom.write_run(
        path,
        run.frames,
        BitsStored=encoding.bits_stored,
        relation=encoding.relation,
        frame_time=run.frame_time,
        attributes=attributes,
        modality_lut=modality_lut(encoding) if encoding.relation == "LOG" else None,
        entropy=[str(part) for part in run.seed],
    )
    about = {
        "settings": json.dumps(asdict(settings)),
        "arm": json.dumps(asdict(run.arm)),
        "seed": np.asarray(run.seed, np.int64),
        "version": __version__,
    }
    write_truth(truth_path(path), run.truth, about)
