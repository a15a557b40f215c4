"""What a training step costs on paper: `python -m benchmarks.training.roofline --size 512 --batch 1 8 16`.

Operations and bytes are counted from the shapes of the network's layers, and a GPU's time for each layer is taken as the longer
of computing and of moving: a roofline (Williams, Waterman, Patterson, Communications of the ACM 52(4), 2009). Printed are
estimates for GPUs that the project has not run on, beside the time that the paper reports. The forward count is printed beside
that of TensorFlow's own profiler.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from angiomorph.errors import InputError

FLOAT = 4  # bytes; all is float32
PAPER_MS = 4 * 24 * 3600e3 / 2_523_000  # about 4 days for so many frames, of batch 1 (Zhou et al. 2024)


@dataclass(frozen=True)
class Gpu:
    """A GPU as its maker states it, and what is assumed to be reached of that.

    Args:
        name: of the GPU.
        tflops: peak rate of float32 matrix products as TensorFlow runs them by default (TF32 tensor cores), TFLOP/s.
        bandwidth: peak memory bandwidth, GB/s.
        compute: fraction of `tflops` reached by convolutions of 16 to 64 channels.
        memory: fraction of `bandwidth` reached.
        launch_us: host time of one operation, microseconds, which the GPU waits for where operations are short.
    """

    name: str
    tflops: float
    bandwidth: float
    compute: float = 0.15
    memory: float = 0.7
    launch_us: float = 8.0


# NVIDIA's data sheets, TF32 without sparsity: half of what is printed there with it.
GPUS = (Gpu("RTX A6000", 77.4, 768.0), Gpu("H100 SXM", 494.5, 3350.0))


@dataclass(frozen=True)
class Cost:
    """One part of the training step: forward floating-point operations, all operations, bytes moved, operations launched."""

    name: str
    forward: float
    flops: float
    bytes: float
    launches: int

    def seconds(self, gpu: Gpu) -> float:
        """Return the longer of computing and moving, seconds."""
        return max(self.flops / (gpu.tflops * 1e12 * gpu.compute), self.bytes / (gpu.bandwidth * 1e9 * gpu.memory))


def convolution(
    name: str, pixels: float, inputs: int, outputs: int, taps: float, *, first: bool, activated: bool = True
) -> Cost:
    """Return the cost of a convolution, its bias and its activation, forward and backward.

        forward = 2 * pixels * inputs * outputs * taps

    The gradients by features and by kernel cost as much again each; the first layer's features need none. Moved are features in
    and out, out again for bias and activation, each read and written; backward the same, and the features for the kernel.

    Args:
        name: of the layer.
        pixels: output pixels of all frames of the batch.
        inputs: channels in, as many a pixel as are read.
        outputs: channels out.
        taps: products a pixel and pair of channels; 9, or fewer where features are upsampled.
        first: whether the features are the frames.
        activated: whether a leaky ReLU follows.
    """
    forward = 2 * pixels * inputs * outputs * taps
    pointwise = 2 + 2 * activated
    moved_forward = inputs + outputs * (1 + pointwise)
    moved_backward = inputs * (1 if first else 2) + outputs * (2 + 1 + (3 if activated else 0))
    launches = 3 + activated + 3 + activated
    return Cost(name, forward, forward * (2 if first else 3), FLOAT * pixels * (moved_forward + moved_backward), launches)


def network(model: Any, batch: int) -> list[Cost]:
    """Return the cost of every convolution of AngioMorph's U-Net, from the shapes of its layers.

    Args:
        model: an `AngioMorph`.
        batch: frames a batch, of one λ.
    """
    from angiomorph.backend import tf
    from angiomorph.networks import layers

    costs = []
    for layer in model.layers:
        if isinstance(layer, layers.UpsampledHyperConv2DFromDense):
            (_, _, _, coarse), (_, rows, columns, fine), _ = layer.input_shape
            pixels = batch * rows * columns
            costs.append(convolution(f"{layer.name}, coarse", pixels, coarse, layer.filters, 4, first=False, activated=False))
            costs.append(convolution(f"{layer.name}, fine", pixels, fine, layer.filters, 9, first=False))
        elif isinstance(layer, layers.HyperConv2DFromDense):
            (_, rows, columns, inputs), _ = layer.input_shape
            first = inputs == 2
            costs.append(convolution(layer.name, batch * rows * columns, inputs, layer.filters, 9, first=first))
        elif isinstance(layer, tf.keras.layers.Conv2D):
            _, rows, columns, inputs = layer.input_shape
            pixels = batch * rows * columns
            costs.append(convolution(layer.name, pixels, inputs, layer.filters, 9, first=False, activated=False))
    return costs


def warp_and_losses(pixels: int) -> list[Cost]:
    """Return the cost of the bilinear warp, VLE and the smoothness penalty, forward and backward, a pixel at a time.

    Args:
        pixels: of all frames of the batch.
    """
    return [
        Cost("warp", 30 * pixels, 70 * pixels, FLOAT * 90 * pixels, 90),
        Cost("VLE", 20 * pixels, 40 * pixels, FLOAT * 30 * pixels, 30),
        Cost("smoothness", 12 * pixels, 30 * pixels, FLOAT * 40 * pixels, 30),
    ]


def pooling(model: Any, batch: int) -> list[Cost]:
    """Return the cost of max pooling, forward and backward: it moves in, out, and all again for the gradient."""
    from angiomorph.backend import tf

    costs = []
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.MaxPooling2D):
            _, rows, columns, channels = layer.input_shape
            elements = batch * rows * columns * channels
            costs.append(Cost(layer.name, 0.75 * elements, 1.75 * elements, FLOAT * 4 * elements, 2))
    return costs


def hypernetwork(model: Any) -> Cost:
    """Return the cost of generating the kernels at one λ, and their gradients: each weight read, and its gradient written."""
    parameters = model.count_params()
    return Cost("hypernetwork", 2 * parameters, 6 * parameters, FLOAT * 3 * parameters, 200)


def adam(model: Any) -> Cost:
    """Return the cost of Adam, as one operation a variable: weight, two moments and gradient read, three written."""
    parameters = model.count_params()
    return Cost("Adam", 0, 12 * parameters, FLOAT * 7 * parameters, len(model.trainable_weights))


def costs(model: Any, batch: int) -> list[Cost]:
    """Return the cost of all parts of one training step."""
    _, rows, columns, _ = model.output_shape[0]
    pixels = batch * rows * columns
    return [*network(model, batch), *pooling(model, batch), *warp_and_losses(pixels), hypernetwork(model), adam(model)]


def ms_per_frame(parts: Sequence[Cost], gpu: Gpu, batch: int) -> float:
    """Return the expected milliseconds a frame: the sum over the parts, or the host's launches where these take longer."""
    computing = sum(part.seconds(gpu) for part in parts)
    launching = sum(part.launches for part in parts) * gpu.launch_us * 1e-6
    return max(computing, launching) * 1e3 / batch


def doubled_flops(model: Any, batch: int) -> float:
    """Return the forward operations of VoxelMorph's own form of the network, which convolves doubled features with 9 taps."""
    return sum(part.forward * (9 / 4 if part.name.endswith(", coarse") else 1) for part in network(model, batch))


def profiled_flops(model: Any) -> float:
    """Return the floating-point operations that TensorFlow's profiler counts in VoxelMorph's forward graph of one frame."""
    from angiomorph import networks
    from angiomorph.backend import tf

    plain = networks.bake(model, 0.5)
    rows, columns = model.output_shape[0][1:3]
    frame = tf.TensorSpec([1, rows, columns, 1])
    concrete = tf.function(lambda moving, fixed: plain([moving, fixed])).get_concrete_function(frame, frame)
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    quiet = builder(builder.float_operation()).with_empty_output().build()
    counted: int = tf.compat.v1.profiler.profile(concrete.graph, options=quiet).total_float_ops
    return counted


def report(size: int, batches: Sequence[int]) -> str:
    """Return the Markdown table of all batch sizes, with the assumptions and the check of the count."""
    from angiomorph import networks

    model = networks.AngioMorph((size, size))
    header = [f"{gpu.name}, ms a frame" for gpu in GPUS]
    lines = [
        f"| batch | GFLOP a frame | GB moved a frame | {' | '.join(header)} |",
        f"| {' | '.join(['---'] * (3 + len(GPUS)))} |",
    ]
    for batch in batches:
        parts = costs(model, batch)
        counts = [sum(part.flops for part in parts) / batch / 1e9, sum(part.bytes for part in parts) / batch / 1e9]
        cells = [f"{count:.1f}" for count in counts] + [f"{ms_per_frame(parts, gpu, batch):.1f}" for gpu in GPUS]
        lines.append(f"| {batch} | {' | '.join(cells)} |")
    assumed = [
        f"{gpu.name}: {gpu.compute:.0%} of {gpu.tflops} TFLOP/s (TF32), {gpu.memory:.0%} of {gpu.bandwidth:.0f} GB/s, "
        f"{gpu.launch_us:.0f} us a launch"
        for gpu in GPUS
    ]
    check = (
        f"Forward, VoxelMorph's form: {doubled_flops(model, 1) / 1e9:.2f} GFLOP a frame counted from the convolutions' shapes, "
        f"{profiled_flops(model) / 1e9:.2f} by TensorFlow's profiler over all operations that it knows."
    )
    paper = f"The paper reports about 4 days for 2,523,000 frames on an RTX A6000: {PAPER_MS:.0f} ms a frame at batch 1."
    title = f"{size}x{size}, on paper; assumed are"
    return "\n".join([title, *(f"* {each}" for each in assumed), "", *lines, "", check, paper])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `python -m benchmarks.training.roofline --help`."""
    parser = argparse.ArgumentParser(description="Estimate the time of a training step on GPUs from its operations and bytes.")
    parser.add_argument("--size", type=int, default=512, metavar="N", help="rows and columns, pixels (default: 512)")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1, 8, 16], metavar="N", help="frames a batch (default: 1 8 16)"
    )
    arguments = parser.parse_args(argv)
    try:
        if min(arguments.batch) < 1:
            raise InputError(f"--batch: expected whole numbers from 1, got {min(arguments.batch)}")
        print(report(arguments.size, arguments.batch))
    except InputError as error:
        print(f"roofline: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
