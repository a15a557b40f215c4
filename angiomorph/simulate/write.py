"""Many simulated runs, written as DICOM with their truth, into a training store, or both."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numba import set_num_threads

from angiomorph.dicom import create as dicom
from angiomorph.errors import InputError
from angiomorph.simulate.run import SimulatedRun, simulate_run
from angiomorph.simulate.scene import anatomy
from angiomorph.simulate.scene.anatomy import Volume
from angiomorph.simulate.scene.phantom import procedural_head
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.vessels.trees import Vessels, load_vessels
from angiomorph.simulate.xray.detector import modality_lut
from angiomorph.storage import store as stores

TRUTH = ("background", "vessel", "vessel_mask", "anatomy", "pose", "displacement", "displacement_defined")


def stored(run: SimulatedRun) -> stores.StoredRun:
    """Return what a training store keeps of a run."""
    numbers = tuple(range(1, run.background_frames + 1))
    encoding = run.detector.encoding
    return stores.StoredRun(run.frames, encoding.relation, encoding.bits_stored, numbers, run.frame_time, clean(run))


def clean(run: SimulatedRun) -> np.ndarray:
    """Return what the frames would store without contrast agent and noise.

        clean = round(exp(background)) of LIN, round(stored_per_ln background) of LOG and DISP

    Args:
        run: with its truth.

    Returns:
        `(T, H, W)`, the frames' type.
    """
    detector = run.detector
    linear = detector.encoding.relation == "LIN"
    values = np.exp(run.background) if linear else run.background * np.float32(detector.stored_per_ln)
    return np.clip(np.rint(values), 0, detector.encoding.top).astype(run.frames.dtype)


def write_truth(run: SimulatedRun, path: Path, settings: SimulationSettings) -> None:
    """Write a run's truth file (schema in `angiomorph.storage.store`)."""
    from angiomorph import __version__

    attributes = {
        "settings": json.dumps(asdict(settings)),
        "arm": json.dumps(asdict(run.arm)),
        "stored_per_ln": run.detector.stored_per_ln,
        "seed": np.asarray(run.seed, np.int64),
        "version": __version__,
    }
    stores.write_arrays(path, {name: getattr(run, name) for name in TRUTH}, attributes)


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
) -> None:
    """Simulate runs `run-000001`, `run-000002`, ... into a folder (DICOM and truth), a training store, or both.

    Run k is drawn from `SeedSequence((seed, k))`, so neither the count nor the workers change it.

    Args:
        out: folder for `<name>.dcm` and `<name>_truth.h5`, or None.
        runs: how many, >= 1.
        seed: >= 0.
        ct: CT of a head, neck or chest: NIfTI file or DICOM folder; or None for the procedural head.
        vessels: NIfTI CT angiography without bone, or None to grow all arteries.
        settings: of the runs; None for the defaults.
        store: training store to create, or None.
        workers: processes.
        progress: called with (runs done, runs) after each.

    Raises:
        InputError: unusable volumes or settings; neither `out` nor `store`.
    """
    if out is None and store is None:
        raise InputError("simulation: expected a folder or a training store to write to, found neither; name one")
    if runs < 1 or seed < 0 or workers < 1:
        raise InputError(f"simulation: expected runs >= 1, seed >= 0, workers >= 1, found {runs}, {seed}, {workers}")
    settings = settings or SimulationSettings()
    with ExitStack() as stack:
        training = None
        if store is not None:
            training = stack.enter_context(stores.create(stack.enter_context(stores.replacing(store))))
        made = stack.enter_context(
            _made(workers, range(1, runs + 1), seed, ct, vessels, settings, None if out is None else Path(out))
        )
        for done, (name, run) in enumerate(made, start=1):
            if training is not None:
                stores.append(training, name, run)
            if progress is not None:
                progress(done, runs)


def run_path(out: Path, number: int) -> Path:
    """Return where `simulate` writes run `number`, counted from 1."""
    return out / f"{_name(number)}.dcm"


def _name(number: int) -> str:
    return f"run-{number:06d}"


@dataclass(frozen=True)
class _Inputs:
    """What every run of one simulation is made from; read once in each process."""

    seed: int
    ct: Volume
    vessels: Vessels | None
    settings: SimulationSettings
    out: Path | None

    def make(self, number: int) -> tuple[str, stores.StoredRun]:
        """Make run `number`, write its files if there is a folder, and return its name and what a store keeps."""
        name = _name(number)
        run = simulate_run(self.ct, self.vessels, self.settings, (self.seed, number))
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            write_run(run, self.out, name, self.settings)
        return name, stored(run)


def _read(seed: int, ct: Any, vessels: Any, settings: SimulationSettings, out: Path | None) -> _Inputs:
    head = procedural_head(seed) if ct is None else anatomy.load_ct(ct)
    return _Inputs(seed, head, None if vessels is None else load_vessels(vessels), settings, out)


_in_worker: list[_Inputs] = []  # of this worker process, filled once when it starts


def _start(*arguments: Any) -> None:
    set_num_threads(1)  # the processes already share out the cores
    _in_worker.append(_read(*arguments))


def _make(number: int) -> tuple[str, stores.StoredRun]:
    return _in_worker[0].make(number)


@contextmanager
def _made(workers: int, numbers: range, *arguments: Any) -> Iterator[Iterator[tuple[str, stores.StoredRun]]]:
    """Yield the runs in order, made here or by worker processes."""
    inputs = _read(*arguments)  # in this process too: unusable input is refused before any worker starts
    if workers == 1:
        yield map(inputs.make, numbers)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, arguments) as pool:
        yield pool.map(_make, numbers)


def write_run(run: SimulatedRun, folder: Path, name: str, settings: SimulationSettings) -> None:
    """Write a run as `<name>.dcm` and its truth as `<name>_truth.h5`.

    Args:
        run: what to write.
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
    dicom.write_run(
        folder / f"{name}.dcm",
        run.frames,
        BitsStored=encoding.bits_stored,
        relation=encoding.relation,
        frame_time=run.frame_time,
        attributes=attributes,
        modality_lut=modality_lut(encoding) if encoding.relation == "LOG" else None,
        entropy=[str(part) for part in run.seed],
    )
    write_truth(run, folder / f"{name}_truth.h5", settings)
