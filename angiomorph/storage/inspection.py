"""What is in an HDF5 file of this project: a model, a checkpoint, weights, a training store, or arrays; without TensorFlow."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from angiomorph.errors import InputError
from angiomorph.storage import model_file, store
from angiomorph.storage.digest import sha256
from angiomorph.storage.links import open_hdf5, telling_damage

ARCHITECTURE = ("inshape", "nb_unet_features", "hyp_units", "hyp_rank", "int_steps", "int_resolution", "svf_resolution")
EXPECTED = "an HDF5 file (.h5)"
MODELS = (*model_file.TAKEN, model_file.WEIGHTS)


def describe(path: Path) -> dict[str, Any]:
    """Return what a file is and holds, in plain values that JSON can write.

    Args:
        path: an HDF5 file: a model, baked model or checkpoint, weights of Keras, a training store, or arrays.

    Returns:
        "file", "kind" ("model", "checkpoint", "weights", "store", "arrays"), "bytes", and what belongs to the kind.

    Raises:
        InputError: the file is absent, not HDF5, or of no such kind.
    """
    with open_hdf5(path, EXPECTED) as file, telling_damage(path, EXPECTED):
        found = _content(file, path)
    return {"file": path.name, "kind": found.pop("kind"), "bytes": path.stat().st_size, **found}


def _content(file: h5py.File, path: Path) -> dict[str, Any]:
    if file.attrs.get("format") == store.FORMAT:
        return _store(path)
    model_file.check_links(file, path)
    if {"model_config", "layer_names"} & set(file.attrs):
        return {**_model(model_file.check(file, path, MODELS, "a model or weights (.h5)")), "sha256": sha256(path)}
    arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    if not arrays:
        raise InputError(f"{path}: expected a model, weights, a training store, or arrays, found none of them")
    attributes = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in file.attrs.items()}
    shapes = {name: f"{item.dtype} {' x '.join(map(str, item.shape))}" for name, item in arrays.items()}
    return {"kind": "arrays", "arrays": shapes, "attributes": attributes, "sha256": sha256(path)}


def _model(model: model_file.ModelFile) -> dict[str, Any]:
    config = dict(model.config or {})
    parameters = {layer: sum(int(array.size) for array in parts.values()) for layer, parts in model.weights.items()}
    if model.kind == model_file.WEIGHTS:
        return {"kind": "weights", "parameters": sum(parameters.values())}
    metadata = dict(config.get("metadata") or {})
    training, data, versions = (metadata.pop(name, None) for name in ("training", "data", "versions"))
    keras = model.file.attrs.get("keras_version")
    found: dict[str, Any] = {
        "kind": "model",
        "class": model.kind,
        "architecture": {name: config[name] for name in ARCHITECTURE if name in config},
        "parameters": sum(parameters.values()),
        "hypernetwork_parameters": sum(size for layer, size in parameters.items() if layer.startswith("hyp_")),
        "metadata": metadata,
        "training": training,
        "data": data,
        "versions": {**(versions or {}), "keras": keras.decode() if isinstance(keras, bytes) else keras},
    }
    if model.progress is not None:
        found |= {"kind": "checkpoint", "progress": {name: model.progress.get(name) for name in ("step", "best", "since_best")}}
    return {name: value for name, value in found.items() if value is not None}


def _store(path: Path) -> dict[str, Any]:
    with store.open_store(path) as file:
        runs = [store.RunReader(file, key) for key in store.keys(file)]
        shapes = [run.shape for run in runs]
        return {
            "kind": "store",
            "runs": len(runs),
            "frames": sum(shape[0] for shape in shapes),
            "frames_per_run": {"least": min(s[0] for s in shapes), "most": max(s[0] for s in shapes)} if shapes else {},
            "sizes": _count_values(f"{rows} x {columns}" for _, rows, columns in shapes),
            "relations": _count_values(run.relation for run in runs),
            "bits_stored": _count_values(str(run.bits_stored) for run in runs),
            "runs_with_named_background": sum(bool(run.background) for run in runs),
        }


def _count_values(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(values).items()))


def lines(found: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Yield what `describe` returned as lines for people."""
    for name, value in found.items():
        label = f"{indent}{name.replace('_', ' ')}:"
        if isinstance(value, dict):
            yield label
            yield from lines(value, indent + "  ")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{label} {value:,}"
        else:
            yield f"{label} {'none' if value is None else value}"
