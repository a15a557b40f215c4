"""Runs on which the choice of the background is measured: when iodine arrives is known, and no tag tells it.

A run shows one of several anatomies, has 8 to 60 frames and any dose, and iodine from frame 2 to 20 on. Some begin with iodine,
in some the patient keeps still. Beside each DICOM file lies what its frames hold of contrast agent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from angiomorph import dicom
from angiomorph.errors import InputError
from angiomorph.simulate.run import SimulatedRun, simulate_run
from angiomorph.simulate.scene.anatomy import Volume, load_ct
from angiomorph.simulate.scene.phantom import procedural_head
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.vessels.trees import Vessels, load_vessels
from angiomorph.simulate.xray.detector import modality_lut
from angiomorph.storage import store
from angiomorph.storage.atomic import replace_file
from angiomorph.workers import Died, map_tasks
from benchmarks.source import digest

DOSES = ((5e2, 5e3), (5e3, 2.5e4), (2.5e4, 1.5e5))  # photons a mm^2 and frame
FRAMES = (8, 60)
ARRIVAL = (2, 20)  # first frame with iodine
LEAST_AFTER = 4  # frames with iodine
STILL, BEFORE = 0.3, 0.08  # shares of runs in which nothing moves, and which begin with iodine
CUT = (3, 14)  # frames cut off the front of a run that begins with iodine


@dataclass(frozen=True)
class Plan:
    """What one run is drawn from.

    Args:
        number: of the run, from 1.
        ct: its CT; empty for a procedural head.
        settings: of the simulator.
        cut: frames cut off the front, so that iodine is there from the first one on; 0 of most runs.
        seed: of the run.
    """

    number: int
    ct: str
    settings: SimulationSettings
    cut: int
    seed: tuple[int, int]

    @property
    def name(self) -> str:
        """Return the run's file name without ending."""
        return f"run-{self.number:06d}"


@dataclass(frozen=True)
class Contrast:
    """What a run's frames hold of contrast agent.

    Args:
        share: `(T,)` each frame's contrast, summed over the anatomy, over that of the frame that has most.
        about: what the run was drawn from, for tables.
    """

    share: np.ndarray
    about: dict[str, str | float | bool]


def plans(cts: Sequence[str], runs: int, seed: int, size: int) -> Iterator[Plan]:
    """Yield what each run is drawn from: anatomies and doses in turn, all else at random.

    Args:
        cts: CTs; "" for a procedural head.
        runs: how many.
        seed: of all draws.
        size: rows and columns, pixels.
    """
    for number in range(1, runs + 1):
        rng = np.random.default_rng((seed, number))
        frames = round(math.exp(rng.uniform(*np.log(FRAMES))))
        latest = min(ARRIVAL[1], frames - LEAST_AFTER)
        arrival = int(rng.integers(ARRIVAL[0], latest + 1))
        before = rng.random() < BEFORE
        still = rng.random() < STILL
        cut = int(rng.integers(*CUT)) if before else 0
        settings = SimulationSettings(
            size=size,
            frames=frames + cut,
            background=2 if before else arrival - 1,
            still=float(still),
            motion_mm=(0.5, 6.0),
            motion_deg=(0.5, 4.0),
            dose=DOSES[number % len(DOSES)],
            frame_time=(133.0, 500.0),
        )
        yield Plan(number, cts[(number // len(DOSES)) % len(cts)], settings, cut, (seed, number))


def make_runs(
    folder: Path,
    *,
    cts: Sequence[str],
    vessels: str | None,
    runs: int,
    seed: int,
    size: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Path]:
    """Return the runs of a set, simulated into `folder` unless they are there; a set that was interrupted goes on.

    Args:
        folder: of the set; `set.json` in it says how it was made.
        cts: see `plans`.
        vessels: CT angiography without bone; None for grown arteries.
        runs: how many.
        seed: of the set.
        size: rows and columns, pixels.
        workers: processes.
        progress: called with (runs done, runs) after each.

    Raises:
        InputError: an unusable volume, or a folder that holds a set made otherwise.
    """
    wanted = list(plans(cts, runs, seed, size))
    folder.mkdir(parents=True, exist_ok=True)
    record, text = folder / "set.json", set_record(wanted, vessels)
    if record.exists() and record.read_text() != text:
        raise InputError(
            f"{folder}: expected the set that is asked for, found one made otherwise; remove it or name another --out"
        )
    with replace_file(record) as partial:
        partial.write_text(text)
    missing = [plan for plan in wanted if not contrast_path(folder / f"{plan.name}.dcm").exists()]
    missing.sort(key=lambda plan: plan.ct)  # each process keeps one volume at a time
    tasks = [(folder, vessels, plan) for plan in missing]
    with closing(map_tasks(_make, tasks, workers)) as results:
        for done, result in enumerate(results, start=len(wanted) - len(missing) + 1):
            if isinstance(result, Died):
                raise InputError(
                    f"{folder}: expected a run, but the process that made it ended with {result}; use fewer workers"
                )
            progress(done, len(wanted))
    return [folder / f"{plan.name}.dcm" for plan in wanted]


def set_record(wanted: Sequence[Plan], vessels: str | None) -> str:
    """Return what tells a set from others, as JSON: its runs, the vessels, and the simulator."""
    made = {"vessels": vessels, "simulator": digest("angiomorph.simulate"), "runs": [asdict(plan) for plan in wanted]}
    return json.dumps(made, indent=1)


def contrast_path(run: Path) -> Path:
    """Return where a run's contrast is written."""
    return run.with_name(f"{run.stem}_contrast.h5")


def read_contrast(run: Path) -> Contrast:
    """Read what a run's frames hold of contrast agent.

    Raises:
        InputError: the file is absent or unreadable.
    """
    arrays, attributes = store.read_arrays(contrast_path(run))
    return Contrast(arrays["share"], json.loads(attributes["about"]))


_volumes: dict[str, Volume] = {}  # of this process: the last CT
_vessels: dict[str, Vessels] = {}  # of this process


def _make(arguments: tuple[Path, str | None, Plan]) -> None:
    from numba import set_num_threads

    folder, vessels, plan = arguments
    set_num_threads(1)
    if vessels is not None and vessels not in _vessels:
        _vessels[vessels] = load_vessels(vessels)
    body = _body(plan)
    run = simulate_run(body, None if vessels is None else _vessels[vessels], plan.settings, plan.seed)
    write_planned_run(_without_first(run, plan.cut), plan, folder / f"{plan.name}.dcm")


def _body(plan: Plan) -> Volume:
    """Return the run's CT, or a procedural head of its own: it must not depend on what this process has made before."""
    if not plan.ct:
        return procedural_head(plan.number)
    if plan.ct not in _volumes:
        _volumes.clear()
        _volumes[plan.ct] = load_ct(plan.ct)
    return _volumes[plan.ct]


def _without_first(run: SimulatedRun, cut: int) -> SimulatedRun:
    return replace(run, frames=run.frames[cut:], truth=run.truth.select_frames(slice(cut, None)))


def write_planned_run(run: SimulatedRun, plan: Plan, path: Path) -> None:
    """Write a run without mask and shutter tags, and beside it what its frames hold of contrast agent."""
    encoding = run.detector.encoding
    dicom.write_run(
        path,
        run.frames,
        BitsStored=encoding.bits_stored,
        relation=encoding.relation,
        frame_time=run.frame_time,
        modality_lut=modality_lut(encoding) if encoding.relation == "LOG" else None,
        entropy=[str(part) for part in plan.seed],
    )
    contrast = np.maximum(-np.where(run.truth.anatomy, run.truth.vessel, 0), 0).sum((1, 2), dtype=np.float64)
    about = {
        "anatomy": Path(plan.ct).name.split(".")[0] or "procedural",
        "dose": plan.settings.dose[1],
        "still": plan.settings.still == 1,
        "begins_with_iodine": plan.cut > 0,
        "frame_time": run.frame_time,
        "relation": encoding.relation,
        "territory": run.territory,
    }
    share = contrast / max(contrast.max(), 1e-12)
    store.write_arrays(contrast_path(path), {"share": share}, {"about": json.dumps(about)})
