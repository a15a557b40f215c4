"""The network seen as a pyramid: warps of frames of any size, from coarse to fine, whatever computes them (no TensorFlow)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from angiomorph.preprocessing.resizing import average_areas, fitted_shape, level_shapes
from angiomorph.registration import coarse
from angiomorph.registration.options import BY_TENSORFLOW, EngineOptions, RegistrationOptions

Shape = tuple[int, int]
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]  # (moving, fixed, start, hyper) to warps
Find = Callable[[np.ndarray], np.ndarray]  # frames (B, H, W) to warps (B, H, W, 2)


class Engine(Protocol):
    """What computes a network's warps."""

    @property
    def size(self) -> int:
        """Longer side of the frames at the first level, pixels."""

    @property
    def levels(self) -> int:
        """At how many sizes it was trained to see frames, each twice the one before."""

    @property
    def intensity(self) -> str:
        """What it sees: "auto", "log" or "linear"."""

    def trace(self, shape: Shape, searched: Shape, steps: Sequence[Shape]) -> Predict:
        """Return what finds warps of frames of one size.

        It takes the background `(H, W)`, frames `(B, H, W)`, warps to start from `(B, h, w, 2)`, and λ. It gives the composed
        warps `(B, H, W, 2)`; those of a frame at which the network's own is not finite are not finite.

        Args:
            shape: (H, W).
            searched: (h, w).
            steps: shapes at which the network sees the frames, in order.
        """

    def move(self, image: np.ndarray, warp: np.ndarray) -> np.ndarray:
        """Return an image `(H, W)` as a warp `(H, W, 2)` moves it, see `warp.warp_frames`."""


class Predictor:
    """The warps of a network in memory for frames of any size; what finds those of one size is made once.

    Args:
        engine: engine that computes them.
        how: that engine's options.
    """

    def __init__(self, engine: Engine, how: EngineOptions = BY_TENSORFLOW) -> None:
        self._engine, self.how = engine, how
        self.size, self.levels, self.intensity = engine.size, engine.levels, engine.intensity
        self.move = engine.move
        self._graphs: dict[tuple[Shape, Shape, tuple[Shape, ...]], Predict] = {}

    def warps(
        self,
        moving: np.ndarray,
        fixed: np.ndarray,
        hyper: float,
        batch_size: int = RegistrationOptions.batch_size,
        levels: int | None = None,
        rounds: int = 0,
    ) -> Iterator[np.ndarray]:
        """Yield the warps of `fixed`, a batch at a time.

        Frames that are displaced by more than the network finds start from a rigid warp, see `coarse.RigidSearch`. The network
        sees the frames first at the size that it was trained on, and at each further level at twice that (`level_shapes`). It
        sees the background as start and levels before have moved it. The warps are composed. A further round goes through all
        levels but the first once more; of one level, through that.

        Args:
            moving: background `(H, W)` float32 in [0, 1], any size.
            fixed: `(T, H, W)` float32 in [0, 1].
            hyper: λ, [0, 1].
            batch_size: frames at a time.
            levels: at least 1; None for the model's own.
            rounds: further ones, from 0.

        Yields:
            `(B, H, W, 2)` float32, pixels of the given frames.
        """
        find = self.warps_of(moving, hyper, levels, rounds)
        for start in range(0, len(fixed), batch_size):
            yield find(fixed[start : start + batch_size])

    def warps_of(self, moving: np.ndarray, hyper: float, levels: int | None = None, rounds: int = 0) -> Find:
        """Return what finds the warps of one background onto frames `(B, H, W)`, a batch at a call; see `warps`."""
        shape = (moving.shape[0], moving.shape[1])
        shapes = level_shapes(shape, self.size, self.levels if levels is None else levels, self.levels)
        steps = (*shapes, *rounds * (shapes[1:] or shapes))
        searched = fitted_shape(shape, coarse.SIZE)
        search = coarse.RigidSearch(average_areas(moving[None], searched)[0])
        predict = self._graph(shape, searched, steps)
        return lambda fixed: predict(moving, fixed, search.warps(average_areas(fixed, searched)), hyper)

    def _graph(self, shape: Shape, searched: Shape, steps: tuple[Shape, ...]) -> Predict:
        key = (shape, searched, steps)
        if key not in self._graphs:
            self._graphs[key] = self._engine.trace(*key)
        return self._graphs[key]
