"""A network's pyramid computed by OpenVINO on the CPU, which starts at once and needs less time than TensorFlow."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from angiomorph.inference.unet import read_weights

Shape = tuple[int, int]
LEAST_MULTIPLE = 16
KEPT = 4  # compiled graphs: of sizes and of λ


class OpenVinoEngine:
    """Computes the warps of a network, see `pyramid.Engine`.

    Args:
        path: model `.h5`.
        mixed_precision: convolve in bfloat16.

    Raises:
        InputError: the model is one that it cannot compute.
    """

    def __init__(self, path: str | os.PathLike[str], *, mixed_precision: bool = False) -> None:
        self._weights = read_weights(path)
        metadata = self._weights.metadata
        self.size = int(metadata.get("size", 512))
        self.levels = int(metadata.get("levels", 1))
        self.intensity = str(metadata.get("intensity", "auto"))
        self._multiple = max(LEAST_MULTIPLE, 2 ** len(self._weights.config["nb_unet_features"][0]))
        self._compiled: OrderedDict[tuple[Any, ...], _Compiled] = OrderedDict()

    def trace(self, shape: Shape, searched: Shape, steps: Sequence[Shape]) -> Callable[..., np.ndarray]:
        """Return what finds warps of frames of one size, see `pyramid.Engine.trace`."""

        def predict(moving: np.ndarray, fixed: np.ndarray, start: np.ndarray, hyper: float) -> np.ndarray:
            compiled = self._compile_pyramid(shape, searched, tuple(steps), hyper)
            warps = np.empty((len(fixed), *shape, 2), np.float32)
            for index, frame in enumerate(fixed):
                warps[index] = compiled(moving[None, None], frame[None, None], np.moveaxis(start[index], -1, 0)[None])[0]
            return warps

        return predict

    def move(self, image: np.ndarray, warp: np.ndarray) -> np.ndarray:
        """Return an image as a warp moves it, see `pyramid.Engine.move`."""
        from angiomorph.inference.graph import build_warp

        shape = (image.shape[0], image.shape[1])
        compiled = self._keep(("warp", shape), lambda: build_warp(shape))
        return compiled(image[None, None], warp[None])[0, 0]

    def _compile_pyramid(self, shape: Shape, searched: Shape, steps: tuple[Shape, ...], hyper: float) -> _Compiled:
        from angiomorph.inference.graph import build_pyramid

        key = (shape, searched, steps, hyper)
        return self._keep(key, lambda: build_pyramid(self._weights.at(hyper), shape, searched, steps, self._multiple))

    def _keep(self, key: tuple[Any, ...], build: Callable[[], Any]) -> _Compiled:
        if key not in self._compiled:
            self._compiled[key] = _Compiled(build())
        self._compiled.move_to_end(key)
        while len(self._compiled) > KEPT:
            self._compiled.popitem(last=False)
        return self._compiled[key]


class _Compiled:
    """A graph in memory, which one thread at a time may run."""

    def __init__(self, graph: Any) -> None:
        import openvino

        # Of itself OpenVINO rounds to bfloat16 where the CPU has it.
        how = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._request = openvino.Core().compile_model(graph, "CPU", how).create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, *given: np.ndarray) -> np.ndarray:
        with self._lock:
            found = self._request.infer([np.ascontiguousarray(each, np.float32) for each in given], share_inputs=True)
            return np.array(found[0])
