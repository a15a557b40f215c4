"""Which frames, which background and which λ: an endless, seeded `tf.data` pipeline over training stores.

What a step is trained on depends on the seed and the step's number alone, so that a training may go on at any step.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from angiomorph import store
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.intensity import Normalisation, normalisation, normalise, pad, resolve_mode, to_domain
from angiomorph.layers import resize_frames
from angiomorph.shrinking import fitted_shape

LAMBDA_SAMPLINGS = ("uniform", "ends", "beta")
BETA = 2.0  # of Beta(2, 2): thin at λ = 0 and 1, with which nobody registers
UNREADABLE = (OSError, RuntimeError)  # what h5py makes of HDF5's errors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """How training pairs are drawn.

    Args:
        frames_per_series: contrast frames drawn with replacement from a run each epoch.
        background_frames: how many first frames count as background where the run names none.
        batch_size: pairs a batch, all of one run and one λ; a run's last batch may be smaller.
        size: side of the network's square frames, pixels; larger frames shrink to it, smaller ones are padded.
        oversample_rate: probability that λ is one of its ends, 0 or 1, as in VoxelMorph's HyperMorph script; only for "ends".
        lambda_sampling: "uniform" in [0, 1); "ends", uniform but for `oversample_rate`; or "beta", Beta(2, 2).
        intensity: "auto", "log" or "linear", see `angiomorph.intensity.resolve_mode`.
        seed: of all draws.
    """

    frames_per_series: int = 50
    background_frames: int = 3
    batch_size: int = 1
    size: int = 512
    oversample_rate: float = 0.0
    lambda_sampling: str = "ends"
    intensity: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Draw:
    """What a batch is made of: a run's place in the stores, indices (from 0) of its frames, and λ."""

    run: int
    background: np.ndarray
    contrast: np.ndarray
    hyper: float


@dataclass(frozen=True)
class Pairs:
    """One batch of a run: moving and fixed `(B, H, W)` float32 in [0, 1], and their λ."""

    moving: np.ndarray
    fixed: np.ndarray
    hyper: float


def draw_hyper(rng: np.random.Generator, sampling: Sampling) -> float:
    """Return a λ in [0, 1] as `sampling` says."""
    if sampling.lambda_sampling == "beta":
        return float(rng.beta(BETA, BETA))
    if sampling.lambda_sampling == "ends" and rng.random() < sampling.oversample_rate:
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


class Run:
    """One stored run, opened lazily, with its normalisation computed once.

    Args:
        file: the open store.
        key: of the run.
        sampling: how it is seen.
    """

    def __init__(self, file: h5py.File, key: str, sampling: Sampling) -> None:
        group = file[key]
        self.name = f"{key} of {Path(file.filename).name}"
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

    def unreadable(self) -> list[int]:
        """Return the numbers (from 1) of the frames that HDF5 cannot read."""
        return [index + 1 for index in range(len(self.frames)) if not self._readable(index)]

    def _readable(self, index: int) -> bool:
        try:
            self.frames[index]
        except UNREADABLE:
            return False
        return True


class Source:
    """Open training stores and what each step draws from them.

    A run that HDF5 cannot read is reported once and left out; the next one of the epoch's order takes its place. As the
    first visit reads all frames of a run, whether it is left out does not depend on the step with which a training began.

    Args:
        paths: training stores.
        sampling: how to draw.

    Raises:
        InputError: a file is no training store, there is no run, or more than half of them cannot be read.
    """

    def __init__(self, paths: Sequence[Path], sampling: Sampling) -> None:
        self.sampling = sampling
        self.left_out: set[int] = set()
        self.error: InputError | None = None  # tf.data passes on no exception as it was
        self._stack = ExitStack()
        self._paths = ", ".join(map(str, paths))
        with ExitStack() as opening:
            self.runs = [Run(file, key, sampling) for file, key in _keys(paths, opening)]
            self._stack = opening.pop_all()
        if not self.runs:
            raise InputError(f"{self._paths}: expected at least one run to train on, found none")

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def frame_count(self) -> int:
        """Return the number of frames in all runs."""
        return sum(len(run.frames) for run in self.runs)

    def draw(self, step: int) -> Draw:
        """Return what a step (from 0) is trained on: every run once in a random order, then again in another, for ever."""
        sampling = self.sampling
        visit, position = divmod(step, steps_per_epoch(len(self.runs), sampling))
        place, part = divmod(position, steps_per_epoch(1, sampling))
        order = np.random.default_rng([sampling.seed, visit]).permutation(len(self.runs))
        number = next(int(run) for run in np.roll(order, -place) if int(run) not in self.left_out)
        run, rng = self.runs[number], np.random.default_rng([sampling.seed, visit, place])
        contrast, background = draw_pairs(rng, len(run.frames), run.background, sampling)
        hypers = [draw_hyper(rng, sampling) for _ in range(part + 1)]
        chosen = slice(part * sampling.batch_size, (part + 1) * sampling.batch_size)
        return Draw(number, background[chosen], contrast[chosen], hypers[-1])

    def batch(self, step: int) -> Pairs:
        """Return the batch of a step (from 0).

        Raises:
            InputError: more than half of the runs cannot be read.
        """
        while True:
            draw = self.draw(step)
            pairs = self.read(draw)
            if pairs is not None:
                return pairs

    def read(self, draw: Draw) -> Pairs | None:
        """Return the frames of a draw, or None where HDF5 cannot read the run, which is left out from now on.

        Raises:
            InputError: more than half of the runs cannot be read.
        """
        try:
            chosen = self.runs[draw.run].read(np.concatenate([draw.background, draw.contrast]))
        except UNREADABLE as error:
            self._leave_out(draw.run, error)
            return None
        moving, fixed = np.split(chosen, 2)
        return Pairs(moving, fixed, draw.hyper)

    def describe(self, draw: Draw) -> str:
        """Return run, frames (numbers from 1) and λ of a draw, for people."""
        background, contrast = (", ".join(str(index + 1) for index in part) for part in (draw.background, draw.contrast))
        return f"run {self.runs[draw.run].name}, background frames {background}, contrast frames {contrast}, λ {draw.hyper:.6g}"

    def _leave_out(self, number: int, error: BaseException) -> None:
        run = self.runs[number]
        frames = ", ".join(map(str, run.unreadable())) or "none by itself"
        self.left_out.add(number)
        logger.warning("run %s is left out: HDF5 cannot read it (frames: %s): %s", run.name, frames, error)
        if 2 * len(self.left_out) > len(self.runs):
            self.error = InputError(
                f"{self._paths}: expected at least half of the {len(self.runs)} runs to be readable, found "
                f"{len(self.left_out)} that are not, the last: run {run.name}, frames {frames}; make the store again with "
                "`angiomorph prepare`"
            )
            raise self.error from error


def _keys(paths: Sequence[Path], stack: ExitStack) -> Iterator[tuple[h5py.File, str]]:
    for path in paths:
        file = stack.enter_context(store.reading(path))
        for key in store.keys(file):
            yield file, key


def steps_per_epoch(series: int, sampling: Sampling) -> int:
    """Return the number of batches in which an epoch visits every run once."""
    return series * -(-sampling.frames_per_series // sampling.batch_size)


def dataset(source: Source, flow_shape: Sequence[int], first_step: int = 0) -> tf.data.Dataset:
    """Return the pipeline that `model.fit` trains on, endless and prefetched.

    Each element is ((moving, fixed, hyper), (fixed, zero_flow), (1 - hyper, hyper)): Keras's inputs, targets and sample
    weights, so that the loss is Eq. 1 of Zhou et al. 2024 for each sample.

    Args:
        source: what to draw from, open as long as the pipeline is used.
        flow_shape: (h, w, 2) of the network's flow.
        first_step: step to begin with, from 0.
    """

    def elements() -> Iterator[tuple[np.ndarray, np.ndarray, np.float32]]:
        for step in itertools.count(first_step):
            pairs = source.batch(step)
            yield pairs.moving[..., None], pairs.fixed[..., None], np.float32(pairs.hyper)

    def weigh(moving: tf.Tensor, fixed: tf.Tensor, hyper: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], ...]:
        count = tf.shape(moving)[0]
        hypers = tf.fill([count, 1], hyper)
        zero_flow = tf.zeros([count, *flow_shape])
        return (moving, fixed, hypers), (fixed, zero_flow), (1 - hypers[:, 0], hypers[:, 0])

    frames = tf.TensorSpec([None, source.sampling.size, source.sampling.size, 1], tf.float32)
    signature = (frames, frames, tf.TensorSpec([], tf.float32))
    return tf.data.Dataset.from_generator(elements, output_signature=signature).map(weigh).prefetch(tf.data.AUTOTUNE)
