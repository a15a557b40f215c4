"""Model files (`.h5`) from anyone: all that a file says is checked here before anything of it is built or run.

Keras rebuilds what a file describes, and a description can name any layer, `Lambda` among them, whose code then runs. So a file
may hold only what AngioMorph and VoxelMorph write. That is known classes, plain numbers, weights of the shapes that follow from
them, and no more bytes than the file has. No TensorFlow is needed.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py

from angiomorph.errors import InputError
from angiomorph.storage.links import DAMAGE, find_arrays, open_hdf5

OWN = ("AngioMorph",)
TAKEN = (*OWN, "VxmDense", "HyperVxmDense")
WEIGHTS = "weights"
BAKED = "VxmDense"
HEADS = ("hyperkernel_kernel", "hyperkernel_bias", "hyperbias_kernel", "hyperbias_bias")

MOST_OBJECTS = 20_000
LARGEST = {"inshape": 4096, "int_steps": 32, "int_resolution": 64, "svf_resolution": 64, "hyp_rank": 65536, "levels": 16}
DEFAULTS = {"int_steps": 0, "int_resolution": 2, "svf_resolution": 1, "hyp_rank": None}
NAME = re.compile(r"[\w.-]{1,100}")

OBJECT = {"class_name", "registered_name", "module", "function", "function_type", "__passive_serialization__"}
MODULES = (None, "keras", "keras.layers", "keras.initializers", "keras.models", "keras.src.engine.functional")
NESTED = {  # of a hypernetwork that VoxelMorph keeps in its configuration
    *("Functional", "Model", "Sequential", "InputLayer", "Dense", "Activation", "ReLU", "LeakyReLU"),
    *(
        "GlorotUniform",
        "GlorotNormal",
        "HeNormal",
        "HeUniform",
        "RandomNormal",
        "RandomUniform",
        "VarianceScaling",
        "Zeros",
        "Ones",
    ),
}
LOSSES = {f"angiomorph>{name}" for name in ("MSE", "MinMax", "VLE", "Truth", "GradientPenalty")}
OPTIMIZERS = {"GuardedAdam"}
OPTIMIZER = {
    *("name", "weight_decay", "clipnorm", "global_clipnorm", "clipvalue", "use_ema", "ema_momentum", "ema_overwrite_frequency"),
    *("jit_compile", "is_legacy_optimizer", "learning_rate", "beta_1", "beta_2", "epsilon", "amsgrad", "initial_scale"),
}
PROGRESS = {"step", "metrics", "best", "since_best"}
REMEDY = "nothing of the file was run; get it again from its maker, or train a model with `angiomorph train`"
FOREIGN = "give a model.h5 of `angiomorph train`, or convert weights with `angiomorph import-weights`"
KERAS2 = (
    "give what model.save('NAME.h5') of AngioMorph or VoxelMorph wrote, or model.save_weights of Keras 2 to a name that ends "
    "in .h5 but not in .weights.h5"
)
# What is wanted of a file: its classes, its name in messages, and the remedy; `open_model_file` and `check_path` take them.
MODEL = (OWN, "a model (.h5)", FOREIGN)
MODEL_OR_BAKED = ((*OWN, BAKED), "a model (.h5)", FOREIGN)
IMPORTED = ((WEIGHTS, *TAKEN), "weights (.h5)", REMEDY)
INITIAL = ((*TAKEN, WEIGHTS), "a model or weights (.h5)", KERAS2)


@dataclass(frozen=True)
class ModelFile:
    """A model, checkpoint or weights file that has passed every check, open for reading.

    Args:
        file: the open file.
        kind: the model's class; "weights" where the file names none.
        config: the model's constructor arguments; None for weights only.
        weights: layer to the last part of a weight's name to its array, in the order of the file.
        progress: fields of `checkpoints.Progress`, of a checkpoint; else None.
    """

    file: h5py.File
    kind: str
    config: dict[str, Any] | None
    weights: Mapping[str, Mapping[str, h5py.Dataset]]
    progress: dict[str, Any] | None


@contextmanager
def open_model_file(
    path: str | os.PathLike[str], classes: Sequence[str], expected: str, remedy: str = REMEDY
) -> Iterator[ModelFile]:
    """Open a model, checkpoint or weights file and check all of it; build nothing.

    Args:
        path: the file.
        classes: the model classes that the caller takes; "weights" for a file without architecture.
        expected: kind of file wanted, for messages: "a model (.h5)".
        remedy: advice where the file is of another class.

    Raises:
        InputError: the file is absent, not HDF5 or damaged, or holds anything but what AngioMorph and VoxelMorph write.
    """
    with open_hdf5(path, expected) as file:
        yield check(file, path, classes, expected, remedy)


def check_path(path: str | os.PathLike[str], classes: Sequence[str], expected: str, remedy: str = REMEDY) -> None:
    """Check a file as `open_model_file` does, and keep nothing of it.

    Raises:
        InputError: as `open_model_file` says.
    """
    with open_model_file(path, classes, expected, remedy):
        pass


def check(
    file: h5py.File, path: str | os.PathLike[str], classes: Sequence[str], expected: str, remedy: str = REMEDY
) -> ModelFile:
    """Return what an open file holds once all of it is checked; see `open_model_file`.

    Raises:
        InputError: as `open_model_file` says.
    """
    try:
        return _check_file(file, path, classes, expected, remedy)
    except InputError:
        raise
    except DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: expected {expected}, but it cannot be read: {reason}; {REMEDY}") from error


def check_links(file: h5py.File, path: str | os.PathLike[str]) -> list[h5py.Dataset]:
    """Return all arrays of an open HDF5 file that leads to no other file and to nothing twice.

    Raises:
        InputError: the file has soft or external links, arrays kept elsewhere, loops, or too many objects.
    """
    return list(find_arrays(file, path, "a model file", REMEDY, MOST_OBJECTS))


def _refusal(path: str | os.PathLike[str], expected: str, found: str) -> InputError:
    return InputError(f"{path}: expected a model file with {expected}, found {found}; {REMEDY}")


def _check_file(file: h5py.File, path: str | os.PathLike[str], classes: Sequence[str], expected: str, remedy: str) -> ModelFile:
    _check_arrays(path, check_links(file, path))
    described = _json(path, file, "model_config")
    kind, config = _class(path, described) if described is not None else (WEIGHTS if "layer_names" in file.attrs else "", None)
    if not kind:
        raise InputError(f"{path}: expected {expected}, found neither an architecture nor layers with names in it; {remedy}")
    if kind not in classes:
        raise InputError(f"{path}: expected {expected} of class {' or '.join(classes)}, found {kind!r}; {remedy}")
    if config is not None and kind not in OWN:
        _check_nested(path, config)
    weights = _weights(path, file if kind == WEIGHTS else file.get("model_weights", {}))
    if config is not None and kind in OWN:
        check_config(path, config)
        _check_weights(path, config, weights)
    progress = _json(path, file, "progress")
    if progress is not None:
        _check_progress(path, progress)
        _check_training(path, _json(path, file, "training_config"))
    return ModelFile(file, kind, config, weights, progress)


def _check_arrays(path: str | os.PathLike[str], arrays: Sequence[h5py.Dataset]) -> None:
    """Refuse arrays that are no plain numbers, or that would take more memory than the file has bytes."""
    there, declared = os.path.getsize(path), 0
    for array in arrays:
        if array.dtype.kind not in "biuf" or array.shape is None:
            raise _refusal(path, "arrays of numbers", f"type {array.dtype} (objects are not read) at {array.name}")
        declared += math.prod(array.shape) * array.dtype.itemsize
        if declared > there:
            raise _refusal(
                path,
                f"arrays within its {there:,} bytes",
                f"{declared:,} bytes declared up to {array.name}, of shape {array.shape}; compressed arrays are not read "
                "(h5repack -f NONE)",
            )


def _json(path: str | os.PathLike[str], file: h5py.File, name: str) -> dict[str, Any] | None:
    """Return the JSON object in an attribute of the file, None where there is none."""
    text = file.attrs.get(name)
    text = text.decode() if isinstance(text, bytes) else text
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: expected a whole model (.h5), but {name} is no JSON: {error}; {REMEDY}") from error
    if not isinstance(found, dict):
        raise _refusal(path, f"a JSON object as {name}", f"a {type(found).__name__}")
    return found


def _class(path: str | os.PathLike[str], described: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    kind, config = described.get("class_name"), described.get("config")
    # Further keys would let Keras import a module that the file names.
    if set(described) != {"class_name", "config"} or not isinstance(kind, str):
        if isinstance(kind, str) and kind not in TAKEN:
            return kind, {}
        raise _refusal(path, "model_config of class_name and config alone", f"{kind!r} with {', '.join(sorted(described))}")
    if kind in TAKEN and not isinstance(config, dict):
        raise _refusal(path, f"constructor arguments of {kind}", f"a {type(config).__name__}")
    return kind, config if isinstance(config, dict) else {}


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each part of a JSON value that Keras would take for an object to build."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if OBJECT & set(part):
                yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _name_class(part: Mapping[str, Any]) -> str:
    return repr(part.get("class_name", part.get("registered_name", part.get("function", "without a class"))))


def _check_nested(path: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    for part in _objects(config):
        name = part.get("class_name")
        known = isinstance(name, str) and name in NESTED and part.get("registered_name") in (None, name)
        if not known or part.get("module") not in MODULES or {"function", "function_type"} & set(part):
            raise _refusal(
                path, "a hypernetwork of dense layers at most", f"a layer of class {_name_class(part)} in its configuration"
            )


def check_config(path: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
    """Refuse constructor arguments of AngioMorph that it does not write.

    Raises:
        InputError: there are some.
    """
    for part in _objects(config):
        raise _refusal(path, "plain values in its configuration", f"an object of class {_name_class(part)}")
    known = {"inshape", "nb_unet_features", "hyp_units", "hyp_rank", "name", "metadata", *DEFAULTS}
    if surplus := set(config) - known:
        raise _refusal(path, f"arguments {', '.join(sorted(known))}", ", ".join(sorted(surplus)))
    for name in ("inshape", "hyp_units"):
        _check_numbers(path, name, config.get(name), 2 if name == "inshape" else None)
    features = config.get("nb_unet_features")
    if not isinstance(features, list) or len(features) != 2:
        raise _refusal(path, "nb_unet_features of encoder and decoder", repr(features)[:80])
    for part in features:
        _check_numbers(path, "nb_unet_features", part)
    if not 1 <= len(features[0]) <= min(len(features[1]), 12):
        raise _refusal(path, "a decoder as long as the encoder, of 1 to 12 levels", f"{len(features[0])}, {len(features[1])}")
    for name, default in DEFAULTS.items():
        value = config.get(name, default)
        if value is not None or default is not None:
            _check_numbers(path, name, [value], 1, least=0 if name == "int_steps" else 1)
    if not NAME.fullmatch(str(config.get("name", "angiomorph"))):
        raise _refusal(path, "a name of letters and digits", repr(config["name"])[:80])
    _check_metadata(path, config.get("metadata"))


def _check_numbers(path: str | os.PathLike[str], name: str, values: Any, length: int | None = None, least: int = 1) -> None:
    largest = LARGEST.get(name, 65536)
    integers = isinstance(values, list) and all(type(value) is int and least <= value <= largest for value in values)
    if not integers or len(values) > 100 or length not in (None, len(values)):
        raise _refusal(path, f"{name} of whole numbers from {least} to {largest}", repr(values)[:80])


def _check_metadata(path: str | os.PathLike[str], metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise _refusal(path, "metadata as a JSON object", f"a {type(metadata).__name__}")
    for name in {"size", "levels"} & set(metadata):
        _check_numbers(path, name, [metadata[name]])
    for name in {"lambda", "image_sigma"} & set(metadata):
        if type(metadata[name]) not in (int, float) or not 0 <= metadata[name] <= 1000:
            raise _refusal(path, f"{name} as a number from 0", repr(metadata[name])[:80])
    for name in {"intensity", "image_loss"} & set(metadata):
        if not isinstance(metadata[name], str):
            raise _refusal(path, f"{name} as a word", repr(metadata[name])[:80])


def _weights(path: str | os.PathLike[str], group: Any) -> dict[str, dict[str, h5py.Dataset]]:
    """Return the arrays of each layer by their own names, in the order of the file."""
    found: dict[str, dict[str, h5py.Dataset]] = {}
    for name in _names(group, "layer_names"):
        for weight in _names(group[name], "weight_names"):
            # The layer's own name stands in the weight's, also where models are nested.
            layer, _, part = f"{name}/{weight}".split(":")[0].rpartition("/")
            array = group[name][weight]
            if not isinstance(array, h5py.Dataset):
                raise _refusal(path, f"an array of weights at {name}/{weight}", "a group")
            found.setdefault(layer.rpartition("/")[2], {})[part] = array
    return found


def _names(group: Any, attribute: str) -> list[str]:
    if not hasattr(group, "attrs"):
        return []
    names = group.attrs.get(attribute, ())
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _check_weights(
    path: str | os.PathLike[str], config: Mapping[str, Any], weights: Mapping[str, Mapping[str, h5py.Dataset]]
) -> None:
    """Refuse a model whose configuration asks for other weights than the file has: it would be built at any size."""
    expected = {f"{layer}/{part}": shape for layer, part, shape in weight_shapes(config)}
    found = {f"{layer}/{part}": array.shape for layer, parts in weights.items() for part, array in parts.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{path}: expected a whole model (.h5), but it cannot be rebuilt: expected {name} of shape "
                f"{expected.get(name, 'none')}, found {found.get(name, 'none')}; {REMEDY}"
            )


def weight_shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (layer, weight, shape) of all weights of an AngioMorph network.

    Args:
        config: its constructor arguments, checked.

    Source: voxelmorph 0.2, `Unet` and `VxmDense`; neurite 0.2, `HyperConv2DFromDense`.
    """
    prefix = config.get("name", "angiomorph")
    units = 1
    rank = config.get("hyp_rank")
    dense = [(f"hyp_dense_{number}", wanted) for number, wanted in enumerate(config["hyp_units"], start=1)]
    for name, wanted in dense + ([("hyp_rank", rank)] if rank is not None else []):
        yield name, "kernel", (units, wanted)
        yield name, "bias", (wanted,)
        units = wanted
    for layer, shape in convolution_shapes(config):
        if layer == f"{prefix}_flow":
            yield layer, "kernel", shape
            yield layer, "bias", shape[-1:]
            return
        size, filters = math.prod(shape), shape[-1]
        for head, of_head in zip(HEADS, ((units, size), (size,), (units, filters), (filters,)), strict=True):
            yield layer, head, of_head


def convolution_shapes(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Yield (layer, (rows, columns, channels, filters)) of the U-Net's convolutions, the one to the flow last.

    Args:
        config: the network's constructor arguments, checked.
    """
    prefix, (encoder, decoder) = config.get("name", "angiomorph"), config["nb_unet_features"]
    kept = int(math.log2(config.get("svf_resolution", 1)))  # levels at which the decoder stays coarse
    channels = 2
    for place, filters, joined in _convolutions(encoder, decoder, kept):
        yield f"{prefix}_unet_{place}", (3, 3, channels, filters)
        channels = filters + joined
    yield f"{prefix}_flow", (3, 3, channels, 2)


def _convolutions(encoder: Sequence[int], decoder: Sequence[int], kept: int) -> Iterator[tuple[str, int, int]]:
    """Yield each convolution's place in the U-Net, its filters, and the channels that are joined to them afterwards."""
    levels = len(encoder)
    for level, filters in enumerate(encoder):
        yield f"enc_conv_{level}_0", filters, 0
    for number, filters in enumerate(decoder[:levels]):
        level = levels - 1 - number
        yield f"dec_conv_{level}_0", filters, encoder[level] if number < levels - kept else 0
    for number, filters in enumerate(decoder[levels:]):
        yield f"dec_final_conv_{number}", filters, 0


def _check_progress(path: str | os.PathLike[str], progress: Mapping[str, Any]) -> None:
    counts = all(type(progress.get(name, 0)) is int and progress.get(name, 0) >= 0 for name in ("step", "since_best"))
    metrics = progress.get("metrics", [])
    numbers = [progress.get("best"), *(metrics if isinstance(metrics, list) else ["no list"])]
    if set(progress) - PROGRESS or not counts or not all(_is_number(number) for number in numbers):
        raise _refusal(path, f"progress of {', '.join(sorted(PROGRESS))}", repr(dict(progress))[:80])


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float, bool)


def _check_training(path: str | os.PathLike[str], training: Mapping[str, Any] | None) -> None:
    """Refuse a checkpoint's optimizer and losses, which Keras builds too, if AngioMorph does not write such."""
    if training is None:
        raise _refusal(path, "an optimizer in the checkpoint", "none")
    losses = training.get("loss")
    for name in set(training) - {"loss", "optimizer_config"}:
        if training[name] is not None:
            raise _refusal(path, f"no {name}", repr(training[name])[:80])
    for part in losses if isinstance(losses, list) else [losses]:
        _check_part(path, "loss", part, LOSSES)
    _check_part(path, "optimizer", training.get("optimizer_config"), OPTIMIZERS, OPTIMIZER)


def _check_part(
    path: str | os.PathLike[str], what: str, part: Any, classes: set[str], arguments: set[str] | None = None
) -> None:
    config = part.get("config") if isinstance(part, dict) else None
    if not isinstance(part, dict) or set(part) != {"class_name", "config"} or str(part["class_name"]) not in classes:
        raise _refusal(path, f"the {what} one of {', '.join(sorted(classes))}", repr(part)[:120])
    texts = {"name", "reduction"}
    plain = isinstance(config, dict) and all(
        _is_number(value) or (name in texts and isinstance(value, str)) for name, value in config.items()
    )
    if not isinstance(config, dict) or not plain or (arguments is not None and set(config) - arguments):
        raise _refusal(path, f"plain numbers as arguments of {part['class_name']}", repr(config)[:120])
