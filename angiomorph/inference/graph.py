"""The pyramid of a network as a graph of OpenVINO, for pairs of frames of one size; all of it stands in `(1, C, H, W)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from angiomorph.inference.backend import openvino, ops
from angiomorph.inference.unet import Convolution, UNet
from angiomorph.preprocessing.resizing import area_weights

Shape = tuple[int, int]
SLOPE = 0.2  # of the leaky ReLU, VoxelMorph's


def build_entry(shape: Shape, before: Shape, step: Shape, multiple: int) -> Any:
    """Return the graph from (moving, fixed, warp) to (pair, started): what the network sees at a step, and where it starts.

    Args:
        shape: (rows, columns) of the frames, which it takes as `(1, 1, *shape)`.
        before: of the warp so far, which it takes as `(1, 2, *before)`; it comes back as `(1, 2, *step)`.
        step: shape at which the network sees the frames.
        multiple: what the network needs the sides of frames to be multiples of, pixels; edges are repeated for it.
    """
    moving, fixed, warp = (_take(each) for each in ((1, *shape), (1, *shape), (2, *before)))
    started = _resize_warp(warp, before, step)
    pair = ops.concat([_sample(_resize(moving, shape, step), started, step), _resize(fixed, shape, step)], 1)
    more = [-side % multiple for side in step]
    padded = ops.pad(pair, _integers([0] * 4), _integers([0, 0, *more]), "edge") if any(more) else pair
    return openvino.Model([padded, started], [moving, fixed, warp], "entry")


def build_network(unet: UNet, shape: Shape, *, fixed: bool = True) -> Any:
    """Return the graph of the network, from `(1, 2, *shape)` to its warp `(1, 2, *shape)`.

    Args:
        unet: the network at one λ.
        shape: (rows, columns), multiples of what the network needs.
        fixed: whether its weights are part of the graph, which then computes fastest. Else the graph takes those of any λ,
            behind the pair and in the order of `list_weights`, so that another λ needs no other graph.
    """
    pair = _take((2, *shape))
    weights = list_weights(unet)
    nodes = [_constant(each) if fixed else ops.parameter(list(each.shape), np.float32) for each in weights]
    return openvino.Model([_run(unet, pair, iter(nodes))], [pair] if fixed else [pair, *nodes], "network")


def list_weights(unet: UNet) -> list[np.ndarray]:
    """Return a network's weights as its graph takes them: of each convolution the kernels, then the bias."""
    listed: list[np.ndarray] = []
    for convolution, fine in _pair_with_fine(unet):
        kernel, coarse = convolution.kernel, convolution.kernel.shape[2] - fine
        parts = [_widen(kernel[:, :, :coarse]).transpose(2, 3, 0, 1), kernel[:, :, coarse:].transpose(3, 2, 0, 1)]
        listed += [*(parts if fine else [kernel.transpose(3, 2, 0, 1)]), convolution.bias[None, :, None, None]]
    return [np.ascontiguousarray(each, np.float32) for each in listed]


def _pair_with_fine(unet: UNet) -> list[tuple[Convolution, int]]:
    """Return each convolution in the graph's order, and how many of the encoder's features are joined to what it sees."""
    rest = (*unet.decoder, *unet.last, unet.flow)
    joined = [0, *(each.kernel.shape[3] for each in reversed(unet.encoder))]
    return [*((each, 0) for each in unet.encoder), *zip(rest, joined + [0] * (len(rest) - len(joined)), strict=True)]


def build_exit(padded: Shape, step: Shape, shape: Shape | None) -> Any:
    """Return the graph from (started, own) to the composed warp, see `warp.compose_warps`.

    Args:
        padded: (rows, columns) of the network's own warp, which it takes as `(1, 2, *padded)`.
        step: of the warp that it started from, `(1, 2, *step)`; and of the composed one.
        shape: of the frames, for which the last warp is enlarged and turned to `(1, *shape, 2)`; None for `(1, 2, *step)`.
    """
    started, given = _take((2, *step)), _take((2, *padded))
    own = given if padded == step else ops.slice(given, *map(_integers, ([0, 0], step, [1, 1], [2, 3])))
    warp = ops.add(_sample(started, own, step), own)
    last = warp if shape is None else _transpose(_resize_warp(warp, step, shape), (0, 2, 3, 1))
    return openvino.Model([last], [started, given], "exit")


def build_warp(shape: Shape) -> Any:
    """Return the graph from an image `(1, 1, *shape)` and a warp `(1, *shape, 2)` to the moved image; see `warp_frames`."""
    image, warp = _take((1, *shape)), _take((*shape, 2))
    return openvino.Model([_sample(image, _transpose(warp, (0, 3, 1, 2)), shape)], [image, warp], "warp")


def _take(shape: Sequence[int]) -> Any:
    return ops.parameter([1, *shape], np.float32)


def _run(unet: UNet, features: Any, weights: Iterator[Any]) -> Any:
    kept = []
    for _ in unet.encoder:
        features = _activate(_convolve(features, weights), weights)
        kept.append(features)
        features = ops.max_pool(features, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
    joined: list[Any] = []  # features of the encoder's, to which the next convolution joins those doubled in size
    for _ in unet.decoder:
        features, joined = _activate(_join(features, joined, weights), weights), [kept.pop()]
    for _ in unet.last:
        features, joined = _activate(_join(features, joined, weights), weights), []
    return ops.add(_join(features, joined, weights), next(weights))


def _join(coarse: Any, fine: Sequence[Any], weights: Iterator[Any]) -> Any:
    """Return the convolution of features, doubled in size and joined to finer ones where there are such.

    A 3 x 3 convolution of doubled features is a transposed one of stride 2, see `layers.UpsampledHyperConv2DFromDense`.
    """
    if not fine:
        return _convolve(coarse, weights)
    doubled = ops.convolution_backprop_data(coarse, next(weights), strides=[2, 2], pads_begin=[1, 1], pads_end=[1, 1])
    return ops.add(doubled, _convolve(fine[0], weights))


def _widen(kernel: np.ndarray) -> np.ndarray:
    """Return the kernel of the transposed convolution, `(4, 4, C, filters)`; see `layers.widen`."""
    turned = kernel[::-1, ::-1]
    none = [(0, 0)] * 2
    rows = np.pad(turned, [(0, 1), (0, 0), *none]) + np.pad(turned, [(1, 0), (0, 0), *none])
    return np.asarray(np.pad(rows, [(0, 0), (0, 1), *none]) + np.pad(rows, [(0, 0), (1, 0), *none]))


def _convolve(features: Any, weights: Iterator[Any]) -> Any:
    return ops.convolution(features, next(weights), [1, 1], [1, 1], [1, 1], [1, 1])


def _activate(features: Any, weights: Iterator[Any]) -> Any:
    return ops.prelu(ops.add(features, next(weights)), _constant(np.array([SLOPE])))


def _resize(frames: Any, before: Shape, after: Shape) -> Any:
    """Return frames at another size: means over areas where that is smaller, see `layers.resize_frames`."""
    if before == after:
        return frames
    if after[0] * after[1] >= before[0] * before[1]:
        return _interpolate(frames, after)
    parts = [one // other for one, other in zip(before, after, strict=True)]
    if all(one == other * part for one, other, part in zip(before, after, parts, strict=True)):
        return ops.avg_pool(frames, parts, [0, 0], [0, 0], parts, False)
    down, across = (_constant(area_weights(*sides).toarray()) for sides in zip(before, after, strict=True))
    return ops.matmul(ops.matmul(down, frames, False, False), across, False, True)


def _resize_warp(warp: Any, before: Shape, after: Shape) -> Any:
    """Return a warp at another size, its displacements scaled with it, see `warp.resize_warp`."""
    if before == after:
        return warp
    scale = np.array([new / old for new, old in zip(after, before, strict=True)])
    return ops.multiply(_interpolate(warp, after), _constant(scale[None, :, None, None]))


def _interpolate(frames: Any, shape: Shape) -> Any:
    return ops.interpolate(frames, _integers(shape), "linear_onnx", "sizes", [0, 0], [0, 0], axes=_integers([2, 3]))


def _sample(frames: Any, warp: Any, shape: Shape) -> Any:
    """Return frames warped; beyond the border the edge pixels go on, see `warp.warp_frames`."""
    last = np.maximum(np.array(shape) - 1, 1)[None, :, None, None]
    places = ops.multiply(ops.add(warp, _constant(np.indices(shape)[None])), _constant(2 / last))
    places = ops.clamp(ops.subtract(places, _constant(np.ones(1))), -1.0, 1.0)
    turned = ops.gather(_transpose(places, (0, 2, 3, 1)), _integers([1, 0]), _integers(3))  # OpenVINO names columns first
    return ops.grid_sample(frames, turned, {"align_corners": True, "mode": "bilinear", "padding_mode": "border"})


def _transpose(values: Any, axes: Sequence[int]) -> Any:
    return ops.transpose(values, _integers(axes))


def _constant(values: np.ndarray) -> Any:
    return ops.constant(np.ascontiguousarray(values, np.float32))


def _integers(values: Any) -> Any:
    return ops.constant(np.array(values, np.int64))
