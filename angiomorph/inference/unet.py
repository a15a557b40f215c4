"""The weights of a network at one λ, from its file (NumPy and h5py only)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage import model_file

PLAIN = {"int_steps": 0, "svf_resolution": 1}
REMEDY = "leave `engine` out: TensorFlow takes it"


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution of 3 x 3 pixels.

    Args:
        kernel: `(3, 3, channels, filters)` float32.
        bias: `(filters,)` float32.
    """

    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class UNet:
    """A registration network at one λ, from a pair of frames to the warp.

    Args:
        encoder: at each size, from fine to coarse; features are halved in size after each.
        decoder: at each size, from coarse to fine; features are doubled in size after each, and joined to the encoder's.
        last: at full size, after these.
        flow: the last of all, to the warp.
    """

    encoder: tuple[Convolution, ...]
    decoder: tuple[Convolution, ...]
    last: tuple[Convolution, ...]
    flow: Convolution


@dataclass(frozen=True, eq=False)
class Weights:
    """All that a model's file holds of its network.

    Args:
        path: the file.
        config: the network's constructor arguments.
        arrays: by layer and by name.
    """

    path: str
    config: Mapping[str, Any]
    arrays: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the file says of its training."""
        return self.config.get("metadata") or {}

    def at(self, hyper: float) -> UNet:
        """Return the network at one λ.

            kernel = hyperkernel^T h(hyper) + hyperkernel_bias, h the hypernetwork

        Args:
            hyper: λ, [0, 1].

        Raises:
            InputError: weights that are not finite.
        """
        features = self._features(hyper)
        found = [self._convolution(*expected, features) for expected in model_file.convolution_shapes(self.config)]
        levels = len(self.config["nb_unet_features"][0])
        return UNet(tuple(found[:levels]), tuple(found[levels : 2 * levels]), tuple(found[2 * levels : -1]), found[-1])

    def _features(self, hyper: float) -> np.ndarray:
        """Return the hypernetwork's output: ReLU layers, and a linear one that narrows it where there is one."""
        features = np.array([hyper], np.float32)
        for name, layer in self.arrays.items():
            if name.startswith("hyp_"):
                features = features @ layer["kernel"] + layer["bias"]
                features = features if name == "hyp_rank" else np.maximum(features, 0)
        return features

    def _convolution(self, layer: str, shape: tuple[int, int, int, int], features: np.ndarray) -> Convolution:
        arrays = self.arrays[layer]
        kernel, bias = arrays.get("kernel"), arrays.get("bias")
        if kernel is None or bias is None:
            kernel = features @ arrays["hyperkernel_kernel"] + arrays["hyperkernel_bias"]
            bias = features @ arrays["hyperbias_kernel"] + arrays["hyperbias_bias"]
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise InputError(f"{self.path}: expected finite weights, found others in {layer}; train the model again")
        return Convolution(kernel.reshape(shape), bias)


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Return the weights of a model `.h5`.

    Args:
        path: the file.

    Raises:
        InputError: the file is no model of AngioMorph, as a baked one, or its network integrates its flow.
    """
    with model_file.open_model_file(path, model_file.OWN, "a model (.h5) for this engine", REMEDY) as found:
        config = found.config or {}
        arrays = {layer: {name: array[()] for name, array in parts.items()} for layer, parts in found.weights.items()}
    for name, plain in PLAIN.items():
        if config.get(name, plain) != plain:
            raise InputError(f"{path}: expected a model with {name} {plain}, found {config[name]}; {REMEDY}")
    return Weights(os.fspath(path), config, arrays)
