"""Which frames, which background and which λ: an endless, seeded `tf.data` pipeline over training stores."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from angiomorph import store
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.intensity import Normalisation, normalisation, normalise, pad, resolve_mode, to_domain
from angiomorph.layers import resize_frames
from angiomorph.shrinking import fitted_shape


@dataclass(frozen=True)
class Sampling:
    """How training pairs are drawn.

    Args:
        frames_per_series: contrast frames drawn with replacement from a run each epoch.
        background_frames: how many first frames count as background where the run names none.
        batch_size: pairs a batch, all of one run and one λ; a run's last batch may be smaller.
        size: side of the network's square frames, pixels; larger frames shrink to it, smaller ones are padded.
        oversample_rate: probability that λ is one of its ends, 0 or 1, as in VoxelMorph's HyperMorph script.
        intensity: "auto", "log" or "linear", see `angiomorph.intensity.resolve_mode`.
        seed: of all draws.
    """

    frames_per_series: int = 50
    background_frames: int = 3
    batch_size: int = 1
    size: int = 512
    oversample_rate: float = 0.0
    intensity: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Pairs:
    """One batch of a run: moving and fixed `(B, H, W)` float32 in [0, 1], and their λ."""

    moving: np.ndarray
    fixed: np.ndarray
    hyper: float


def draw_hyper(rng: np.random.Generator, oversample_rate: float) -> float:
    """Return a λ: one of the ends 0 and 1 with probability `oversample_rate`, else uniform in [0, 1)."""
    if rng.random() < oversample_rate:
        return float(rng.integers(2))
    return float(rng.random())


def draw_pairs(
    rng: np.random.Generator, frames: int, background: Sequence[int], sampling: Sampling
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (from 0) of contrast frames, with replacement, and of a random background frame for each.

    Args:
        rng: source of the draws.
        frames: number of frames in the run, at least 2.
        background: background frame numbers (from 1) that the run names; empty for the first ones.
        sampling: how many of each.
    """
    first = min(sampling.background_frames, frames - 1)
    candidates = np.array(background or range(1, first + 1)) - 1
    contrast = np.setdiff1d(np.arange(frames), candidates)
    count = sampling.frames_per_series
    return rng.choice(contrast, count), rng.choice(candidates, count)


class _Run:
    """One stored run, opened lazily, with its normalisation computed once."""

    def __init__(self, file: h5py.File, key: str, sampling: Sampling) -> None:
        group = file[key]
        self.frames = group["frames"]
        self.background = tuple(int(number) for number in group.attrs["background"])
        self.mode = resolve_mode(str(group.attrs["relation"]), sampling.intensity)
        self.size = sampling.size
        self.scale: Normalisation | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the frames at `indices` as the network sees them, `(len(indices), size, size)`."""
        if self.scale is None:
            self.scale = normalisation(to_domain(self.frames[()], self.mode), None, self.mode)
        wanted, places = np.unique(indices, return_inverse=True)
        frames = normalise(to_domain(self.frames[wanted], self.mode), self.scale)
        fitted = resize_frames(tf.constant(frames), fitted_shape(frames.shape[1:], self.size)).numpy()
        return pad(fitted, self.size)[places]


def _open(paths: Sequence[Path], sampling: Sampling, stack: ExitStack) -> list[_Run]:
    runs = []
    for path in paths:
        file = stack.enter_context(store.reading(path))
        runs += [_Run(file, key, sampling) for key in store.keys(file)]
    return runs


def count_series(paths: Sequence[Path]) -> int:
    """Return the number of runs in the stores.

    Raises:
        InputError: a file is no training store, or there is no run in any of them.
    """
    total = 0
    for path in paths:
        with store.reading(path) as file:
            total += len(file)
    if not total:
        raise InputError(f"{', '.join(map(str, paths))}: expected at least one run to train on, found none")
    return total


def batches(paths: Sequence[Path], sampling: Sampling, first_epoch: int = 0) -> Iterator[Pairs]:
    """Yield batches for ever, epoch after epoch; every epoch visits each run once, in a new order.

    Args:
        paths: training stores.
        sampling: how to draw.
        first_epoch: epoch to begin with, from 0; epoch `n` is the same whether or not the ones before it were drawn.
    """
    with ExitStack() as stack:
        runs = _open(paths, sampling, stack)
        for epoch in itertools.count(first_epoch):
            rng = np.random.default_rng([sampling.seed, epoch])
            for index in rng.permutation(len(runs)):
                yield from _series_batches(runs[index], rng, sampling)


def _series_batches(run: _Run, rng: np.random.Generator, sampling: Sampling) -> Iterator[Pairs]:
    contrast, background = draw_pairs(rng, len(run.frames), run.background, sampling)
    for start in range(0, sampling.frames_per_series, sampling.batch_size):
        part = slice(start, start + sampling.batch_size)
        chosen = run.read(np.concatenate([background[part], contrast[part]]))
        moving, fixed = np.split(chosen, 2)
        yield Pairs(moving, fixed, draw_hyper(rng, sampling.oversample_rate))


def steps_per_epoch(series: int, sampling: Sampling) -> int:
    """Return the number of batches in which an epoch visits every run once."""
    return series * -(-sampling.frames_per_series // sampling.batch_size)


def dataset(paths: Sequence[Path], sampling: Sampling, flow_shape: Sequence[int], first_epoch: int = 0) -> tf.data.Dataset:
    """Return the pipeline that `model.fit` trains on, endless and prefetched.

    Each element is ((moving, fixed, hyper), (fixed, zero_flow), (1 - hyper, hyper)): Keras's inputs, targets and sample
    weights, so that the loss is Eq. 1 of Zhou et al. 2024 for each sample.

    Args:
        paths: training stores.
        sampling: how to draw.
        flow_shape: (h, w, 2) of the network's flow.
        first_epoch: epoch to begin with, from 0.
    """

    def elements() -> Iterator[tuple[np.ndarray, np.ndarray, np.float32]]:
        for pairs in batches(paths, sampling, first_epoch):
            yield pairs.moving[..., None], pairs.fixed[..., None], np.float32(pairs.hyper)

    def weigh(moving: tf.Tensor, fixed: tf.Tensor, hyper: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], ...]:
        count = tf.shape(moving)[0]
        hypers = tf.fill([count, 1], hyper)
        zero_flow = tf.zeros([count, *flow_shape])
        return (moving, fixed, hypers), (fixed, zero_flow), (1 - hypers[:, 0], hypers[:, 0])

    frames = tf.TensorSpec([None, sampling.size, sampling.size, 1], tf.float32)
    signature = (frames, frames, tf.TensorSpec([], tf.float32))
    return tf.data.Dataset.from_generator(elements, output_signature=signature).map(weigh).prefetch(tf.data.AUTOTUNE)
