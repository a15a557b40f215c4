"""A network at one λ for other programs: the registration of pairs at all levels as one graph, in ONNX or as a SavedModel."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from typing import Any

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.conversion import bake
from angiomorph.networks.model import AngioMorph, silence_keras_advice
from angiomorph.paper import FRAME_SIZE
from angiomorph.storage.atomic import make_folder, replace_file

OPSET = 18
METADATA = "angiomorph.json"
INPUT = (None, None, None, 1)
Planes = list[tf.Tensor]  # `(B, H, W)` each: of a warp the displacements down and to the right


def export_onnx(model: AngioMorph, path: str | os.PathLike[str], hyper: float, **metadata: Any) -> None:
    """Write the registration of pairs at one λ as ONNX, whole or not at all.

    Args:
        model: the network.
        path: the file's final name.
        hyper: λ, [0, 1].
        **metadata: of the model's source, kept as text in the file beside what `describe_export` says.

    Raises:
        InputError: as `bake` and `build_registration` say, or tf2onnx is not installed.
    """
    convert, onnx = _import_converter()
    graph, said = build_registration(model, hyper), describe_export(model, hyper, **metadata)
    with silence_keras_advice():
        proto, _ = convert.from_function(graph.register, list(graph.register.input_signature), opset=OPSET)
    _replace_deprecated(proto.graph, onnx)
    proto.producer_name, proto.doc_string = "angiomorph", "moving, fixed: [0, 1], iodine dark. warp: pixels, (row, column)."
    onnx.helper.set_model_props(proto, {name: str(value) for name, value in said.items()})
    onnx.checker.check_model(proto)
    with replace_file(path) as partial:
        partial.write_bytes(proto.SerializeToString())


def export_saved_model(model: AngioMorph, path: str | os.PathLike[str], hyper: float, **metadata: Any) -> None:
    """Write the registration of pairs at one λ as a SavedModel folder, whole or not at all.

    Its `angiomorph.json` holds what `describe_export` says.

    Args:
        model: the network.
        path: the folder's final name.
        hyper: λ, [0, 1].
        **metadata: of the model's source.

    Raises:
        InputError: as `bake` and `build_registration` say, or `path` is there already.
    """
    graph, said = build_registration(model, hyper), describe_export(model, hyper, **metadata)
    with make_folder(path) as partial, silence_keras_advice():
        tf.saved_model.save(graph, str(partial), signatures=graph.register)
        (partial / METADATA).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def describe_export(model: AngioMorph, hyper: float, **metadata: Any) -> dict[str, Any]:
    """Return what an exported file says of itself: λ, size, levels, intensity, and what the arrays are.

    Args:
        model: the network.
        hyper: λ, [0, 1].
        **metadata: of the model's source.
    """
    own = {name: model.metadata[name] for name in ("size", "levels", "intensity", "image_loss") if name in model.metadata}
    arrays = {"warp": "pixels of the given frames, (row, column); moved(x) = moving(x + warp(x))"}
    return {"lambda": hyper, **own, **arrays, **metadata}


class PairGraph(tf.Module):
    """The registration of pairs of frames at all levels of a network, at one λ, as one graph.

    Args:
        unet: from (moving, fixed) to the warp, for frames whose sides are multiples of `multiple`.
        size: longer side of the frames at the first level, pixels.
        levels: at how many sizes, each twice the one before.
        multiple: pixels, to which frames are padded.
    """

    def __init__(self, unet: tf.keras.Model, size: int, levels: int, multiple: int) -> None:
        super().__init__()
        self.unet, self._size, self._levels, self._multiple = unet, size, levels, multiple

    @tf.function(input_signature=[tf.TensorSpec(INPUT, name="moving"), tf.TensorSpec(INPUT, name="fixed")])
    def register(self, moving: tf.Tensor, fixed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the warps of backgrounds onto frames; see `Predictor.warps`, of which this leaves out the rigid start.

        Args:
            moving: backgrounds `(B, H, W, 1)`, or one `(1, H, W, 1)`, float32, [0, 1].
            fixed: frames `(B, H, W, 1)`, float32, [0, 1].

        Returns:
            warp: `(B, H, W, 2)`, float32, pixels, ij order.
        """
        shape = tf.shape(fixed)[1:3]
        onto = fixed[..., 0]
        background = tf.broadcast_to(moving[..., 0], tf.shape(onto))
        large = tf.reduce_max(shape) > self._size
        first = tf.where(large, _fit(shape, self._size), shape)
        warp = coarse = self._warp(_resize(background, first), _resize(onto, first))
        for level in range(1, self._levels):
            # Not branched, as few programs run branches well: a small frame, which has one level, goes on as a single pixel.
            warp = self._finer(warp, background, onto, tf.where(large, _fit(shape, self._size * 2**level), 1))
        whole, small = (tf.stack(_resize_warp(each, shape), axis=-1) for each in (warp, coarse))
        return {"warp": tf.where(large, whole, small)}

    def _finer(self, warp: Planes, background: tf.Tensor, onto: tf.Tensor, shape: tf.Tensor) -> Planes:
        """Return the warp of a level from the warp before it."""
        before = _resize_warp(warp, shape)
        (moved,) = _sample([_resize(background, shape)], before)
        own = self._warp(moved, _resize(onto, shape))
        return [there + here for there, here in zip(_sample(before, own), own, strict=True)]

    def _warp(self, moving: tf.Tensor, fixed: tf.Tensor) -> Planes:
        """Return the network's own warp of frames of any one size, their edges repeated for it."""
        shape = tf.shape(fixed)
        padded = [_pad(each, self._multiple)[..., None] for each in (moving, fixed)]
        planes = tf.unstack(tf.transpose(self.unet(padded, training=False), [0, 3, 1, 2]), axis=1)
        return [plane[:, : shape[1], : shape[2]] for plane in planes]


def build_registration(model: AngioMorph, hyper: float) -> PairGraph:
    """Return a network at one λ as a graph that takes any batch and any size.

    Args:
        model: the network.
        hyper: λ, [0, 1].

    Raises:
        InputError: λ is outside [0, 1], or the network integrates its flow.
    """
    config = model.get_config()
    if config["int_steps"]:
        raise InputError(
            f"`model`: expected int_steps 0 for a graph of any size, found {config['int_steps']}; use `angiomorph bake --size`"
        )
    plain = bake(model, hyper)
    given = [tf.keras.Input(INPUT[1:]) for _ in plain.inputs]
    unet = tf.keras.models.clone_model(tf.keras.Model(plain.inputs, plain.references.pos_flow), input_tensors=given)
    unet.set_weights(plain.get_weights())
    size, levels = int(model.metadata.get("size", FRAME_SIZE)), int(model.metadata.get("levels", 1))
    return PairGraph(unet, size, levels, max(16, 2 ** len(config["nb_unet_features"][0])))


def _fit(shape: tf.Tensor, side: int) -> tf.Tensor:
    """Return (rows, columns) scaled so that the longer is `side`; in float64, so that it rounds as `level_shapes` does."""
    exact = tf.cast(shape, tf.float64)
    scaled = tf.round(exact * (tf.constant(side, tf.float64) / tf.reduce_max(exact)))
    return tf.maximum(tf.cast(scaled, tf.int32), 1)


def _resize(frames: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Resample `(B, H, W)` as `resize_frames` does, by two matrices, which ONNX knows; it has no mean over areas."""
    before = tf.shape(frames)[1:]
    shrinks = tf.reduce_prod(shape) < tf.reduce_prod(before)
    down, across = (
        tf.where(shrinks, _average(before[axis], shape[axis]), _interpolate(before[axis], shape[axis])) for axis in (0, 1)
    )
    return tf.matmul(tf.matmul(down, frames), across, transpose_b=True)


def _resize_warp(warp: Planes, shape: tf.Tensor) -> Planes:
    """Resample a warp and scale its displacements, as `resize_warp` does."""
    before = tf.shape(warp[0])[1:]
    down, across = (_interpolate(before[axis], shape[axis]) for axis in (0, 1))
    scales = tf.unstack(tf.cast(shape, tf.float32) / tf.cast(before, tf.float32))
    resampled = (tf.matmul(tf.matmul(down, plane), across, transpose_b=True) for plane in warp)
    return [plane * scale for plane, scale in zip(resampled, scales, strict=True)]


def _sample(frames: Planes, warp: Planes) -> Planes:
    """Return frames `(B, H, W)` warped, as `warp_frames` warps them."""
    shape = tf.shape(frames[0])
    rows, columns = shape[1], shape[2]
    down = tf.clip_by_value(tf.cast(tf.range(rows), tf.float32)[None, :, None] + warp[0], 0.0, tf.cast(rows - 1, tf.float32))
    right = tf.clip_by_value(
        tf.cast(tf.range(columns), tf.float32)[None, None] + warp[1], 0.0, tf.cast(columns - 1, tf.float32)
    )
    top, left = (tf.cast(tf.floor(place), tf.int32) for place in (down, right))
    bottom, last = tf.minimum(top + 1, rows - 1), tf.minimum(left + 1, columns - 1)
    down, right = down - tf.floor(down), right - tf.floor(right)
    flat = tf.stack([tf.reshape(frame, [shape[0], rows * columns]) for frame in frames], axis=-1)
    corners = [tf.unstack(tf.gather(flat, i * columns + j, batch_dims=1), axis=-1) for i in (top, bottom) for j in (left, last)]
    upper, lower = (
        [one * (1 - right) + other * right for one, other in zip(*pair, strict=True)] for pair in (corners[:2], corners[2:])
    )
    return [one * (1 - down) + other * down for one, other in zip(upper, lower, strict=True)]


def _average(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Return the `(after, before)` matrix whose row i is the mean over the i-th of `after` equal parts of `before` pixels."""
    many, few = tf.cast(before, tf.float32), tf.cast(after, tf.float32)
    low = tf.range(few)[:, None] * (many / few)
    pixel = tf.range(many)[None]
    overlap = tf.minimum(low + many / few, pixel + 1) - tf.maximum(low, pixel)
    return tf.maximum(overlap, 0.0) * (few / many)


def _interpolate(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Return the `(after, before)` matrix that interpolates linearly between pixels' centres; edge pixels go on."""
    old, new = tf.cast(before, tf.float32), tf.cast(after, tf.float32)
    place = tf.clip_by_value((tf.range(new) + 0.5) * (old / new) - 0.5, 0.0, old - 1)
    return tf.maximum(1 - tf.abs(place[:, None] - tf.range(old)[None]), 0.0)


def _pad(frames: tf.Tensor, multiple: int) -> tf.Tensor:
    """Return frames whose sides are multiples of `multiple`, edges repeated at the bottom and on the right."""
    for axis in (1, 2):
        side = tf.shape(frames)[axis]  # rounded up without negative numbers, which ONNX divides towards zero
        frames = tf.gather(frames, tf.minimum(tf.range((side + multiple - 1) // multiple * multiple), side - 1), axis=axis)
    return frames


def _replace_deprecated(graph: Any, onnx: Any) -> None:
    """Say in today's words how nearest neighbours are found: opset 13 and later have not what tf2onnx writes.

    A feature map of twice the size repeats each pixel, whichever way its coordinates are counted.
    """
    for node in _walk(graph):
        for given in node.attribute:
            if node.op_type == "Resize" and given.s == b"tf_half_pixel_for_nn":
                given.s = b"asymmetric"


def _walk(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for given in node.attribute:
            yield from _walk(given.g)


def _import_converter() -> tuple[Any, Any]:
    """Return tf2onnx's converter and onnx.

    Raises:
        InputError: one of them is not installed.
    """
    try:
        return importlib.import_module("tf2onnx.convert"), importlib.import_module("onnx")
    except ImportError as error:
        missing = str(error.name).split(".")[0]
        raise InputError(
            f"export to ONNX: expected the package {missing}, found none; install it with: pip install 'angiomorph[export]', "
            "or give a name that does not end in .onnx for a SavedModel"
        ) from error
