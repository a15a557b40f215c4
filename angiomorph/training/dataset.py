"""Which frames, which background and which λ: an endless, seeded `tf.data` pipeline over training stores.

What a step is trained on depends on the seed and the step's number alone, so that a training may go on at any step.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.layers import window
from angiomorph.preprocessing.field import find_field, nearest_inside
from angiomorph.preprocessing.intensity import Normalisation, normalise, resolve_mode, stored_normalisation, to_domain
from angiomorph.preprocessing.resizing import fit_frames
from angiomorph.storage import store
from angiomorph.training.augmentation import Augmentation, Tone, augment, tone

LAMBDA_SAMPLINGS = ("uniform", "ends", "beta")
BETA = 2.0  # of Beta(2, 2): thin at λ = 0 and 1, with which nobody registers
AHEAD = 2  # visits whose frames are decoded before their turn
OPENED = 64  # runs whose count of frames and background are remembered
PREFETCHED = 4  # batches
WINDOWS = 1  # tells the draws of windows from those of the same step's augmentation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """How training pairs are drawn.

    Args:
        frames_per_series: contrast frames drawn with replacement from a run each epoch.
        background_frames: how many first frames count as background where the run names none.
        batch_size: pairs a batch, all of one λ; a run's last batch may be smaller.
        series_per_batch: runs that a batch is made of, each with an equal share of the pairs; divides `batch_size`.
        size: side of the network's square frames, pixels; larger frames shrink to it, smaller ones are padded.
        finer: read frames of twice `size`, and draw a window of `size` in each pair, see `networks.with_finer`.
        oversample_rate: probability that λ is one of its ends, 0 or 1, as in VoxelMorph's HyperMorph script; only for "ends".
        lambda_sampling: "uniform" in [0, 1); "ends", uniform but for `oversample_rate`; or "beta", Beta(2, 2).
        intensity: "auto", "log" or "linear", see `angiomorph.preprocessing.intensity.resolve_mode`.
        seed: of all draws.
        augmentation: how far the pairs are varied; validation's are not.
    """

    frames_per_series: int = 50
    background_frames: int = 3
    batch_size: int = 1
    series_per_batch: int = 1
    size: int = 512
    finer: bool = False
    oversample_rate: float = 0.0
    lambda_sampling: str = "ends"
    intensity: str = "auto"
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse a batch that its runs cannot share equally."""
        if self.series_per_batch < 1 or self.batch_size % self.series_per_batch:
            raise InputError(
                f"--series-per-batch {self.series_per_batch}: expected a divisor of --batch-size {self.batch_size}, for "
                "equal shares of the pairs; change one of them"
            )

    @property
    def share(self) -> int:
        """Pairs of one run in a batch."""
        return self.batch_size // self.series_per_batch

    @property
    def frame_size(self) -> int:
        """Side of the frames that are read, pixels."""
        return 2 * self.size if self.finer else self.size


@dataclass(frozen=True)
class Draw:
    """What a run's share of a batch is made of: its place in the stores, indices (from 0) of its frames, and λ."""

    run: int
    background: np.ndarray
    contrast: np.ndarray
    hyper: float

    def part(self, index: int, count: int) -> Draw:
        """Return the slice `index` (from 0) of `count` equal ones."""
        size = len(self.contrast) // count
        chosen = slice(index * size, (index + 1) * size)
        return Draw(self.run, self.background[chosen], self.contrast[chosen], self.hyper)


@dataclass(frozen=True)
class Pairs:
    """One batch of a run: moving and fixed `(B, H, W)` float32 in [0, 1], and their λ.

    `clean` is moving and fixed once more, without noise and contrast agent; empty unless the source is asked for it. `corner`
    `(B, 2)` int32 is the first row and column of each pair's window; None without `Sampling.finer`.
    """

    moving: np.ndarray
    fixed: np.ndarray
    hyper: float
    clean: tuple[np.ndarray, ...] = ()
    corner: np.ndarray | None = None


def draw_hyper(rng: np.random.Generator, sampling: Sampling) -> float:
    """Return a λ in [0, 1] as `sampling` says."""
    if sampling.lambda_sampling == "beta":
        return float(rng.beta(BETA, BETA))
    if sampling.lambda_sampling == "ends" and rng.random() < sampling.oversample_rate:
        return float(rng.integers(2))
    return float(rng.random())


def kinds(frames: int, background: Sequence[int], sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
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
        frames: see `kinds`.
        background: see `kinds`.
        sampling: how many of each.
    """
    contrast, candidates = kinds(frames, background, sampling)
    count = sampling.frames_per_series
    return rng.choice(contrast, count), rng.choice(candidates, count)


@dataclass
class Known:
    """What is remembered of a run once all its frames have been read.

    Args:
        scale: see `intensity.normalisation`.
        unreadable: indices that HDF5 cannot read.
        field: `(H, W)` bool, packed to bits along rows, the exposed field; None where it is the whole frame.
    """

    scale: Normalisation | None = None
    unreadable: tuple[int, ...] = ()
    field: np.ndarray | None = None


def _packed_field(frames: np.ndarray) -> np.ndarray | None:
    """Return `Known.field` of a run's stored frames, `(T, H, W)`."""
    field = find_field(frames, np.ones(frames.shape[1:], bool))
    return None if field.all() else np.packbits(field, axis=1)


class Run:
    """One stored run; a frame is decoded when it is first needed, and kept until the run is released.

    Frames that HDF5 cannot read are reported once, and others stand in for them (see `readable`). The first reading reads all
    frames, for the scale and because what stands in for what then does not depend on where a training began.

    Args:
        stored: the run.
        sampling: how it is seen.
        known: what is remembered of it; filled by the first reading.
    """

    def __init__(self, stored: store.RunReader, sampling: Sampling, known: Known) -> None:
        self.name, self.background, self.relation = stored.name, stored.background, stored.relation
        self.frames, self._type = stored.shape[0], stored.dtype
        self.mode = resolve_mode(self.relation, sampling.intensity)
        self.known = known
        self._stored, self._size = stored, sampling.frame_size
        self._kinds = kinds(self.frames, self.background, sampling)
        self._most = 2 * sampling.frames_per_series  # frames that a visit may need
        self._decoded: dict[int, np.ndarray] = {}
        self._nearest: np.ndarray | None = None  # see `field.nearest_inside`
        self._lock = threading.Lock()

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the frames at `indices`, or those that stand in for them, as the network sees them.

        Returns:
            `(len(indices), size, size)` float32 in [0, 1].

        Raises:
            OSError or RuntimeError: HDF5 can read no background or no contrast frame.
        """
        with self._lock:
            self._decode(indices)
            return np.stack([self._decoded[index] for index in self.readable(indices).tolist()])

    def read_clean(self, indices: np.ndarray) -> np.ndarray:
        """Return what `read` returns, without noise and contrast agent, after it.

        Raises:
            OSError or RuntimeError: HDF5 cannot read a frame.
        """
        frames, table = self._stored.open_frames("clean"), self._table(self._scale())
        stored = [frames[index] for index in self.readable(indices).tolist()]
        return fit_frames(self._fill(np.take(table, np.stack(stored), mode="clip")), self._size)

    def tone(self) -> Tone:
        """Return what the values that `read` returns mean, after the first reading.

        Raises:
            ValueError: nothing has been read.
        """
        return tone(self.relation, self.mode, self._scale())

    def _scale(self) -> Normalisation:
        if self.known.scale is None:
            raise ValueError(f"run {self.name}: expected frames to have been read, found none")
        return self.known.scale

    def _table(self, scale: Normalisation) -> np.ndarray:
        """Return the normalised value of each stored one: to look it up is faster than a logarithm for each pixel."""
        return normalise(to_domain(np.arange(np.iinfo(self._type).max + 1), self.mode), scale)

    def prepare(self, indices: np.ndarray) -> None:
        """Decode the frames at `indices`, so that `read` finds them.

        Raises:
            OSError or RuntimeError: see `read`.
        """
        with self._lock:
            self._decode(indices)

    def stored(self) -> store.StoredRun:
        """Return the whole run as it is stored.

        Raises:
            OSError or RuntimeError: HDF5 cannot read a frame.
        """
        return self._stored.read()

    def release(self) -> None:
        """Forget the decoded frames."""
        with self._lock:
            self._decoded.clear()
            self._nearest = None

    def readable(self, indices: np.ndarray) -> np.ndarray:
        """Return `indices`, each that is known to be unreadable replaced by the next readable one of its kind, cyclically."""
        if not self.known.unreadable:
            return indices
        stand_ins = np.arange(self.frames)
        for kind in self._kinds:
            left = np.setdiff1d(kind, self.known.unreadable)
            stand_ins[kind] = left[np.searchsorted(left, kind) % len(left)] if len(left) else kind
        return stand_ins[indices]

    def _decode(self, indices: np.ndarray) -> None:
        if self.known.scale is not None and not self._missing(indices):
            return
        frames = self._stored.open_frames()
        scale, stored = self.known.scale, dict[int, np.ndarray]()
        if scale is None:
            stored = self._read_all(frames)
            scale = self.known.scale = stored_normalisation(list(stored.values()), self.mode)
            self.known.field = _packed_field(np.stack(list(stored.values())))
        table = self._table(scale)
        while missing := self._missing(indices):
            if self._decoded and len(self._decoded) + len(missing) > self._most:
                self._decoded.clear()
                continue
            for index in missing:
                try:
                    frame = stored[index] if index in stored else frames[index]
                except store.UNREADABLE as error:
                    self._exclude([index], error)
                    break
                self._decoded[index] = fit_frames(self._fill(np.take(table, frame, mode="clip")[None]), self._size)[0]

    def _fill(self, frames: np.ndarray) -> np.ndarray:
        """Return frames `(T, H, W)` with the nearest value inside the field at each pixel outside, as registration has them."""
        if self.known.field is None:
            return frames
        if self._nearest is None:
            self._nearest = nearest_inside(np.unpackbits(self.known.field, axis=1, count=frames.shape[2]).astype(bool))
        rows, columns = self._nearest
        return frames[:, rows, columns]

    def _missing(self, indices: np.ndarray) -> list[int]:
        return sorted({*self.readable(indices).tolist()} - self._decoded.keys())

    def _read_all(self, frames: h5py.Dataset) -> dict[int, np.ndarray]:
        """Return the stored values of all readable frames."""
        stored: dict[int, np.ndarray] = {}
        failed: list[int] = []
        for index in range(self.frames):
            try:
                stored[index] = frames[index]
            except store.UNREADABLE as found:
                failed.append(index)
                error = found
        if failed:
            self._exclude(failed, error)
        return stored

    def _exclude(self, indices: list[int], error: BaseException) -> None:
        """Report frames as unreadable, or raise `error` where none of their kind are left."""
        self.known.unreadable = tuple(sorted({*self.known.unreadable, *indices}))
        if any(np.isin(kind, self.known.unreadable).all() for kind in self._kinds):
            raise error
        logger.warning("run %s: HDF5 cannot read frames %s, others stand in for them: %s", self.name, _numbers(indices), error)


class Runs:
    """The runs of open stores, opened when they are asked for; only keys, and scales once known, are in memory for all.

    Args:
        files: the open stores.
        sampling: how the runs are seen.
    """

    def __init__(self, files: Sequence[h5py.File], sampling: Sampling) -> None:
        self._files = files
        self._keys = [store.keys(file) for file in files]
        self._ends = list(itertools.accumulate(len(keys) for keys in self._keys))
        self._sampling = sampling
        self._known: dict[int, Known] = {}
        self._opened: OrderedDict[int, Run] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Run:
        with self._lock:
            if number not in self._opened:
                file, key = self._place(number)
                self._opened[number] = Run(store.RunReader(file, key), self._sampling, self._known.setdefault(number, Known()))
            self._opened.move_to_end(number)
            if len(self._opened) > OPENED:
                self._opened.popitem(last=False)
            return self._opened[number]

    def name(self, number: int) -> str:
        """Return key and file of a run, for people."""
        return store.name_run(*self._place(number))

    def frame_count(self) -> int:
        """Return the number of frames in all runs."""
        return sum(store.frame_count(file, key) for file, keys in zip(self._files, self._keys, strict=True) for key in keys)

    def check_clean(self) -> None:
        """Refuse a run of which the store does not have the frames without noise and contrast agent.

        Raises:
            InputError: there is one.
        """
        for number, stored in self._readers():
            if not stored.has_clean:
                raise InputError(
                    f"run {self.name(number)}: expected clean frames, as simulated runs have, found none; make the store "
                    "with `angiomorph simulate --store`, or train with another --image-loss"
                )

    def check_size(self, size: int) -> None:
        """Refuse a run whose frames are smaller than `size` pixels.

        Raises:
            InputError: there is one.
        """
        for number, stored in self._readers():
            found = stored.shape[1:]
            if max(found) < size:
                raise InputError(
                    f"run {self.name(number)}: expected frames of at least {size} pixels a side, twice --size, with --finer, "
                    f"found {found[0]} x {found[1]}; give a smaller --size, or leave --finer out"
                )

    def _readers(self) -> Iterator[tuple[int, store.RunReader]]:
        """Yield number and reader of the runs that HDF5 can open; the others are left out when it is their turn."""
        for number in range(len(self)):
            with suppress(KeyError, *store.UNREADABLE):
                yield number, store.RunReader(*self._place(number))

    def unreadable(self, number: int) -> list[int]:
        """Return the numbers (from 1) of the frames of a run that are known to be unreadable."""
        return [index + 1 for index in self._known.get(number, Known()).unreadable]

    def _place(self, number: int) -> tuple[h5py.File, str]:
        file = bisect.bisect_right(self._ends, number)
        return self._files[file], self._keys[file][number - self._ends[file]]


class Source:
    """Open training stores and what each step draws from them.

    The frames of a visit, which is all shares of one run, are decoded before its turn by threads, each frame once.

    A run of which HDF5 cannot read any background or any contrast frame is reported once and left out; the next one of the
    epoch's order takes its place. As the first visit reads all frames of a run, that does not depend on the step with which a
    training began.

    Args:
        paths: training stores.
        sampling: how to draw.
        part: (index from 0, count) of the equal slices of each draw that `batch` reads.
        clean: read `Pairs.clean` too.

    Raises:
        InputError: a file is no training store, there is no run, `sampling.intensity` does not suit one, one has no clean
            frames where they are asked for, or, with `sampling.finer`, smaller frames than are read.
    """

    def __init__(self, paths: Sequence[Path], sampling: Sampling, part: tuple[int, int] = (0, 1), clean: bool = False) -> None:
        self.sampling = sampling
        self.part = part
        self.clean = clean
        self.left_out: set[int] = set()
        self.error: InputError | None = None  # tf.data passes on no exception as it was
        self._stack = ExitStack()
        self._paths = ", ".join(map(str, paths))
        with ExitStack() as opening:
            self.runs = Runs([opening.enter_context(store.reading(path)) for path in paths], sampling)
            _check_intensity(self.runs, sampling.intensity)
            if clean:
                self.runs.check_clean()
            if sampling.finer:
                self.runs.check_size(sampling.frame_size)
            self._stack = opening.pop_all()
        if not len(self.runs):
            raise InputError(f"{self._paths}: expected at least one run to train on, found none")
        self._held: OrderedDict[int, Run] = OrderedDict()
        self._ahead = ThreadPoolExecutor(AHEAD, "frames")
        self._visit = -1
        self._closed = False
        self._lock = threading.RLock()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:  # a pipeline prefetches beyond the last step that is taken from it
            self._closed = True
            self._ahead.shutdown(cancel_futures=True)
            self._stack.close()

    def frame_count(self) -> int:
        """Return the number of frames in all runs."""
        return self.runs.frame_count()

    def draws(self, step: int) -> list[Draw]:
        """Return what a step (from 0) is trained on: every run once in a random order, then again in another, for ever.

        Raises:
            InputError: more than half of the runs cannot be read.
        """
        draws = [self._draw(step, place) for place in range(self.sampling.series_per_batch)]
        return [replace(draw, hyper=draws[0].hyper) for draw in draws]

    def _draw(self, step: int, place: int) -> Draw:
        """Return a share of a step, `place` from 0."""
        part = step % shares(self.sampling)
        run, contrast, background, rng = self._drawn(self._visits(step)[place])
        hypers = [draw_hyper(rng, self.sampling) for _ in range(part + 1)]
        chosen = slice(part * self.sampling.share, (part + 1) * self.sampling.share)
        return Draw(run, background[chosen], contrast[chosen], hypers[-1])

    def _visits(self, step: int) -> range:
        """Return the visits that a step draws from, one for each of its runs."""
        series = self.sampling.series_per_batch
        first = step // shares(self.sampling) * series
        return range(first, first + series)

    def batch(self, step: int) -> Pairs:
        """Return the batch of a step (from 0), augmented, or this source's part of it.

        Raises:
            InputError: more than half of the runs cannot be read, or the source is closed.
        """
        with self._lock:
            self._look_ahead(self._visits(step))
            parts = [self._share(step, place) for place in range(self.sampling.series_per_batch)]
        frames = [np.concatenate(kind) for kind in zip(*((p.moving, p.fixed, *p.clean) for p in parts), strict=True)]
        corner = np.concatenate([p.corner for p in parts]) if self.sampling.finer else None
        return Pairs(frames[0], frames[1], parts[0].hyper, tuple(frames[2:]), corner)

    def _share(self, step: int, place: int) -> Pairs:
        """Return one run's share of a batch, augmented, or this source's part of it."""
        index, count = self.part
        while True:
            draw = self._draw(step, place).part(index, count)
            pairs = self.read(draw)
            if pairs is not None:
                break
        key, varied = (self.sampling.seed, step), self.sampling.augmentation
        first = place * self.sampling.share + index * len(draw.contrast)
        tone = self.runs[draw.run].tone()
        moving, fixed, *clean = augment(pairs.moving, pairs.fixed, varied, tone, key, first, pairs.clean)
        return Pairs(moving, fixed, pairs.hyper, tuple(clean), self._corners(step, first, len(moving)))

    def _corners(self, step: int, first: int, count: int) -> np.ndarray | None:
        """Return the corners of the windows of `count` pairs of a step, from the pair `first` on."""
        if not self.sampling.finer:
            return None
        rngs = (np.random.default_rng([self.sampling.seed, step, pair, WINDOWS]) for pair in range(first, first + count))
        return np.stack([rng.integers(self.sampling.size + 1, size=2, dtype=np.int32) for rng in rngs])

    def read(self, draw: Draw) -> Pairs | None:
        """Return the frames of a draw as they are, or None where the run cannot be read, which is left out from now on.

        Raises:
            InputError: more than half of the runs cannot be read, or the source is closed.
        """
        with self._lock:
            if self._closed:
                raise InputError(f"{self._paths}: expected open stores to read from, found them closed")
            if draw.run in self.left_out:
                return None
            run, indices = self._hold(draw.run), np.concatenate([draw.background, draw.contrast])
            try:
                chosen = run.read(indices)
                clean = np.split(run.read_clean(indices), 2) if self.clean else ()
            except store.UNREADABLE as error:
                self._leave_out(draw.run, error)
                return None
        moving, fixed = np.split(chosen, 2)
        return Pairs(moving, fixed, draw.hyper, tuple(clean))

    def stored(self, number: int) -> store.StoredRun | None:
        """Return a whole run as it is stored, or None where HDF5 cannot read all of it, which is told each time."""
        try:
            with self._lock:
                return None if number in self.left_out else self.runs[number].stored()
        except store.UNREADABLE as error:
            logger.warning("run %s: expected all of its frames, HDF5 cannot read one: %s", self.runs.name(number), error)
            return None

    def describe(self, step: int) -> str:
        """Return runs, frames (numbers from 1) and λ of a step, for people."""
        draws = self.draws(step)
        parts = [
            f"run {self.runs.name(draw.run)}, background frames {_numbers(draw.background)}, contrast frames "
            f"{_numbers(draw.contrast)}"
            for draw in draws
        ]
        return f"{'; '.join(parts)}, λ {draws[0].hyper:.6g}"

    def _drawn(self, visit: int) -> tuple[int, np.ndarray, np.ndarray, np.random.Generator]:
        """Return the run of a visit, all its contrast and background indices, and what draws its λ."""
        epoch, place = divmod(visit, len(self.runs))
        order = _order(self.sampling.seed, epoch, len(self.runs))
        number, run = self._first_readable(itertools.chain(order[place:], order[:place]))
        rng = np.random.default_rng([self.sampling.seed, epoch, place])
        contrast, background = draw_pairs(rng, run.frames, run.background, self.sampling)
        return number, run.readable(contrast), run.readable(background), rng

    def _first_readable(self, order: Iterable[int]) -> tuple[int, Run]:
        for number in map(int, order):
            if number in self.left_out:
                continue
            try:
                return number, self.runs[number]
            except (KeyError, *store.UNREADABLE) as error:
                self._leave_out(number, error)
        raise InputError(f"{self._paths}: expected a run that can be read, found none; make the store again")

    def _look_ahead(self, visits: range) -> None:
        """Let threads decode the frames of visits that have just begun, and of the ones after them."""
        if visits[0] == self._visit or self._closed:
            return
        self._visit = visits[0]
        for coming in range(visits[0], visits[-1] + AHEAD + 1):
            number, contrast, background, _ = self._drawn(coming)
            if number not in self._held:  # else its frames are there, or decoded when it is their turn
                own = self._own(np.arange(len(contrast)))
                self._ahead.submit(self._hold(number).prepare, np.concatenate([background[own], contrast[own]]))

    def _own(self, drawn: np.ndarray) -> np.ndarray:
        """Return what of a visit's draws is in this source's part of its batches."""
        index, count = self.part
        share = self.sampling.share
        batches = [drawn[start : start + share] for start in range(0, len(drawn), share)]
        return np.concatenate([np.split(batch, count)[index] for batch in batches])

    def _hold(self, number: int) -> Run:
        """Return a run, and release the frames of the one that was not used for longest."""
        run = self._held.setdefault(number, self.runs[number])
        self._held.move_to_end(number)
        if len(self._held) > AHEAD + self.sampling.series_per_batch:
            self._held.popitem(last=False)[1].release()
        return run

    def _leave_out(self, number: int, error: BaseException) -> None:
        name, frames = self.runs.name(number), ", ".join(map(str, self.runs.unreadable(number))) or "none by itself"
        self.left_out.add(number)
        logger.warning("run %s is left out: HDF5 cannot read it (frames: %s): %s", name, frames, error)
        if 2 * len(self.left_out) > len(self.runs):
            self.error = InputError(
                f"{self._paths}: expected at least half of the {len(self.runs)} runs to be readable, found "
                f"{len(self.left_out)} that are not, the last: run {name}, frames {frames}; make the store again with "
                "`angiomorph prepare`"
            )
            raise self.error from error


def _check_intensity(runs: Runs, intensity: str) -> None:
    """Refuse at the start what would stop a training at its first visit to a run."""
    resolve_mode("DISP", intensity)
    if intensity == "log":
        for number in range(len(runs)):
            runs[number]


def _numbers(indices: Iterable[int]) -> str:
    return ", ".join(str(index + 1) for index in indices)


@lru_cache(maxsize=2)  # the epoch being trained on, and the next, of which the first visits are prepared
def _order(seed: int, epoch: int, runs: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(runs)


def shares(sampling: Sampling) -> int:
    """Return the number of batches that a visit of a run has a share in."""
    return -(-sampling.frames_per_series // sampling.share)


def steps_per_epoch(series: int, sampling: Sampling) -> int:
    """Return the number of batches in which an epoch visits every run once."""
    return -(-series // sampling.series_per_batch) * shares(sampling)


def dataset(source: Source, flow_shape: Sequence[int], first_step: int = 0, slices: int = 1) -> tf.data.Dataset:
    """Return the pipeline that `model.fit` trains on, endless and prefetched, to the GPU where there is one.

    Each element is ((moving, fixed, hyper), (fixed, zero_flow), (1 - hyper, hyper)): Keras's inputs, targets and sample
    weights, so that the loss is Eq. 1 of Zhou et al. 2024 for each sample. Of a source with clean frames it is ((moving, fixed,
    hyper, clean moving), (clean fixed beside fixed, zero_flow), (1 - hyper, hyper)), for `networks.warping_clean` and
    `losses.Truth`. With `Sampling.finer` the corners of the windows are the last input, and targets and weights are there
    twice, for `networks.with_finer`.

    Args:
        source: what to draw from, open as long as the pipeline is used.
        flow_shape: (h, w, 2) of the network's flow.
        first_step: step to begin with, from 0.
        slices: number of equal elements, one a replica, into which each batch is cut.
    """

    sampling = source.sampling
    shape = [None, sampling.frame_size, sampling.frame_size, 1]
    types = [tf.float32] * (5 if source.clean else 3) + [tf.int32] * sampling.finer

    def read(step: np.int64) -> tuple[np.ndarray | np.float32, ...]:
        pairs = source.batch(int(step))
        frames = pairs.moving, pairs.fixed, *pairs.clean
        corner = () if pairs.corner is None else (pairs.corner,)
        return np.float32(pairs.hyper), *(each[..., None] for each in frames), *corner

    def element(step: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], ...]:
        # Not Dataset.from_generator: what that has to call in the end may hang an interpreter that is about to exit.
        hyper, *frames = tf.numpy_function(read, [step], types)
        corner = [tf.ensure_shape(frames.pop(), [None, 2])] if sampling.finer else []
        moving, fixed, *clean = (tf.ensure_shape(each, shape) for each in frames)
        count = tf.shape(moving)[0]
        hypers = tf.fill([count, 1], tf.ensure_shape(hyper, []))
        zero_flow = tf.zeros([count, *flow_shape])
        target, weights = tf.concat([clean[1], fixed], -1) if clean else fixed, (1 - hypers[:, 0], hypers[:, 0])
        inputs = (moving, fixed, hypers, *clean[:1], *corner)
        if not sampling.finer:
            return inputs, (target, zero_flow), weights
        side = sampling.size, sampling.size
        shrunk = tf.nn.avg_pool2d(target, 2, 2, "VALID")
        return inputs, (shrunk, zero_flow, window(target, corner[0], side), zero_flow), (*weights, *weights)

    batches = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max).map(element)
    return prefetched(batches if slices == 1 else batches.map(partial(_cut, slices)).unbatch(), _device())


def _cut(slices: int, *element: Any) -> Any:
    """Return a batch's arrays `(B, ...)` as `(slices, B / slices, ...)`."""
    return tf.nest.map_structure(lambda part: tf.reshape(part, [slices, -1, *part.shape[1:]]), element)


def prefetched(batches: tf.data.Dataset, device: str | None) -> tf.data.Dataset:
    """Return the dataset with a few batches ready, and the next ones on `device` where one is named."""
    batches = batches.prefetch(PREFETCHED)
    if device is None:
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(device, PREFETCHED // 2))


def _device() -> str | None:
    """Return the only GPU; none where there are several or a distribution strategy, which spreads the batches itself."""
    found = [] if tf.distribute.has_strategy() else tf.config.list_logical_devices("GPU")
    return found[0].name if len(found) == 1 else None
