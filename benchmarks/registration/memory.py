"""How much memory and time `angiomorph register` takes by the length of a run.

    python -m benchmarks.registration.memory --out DIR

makes runs of 60, 300 and 1,000 frames of 1024 x 1024 from the example run, whose frames are enlarged and shifted by up to two
pixels, and registers each in a process of its own. For each it prints the peak of that process's resident memory, the seconds
of the whole process, and those of its stages, each of which has a thread of its own. Runs are made once and kept in DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from angiomorph.dicom import read_series, write_dsa_run
from angiomorph.preprocessing.lazy_frames import LazyFrames

EXAMPLE = Path(__file__).parents[2] / "data" / "example_run.dcm"
STAGES = ("read", "network", "subtract", "write")
BACKGROUND = 2  # frames before iodine in the runs that are made
MOST_SHIFT = 2  # pixels of the enlarged frames


@dataclass(frozen=True)
class Taken:
    """What one process took.

    Args:
        megabytes: the peak of its resident memory.
        seconds: of the whole process.
        stages: seconds of each stage.
    """

    megabytes: float
    seconds: float
    stages: dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each length."""
    parser = argparse.ArgumentParser(description="Memory and time of register by the length of a run.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the runs and their results")
    parser.add_argument("--frames", type=int, nargs="+", default=[60, 300, 1000], metavar="N", help="(default: 60 300 1000)")
    parser.add_argument("--size", type=int, default=1024, metavar="PX", help="of the frames (default: 1024)")
    arguments, options = parser.parse_known_args(argv)
    print(f"{arguments.size} x {arguments.size}, register {' '.join(options)}\n")
    print(f"| frames | peak memory, MB | whole process, s | {' | '.join(f'{stage}, s' for stage in STAGES)} |")
    print("| --- " * (len(STAGES) + 3) + "|")
    for count in arguments.frames:
        taken = measure(make_run(arguments.out, count, arguments.size), arguments.out / "registered", options)
        stages = " | ".join(f"{taken.stages.get(stage, 0):.1f}" for stage in STAGES)
        print(f"| {count} | {taken.megabytes:.0f} | {taken.seconds:.1f} | {stages} |", flush=True)


def make_run(out: Path, count: int, size: int) -> Path:
    """Return a run of so many frames, made unless it is there.

    Args:
        out: folder of the run.
        count: of its frames.
        size: pixels, rows and columns.
    """
    path = out / f"{count}-frames-of-{size}.dcm"
    if path.exists():
        return path
    source = read_series(EXAMPLE)
    times = -(-size // max(source.frames.shape[1:]))
    rng = np.random.default_rng(0)
    shifts = rng.integers(-MOST_SHIFT, MOST_SHIFT + 1, (count, 2))

    def make(index: int) -> np.ndarray:
        number = min(index // BACKGROUND, len(source.frames) - 1)
        frame = np.repeat(np.repeat(source.frames[number], times, 0), times, 1)[:size, :size]
        return np.roll(frame, shifts[index], (0, 1))

    longer = replace(
        source,
        frames=cast(np.ndarray, LazyFrames((count, size, size), source.frames.dtype, make)),
        frame_times=np.arange(count) * source.frame_time,
        shutter=np.ones((size, size), bool),
        places=(),
    )
    write_dsa_run(path, longer, range(1, BACKGROUND + 1))
    return path


def measure(path: Path, out: Path, options: Sequence[str]) -> Taken:
    """Register a run in a process of its own and return what it took.

    Args:
        path: the run.
        out: folder of the results.
        options: further ones of the command line.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "angiomorph", "register", str(path), "--out", str(out), "--json", *options]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        said.seek(0)
        told = said.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: expected status 0, got {process.returncode}: {told}")
    scale = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss
    summary = json.loads(told)
    # The process' own word first: ru_maxrss begins with what the process that started it held.
    peak = summary["peak_memory"] or usage.ru_maxrss * scale
    return Taken(peak / 1e6, seconds, summary["stages"])


if __name__ == "__main__":
    main()
