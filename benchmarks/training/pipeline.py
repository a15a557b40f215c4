"""Measure how fast training is fed, what that and the callbacks cost it, and what stays in memory.

    python -m benchmarks.training.pipeline

makes synthetic stores in a temporary folder and prints three Markdown tables: frames per second of the pipeline from a warm
page cache, beside what the training step takes; the time of steps through `fit` with all callbacks over that of a plain
compiled step on a batch at hand; and resident memory by number of series and epochs, each store in a process of its own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage import store
from benchmarks.training.training_step import ratio

if TYPE_CHECKING:
    from angiomorph.training.config import Sampling, TrainingConfig

STEP_SIZE, STEP_BATCH = 256, 8  # of the training step that is fed
SMALL = (4, 128, 128)  # frames, rows and columns of each of many series
EPOCHS = 3


def write_store(path: Path, runs: int, shape: tuple[int, int, int]) -> None:
    """Write a store of noisy 12-bit LIN runs of `shape` (frames, rows, columns), always the same."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[: shape[1], : shape[2]]
    with store.create(path) as file:
        for run in range(runs):
            level = 2000 + 1000 * np.sin(rows / 40 + run) * np.cos(columns / 30)
            frames = np.clip(level + 40 * rng.standard_normal(shape, np.float32), 0, 4095).astype(np.uint16)
            store.append(file, f"run-{run + 1:06d}", store.StoredRun(frames, "LIN", 12))


def speeds(path: Path, sampling: Sampling, epochs: int, clock: Callable[[], float]) -> list[float]:
    """Return the frames per second, contrast frames that is, of each epoch, nothing but the pipeline running."""
    from angiomorph.training.pipeline import make_dataset
    from angiomorph.training.source import Source

    found = []
    with Source([path], sampling) as source:
        steps = sampling.count_steps(len(source.runs))
        batches = iter(make_dataset(source, (sampling.size // 2, sampling.size // 2, 2)))
        for _ in range(epochs):
            begun = clock()
            frames = sum(len(next(batches)[0][0]) for _ in range(steps))
            found.append(frames / (clock() - begun))
    return found


def plain_step(path: Path, config: TrainingConfig) -> Callable[[], Any]:
    """Return what runs one training step on a store's first batch: without pipeline, callbacks and guard."""
    from angiomorph import networks
    from angiomorph.backend import tf
    from angiomorph.networks.losses import SIMILARITIES, GradientPenalty
    from angiomorph.training import objective
    from angiomorph.training.pipeline import make_dataset
    from angiomorph.training.source import Source

    model = objective.build_network(config)
    networks.promise_one_hyper(model)
    model.compile(
        tf.keras.optimizers.legacy.Adam(config.lr), [SIMILARITIES[config.image_loss](config.image_sigma), GradientPenalty()]
    )
    with Source([path], config.sampling) as source:
        element = next(iter(make_dataset(source, model.output_shape[1][1:])))
    batches = iter(tf.data.Dataset.from_tensors(element).repeat())
    take_step = model.make_train_function()
    return lambda: float(take_step(batches)["loss"])


def fitted(path: Path, config: TrainingConfig, rounds: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of `steps` steps through `fit` and of as many plain ones, `(rounds,)` each, in alternation.

    Args:
        path: training store.
        config: the training; its checkpoints and logs go to a temporary folder.
        rounds: how often; one more at the beginning does not count.
        steps: of each kind in a round.
    """
    from angiomorph import networks
    from angiomorph.backend import tf
    from angiomorph.training import objective
    from angiomorph.training.callbacks import Course, make_callbacks
    from angiomorph.training.checkpoints import Progress
    from angiomorph.training.distribution import Distribution
    from angiomorph.training.pipeline import make_dataset
    from angiomorph.training.source import Source

    plain = plain_step(path, config)
    seconds: list[tuple[float, float]] = []

    class Alternation(tf.keras.callbacks.Callback):
        def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
            self.begun = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if (batch + 1) % steps:
                return
            between = time.perf_counter()
            for _ in range(steps):
                plain()
            ended = time.perf_counter()
            seconds.append((between - self.begun, ended - between))
            self.begun = time.perf_counter()

    model = objective.build_network(config)
    networks.promise_one_hyper(model)
    objective.compile_model(model, config)
    count = steps * (rounds + 1)
    with tempfile.TemporaryDirectory() as folder, Source([path], config.sampling) as source:
        # One step more than an epoch has here, so that what an epoch's end writes, once in hours, does not count.
        course = Course(Path(folder), config, source, count + 1, Progress(), Distribution(), model, print)
        batches = make_dataset(source, model.output_shape[1][1:])
        model.fit(batches, steps_per_epoch=count, verbose=0, callbacks=[*make_callbacks(course, None), Alternation()])
    through, alone = np.array(seconds[1:]).T
    return through, alone


def resident(status: str) -> float:
    """Return VmRSS in MB from the text of `/proc/self/status`.

    Raises:
        InputError: the text has none.
    """
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise InputError("memory: expected VmRSS in /proc/self/status, found none; give --no-memory where there is no Linux")
    return int(found[1]) * 1024 / 1e6


def memory(path: Path) -> list[float]:
    """Return what this process holds, in MB, with a store open, and after each of some epochs that visit all its series."""
    from angiomorph.training.config import Sampling
    from angiomorph.training.source import Source

    sampling = Sampling(size=SMALL[1], batch_size=50)
    with Source([path], sampling) as source:
        found = [_resident_now()]
        steps = sampling.count_steps(len(source.runs))
        for step in range(EPOCHS * steps):
            source.batch(step)
            if (step + 1) % steps == 0:
                found.append(_resident_now())
    return found


def _resident_now() -> float:
    return resident(Path("/proc/self/status").read_text())


def memory_of(path: Path) -> list[float]:
    """Return `memory` of a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, "-m", "benchmarks.training.pipeline", "--memory-of", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if found.returncode != 0:
        raise RuntimeError(f"{path}: the process that measures memory ended with {found.returncode}:\n{found.stderr}")
    return [float(word) for word in found.stdout.split()]


def _print_speeds(arguments: argparse.Namespace, folder: Path) -> None:
    from angiomorph.training.config import Sampling
    from benchmarks.training.training_step import angiomorph, step

    train = step(angiomorph(STEP_SIZE, STEP_BATCH, shared=True))
    taken = []
    for _ in range(arguments.rounds + 2):
        begun = time.perf_counter()
        train()
        taken.append(time.perf_counter() - begun)
    consumed = STEP_BATCH / float(np.median(taken[2:]))
    print(f"The training step takes {consumed:.1f} frames/s at {STEP_SIZE}x{STEP_SIZE}, batch {STEP_BATCH}.\n")
    print("| frames | batch | first epoch, frames/s | later epochs, frames/s | times what the step takes |")
    print("| --- | --- | --- | --- | --- |")
    for size in arguments.size:
        for batch in arguments.batch:
            sampling = Sampling(size=size, batch_size=batch)
            first, *later = speeds(folder / f"{size}.h5", sampling, arguments.rounds + 1, time.perf_counter)
            fed = float(np.median(later))
            compared = f"{fed / consumed:.0f}" if size == STEP_SIZE else ""
            print(f"| {size}x{size} | {batch} | {first:.0f} | {fed:.0f} | {compared} |", flush=True)


def _print_fit(arguments: argparse.Namespace, path: Path) -> None:
    from angiomorph.training.config import Sampling, TrainingConfig

    print("\n| frames | batch | plain step, ms | through fit, ms | ratio |\n| --- | --- | --- | --- | --- |")
    for batch in arguments.batch:
        config = TrainingConfig(sampling=Sampling(size=STEP_SIZE, batch_size=batch))
        through, alone = fitted(path, config, arguments.rounds, arguments.steps)
        milliseconds = " | ".join(f"{np.median(seconds) * 1e3 / arguments.steps:.0f}" for seconds in (alone, through))
        print(f"| {STEP_SIZE}x{STEP_SIZE} | {batch} | {milliseconds} | {ratio(through, alone)} |", flush=True)


def _print_memory(series: Sequence[int], folder: Path) -> None:
    after = " | ".join(f"epoch {epoch + 1}" for epoch in range(EPOCHS))
    print(f"\n| series | open, MB | {after} |\n| --- | --- |{' --- |' * EPOCHS}")
    for count in series:
        path = folder / f"series-{count}.h5"
        write_store(path, count, SMALL)
        print(f"| {count} | {' | '.join(f'{held:.0f}' for held in memory_of(path))} |", flush=True)
        path.unlink()


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Measure how fast training is fed.")
    made.add_argument("--size", type=int, nargs="+", default=[256, 512], metavar="N", help="pixels a side (default: 256 512)")
    made.add_argument("--batch", type=int, nargs="+", default=[1, 8], metavar="N", help="frames a batch (default: 1 8)")
    made.add_argument("--runs", type=int, default=16, metavar="N", help="in the store (default: 16)")
    made.add_argument("--frames", type=int, default=20, metavar="N", help="of a run (default: 20)")
    made.add_argument("--rounds", type=int, default=5, metavar="N", help="timed epochs, and rounds of fit (default: 5)")
    made.add_argument("--steps", type=int, default=10, metavar="N", help="of fit a round (default: 10)")
    made.add_argument("--series", type=int, nargs="+", default=[200, 2000], metavar="N", help="of memory (default: 200 2000)")
    made.add_argument("--no-fit", action="store_true", help="do not time fit")
    made.add_argument("--no-memory", action="store_true", help="do not measure memory")
    made.add_argument("--memory-of", metavar="STORE.h5", help="print the memory of one store in this process, in MB, and end")
    return made


def _check(arguments: argparse.Namespace) -> None:
    if any(size < 16 or size % 16 for size in arguments.size):
        raise InputError(f"--size: expected multiples of 16, got {', '.join(map(str, arguments.size))}")
    for name, least in [("batch", 1), ("runs", 1), ("frames", 2), ("rounds", 1), ("steps", 1), ("series", 1)]:
        given = getattr(arguments, name)
        if min(given if isinstance(given, list) else [given]) < least:
            raise InputError(f"--{name}: expected a whole number from {least}, got {given}")


def _run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    if arguments.memory_of is not None:
        print(*memory(Path(arguments.memory_of)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in {*arguments.size, STEP_SIZE}:
            write_store(folder / f"{size}.h5", arguments.runs, (arguments.frames, size, size))
        _print_speeds(arguments, folder)
        if not arguments.no_fit:
            _print_fit(arguments, folder / f"{STEP_SIZE}.h5")
        if not arguments.no_memory:
            _print_memory(arguments.series, folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.pipeline --help`."""
    try:
        _run(_parser().parse_args(argv))
    except InputError as error:
        print(f"pipeline: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
