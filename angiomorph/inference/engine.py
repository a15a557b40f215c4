"""A network's pyramid computed by OpenVINO on the CPU, which starts at once and needs less time than TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from queue import SimpleQueue
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.inference import graph
from angiomorph.inference.backend import openvino
from angiomorph.inference.unet import read_weights

Shape = tuple[int, int]
LEAST_MULTIPLE = 16
KEPT = 16  # networks in memory: three sizes each of five λ
FULL, HALF = "f32", "bf16"


class Compiled:
    """A graph in memory.

    Args:
        model: the graph.
        precision: in which it computes.
        together: how many threads may run it at once, each on cores of its own; one has all of them.
    """

    def __init__(self, model: Any, precision: str = FULL, together: int = 1) -> None:
        # Of itself OpenVINO rounds to bfloat16 where the CPU has it.
        how = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": str(together)}
        compiled = openvino.Core().compile_model(model, "CPU", how)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(together):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, *given: np.ndarray) -> list[np.ndarray]:
        """Return what the graph makes of arrays, copies of it; a thread more than may run it waits."""
        request = self._idle.get()
        try:
            found = request.infer([np.ascontiguousarray(each, np.float32) for each in given], share_inputs=True)
            return [np.array(each) for each in found.values()]
        finally:
            self._idle.put(request)


class OpenVinoEngine:
    """Computes the warps of a network, see `pyramid.Engine`.

    Args:
        path: model `.h5`.
        mixed_precision: let the network compute in bfloat16; all that has to do with places stays in float32.

    Raises:
        InputError: the model is one that it cannot compute, or half precision is wanted of a CPU that has none.
    """

    most_together = os.cpu_count() or 1  # a frame a core takes less time than all cores for each frame

    def __init__(self, path: str | os.PathLike[str], *, mixed_precision: bool = False) -> None:
        weights = read_weights(path)
        self.size = int(weights.metadata.get("size", 512))
        self.levels = int(weights.metadata.get("levels", 1))
        self.intensity = str(weights.metadata.get("intensity", "auto"))
        self._multiple = max(LEAST_MULTIPLE, 2 ** len(weights.config["nb_unet_features"][0]))
        if mixed_precision and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise InputError("`mixed_precision`: expected a CPU with bfloat16, found none; leave it out for float32")
        precision = HALF if mixed_precision else FULL
        at = lru_cache(KEPT)(weights.at)
        self._network = lru_cache(KEPT)(
            lambda hyper, shape, together: Compiled(graph.build_network(at(hyper), shape), precision, together)
        )
        self._warp = lru_cache(2)(lambda shape: Compiled(graph.build_warp(shape)))
        # Threads of its own, for good: OpenVINO keeps something for each thread that has ever called it.
        self._threads = ThreadPoolExecutor(self.most_together, "angiomorph-openvino")

    def trace(self, shape: Shape, searched: Shape, steps: Sequence[Shape], together: int) -> Callable[..., np.ndarray]:
        """Return what finds warps of frames of one size, see `pyramid.Engine.trace`; each frame by itself."""
        whole = [(rows + -rows % self._multiple, columns + -columns % self._multiple) for rows, columns in steps]
        befores, ends = (searched, *steps[:-1]), (None,) * (len(steps) - 1) + (shape,)
        around = [
            (
                Compiled(graph.build_entry(shape, before, step, self._multiple), FULL, together),
                Compiled(graph.build_exit(padded, step, end), FULL, together),
            )
            for before, step, padded, end in zip(befores, steps, whole, ends, strict=True)
        ]

        def predict(moving: np.ndarray, fixed: np.ndarray, start: np.ndarray, hyper: float) -> np.ndarray:
            networks = [self._network(hyper, padded, together) for padded in whole]

            def find(frame: np.ndarray, warp: np.ndarray) -> np.ndarray:
                for network, (enter, leave) in zip(networks, around, strict=True):
                    pair, started = enter(moving[None, None], frame[None, None], warp)
                    (warp,) = leave(started, *network(pair))
                return warp

            return np.concatenate(list(self._threads.map(find, fixed, np.moveaxis(start, -1, 1)[:, None])))

        return predict

    def move(self, image: np.ndarray, warp: np.ndarray) -> np.ndarray:
        """Return an image as a warp moves it, see `pyramid.Engine.move`."""
        (moved,) = self._threads.submit(self._warp(image.shape), image[None, None], warp[None]).result()
        return moved[0, 0]
