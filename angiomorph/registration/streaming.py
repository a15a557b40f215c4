"""A run registered frame by frame: few frames are in memory at once, however many it has.

A first pass sees every frame once and keeps little of each: the scale, the field, the background. The second registers them in
batches, in order. The next batch is decoded, and its warps are found, while this one is subtracted and written.

The guard judges a run as a whole. But more evidence can only raise a frame's weight (see `evidence.weigh_warps`). So a frame
whose weight is 1 by the frames up to now is final. The others wait, their warps in a temporary file, until all are judged.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np

from angiomorph.dicom import Series
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.field import warp_clamp
from angiomorph.preprocessing.intensity import UNITS, resolve_mode, to_domain
from angiomorph.preprocessing.lazy_frames import Key, LazyFrames
from angiomorph.registration.evidence import evidence_finder, weigh_warps
from angiomorph.registration.figures import FrameFigures, describe_frame
from angiomorph.registration.inputs import average_frames, prepare_input
from angiomorph.registration.options import CompleteOptions
from angiomorph.registration.outputs import Spooling, forget_masks
from angiomorph.registration.pyramid import Predictor
from angiomorph.storage.spool import Spool

KEPT_BATCHES = 3  # of frames as the network sees them: read ahead, in the network, and judged
KEPT_FRAMES = 2  # that may wait for the thread that writes
T = TypeVar("T")
Refine = Callable[[np.ndarray, np.ndarray, Iterator[np.ndarray], float, int], Iterator[np.ndarray]]


@dataclass(frozen=True, eq=False)
class RegisteredFrame:
    """One registered frame, final.

    Args:
        index: in the run, from 0.
        bsa: `(H, W)` float32, see `Registration`.
        dsa: `(H, W)` float32.
        moved: `(H, W)` float32.
        warp: `(H, W, 2)` float32.
        weights: by which the guard scaled its warp, [0, 1].
    """

    index: int
    bsa: np.ndarray
    dsa: np.ndarray
    moved: np.ndarray
    warp: np.ndarray
    weights: float


class Held(Protocol):
    """Where the warps of frames wait that are not final, by index: an array `(T, H, W, 2)`, or a `Spool`."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return a warp."""

    def __setitem__(self, index: int, warp: np.ndarray, /) -> None:
        """Keep a warp."""


class Stages:
    """Seconds that the stages of a registration took, each in its own thread, so that together they may exceed the whole."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the block's seconds to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


class RunStream:
    """A run to be registered frame by frame; made, it has seen all frames once.

    Args:
        series: the run, read or opened.
        predictor: predictor of the network's warps.
        refine: see `Model.refine`.
        how: the options, complete.

    Raises:
        InputError: see `register_series`.
    """

    def __init__(self, series: Series, predictor: Predictor, refine: Refine, how: CompleteOptions) -> None:
        self.stages = Stages()
        self.series = forget_masks(series, how.background)
        self.predictor, self._refine, self.how = predictor, refine, how
        self._references: list[tuple[Collection[int], np.ndarray]] = []
        with self.stages.time("read"):
            self.seen = prepare_input(
                self.series,
                predictor.intensity,
                background=how.background,
                intensity=how.intensity,
                check=True,
                how=predictor.how,
            )
        if how.require_clean and self.seen.background.warnings:
            raise InputError(f"{series.name}: expected a background without iodine: {'; '.join(self.seen.background.warnings)}")
        mode = resolve_mode(series.relation, "auto")
        self.units = UNITS[mode]
        frames, shape = self.series.frames, self.series.frames.shape
        self.values = LazyFrames(shape, np.float32, lambda index: to_domain(frames[index], mode))
        self.seen_frames = LazyFrames(shape, np.float32, lru_cache(KEPT_BATCHES * how.batch_size)(self.seen.frames.__getitem__))

    def frames(self, held: Held) -> Generator[RegisteredFrame]:
        """Yield every frame as soon as it is final: in order, but for those that had to wait.

        Args:
            held: where warps wait.
        """
        for step in self.seen.background.split(len(self.series.frames)):
            background = _Background(self, step)
            self._references.append((background.own, background.reference))
            yield from background.frames(held)

    def background_of(self, index: int) -> np.ndarray:
        """Return the background of a frame that was registered, `(H, W)`."""
        return next(reference for own, reference in self._references if index in own)

    def subtract_at(self, index: int, hypers: Sequence[float]) -> dict[float, np.ndarray]:
        """Return the BSA of a frame, `(H, W)`, at each of other λ, whatever the guard says of it.

        Args:
            index: frame index, from 0.
            hypers: λ, [0, 1].
        """
        steps = self.seen.background.split(len(self.series.frames))
        background = _Background(self, next(step for step in steps if index + 1 in step.frames))
        return {hyper: background.subtract_at(index, hyper) for hyper in hypers}

    def warps(self, moving: np.ndarray, own: Sequence[int], hyper: float | None = None) -> Iterator[np.ndarray]:
        """Yield the network's warps of frames, by their indices, a batch at a time; the field does not hold them yet.

        Args:
            moving: the background as the network sees it.
            own: indices of the frames.
            hyper: λ; None for that of the options.
        """
        how = self.how if hyper is None else replace(self.how, hyper=hyper)
        with ThreadPoolExecutor(1, "angiomorph-read") as pool:
            fixed: Any = _ReadAhead(replace(self.seen, frames=self.seen_frames).level_to(moving, own), pool, self.stages)
            warps = self.predictor.warps(moving, fixed, how.hyper, how.batch_size, how.levels, how.rounds)
            if how.refine:
                warps = self._refine(moving, fixed, warps, how.hyper, how.refine)
            yield from self._time_warps(warps)

    def _time_warps(self, warps: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            with self.stages.time("network"):
                warp = next(warps, None)
            if warp is None:
                return
            yield warp

    @property
    def is_guarded(self) -> bool:
        """Whether frames' warps are weighed."""
        return self.how.guard


class _Background:
    """One background of a run, and the frames that are registered from it."""

    def __init__(self, stream: RunStream, step: Step) -> None:
        series, seen = stream.series, stream.seen
        self._stream = stream
        self.own = [number - 1 for number in step.frames]
        self.reference = average_frames(stream.values, step.numbers)
        self._moving = average_frames(seen.frames, step.numbers)
        self._highest = 2**series.bits_stored - 1
        full = [series.frames[number - 1] >= self._highest for number in step.numbers]
        self._known = seen.field & ~np.any(full, axis=0) & (self._moving > 0)
        self._says_nothing = np.isin(step.frames, step.numbers)  # their noise is the background's own
        self._clamp = warp_clamp(seen.field)
        self._evidence = evidence_finder(self.reference)

    def frames(self, held: Held) -> Generator[RegisteredFrame]:
        evidence = np.zeros(len(self.own))
        waiting: list[int] = []
        done = 0
        with closing(_make_ahead(self._stream.warps(self._moving, self.own))) as batches:
            for batch in batches:
                fresh = dict(enumerate(map(self._whole, range(done, done + len(batch)), batch), done))
                done += len(batch)
                if not self._stream.is_guarded:
                    yield from fresh.values()
                    continue
                for place, frame in fresh.items():
                    evidence[place] = self._judge(place, frame)
                waiting += fresh
                whole = weigh_warps(evidence) == 1
                for place in [place for place in waiting if whole[place]]:
                    yield fresh.pop(place) if place in fresh else self._scale_held(place, held, 1.0)
                waiting = [place for place in waiting if not whole[place]]
                for frame in fresh.values():
                    held[frame.index] = frame.warp
        weights = weigh_warps(evidence)
        for place in waiting:
            yield self._scale_held(place, held, float(weights[place]))

    def subtract_at(self, index: int, hyper: float) -> np.ndarray:
        (warp,) = np.concatenate(list(self._stream.warps(self._moving, [index], hyper)))
        return self._whole(self.own.index(index), warp).bsa

    def _whole(self, place: int, warp: np.ndarray) -> RegisteredFrame:
        index = self.own[place]
        clamped = self._clamp(warp[None])[0]
        return self._subtract(index, clamped, self._move(clamped), 1.0)

    def _scale_held(self, place: int, held: Held, weight: float) -> RegisteredFrame:
        """Return a frame that has waited, its warp scaled by its weight; 0 leaves plain DSA."""
        index = self.own[place]
        warp = held[index] * np.float32(weight)
        return self._subtract(index, warp, self._move(warp) if weight else self.reference, weight)

    def _move(self, warp: np.ndarray) -> np.ndarray:
        with self._stream.stages.time("subtract"):
            return self._stream.predictor.move(self.reference, warp)

    def _subtract(self, index: int, warp: np.ndarray, moved: np.ndarray, weight: float) -> RegisteredFrame:
        with self._stream.stages.time("subtract"):
            values = self._stream.values[index]
            return RegisteredFrame(index, values - moved, values - self.reference, moved, warp, weight)

    def _judge(self, place: int, frame: RegisteredFrame) -> float:
        """Return the evidence of motion in a frame, where frame and background are exposed and not saturated."""
        if self._says_nothing[place]:
            return 0.0
        with self._stream.stages.time("subtract"):
            stored, seen = self._stream.series.frames[frame.index], self._stream.seen_frames[frame.index]
            return self._evidence(frame.dsa, frame.bsa, self._known & (stored < self._highest) & (seen > 0))


class _ReadAhead(LazyFrames):
    """Frames of which the next slice is made by a thread while the last one is used."""

    def __init__(self, frames: LazyFrames, pool: ThreadPoolExecutor, stages: Stages) -> None:
        super().__init__(frames.shape, frames.dtype, frames.__getitem__)
        self._pool, self._stages = pool, stages
        self._ready: dict[range, Future[np.ndarray]] = {}

    def __getitem__(self, key: Key) -> np.ndarray:
        if not isinstance(key, slice):
            return super().__getitem__(key)
        wanted = range(len(self))[key]
        following = range(len(self))[wanted.stop : wanted.stop + len(wanted)]
        self._ready = {part: self._ready.get(part) or self._pool.submit(self._read, part) for part in (wanted, following)}
        try:
            return self._ready[wanted].result()
        except BaseException:
            self._ready.clear()  # or the failure, which refers to this place, would keep itself and its run's files
            raise

    def _read(self, part: range) -> np.ndarray:
        with self._stages.time("read"):
            return super().__getitem__(np.array(part, int))


def _make_ahead(made: Iterator[T]) -> Generator[T]:
    """Yield what an iterator makes, one ahead of what is asked for, in a thread of its own."""
    end = object()
    with ThreadPoolExecutor(1, "angiomorph-network") as pool:
        following: deque[Future[Any]] = deque([pool.submit(next, made, end)])
        while (found := following.popleft().result()) is not end:  # no name for what may have failed: see `_ReadAhead`
            following.append(pool.submit(next, made, end))
            yield found


class Spooled:
    """A run's registered frames on the disk, written by a thread of their own as they become final.

    Nothing here refers to itself in a circle, so that the disk's room is free again with the last use of the frames.

    Args:
        stream: the run.
        spooling: where.

    Raises:
        InputError: the disk is full, or fails.
    """

    def __init__(self, stream: RunStream, spooling: Spooling) -> None:
        shape = stream.series.frames.shape
        self._stream, self._spooling, self._count = stream, spooling, shape[0]
        self._bsa = Spool(spooling.folder, shape[1:], np.float32)
        self._warp = Spool(spooling.folder, (*shape[1:], 2), np.float32)
        self.weights = np.empty(shape[0])
        self._figures: dict[int, FrameFigures] = {}
        with ThreadPoolExecutor(1, "angiomorph-write") as pool, closing(stream.frames(self._warp)) as frames:
            written: deque[Future[None]] = deque()
            for frame in frames:
                written.append(pool.submit(self._take, frame))
                while len(written) > KEPT_FRAMES:
                    written.popleft().result()
            while written:
                written.popleft().result()
        self.figures = tuple(self._figures[index] for index in range(self._count))
        self.bsa = LazyFrames(shape, np.float32, self._bsa.__getitem__)
        self.dsa = LazyFrames(shape, np.float32, lambda index: stream.values[index] - stream.background_of(index))
        self.warp = LazyFrames((*shape, 2), np.float32, self._warp.__getitem__)
        self.moved = _move_backgrounds(stream, self.warp, self.weights)

    def _take(self, frame: RegisteredFrame) -> None:
        with self._stream.stages.time("write"):
            self._bsa[frame.index] = frame.bsa
            if self._spooling.keep_warps:
                self._warp[frame.index] = frame.warp
            self.weights[frame.index] = frame.weights
            self._figures[frame.index] = describe_frame(frame.bsa, frame.dsa, frame.warp, self._stream.seen.field)
        self._spooling.tell(len(self._figures), self._count)


def _move_backgrounds(stream: RunStream, warp: LazyFrames, weights: np.ndarray) -> LazyFrames:
    """Return the moved background of each frame of a registered run."""
    move, background_of = stream.predictor.move, stream.background_of

    def make(index: int) -> np.ndarray:
        return move(background_of(index), warp[index]) if weights[index] else background_of(index)

    return LazyFrames(warp.shape[:-1], np.float32, make)
