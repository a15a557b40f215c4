"""The runs that methods are compared on: simulated, read, and cut down to the frames that are registered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from angiomorph import __version__
from angiomorph.dicom import Series, read_series
from angiomorph.errors import InputError
from angiomorph.evaluation.score import Case, Score
from angiomorph.metrics import against_truth
from angiomorph.preprocessing.field import clamp_warp
from angiomorph.preprocessing.spacing import centre_indices
from angiomorph.registration.inputs import prepare_input
from angiomorph.storage.truth import RunTruth, read_truth, truth_path
from benchmarks.source import digest

MOTION_MM, MOTION_DEG = (1.0, 5.0), (1.0, 3.0)


@dataclass(frozen=True, eq=False)
class Sample:
    """A run and the few frames of it that every method registers.

    Args:
        name: of the run.
        digest: of its file, which tells it from other runs of the same name.
        series: the whole run.
        numbers: frame numbers, from 1, of the background.
        frames: indices, from 0, of the registered frames, ascending.
        moving: `(H, W)` float32, the normalised background, [0, 1].
        fixed: `(F, H, W)` float32, the normalised frames, [0, 1].
        field: `(H, W)` bool, the exposed field, which no method's warp may lead out of.
        ln_per_unit: ln units of the subtraction per unit of the normalised frames.
        truth: of background and registered frames.
        case: scores warps of background and registered frames.
    """

    name: str
    digest: str
    series: Series
    numbers: tuple[int, ...]
    frames: tuple[int, ...]
    moving: np.ndarray
    fixed: np.ndarray
    field: np.ndarray
    ln_per_unit: float
    truth: RunTruth
    case: Case

    def first(self) -> Sample:
        """Return the sample with only the first of its registered frames; it can be registered but not scored."""
        return replace(self, frames=self.frames[:1], fixed=self.fixed[:1])

    def score(self, found: np.ndarray, seconds: float) -> Score:
        """Return what a method has found for the registered frames is worth.

        Args:
            found: warps, `(F, H, W, 2)` float32, pixels, ij order; or subtracted frames, `(F, H, W)` float32, ln units.
            seconds: wall time a frame.
        """
        if found.ndim == 3:
            return self.case.score_subtraction(found, seconds * len(found))
        warps = clamp_warp(found, self.field)
        still = np.zeros((len(self.numbers), *warps.shape[1:]), np.float32)
        score = self.case.score(np.concatenate([still, warps]), seconds * (len(self.numbers) + len(warps)))
        # The frames of the background, which no method warps, are not to dilute what is counted over all frames.
        return replace(score, folding=against_truth.folding(warps))


def read_sample(path: Path, count: int) -> Sample:
    """Read a run and choose its background, and `count` evenly spaced frames among those with iodine.

    Args:
        path: DICOM file with `<name>_truth.h5` beside it.
        count: frames to register, >= 1; fewer where the run has no more with iodine.

    Raises:
        InputError: unusable run or truth, or no frame with iodine.
    """
    series, truth = read_series(path), read_truth(truth_path(path))
    seen = prepare_input(series, "auto")
    numbers = seen.background.numbers
    filled = [t for t in np.flatnonzero(truth.vessel_mask.any((1, 2))).tolist() if t + 1 not in numbers]
    frames = [filled[index] for index in centre_indices(len(filled), count)]
    if not frames:
        raise InputError(f"{path}: expected frames with iodine beside the background, found none; simulate more frames")
    kept = [number - 1 for number in numbers] + frames
    known = truth.select_frames(kept)
    part = replace(series, frames=series.frames[kept], frame_times=series.frame_times[kept])
    return Sample(
        name=path.stem,
        digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        series=series,
        numbers=numbers,
        frames=tuple(frames),
        moving=seen.moving,
        fixed=seen.level_frames(frames),
        field=seen.field,
        ln_per_unit=(seen.scale.hi - seen.scale.lo) / (1.0 if series.relation == "LIN" else known.stored_per_ln),
        truth=known,
        case=Case(part, range(1, len(numbers) + 1), known),
    )


def simulated(
    folder: Path,
    *,
    runs: int,
    seed: int,
    still: bool,
    ct: str | None,
    vessels: str | None,
    workers: int,
    size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Return the runs of a set, simulated into `folder` unless they are there.

    Args:
        folder: of the set; `set.json` in it says how it was made.
        runs: how many.
        seed: of the set.
        still: whether nothing but the blood moves; else a head moves by 1 to 5 mm and 1 to 3 degrees.
        ct: head CT; None for the procedural head.
        vessels: CT angiography without bone; None for grown arteries.
        workers: processes.
        size: rows and columns, pixels.
        progress: called with (runs done, runs).

    Raises:
        InputError: the folder holds another set, or one of another simulator.
    """
    from angiomorph.simulate.settings import SimulationSettings
    from angiomorph.simulate.write import simulate

    settings = SimulationSettings(size=size, still=float(still), motion_mm=MOTION_MM, motion_deg=MOTION_DEG)
    made = {"runs": runs, "seed": seed, "ct": ct, "vessels": vessels, "settings": asdict(settings)}
    made |= {"version": __version__, "simulator": digest("angiomorph.simulate")}
    record, text = folder / "set.json", json.dumps(made, indent=1)
    if record.exists() and record.read_text() != text:
        raise InputError(
            f"{folder}: expected the set that is asked for, found one made otherwise; remove it or name another --out"
        )
    if not record.exists():
        simulate(folder, runs=runs, seed=seed, ct=ct, vessels=vessels, settings=settings, workers=workers, progress=progress)
        record.write_text(text)  # last: a set that was interrupted is simulated again
    return run_paths([folder])


def run_paths(folders: Iterable[Path]) -> list[Path]:
    """Return the simulated runs in the folders, in the order of their names.

    Raises:
        InputError: a folder without runs.
    """
    found = []
    for folder in folders:
        paths = sorted(path for path in folder.rglob("*.dcm") if truth_path(path).exists())
        if not paths:
            raise InputError(
                f"{folder}: expected simulated runs with <name>_truth.h5 beside them, found none; "
                "make some with `angiomorph simulate --out DIR`"
            )
        found += paths
    return found
