"""Baked models back as AngioMorph networks, the same for every λ, so that all that registers takes them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.layers import expect_one_hyper
from angiomorph.networks.model import AngioMorph
from angiomorph.paper import DECODER, ENCODER
from angiomorph.storage import model_file

KEPT = ("int_steps", "int_resolution", "svf_resolution", "name", "metadata")
PLAIN = {"use_probs": False, "src_feats": 1, "trg_feats": 1, "unet_half_res": False, "hyp_model": None, "int_downsize": None}
REMEDY = "bake it again with `angiomorph bake`, or train from it with `angiomorph train --load-weights`"


def load_any(path: str | os.PathLike[str]) -> AngioMorph:
    """Return the network of a model `.h5`, or one that registers as a baked model does, for batches of one λ each.

    Of a baked model `metadata["baked"]` is true, and `metadata["lambda"]` is the only λ that it stands for.

    Raises:
        InputError: the file is no such model, or a `VxmDense` that `bake` does not write.
    """
    with model_file.open_model_file(path, *model_file.MODEL_OR_BAKED) as found:
        if found.kind == model_file.BAKED:
            with expect_one_hyper():
                return _unbake(path, found)
    with expect_one_hyper():
        return AngioMorph.load(path)


def _unbake(path: str | os.PathLike[str], found: model_file.ModelFile) -> AngioMorph:
    config = _read_config(path, found.config or {})
    _check_weights(path, config, found)
    metadata = config.pop("metadata")
    model = AngioMorph(**config)
    for layer in model.layers:
        if layer.name in found.weights:
            _set_weights(layer, *(found.weights[layer.name][part][()] for part in ("kernel", "bias")))
    model.metadata.update(metadata, baked=True)
    return model


def _read_config(path: str | os.PathLike[str], given: dict[str, Any]) -> dict[str, Any]:
    """Return the constructor arguments of the network that a baked model becomes, checked."""
    for name, plain in PLAIN.items():
        if given.get(name, plain) != plain:
            raise InputError(f"{path}: expected a baked model with {name} {plain}, found {given[name]!r}; {REMEDY}")
    if "lambda" not in (given.get("metadata") or {}):
        raise InputError(f"{path}: expected a baked model that says its lambda, found a {model_file.BAKED} without; {REMEDY}")
    config = {name: given[name] for name in KEPT if name in given}
    config |= {"inshape": given.get("inshape"), "hyp_units": [1]}
    config["nb_unet_features"] = given.get("nb_unet_features") or [list(ENCODER), list(DECODER)]
    model_file.check_config(path, config)
    return config


def _check_weights(path: str | os.PathLike[str], config: dict[str, Any], found: model_file.ModelFile) -> None:
    """Refuse other weights than the network's, before it is built at a size that the file alone decides."""
    expected: dict[str, list[int]] = {}
    for layer, part, shape in model_file.weight_shapes(config):
        if not layer.startswith("hyp_") and part in ("hyperkernel_bias", "hyperbias_bias", "kernel", "bias"):
            expected.setdefault(layer, []).append(int(np.prod(shape)))
    there = {
        layer: [int(np.prod(parts[part].shape)) for part in ("kernel", "bias") if part in parts]
        for layer, parts in found.weights.items()
    }
    if there != expected:
        wrong = next(layer for layer in [*expected, *there] if expected.get(layer) != there.get(layer))
        raise InputError(
            f"{path}: expected {wrong} with {expected.get(wrong, 'no')} weights, found {there.get(wrong, 'none')}; {REMEDY}"
        )


def _set_weights(layer: tf.keras.layers.Layer, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Set the weights of a convolution; of a generated one those that no λ changes."""
    if len(layer.weights) == 2:
        layer.set_weights([kernel, bias])
    else:
        layer.set_weights([np.zeros((1, kernel.size)), kernel.ravel(), np.zeros((1, bias.size)), bias])
