"""A network's pyramid computed by OpenVINO on the CPU, which starts at once and needs less time than TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.inference import graph
from angiomorph.inference.backend import openvino
from angiomorph.inference.unet import read_weights
from angiomorph.paper import FRAME_SIZE

Shape = tuple[int, int]
LEAST_MULTIPLE = 16
KEPT = 16  # networks in memory: three sizes each of five λ
FULL, HALF = "f32", "bf16"


class Compiled:
    """A graph in memory, which one thread at a time runs.

    Args:
        model: the graph.
        precision: in which it computes.
    """

    def __init__(self, model: Any, precision: str = FULL) -> None:
        # Of itself OpenVINO rounds to bfloat16 where the CPU has it.
        how = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._request = openvino.Core().compile_model(model, "CPU", how).create_infer_request()

    def __call__(self, *given: np.ndarray) -> list[np.ndarray]:
        """Return what the graph makes of arrays, copies of it."""
        found = self._request.infer([np.ascontiguousarray(each, np.float32) for each in given], share_inputs=True)
        return [np.array(each) for each in found.values()]


class OpenVinoEngine:
    """Computes the warps of a network, see `pyramid.Engine`.

    Args:
        path: model `.h5`.
        mixed_precision: let the network compute in bfloat16; all that has to do with places stays in float32.

    Raises:
        InputError: the model is one that it cannot compute, or half precision is wanted of a CPU that has none.
    """

    def __init__(self, path: str | os.PathLike[str], *, mixed_precision: bool = False) -> None:
        weights = read_weights(path)
        self.size = int(weights.metadata.get("size", FRAME_SIZE))
        self.levels = int(weights.metadata.get("levels", 1))
        self.intensity = str(weights.metadata.get("intensity", "auto"))
        self._multiple = max(LEAST_MULTIPLE, 2 ** len(weights.config["nb_unet_features"][0]))
        if mixed_precision and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise InputError("`mixed_precision`: expected a CPU with bfloat16, found none; leave it out for float32")
        precision = HALF if mixed_precision else FULL
        self._at = at = lru_cache(KEPT)(weights.at)
        self._half = mixed_precision
        self._last: float | None = None  # λ of the last frame
        self._network = lru_cache(KEPT)(lambda hyper, shape: Compiled(graph.build_network(at(hyper), shape), precision))
        self._open = lru_cache(KEPT)(lambda shape: Compiled(graph.build_network(at(self._hyper), shape, fixed=False)))
        self._hyper = float(weights.metadata.get("lambda", 0.0))  # whose shapes those of every other λ are
        self._warp = lru_cache(2)(lambda shape: Compiled(graph.build_warp(shape)))
        # All in one thread, for good: of calls by several threads, each on cores of its own, one never came back.
        self._thread = ThreadPoolExecutor(1, "angiomorph-openvino")

    def trace(self, shape: Shape, searched: Shape, steps: Sequence[Shape]) -> Callable[..., np.ndarray]:
        """Return what finds warps of frames of one size, see `pyramid.Engine.trace`; each frame by itself."""
        whole = [(rows + -rows % self._multiple, columns + -columns % self._multiple) for rows, columns in steps]
        befores, ends = (searched, *steps[:-1]), (None,) * (len(steps) - 1) + (shape,)

        @lru_cache
        def surround() -> list[tuple[Compiled, Compiled]]:
            """Return what leads into the network at each step, and what leads out of it."""
            entries = (graph.build_entry(shape, *each, self._multiple) for each in zip(befores, steps, strict=True))
            exits = (graph.build_exit(*each) for each in zip(whole, steps, ends, strict=True))
            return [(Compiled(enter), Compiled(leave)) for enter, leave in zip(entries, exits, strict=True)]

        def predict(moving: np.ndarray, fixed: np.ndarray, start: np.ndarray, hyper: float) -> np.ndarray:
            around, networks = surround(), self._choose_networks(hyper, whole, len(fixed))
            warps = np.empty((len(fixed), *shape, 2), np.float32)
            for index, frame in enumerate(fixed):
                warp = np.moveaxis(start[index], -1, 0)[None]
                for network, (enter, leave) in zip(networks, around, strict=True):
                    pair, started = enter(moving[None, None], frame[None, None], warp)
                    (warp,) = leave(started, *network(pair))
                warps[index] = warp[0]
            return warps

        return lambda *given: self._thread.submit(predict, *given).result()

    def _choose_networks(self, hyper: float, shapes: Sequence[Shape], count: int) -> list[Callable[..., list[np.ndarray]]]:
        """Return what computes so many frames at a λ at each shape.

        A single frame at another λ than the last one's, as of a slider, is not worth graphs of its own: these would take half
        of its time. Networks of half precision have them always, as both kinds of graph round differently.
        """
        alone = count == 1 and self._last not in (None, hyper) and not self._half
        self._last = hyper
        if not alone:
            return [self._network(hyper, shape) for shape in shapes]
        weights = graph.list_weights(self._at(hyper))
        return [partial(_call_open, self._open(shape), weights) for shape in shapes]

    def move(self, image: np.ndarray, warp: np.ndarray) -> np.ndarray:
        """Return an image as a warp moves it, see `pyramid.Engine.move`."""
        return self._thread.submit(lambda: self._warp(image.shape)(image[None, None], warp[None])[0][0, 0]).result()


def _call_open(network: Compiled, weights: Sequence[np.ndarray], pair: np.ndarray) -> list[np.ndarray]:
    return network(pair, *weights)
