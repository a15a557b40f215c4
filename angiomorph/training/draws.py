"""Which frames and which λ a step is trained on: functions of seed and step number alone, so that any step can come first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from angiomorph.training.config import Sampling

BETA = 2.0  # of Beta(2, 2): thin at λ = 0 and 1, with which nobody registers
WINDOWS = 1  # tells the draws of windows from those of the same step's augmentation


@dataclass(frozen=True)
class Draw:
    """A run's share of a step.

    Args:
        run: its place in the stores, from 0.
        background: `(B,)` indices of background frames, from 0.
        contrast: `(B,)` indices of contrast frames, from 0.
    """

    run: int
    background: np.ndarray
    contrast: np.ndarray

    def part(self, index: int, count: int) -> Draw:
        """Return the slice `index` (from 0) of `count` equal ones."""
        size = len(self.contrast) // count
        chosen = slice(index * size, (index + 1) * size)
        return Draw(self.run, self.background[chosen], self.contrast[chosen])


@dataclass(frozen=True)
class Step:
    """What one training step is made of.

    Args:
        hyper: λ of all its pairs, [0, 1].
        draws: shares of its runs, in the batch's order.
    """

    hyper: float
    draws: tuple[Draw, ...]


def draw_hyper(rng: np.random.Generator, sampling: Sampling) -> float:
    """Return a λ in [0, 1] as `sampling` says."""
    if sampling.lambda_sampling == "beta":
        return float(rng.beta(BETA, BETA))
    if sampling.lambda_sampling == "ends" and rng.random() < sampling.oversample_rate:
        return float(rng.integers(2))
    return float(rng.random())


def split_frames(frames: int, background: Sequence[int], sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (from 0) of a run's contrast frames and of its background frames.

    Args:
        frames: number of frames in the run, at least 2.
        background: background frame numbers (from 1) that the run names; empty for the first ones.
        sampling: how many first ones.
    """
    first = min(sampling.background_frames, frames - 1)
    candidates = np.array(background or range(1, first + 1)) - 1
    return np.setdiff1d(np.arange(frames), candidates), candidates


def draw_pairs(
    rng: np.random.Generator, frames: int, background: Sequence[int], sampling: Sampling
) -> tuple[np.ndarray, np.ndarray]:
    """Return indices (from 0) of contrast frames, with replacement, and of a random background frame for each.

    Args:
        rng: source of the draws.
        frames: see `split_frames`.
        background: see `split_frames`.
        sampling: how many of each.
    """
    contrast, candidates = split_frames(frames, background, sampling)
    count = sampling.frames_per_series
    return rng.choice(contrast, count), rng.choice(candidates, count)


def draw_fixed_pairs(run: int, frames: int, background: Sequence[int], sampling: Sampling) -> Iterator[Draw]:
    """Yield the pairs that a run is validated on, a batch at a time; the training's seed does not matter.

    Args:
        run: its place in the stores, from 0; another run has other pairs.
        frames: see `split_frames`.
        background: see `split_frames`.
        sampling: how many pairs, and how many at a time.
    """
    contrast, moving = draw_pairs(np.random.default_rng(run), frames, background, sampling)
    for start in range(0, len(contrast), sampling.share):
        part = slice(start, start + sampling.share)
        yield Draw(run, moving[part], contrast[part])


@lru_cache(maxsize=2)  # the epoch being trained on, and the next, of which the first visits are prepared
def order_runs(seed: int, epoch: int, runs: int) -> np.ndarray:
    """Return the order in which an epoch (from 0) visits `runs` runs."""
    return np.random.default_rng([seed, epoch]).permutation(runs)


def draw_corners(sampling: Sampling, step: int, first: int, count: int) -> np.ndarray:
    """Return the first row and column of each pair's window at the finer size, `(count, 2)` int32.

    Args:
        sampling: seed and size of the windows, whose frames are twice as large.
        step: step number, from 0.
        first: place in the batch of the first pair.
        count: number of pairs.
    """
    rngs = (np.random.default_rng([sampling.seed, step, pair, WINDOWS]) for pair in range(first, first + count))
    return np.stack([rng.integers(sampling.size + 1, size=2, dtype=np.int32) for rng in rngs])


def spell_numbers(indices: Iterable[int]) -> str:
    """Return frame numbers (from 1) of indices (from 0) as text."""
    return ", ".join(str(index + 1) for index in indices)
