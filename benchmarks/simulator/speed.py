"""Measure how fast runs are simulated, and what limits it.

    python -m benchmarks.simulator.speed --ct CT --vessels CTA --runs N

prints the frames per second of all that `angiomorph simulate --out` does, reading the volumes included, and the share of each
stage in one more run, made in this process by one thread.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numba import set_num_threads

from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.write import simulate

STAGES: Mapping[str, tuple[tuple[str, str], ...]] = {  # module and function; none is called by another one
    "reading": (("write", "_read_volumes"),),
    "anatomy": (("anatomy", "vary_anatomy"), ("volume", "materials")),
    "vessels": (("run", "_draw_blood"),),
    "projection": (("projector", "find_occupied"), ("projector", "project_volume")),
    "iodine": (("run", "_project_iodine"),),
    "displacement": (("displacement", "deform"), ("displacement", "find_displacement")),
    "physics": (("run", "_take"), ("detector", "draw_detector")),
    "writing": (("write", "write_simulated_run"),),
}


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Return the share that each of `STAGES` has in the time of a piece of work; what is of none of them is "rest"."""
    profile = cProfile.Profile()
    profile.runcall(work)
    seconds: dict[tuple[str, str], float] = {}
    rows: dict[tuple[str, int, str], tuple[Any, ...]] = vars(pstats.Stats(profile))["stats"]
    for (file, _, function), row in rows.items():
        if "simulate" in Path(file).parts[-3:-1]:
            seconds[Path(file).stem, function] = row[3]
    whole = sum(row[2] for row in rows.values())
    found = {stage: sum(seconds.get(name, 0.0) for name in names) / whole for stage, names in STAGES.items()}
    return {**found, "rest": 1 - sum(found.values())}


def main(argv: Sequence[str] | None = None) -> int:
    """Print frames per second and the shares."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", metavar="CT", help="as of `angiomorph simulate`")
    parser.add_argument("--vessels", metavar="CTA", help="as of `angiomorph simulate`")
    parser.add_argument("--runs", type=int, default=8, metavar="N", help="timed (default: 8)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the runs (default: 1)")
    parser.add_argument("--size", type=int, default=512, metavar="N", help="rows and columns, pixels (default: 512)")
    parser.add_argument("--workers", type=int, default=cores, metavar="N", help=f"processes (default: {cores})")
    given = parser.parse_args(argv)
    settings = SimulationSettings(size=given.size)
    source: dict[str, Any] = {"ct": given.ct, "vessels": given.vessels, "seed": given.seed}
    with tempfile.TemporaryDirectory() as folder:
        # Everything that can be drawn, so that nothing is compiled while the clock runs.
        every = replace(settings, size=64, still=0.0, parts=1.0, objects=1.0, metal=1.0)
        simulate(folder, runs=1, settings=every, **source)
        begun = time.perf_counter()
        simulate(folder, runs=given.runs, settings=settings, workers=given.workers, **source)
        seconds = time.perf_counter() - begun
        set_num_threads(1)
        parts = shares(lambda: simulate(folder, runs=1, settings=settings, **source))
    frames = given.runs * settings.frames
    print(
        f"{frames / seconds:.2f} frames/s: {frames} frames of {given.size} pixels in {seconds:.0f} s, {given.workers} processes"
    )
    print("\n| stage | share of one process |\n|---|---|")
    for stage, share in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"| {stage} | {share:.0%} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
