"""Other files and networks to AngioMorph, and back: VoxelMorph's weights, low rank, and one λ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from angiomorph.backend import tf, vxm
from angiomorph.errors import InputError
from angiomorph.networks import layers
from angiomorph.networks.model import AngioMorph, find_hyper_convolutions
from angiomorph.storage import model_file

OF_TRAINING = ("size", "levels", "intensity", "image_loss", "image_sigma")  # metadata that registering needs


def import_weights(path: str | os.PathLike[str], inshape: Sequence[int], **metadata: Any) -> AngioMorph:
    """Return the paper's network with weights that `save_weights` of VoxelMorph's `VxmDense(hyp_model=...)` wrote.

    Args:
        path: weights-only `.h5` of the paper's topology (int_steps 0, hypernetwork 32-64-128-128).
        inshape: frame size that the weights were trained on.
        **metadata: description of the training, kept in the model: size, intensity, image_loss, lambda.

    Raises:
        InputError: the file is not HDF5, does not fit the paper's network, or holds more than VoxelMorph writes.
    """
    with model_file.open_model_file(path, *model_file.IMPORTED):
        model = AngioMorph(inshape)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: expected the weights of VxmDense with int_steps=0 and a 32-64-128-128 hypernetwork "
            f"({model.count_params():,} parameters), but they do not fit: {str(error).splitlines()[0]}"
        ) from error
    model.metadata.update(metadata)
    return model


def hyper_features(model: AngioMorph, hyper: np.ndarray) -> np.ndarray:
    """Return the hypernetwork's last output for each λ.

    Args:
        model: the network.
        hyper: λ, `(N,)`, [0, 1].

    Returns:
        `(N, U)` float32.
    """
    dense = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dense)]
    features = tf.constant(hyper, tf.float32)[:, None]
    for layer in dense:
        features = layer(features)
    return features.numpy()


def _copy_plain_weights(source: tf.keras.Model, target: tf.keras.Model) -> None:
    for layer in source.layers:
        generated = isinstance(layer, layers.HyperConv2DFromDense)
        if layer.weights and not generated and layer.name in {other.name for other in target.layers}:
            target.get_layer(layer.name).set_weights(layer.get_weights())


def compact(model: AngioMorph, rank: int = 8, samples: int = 201) -> AngioMorph:
    """Return the same network with generated weights of low rank: a linear layer of `rank` units before the heads.

        features(λ) ≈ mean + basis @ units(λ), units(λ) = basis⁺ @ (features(λ) - mean)

    Over λ in [0, 1] the hypernetwork's output traces a curve. `basis` (U, rank) spans the directions in which the generated
    kernels, not the features, vary most. The heads then need rank + 1 numbers a weight instead of U + 1.

    Args:
        model: a full-rank network.
        rank: units of the new layer.
        samples: number of λ on which the curve is sampled.

    Raises:
        InputError: the model has a `hyp_rank` already.
    """
    config = {key: value for key, value in model.get_config().items() if key != "metadata"}
    if config["hyp_rank"] is not None:
        raise InputError(
            f"`model`: expected full rank, found hyp_rank {config['hyp_rank']}; compact the model it was made from"
        )
    features = hyper_features(model, np.linspace(0, 1, samples)).astype(np.float64)
    mean, heads = features.mean(0), find_hyper_convolutions(model)
    gram = sum(layer.get_weights()[index] @ layer.get_weights()[index].T for layer in heads for index in (0, 2))
    basis, project = _principal(features - mean, np.asarray(gram, np.float64), rank)
    small = AngioMorph(**{**config, "hyp_rank": rank})
    _copy_plain_weights(model, small)
    small.get_layer("hyp_rank").set_weights([project, -mean @ project])
    for layer in heads:
        kernel, kernel_bias, bias, bias_bias = layer.get_weights()
        weights = [basis.T @ kernel, kernel_bias + mean @ kernel, basis.T @ bias, bias_bias + mean @ bias]
        small.get_layer(layer.name).set_weights(weights)
    small.metadata.update(model.metadata)
    return small


def _principal(centred: np.ndarray, gram: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `basis` and `project` (U, rank): centred ≈ centred @ project @ basis.T, best in the metric `gram`."""
    scale, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.clip(scale, 0, None))
    kept = root > root.max() * 1e-7
    to_metric, from_metric = vectors[:, kept] * root[kept], vectors[:, kept] / root[kept]
    right = np.linalg.svd(centred @ to_metric, full_matrices=False)[2][:rank].T
    return from_metric @ right, to_metric @ right


def bake(model: AngioMorph, hyper: float, size: int | None = None, **metadata: Any) -> tf.keras.Model:
    """Return VoxelMorph's plain `VxmDense` with the weights that the hypernetwork generates at one λ.

    Args:
        model: the network.
        hyper: λ, [0, 1].
        size: side of the square frames that the `VxmDense` takes, pixels; None for the network's own.
        **metadata: description of the model's source, kept in its `metadata` beside "lambda" and the network's training.

    Returns:
        a `VxmDense` whose `.h5` VoxelMorph's own tools load.

    Raises:
        InputError: λ is outside [0, 1], or `size` is no multiple of what the levels need.
    """
    if not 0 <= hyper <= 1:
        raise InputError(f"`hyper` {hyper}: expected a number from 0 to 1, got {hyper}")
    config = model.get_config()
    multiple = 2 ** len(config["nb_unet_features"][0])
    if size is not None and (size < multiple or size % multiple):
        raise InputError(f"`size` {size}: expected a multiple of {multiple}, got {size}; pad the frames to one")
    names = ("inshape", "nb_unet_features", "int_steps", "int_resolution", "svf_resolution", "name")
    given = {name: config[name] for name in names}
    plain = vxm.networks.VxmDense(**given if size is None else {**given, "inshape": (size, size)})
    plain.metadata.update({name: model.metadata[name] for name in OF_TRAINING if name in model.metadata})
    plain.metadata.update(metadata, **{"lambda": hyper})
    _copy_plain_weights(model, plain)
    features = hyper_features(model, np.array([hyper]))
    for layer in find_hyper_convolutions(model):
        kernel, kernel_bias, bias, bias_bias = layer.get_weights()
        shape = plain.get_layer(layer.name).kernel.shape
        generated = (features @ kernel + kernel_bias).reshape(shape)
        plain.get_layer(layer.name).set_weights([generated, (features @ bias + bias_bias)[0]])
    return plain
