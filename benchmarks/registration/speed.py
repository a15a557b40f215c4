"""Measure how fast frames are registered, beside the bare network, VoxelMorph's own and optical flow.

    python -m benchmarks.registration.speed --out DIR

prints milliseconds a frame of 1024 x 1024, and their ratio to the bare network: its forward passes at all levels, in one graph.
All run in this process, on the same frames and threads, in alternation: each round runs every one once, in an order drawn anew,
and a ratio is taken within its round. Then it registers whole runs, each in a process of its own, and prints its seconds from
start to end, and its peak memory: by TensorFlow, by OpenVINO, and by OpenVINO in half precision, which asks for a CPU that has
it. Runs are made from the example run, and kept in DIR.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from angiomorph.dicom import read_series
from angiomorph.registration.options import OPENVINO, EngineOptions
from benchmarks.peers.methods import set_threads
from benchmarks.registration.memory import EXAMPLE, make_run, measure
from benchmarks.training.training_step import FEATURES, alternate, ratio

SIZE, BATCH = 1024, 4
NOISE = 0.01  # of the range, standard deviation
NETWORK, PUSH = "bare network, all levels", "Registrar.push"
ENGINES = {  # options in the library, and on the command line
    "TensorFlow": (EngineOptions(), []),
    "OpenVINO": (EngineOptions(engine=OPENVINO), ["--engine", OPENVINO]),
    "OpenVINO, half": (EngineOptions(engine=OPENVINO, mixed_precision=True), ["--engine", OPENVINO, "--mixed-precision"]),
}
WHOLE = ((512, 8), (512, 20), (1024, 60))  # pixels a side, frames
Work = Callable[[], Any]


def make_frames(size: int, count: int) -> np.ndarray:
    """Return `(count, size, size)` uint16: the example run's frames, enlarged, with noise, always the same."""
    frames = read_series(EXAMPLE).frames
    rng = np.random.default_rng(0)
    noise = NOISE * float(np.ptp(frames))
    made = []
    for index in range(count):
        frame = ndimage.zoom(frames[index % len(frames)].astype(np.float32), size / frames.shape[1], order=1)
        made.append(np.clip(frame + noise * rng.standard_normal(frame.shape, np.float32), 1, 4095))
    return np.rint(made).astype(np.uint16)


def works(size: int, batch: int) -> dict[str, tuple[Work, int]]:
    """Return what is timed in this process: each a function, and how many frames one call registers.

    Args:
        size: pixels a side.
        batch: frames a call, of what takes several.
    """
    import cv2

    from angiomorph.backend import tf, vxm
    from angiomorph.networks.baked import load_any
    from angiomorph.preprocessing.resizing import level_shapes
    from angiomorph.registration.model import Model
    from angiomorph.registration.registrar import Registrar

    models = {name: Model(engine=engine) for name, (engine, _) in ENGINES.items()}
    model, stored = models["TensorFlow"], make_frames(size, 3 + batch)
    hyper, levels, own = model.defaults.hyper, model.defaults.levels, model.predictor.size
    seen = stored.astype(np.float32) / np.float32(4095)
    moving, fixed = seen[:3].mean(0), seen[3:]
    shapes = level_shapes((size, size), own, levels, levels)
    bare = _bare(tf, load_any(model.path), shapes, batch, hyper)
    hyper_dense = vxm.networks.HyperVxmDense(shapes[-1], nb_unet_features=FEATURES, int_steps=0)
    dense = vxm.networks.VxmDense(shapes[-1], FEATURES, int_steps=0)
    pair = [np.random.default_rng(0).random((batch, *shapes[-1], 1), np.float32) for _ in range(2)]
    lambdas = np.full((batch, 1), hyper, np.float32)
    live = {name: Registrar(each, stored[:3], bits_stored=12) for name, each in models.items()}
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grid = np.indices((size, size), np.float32)[::-1]

    def dis() -> np.ndarray:
        first, second = ((255 * each).astype(np.uint8) for each in (fixed[0], moving))
        columns, rows = grid + np.moveaxis(flow.calc(first, second, None), -1, 0)
        return np.asarray(cv2.remap(moving, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    def warp(each: Model) -> list[np.ndarray]:
        return list(each.predictor.warps(moving, fixed, hyper, batch, levels))

    side = shapes[-1][0]
    return {
        NETWORK: (bare, batch),
        **{f"Predictor.warps, {name}": (partial(warp, each), batch) for name, each in models.items()},
        **{f"{PUSH}, {name}": (partial(each.push, stored[3]), 1) for name, each in live.items()},
        f"HyperVxmDense.predict at {side}": (lambda: hyper_dense.predict([*pair, lambdas], batch, verbose=0), batch),
        f"VxmDense.predict at {side}": (lambda: dense.predict(pair, batch, verbose=0), batch),
        "DIS flow, medium, and cv2.remap": (dis, 1),
    }


def _bare(tf: Any, network: Any, shapes: Sequence[tuple[int, int]], batch: int, hyper: float) -> Work:
    """Return the forward passes of a network at several sizes, as one graph."""
    model = network.get_registration_model()
    rng = np.random.default_rng(0)
    pairs = [[tf.constant(rng.random((batch, *shape, 1), np.float32)) for _ in range(2)] for shape in shapes]
    lambdas = tf.fill([batch, 1], hyper)
    forward = tf.function(lambda: [model.call([*pair, lambdas], training=False) for pair in pairs], autograph=False)
    return lambda: [each.numpy() for each in forward()]


def table(seconds: Mapping[str, np.ndarray]) -> str:
    """Return the Markdown table of seconds a frame in each round, `(rounds,)`, by name."""
    lines = ["| a frame | ms, p50 | ms, p99 | to the bare network |", "| --- | --- | --- | --- |"]
    for name, taken in seconds.items():
        middle, last = np.percentile(taken, [50, 99]) * 1e3
        lines.append(f"| {name} | {middle:.0f} | {last:.0f} | {ratio(taken, seconds[NETWORK])} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description="How fast frames are registered, beside the bare network and optical flow.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the runs and their results")
    parser.add_argument("--size", type=int, default=SIZE, metavar="PX", help=f"of the frames (default: {SIZE})")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="of each that is timed here (default: 30)")
    parser.add_argument("--threads", type=int, default=cores, metavar="N", help=f"of every library (default: {cores})")
    parser.add_argument("--no-runs", action="store_true", help="register no whole runs")
    arguments, options = parser.parse_known_args(argv)
    set_threads(arguments.threads)
    timed = works(arguments.size, BATCH)
    calls = {name: work for name, (work, _) in timed.items()}
    alternate(calls, 2, time.perf_counter)
    found = alternate(calls, arguments.rounds, time.perf_counter)
    print(f"{arguments.size} x {arguments.size}, {arguments.threads} threads, {arguments.rounds} rounds\n")
    print(table({name: seconds / timed[name][1] for name, seconds in found.items()}), flush=True)
    if arguments.no_runs:
        return
    print("\n| whole process | engine | seconds | peak memory, MB |\n| --- | --- | --- | --- |")
    for size, count in WHOLE:
        run = make_run(arguments.out, count, size)
        for name, (_, flags) in ENGINES.items():
            taken = measure(run, arguments.out / "registered", [*flags, *options])
            print(f"| {count} frames of {size} | {name} | {taken.seconds:.1f} | {taken.megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
