"""First weights of a training from another model, AngioMorph's or VoxelMorph's, as far as shapes agree.

Arrays alone are read from a file, by the names that VoxelMorph gives its layers; nothing that the file describes is built.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks import layers
from angiomorph.storage import model_file

PLACE = re.compile(r"(?:^|_)(enc_conv_\d+_\d+|dec_conv_\d+_\d+|dec_final_conv_\d+|flow)$")
FLOW = {"int_steps": 7, "int_resolution": 2, "svf_resolution": 1}  # VoxelMorph's defaults
HYPER = np.linspace(0, 1, 201)  # λ on which features are compared
RCOND = 1e-5  # directions of features that vary less are not fitted: the heads would become large


@dataclass(frozen=True)
class Convolution:
    """A convolution whose weights may depend on the hypernetwork's last output, `features`.

        kernel(λ) = kernel + features(λ) @ kernel_head, bias(λ) = bias + features(λ) @ bias_head

    Args:
        kernel: `(3, 3, C, filters)`; for other dimensions than two that many threes.
        bias: `(filters,)`.
        kernel_head: `(U, kernel.size)`; of no rows where nothing is generated.
        bias_head: `(U, filters)`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    kernel_head: np.ndarray
    bias_head: np.ndarray


@dataclass(frozen=True)
class FoundWeights:
    """What a file holds that a registration network can begin with.

    Args:
        kind: the model's class; "weights" where the file names none.
        convolutions: by place: "enc_conv_0_0", "dec_conv_3_0", "dec_final_conv_0", ..., "flow".
        hypernetwork: name, kernel `(C, U)` and bias `(U,)` of each dense layer, in order; ReLU but for "hyp_rank".
        other: names of further layers with weights.
        config: the model's constructor arguments; None for weights only.
    """

    kind: str
    convolutions: Mapping[str, Convolution]
    hypernetwork: Sequence[tuple[str, np.ndarray, np.ndarray]]
    other: Sequence[str]
    config: Mapping[str, Any] | None

    def features(self, hyper: np.ndarray) -> np.ndarray:
        """Return the hypernetwork's last output for λ `(N,)`, `(N, U)` float64; `(N, 0)` without hypernetwork."""
        if not self.hypernetwork:
            return np.zeros((hyper.size, 0))
        last = hyper[:, None].astype(np.float64)
        for name, kernel, bias in self.hypernetwork:
            last = last @ kernel + bias
            last = last if name == "hyp_rank" else np.maximum(last, 0)
        return last


def load(model: networks.AngioMorph, path: str | os.PathLike[str]) -> str:
    """Give a network the weights of a file where shapes agree, and return one line that says which were taken.

    A plain convolution becomes one that is generated, the same for every λ, by heads of zeros, which learn from the first step
    on. Generated ones are taken with their hypernetwork where that is the network's own. From another hypernetwork they are
    fitted, by least squares over λ in [0, 1]:

        features'(λ) @ X + offset ≈ features(λ), heads' = X @ heads

    Args:
        model: the network; keeps its weights where the file has none that fit.
        path: `.h5` that `model.save` or `model.save_weights` of Keras 2 wrote, of `AngioMorph`, or of voxelmorph's
            `VxmDense` or `HyperVxmDense`.

    Raises:
        InputError: the file is no such `.h5`, no convolution fits, or its hypernetwork is not one of one λ.
    """
    source = read(path)
    places = {_place(layer): layer for layer in model.layers if layer.weights and _place(layer)}
    taken = [place for place, layer in places.items() if _find_shape(source, place) == _expect_shape(layer)]
    if not taken:
        raise InputError(
            f"{path}: expected convolutions of shapes {_several(_expect_shape(layer) for layer in places.values())}, found "
            f"none of them ({source.kind}: {_several(given.kernel.shape for given in source.convolutions.values())}). Give a "
            "model of 2D frames whose features are `enc` and `dec`, or train without `load_weights`"
        )
    how = _take(places, taken, source, model)
    said = f"weights of {path} ({source.kind}): taken {len(taken)} of {len(places)} convolutions, {how}"
    return "; ".join([said, *_say_left_out(source, places, taken), *_compare_flows(model, source)])


def _take(
    places: Mapping[str, tf.keras.layers.Layer], taken: Sequence[str], source: FoundWeights, model: networks.AngioMorph
) -> str:
    """Set the weights of the places `taken`, and of the hypernetwork if they need it; return what became of λ."""
    generated = [source.convolutions[place] for place in taken if source.convolutions[place].kernel_head.size]
    whole = bool(generated) and _take_hypernetwork(model, source)
    own, given = networks.hyper_features(model, HYPER).astype(np.float64), source.features(HYPER)
    mapping, offset = _map_features(own, given, whole)
    for place in taken:
        places[place].set_weights(_weights(source.convolutions[place], mapping, offset, places[place]))
    if whole:
        return "and the hypernetwork"
    if not generated:
        return "the same for every λ at first"
    deviation = _deviation(generated, given, own @ mapping + offset)
    found = " ".join(str(kernel.shape[1]) for _, kernel, _ in source.hypernetwork)
    here = " ".join(str(layer.units) for layer in _dense(model))
    return f"fitted over λ to within {deviation:.2g} of the kernels, as its hypernetwork has units {found}, here {here}"


def read(path: str | os.PathLike[str]) -> FoundWeights:
    """Return what a model or weights-only `.h5` of Keras 2 holds.

    Raises:
        InputError: the file is absent, damaged, not HDF5 or without named layers; it holds more than AngioMorph and VoxelMorph
            write (see `model_file.open_model_file`); its hypernetwork is not of one λ.
    """
    with model_file.open_model_file(path, *model_file.INITIAL) as file:
        found = {layer: {part: array[()] for part, array in parts.items()} for layer, parts in file.weights.items()}
        if not found:
            raise InputError(f"{path}: expected layers with names (Keras 2, .h5), found none; {model_file.KERAS2}")
        return _source(path, {"class_name": file.kind, "config": file.config}, found)


def _source(
    path: str | os.PathLike[str], described: Mapping[str, Any], found: Mapping[str, dict[str, np.ndarray]]
) -> FoundWeights:
    flow = [parts["kernel"] for layer, parts in found.items() if layer.endswith("flow") and "kernel" in parts]
    dimensions = flow[0].ndim - 2 if flow else 2
    convolutions, hypernetwork, other = {}, [], []
    for layer, parts in found.items():
        match = PLACE.search(layer)
        if match and match[1] != "flow" and set(parts) == set(model_file.HEADS):
            convolutions[match[1]] = _generate_kernels(dimensions, *(parts[name] for name in model_file.HEADS))
        elif match and set(parts) == {"kernel", "bias"}:
            kernel, bias = parts["kernel"], parts["bias"]
            convolutions[match[1]] = Convolution(kernel, bias, np.zeros((0, kernel.size)), np.zeros((0, bias.size)))
        elif set(parts) == {"kernel", "bias"} and parts["kernel"].ndim == 2:
            hypernetwork.append((layer, parts["kernel"], parts["bias"]))
        else:
            other.append(layer)
    if not any(convolution.kernel_head.size for convolution in convolutions.values()):
        other += [layer for layer, _, _ in hypernetwork]
        hypernetwork = []
    source = FoundWeights(described["class_name"], convolutions, hypernetwork, other, described["config"])
    _check_hypernetwork(path, source)
    return source


def _generate_kernels(
    dimensions: int, kernel_head: np.ndarray, kernel: np.ndarray, bias_head: np.ndarray, bias: np.ndarray
) -> Convolution:
    shape = (*[3] * dimensions, kernel.size // (3**dimensions * bias.size), bias.size)
    return Convolution(kernel.reshape(shape), bias, kernel_head, bias_head)


def _check_hypernetwork(path: str | os.PathLike[str], source: FoundWeights) -> None:
    heads = {convolution.kernel_head.shape[0] for convolution in source.convolutions.values()} - {0}
    if not heads:
        return
    inputs = [kernel.shape[0] for _, kernel, _ in source.hypernetwork]
    outputs = [kernel.shape[1] for _, kernel, _ in source.hypernetwork]
    if inputs[:1] != [1] or {*outputs[-1:]} != heads or inputs[1:] != outputs[:-1]:
        raise InputError(
            f"{path}: expected a hypernetwork of dense layers from one λ to {sorted(heads)} units, found {inputs} to "
            f"{outputs}; give a model of one hyperparameter"
        )


def _place(layer: tf.keras.layers.Layer) -> str:
    match = PLACE.search(layer.name)
    return match[1] if match else ""


def _expect_shape(layer: tf.keras.layers.Layer) -> tuple[int, ...]:
    generated = isinstance(layer, layers.HyperConv2DFromDense)
    return networks.kernel_shape(layer) if generated else tuple(layer.kernel.shape)


def _find_shape(source: FoundWeights, place: str) -> tuple[int, ...]:
    return source.convolutions[place].kernel.shape if place in source.convolutions else ()


def _write_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "none"


def _several(shapes: Iterable[Sequence[int]]) -> str:
    return ", ".join(dict.fromkeys(map(_write_shape, shapes))) or "none"


def _say_left_out(source: FoundWeights, places: Mapping[str, tf.keras.layers.Layer], taken: Sequence[str]) -> list[str]:
    kept = [
        f"{place} (expected {_write_shape(_expect_shape(layer))}, found {_write_shape(_find_shape(source, place))})"
        for place, layer in places.items()
        if place not in taken
    ]
    surplus = [*(place for place in source.convolutions if place not in places), *source.other]
    said = {"not taken": kept, "without a place here": surplus}
    return [f"{what}: {', '.join(which)}" for what, which in said.items() if which]


def _dense(model: networks.AngioMorph) -> list[tf.keras.layers.Dense]:
    return [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dense)]


def _take_hypernetwork(model: networks.AngioMorph, source: FoundWeights) -> bool:
    """Take the hypernetwork's layers up to the first that differs; return whether none does."""
    own = _dense(model)
    for layer, (name, kernel, bias) in zip(own, source.hypernetwork, strict=False):
        if tuple(layer.kernel.shape) != kernel.shape or (layer.name == "hyp_rank") != (name == "hyp_rank"):
            return False
        layer.set_weights([kernel, bias])
    return len(own) == len(source.hypernetwork)


def _map_features(own: np.ndarray, given: np.ndarray, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return `X` and `offset` (see `load`) from features `(N, U')` to those of the file, `(N, U)`."""
    if whole:
        return np.eye(given.shape[1]), np.zeros(given.shape[1])
    fitted = np.linalg.lstsq(own - own.mean(0), given - given.mean(0), rcond=RCOND)[0]
    return fitted, given.mean(0) - own.mean(0) @ fitted


def _weights(given: Convolution, mapping: np.ndarray, offset: np.ndarray, layer: tf.keras.layers.Layer) -> list[np.ndarray]:
    """Return the weights of a layer of the network that makes what `given` makes."""
    if not isinstance(layer, layers.HyperConv2DFromDense):
        return [given.kernel, given.bias]
    if not given.kernel_head.size:
        units = mapping.shape[0]
        return [np.zeros((units, given.kernel.size)), given.kernel.ravel(), np.zeros((units, given.bias.size)), given.bias]
    kernel, bias = given.kernel.ravel() + offset @ given.kernel_head, given.bias + offset @ given.bias_head
    return [mapping @ given.kernel_head, kernel, mapping @ given.bias_head, bias]


def _deviation(generated: Sequence[Convolution], given: np.ndarray, features: np.ndarray) -> float:
    """Return the root mean square over λ of the generated kernels' change from `given` to `features`, over the kernels'."""
    changed = whole = 0.0
    for convolution in generated:
        changed += float(np.sum(((features - given) @ convolution.kernel_head) ** 2))
        whole += float(np.sum((given @ convolution.kernel_head + convolution.kernel.ravel()) ** 2))
    return (changed / whole) ** 0.5 if whole else 0.0


def _compare_flows(model: networks.AngioMorph, source: FoundWeights) -> list[str]:
    """Return what to say where the file's flow means something else than the network's."""
    if source.config is None:
        return []
    config = {**FLOW, **source.config}
    config["int_resolution"] = config.get("int_downsize") or config["int_resolution"]
    config["svf_resolution"] = 2 if config.get("unet_half_res") else config["svf_resolution"]
    found, here = _flow(config), _flow(model.get_config())
    return [] if found == here else [f"its flow was {found} and is {here} now, so that the first warps differ"]


def _flow(config: Mapping[str, Any]) -> str:
    coarse = f" of 1/{config['svf_resolution']} size" if config["svf_resolution"] > 1 else ""
    if not config["int_steps"]:
        return f"a displacement{coarse}"
    return f"a velocity{coarse}, integrated in {config['int_steps']} steps at 1/{config['int_resolution']} size"
