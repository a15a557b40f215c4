"""How many runs an hour one and two workers of a cluster register, and what an archive takes.

    python -m benchmarks.registration.cluster data/example_run.dcm --runs 8

Runs are written of its frames, and registered by `register_runs` on `local:1` and `local:2`: the task, scheduler and files
are those of several machines. The first run of each worker, which loads TensorFlow and the model, is not counted. Below the
table stand the days that an archive takes with one, ten and a hundred machines that do what the last row says.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from angiomorph.dicom import Series, find_series, read_series
from angiomorph.dicom.create import write_run
from angiomorph.errors import InputError
from angiomorph.registration.options import OutputOptions
from angiomorph.registration.runs import register_runs
from angiomorph.workers import Cluster, open_cluster

ARCHIVE = 100_000  # runs
HOUR, DAY = 3600, 24  # seconds, hours


@dataclass(frozen=True)
class Throughput:
    """What workers did.

    Args:
        workers: how many.
        start: seconds until scheduler and workers were there and each had registered a run.
        seconds: of all runs after these.
        runs: how many these were.
    """

    workers: int
    start: float
    seconds: float
    runs: int

    @property
    def per_hour(self) -> float:
        """Return runs an hour."""
        return HOUR * self.runs / self.seconds

    def row(self, alone: Throughput) -> str:
        """Return a row of the table.

        Args:
            alone: of one worker.
        """
        gain = self.per_hour / alone.per_hour
        return f"| {self.workers} | {self.start:.1f} | {self.seconds / self.runs:.2f} | {self.per_hour:.0f} | {gain:.2f} |"


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each number of workers, and what an archive takes."""
    parser = argparse.ArgumentParser(description="Runs an hour of one and more workers of a cluster.")
    parser.add_argument("run", type=Path, metavar="RUN", help="multi-frame DICOM file")
    parser.add_argument("--runs", type=int, default=8, metavar="N", help="runs like it that are registered (default: 8)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="(default: 1 2)")
    arguments = parser.parse_args(argv)
    print(f"{arguments.runs} runs like {arguments.run.name}, {os.cpu_count()} cores\n")
    print("| workers | start, s | s a run | runs an hour | gain |")
    print("| --- | --- | --- | --- | --- |")
    rows: list[Throughput] = []
    with TemporaryDirectory() as folder:
        for number in arguments.workers:
            rows.append(measure(arguments.run, number, arguments.runs, Path(folder)))
            print(rows[-1].row(rows[0]), flush=True)
    print()
    for machines in (1, 10, 100):
        print(f"{ARCHIVE:,} runs by {machines} such machine{'s' * (machines > 1)}: {days(rows[-1], machines):.1f} days")


def days(measured: Throughput, machines: int) -> float:
    """Return the days that an archive takes with machines that each do what was measured."""
    return ARCHIVE / (measured.per_hour * machines * DAY)


def measure(run: Path, workers: int, runs: int, folder: Path) -> Throughput:
    """Return the throughput of workers of this machine.

    Args:
        run: DICOM file.
        workers: how many.
        runs: how many are registered after each worker's first.
        folder: for runs and results.
    """
    series = read_series(find_series([run])[0])
    begun = time.perf_counter()
    with open_cluster(f"local:{workers}") as cluster:
        register_like(series, workers, folder / f"{workers}-first", cluster)
        started = time.perf_counter()
        register_like(series, runs, folder / f"{workers}", cluster)
        return Throughput(workers, started - begun, time.perf_counter() - started, runs)


def register_like(series: Series, number: int, folder: Path, cluster: Cluster) -> None:
    """Write and register runs of the same frames with UIDs of their own, as copies count once.

    Args:
        series: the run.
        number: how many.
        folder: of runs and results.
        cluster: where they are registered.

    Raises:
        InputError: one cannot be registered.
    """
    folder.mkdir()
    paths = [folder / f"{count}.dcm" for count in range(number)]
    for path in paths:
        write_run(
            path,
            series.frames,
            BitsStored=series.bits_stored,
            relation=series.relation,
            frame_time=series.frame_time,
            entropy=[path.name],
        )
    for outcome in register_runs(paths, folder / "out", output=OutputOptions(kinds=("dicom",)), cluster=cluster):
        if outcome.error:
            raise InputError(outcome.error)


if __name__ == "__main__":
    main()
