"""Compare one training step with VoxelMorph's own: `python -m benchmarks.training.training_step --size 256 --batch 8 16`.

All steps run in one process, on the same frames and threads, in alternation: each round runs every step once, in an order drawn
anew, and a ratio is taken within its round, so that whatever else the machine does cancels. The peak memory of each is that of
a process of its own. VoxelMorph's networks are trained as its scripts do, with the same U-Net and Adam as TensorFlow's one
fused operation, which these scripts got; AngioMorph is compiled by `angiomorph.training.objective` as for users, VLE and all.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.errors import InputError

Step = Callable[[], float]
Training = tuple[Any, tuple[Any, ...]]  # a compiled model and one element of its dataset
HYPERMORPH, VOXELMORPH, ANGIOMORPH = "HyperVxmDense", "VxmDense", "AngioMorph, one λ a batch"
FEATURES = [[16, 32, 32, 32], [32, 32, 32, 32, 32, 16, 16]]


def frames(size: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return moving and fixed `(B, size, size, 1)` in [0, 1] and λ `(B, 1)`, a different one each, float32, always the same."""
    rng = np.random.default_rng(0)
    moving, fixed = rng.random((2, batch, size, size, 1), np.float32)
    return moving, fixed, rng.random((batch, 1), np.float32)


def hypermorph(size: int, batch: int) -> Training:
    """Return the training of VoxelMorph's HyperVxmDense by the objective of its script train_hypermorph.py.

    The script needs TensorFlow 1's mode, as its loss closes over the symbolic λ; `add_loss` is the same objective without it.
    """
    from angiomorph.backend import tf, vxm

    moving, fixed, hyper = frames(size, batch)
    model = vxm.networks.HyperVxmDense((size, size), nb_unet_features=FEATURES, int_steps=0)
    target, weight = model.inputs[1], tf.squeeze(model.references.hyper_val, axis=-1)
    similarity = tf.reduce_mean(tf.square(target - model.outputs[0]), axis=[1, 2, 3]) / 0.05**2
    smoothness = vxm.losses.Grad("l2").loss(None, model.outputs[1])
    model.add_loss(tf.reduce_mean((1 - weight) * similarity) + tf.reduce_mean(weight * smoothness))
    model.compile(tf.keras.optimizers.legacy.Adam(1e-4))
    return model, ((moving, fixed, hyper),)


def voxelmorph(size: int, batch: int) -> Training:
    """Return the training of VoxelMorph's VxmDense, without hypernetwork, by the losses of its script train.py."""
    from angiomorph.backend import tf, vxm

    moving, fixed, _ = frames(size, batch)
    model = vxm.networks.VxmDense((size, size), FEATURES, int_steps=0)
    losses = [vxm.losses.MSE().loss, vxm.losses.Grad("l2").loss]
    model.compile(tf.keras.optimizers.legacy.Adam(1e-4), losses, loss_weights=[1, 0.01])
    return model, ((moving, fixed), (fixed, np.zeros((batch, size, size, 2), np.float32)))


def angiomorph(size: int, batch: int, *, shared: bool, mixed_precision: str | None = None, jit: bool = False) -> Training:
    """Return AngioMorph's training as `angiomorph.training.objective` compiles it.

    Args:
        size: rows and columns of the frames.
        batch: frames a batch.
        shared: one λ for the batch, as the dataset gives, or a different one each.
        mixed_precision: "float16" or "bfloat16", see `networks.mix_precision`; None for float32.
        jit: compile by XLA.
    """
    from angiomorph.networks.model import mix_precision, promise_one_hyper
    from angiomorph.training.config import Sampling, TrainingConfig
    from angiomorph.training.objective import build_network, compile_model

    moving, fixed, hyper = frames(size, batch)
    if shared:
        hyper = np.full_like(hyper, 0.5)
    config = TrainingConfig(sampling=Sampling(size=size, batch_size=batch), mixed_precision=mixed_precision)
    model = build_network(config)
    if shared:
        promise_one_hyper(model)
    if mixed_precision:
        mix_precision(model, mixed_precision)
    compile_model(model, config)
    model.jit_compile = jit
    targets = (fixed, np.zeros((batch, size, size, 2), np.float32))
    return model, ((moving, fixed, hyper), targets, (1 - hyper[:, 0], hyper[:, 0]))


def step(training: Training) -> Step:
    """Return what runs one compiled training step, as Keras's `fit` does, and returns the loss."""
    train, batches = _train_function(training)
    return lambda: float(train(batches)["loss"])


def graph(training: Training) -> Any:
    """Return the traced training step, a concrete function: forward, losses, gradients and the optimizer's update."""
    train, batches = _train_function(training)
    return train.get_concrete_function(batches)


def _train_function(training: Training) -> tuple[Any, Any]:
    from angiomorph.backend import tf

    model, element = training
    return model.make_train_function(), iter(tf.data.Dataset.from_tensors(element).repeat())


STEPS: Mapping[str, Callable[[int, int], Training]] = {
    HYPERMORPH: hypermorph,
    VOXELMORPH: voxelmorph,
    ANGIOMORPH: lambda size, batch: angiomorph(size, batch, shared=True),
    "AngioMorph, each its λ": lambda size, batch: angiomorph(size, batch, shared=False),
}
MIXED_PRECISION: Mapping[str, Callable[[int, int], Training]] = {
    "AngioMorph, one λ, bfloat16": lambda size, batch: angiomorph(size, batch, shared=True, mixed_precision="bfloat16")
}
JIT: Mapping[str, Callable[[int, int], Training]] = {
    "AngioMorph, one λ, XLA": lambda size, batch: angiomorph(size, batch, shared=True, jit=True)
}


def alternate(steps: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]) -> dict[str, np.ndarray]:
    """Return the seconds of each step in each round, `(rounds,)`, the order within a round drawn anew.

    Args:
        steps: what to time.
        rounds: how often.
        clock: seconds, as `time.perf_counter` gives.
    """
    rng = np.random.default_rng(0)
    seconds = {name: np.zeros(rounds) for name in steps}
    for number in range(rounds):
        for name in rng.permutation(list(steps)):
            begun = clock()
            steps[name]()
            seconds[name][number] = clock() - begun
    return seconds


def ratio(seconds: np.ndarray, reference: np.ndarray) -> str:
    """Return the median over the rounds of `seconds / reference`, and its quartiles, as text."""
    low, median, high = np.percentile(seconds / reference, [25, 50, 75])
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def peak_memory(name: str, size: int, batch: int, threads: int) -> float:
    """Return the largest resident set, in MB, of a process that only trains `name` for a few steps.

    Raises:
        RuntimeError: the process failed.
    """
    command = [sys.executable, "-m", "benchmarks.training.training_step", "--memory-of", name]
    command += ["--size", str(size), "--batch", str(batch), "--threads", str(threads)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if found.returncode != 0:
        raise RuntimeError(f"{name}: the process that measures memory ended with {found.returncode}:\n{found.stderr}")
    return float(found.stdout)


def high_water_mark(status: str) -> float:
    """Return VmHWM, the largest resident set so far, in MB from the text of `/proc/self/status`.

    Raises:
        InputError: the text has none.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise InputError(
            "peak memory: expected VmHWM in /proc/self/status, found none; give --no-memory where there is no Linux"
        )
    return int(found[1]) * 1024 / 1e6


def table(wall: Mapping[str, np.ndarray], batch: int, memory: Mapping[str, float]) -> str:
    """Return the Markdown table of one batch size: ms a frame, ratios with quartiles, and MB where measured."""
    lines = ["| step | ms a frame | to HyperVxmDense | to VxmDense | peak memory, MB |", "| --- | --- | --- | --- | --- |"]
    for name, seconds in wall.items():
        cells = [f"{np.median(seconds) * 1e3 / batch:.0f}"]
        cells += [ratio(seconds, wall[reference]) for reference in (HYPERMORPH, VOXELMORPH)]
        cells.append(f"{memory[name]:.0f}" if name in memory else "not measured")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(size: int, batch: int, rounds: int, names: Iterable[str], memory: Mapping[str, float]) -> str:
    """Return the table of one batch size, after two steps each that do not count."""
    steps = {name: step(_all_steps()[name](size, batch)) for name in names}
    alternate(steps, 2, time.perf_counter)
    wall = alternate(steps, rounds, time.perf_counter)
    del steps
    gc.collect()
    return table(wall, batch, memory)


def _all_steps() -> dict[str, Callable[[int, int], Training]]:
    return {**STEPS, **MIXED_PRECISION, **JIT}


def _parser() -> argparse.ArgumentParser:
    cores = os.cpu_count() or 1
    made = argparse.ArgumentParser(description="Compare one training step with VoxelMorph's own.")
    made.add_argument("--size", type=int, default=256, metavar="N", help="rows and columns, pixels (default: 256)")
    made.add_argument("--batch", type=int, nargs="+", default=[8, 16], metavar="N", help="frames a batch (default: 8 16)")
    made.add_argument("--rounds", type=int, default=15, metavar="N", help="timed steps of each (default: 15)")
    made.add_argument("--threads", type=int, default=cores, metavar="N", help=f"of TensorFlow (default: {cores})")
    made.add_argument("--mixed-precision", action="store_true", help="time bfloat16 convolutions too")
    made.add_argument("--jit", action="store_true", help="time XLA too")
    made.add_argument("--no-memory", action="store_true", help="do not measure peak memory, which takes a process each")
    made.add_argument("--memory-of", metavar="NAME", help="print the peak memory of one step in this process, in MB, and end")
    return made


def _check(arguments: argparse.Namespace) -> None:
    if arguments.size < 16 or arguments.size % 16:
        raise InputError(f"--size: expected a multiple of 16, got {arguments.size}")
    for name, number in [("batch", min(arguments.batch)), ("rounds", arguments.rounds), ("threads", arguments.threads)]:
        if number < 1:
            raise InputError(f"--{name}: expected a whole number from 1, got {number}")
    if arguments.memory_of is not None and arguments.memory_of not in _all_steps():
        raise InputError(f"--memory-of: expected one of {', '.join(_all_steps())}, got {arguments.memory_of}")


def _set_threads(threads: int) -> None:
    from angiomorph.backend import tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    _set_threads(arguments.threads)
    if arguments.memory_of is not None:
        train = step(_all_steps()[arguments.memory_of](arguments.size, arguments.batch[0]))
        for _ in range(4):
            train()
        print(high_water_mark(Path("/proc/self/status").read_text()))
        return
    chosen = {**STEPS, **(MIXED_PRECISION if arguments.mixed_precision else {}), **(JIT if arguments.jit else {})}
    for batch in arguments.batch:
        measured = () if arguments.no_memory else chosen
        memory = {name: peak_memory(name, arguments.size, batch, arguments.threads) for name in measured}
        print(f"\n{arguments.size}x{arguments.size}, batch {batch}, {arguments.threads} threads, {arguments.rounds} rounds\n")
        print(measure(arguments.size, batch, arguments.rounds, chosen, memory), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.training_step --help`."""
    try:
        _run(_parser().parse_args(argv))
    except InputError as error:
        print(f"training_step: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
