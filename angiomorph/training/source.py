"""Open training stores, and the batch of each step."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import resolve_mode
from angiomorph.storage import store
from angiomorph.training.augmentation import augment
from angiomorph.training.config import Sampling
from angiomorph.training.draws import Draw, Step, draw_corners, draw_hyper, draw_pairs, order_runs, spell_numbers
from angiomorph.training.reader import FrameReader, FrameReaders

AHEAD = 2  # visits whose frames are decoded before their turn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Pairs of one run: moving and fixed `(B, H, W)` float32 in [0, 1].

    `clean` is moving and fixed once more, without noise and contrast agent; empty unless the source is asked for it.
    """

    moving: np.ndarray
    fixed: np.ndarray
    clean: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Batch:
    """What a step is trained on.

    Args:
        moving: `(B, H, W)` float32 in [0, 1], background frames.
        fixed: `(B, H, W)` float32 in [0, 1], contrast frames.
        hyper: λ of all pairs, [0, 1].
        clean: see `Pairs`.
        corner: `(B, 2)` int32, first row and column of each pair's window; None without `Sampling.finer`.
    """

    moving: np.ndarray
    fixed: np.ndarray
    hyper: float
    clean: tuple[np.ndarray, ...] = ()
    corner: np.ndarray | None = None


class Source:
    """Open training stores and what each step draws from them.

    The frames of a visit, which is all shares of one run, are decoded before its turn by threads, each frame once.

    A run of which HDF5 cannot read any background or any contrast frame is reported once and left out. The next one of the
    epoch's order takes its place. As the first visit reads all frames of a run, that does not depend on the step with which a
    training began.

    Args:
        paths: training stores.
        sampling: how to draw.
        part: (index from 0, count) of the equal slices of each draw that `batch` reads.
        clean: read `Pairs.clean` too.

    Raises:
        InputError: a file is no training store; there is no run; `sampling.intensity` does not suit one; one has no clean
            frames where they are asked for; with `sampling.finer`, one has smaller frames than are read.
    """

    def __init__(self, paths: Sequence[Path], sampling: Sampling, part: tuple[int, int] = (0, 1), clean: bool = False) -> None:
        self.sampling = sampling
        self.part = part
        self.clean = clean
        self.left_out: set[int] = set()
        self.error: InputError | None = None  # tf.data passes on no exception as it was
        self._stack = ExitStack()
        self._paths = ", ".join(map(str, paths)) or "`stores`"
        with ExitStack() as opening:
            self.runs = FrameReaders([opening.enter_context(store.open_store(path)) for path in paths], sampling)
            _check_intensity(self.runs, sampling.intensity)
            if clean:
                self.runs.check_clean()
            if sampling.finer:
                self.runs.check_size(sampling.frame_size)
            self._stack = opening.pop_all()
        if not len(self.runs):
            raise InputError(f"{self._paths}: expected at least one run to train on, found none")
        self._held: OrderedDict[int, FrameReader] = OrderedDict()
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

    def draw_step(self, step: int) -> Step:
        """Return what a step (from 0) is trained on: every run once in a random order, then again in another, for ever.

        Raises:
            InputError: more than half of the runs cannot be read.
        """
        part, share = step % self.sampling.batches_per_visit, self.sampling.share
        chosen = slice(part * share, (part + 1) * share)
        visits = [self._draw_visit(visit) for visit in self._list_visits(step)]
        rng = visits[0][1]  # after the pairs, so that λ is drawn by what drew the first run's frames
        hyper = [draw_hyper(rng, self.sampling) for _ in range(part + 1)][-1]
        return Step(hyper, tuple(Draw(draw.run, draw.background[chosen], draw.contrast[chosen]) for draw, _ in visits))

    def batch(self, step: int) -> Batch:
        """Return the batch of a step (from 0), augmented, or this source's part of it.

        Raises:
            InputError: more than half of the runs cannot be read, or the source is closed.
        """
        with self._lock:
            self._look_ahead(self._list_visits(step))
            hyper, draws, pairs = self._read_step(step)
        first = [place * self.sampling.share + self.part[0] * len(draw.contrast) for place, draw in enumerate(draws)]
        frames = [self._augment(step, *each) for each in zip(first, draws, pairs, strict=True)]
        moving, fixed, *clean = (np.concatenate(kind) for kind in zip(*frames, strict=True))
        corner = None
        if self.sampling.finer:
            corner = np.concatenate(
                [draw_corners(self.sampling, step, place, len(draw.contrast)) for place, draw in zip(first, draws, strict=True)]
            )
        return Batch(moving, fixed, hyper, tuple(clean), corner)

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
        return Pairs(moving, fixed, tuple(clean))

    def read_stored(self, number: int) -> store.StoredRun | None:
        """Return a whole run as it is stored, or None where HDF5 cannot read all of it, which is reported each time."""
        try:
            with self._lock:
                return None if number in self.left_out else self.runs[number].run.read()
        except store.UNREADABLE as error:
            logger.warning("run %s: expected all of its frames, HDF5 cannot read one: %s", self.runs.name(number), error)
            return None

    def describe(self, step: int) -> str:
        """Return runs, frames (numbers from 1) and λ of a step, for people."""
        drawn = self.draw_step(step)
        parts = [
            f"run {self.runs.name(draw.run)}, background frames {spell_numbers(draw.background)}, contrast frames "
            f"{spell_numbers(draw.contrast)}"
            for draw in drawn.draws
        ]
        return f"{'; '.join(parts)}, λ {drawn.hyper:.6g}"

    def _read_step(self, step: int) -> tuple[float, list[Draw], list[Pairs]]:
        """Return λ of a step, this source's part of its draws, and their pairs; a run that fails is drawn anew."""
        while True:
            drawn = self.draw_step(step)
            draws = [draw.part(*self.part) for draw in drawn.draws]
            pairs = [found for draw in draws if (found := self.read(draw)) is not None]
            if len(pairs) == len(draws):
                return drawn.hyper, draws, pairs

    def _augment(self, step: int, first: int, draw: Draw, pairs: Pairs) -> tuple[np.ndarray, ...]:
        """Return moving, fixed and each of clean of a share whose first pair has the place `first` in the batch."""
        key, tone = (self.sampling.seed, step), self.runs[draw.run].tone()
        return augment(pairs.moving, pairs.fixed, self.sampling.augmentation, tone, key, first, pairs.clean)

    def _list_visits(self, step: int) -> range:
        """Return the visits that a step draws from, one for each of its runs."""
        series = self.sampling.series_per_batch
        first = step // self.sampling.batches_per_visit * series
        return range(first, first + series)

    def _draw_visit(self, visit: int) -> tuple[Draw, np.random.Generator]:
        """Return the run of a visit with all its frames, and what draws λ next."""
        epoch, place = divmod(visit, len(self.runs))
        order = order_runs(self.sampling.seed, epoch, len(self.runs))
        number, run = self._find_readable(itertools.chain(order[place:], order[:place]))
        rng = np.random.default_rng([self.sampling.seed, epoch, place])
        contrast, background = draw_pairs(rng, run.frames, run.background, self.sampling)
        return Draw(number, run.replace_unreadable(background), run.replace_unreadable(contrast)), rng

    def _find_readable(self, order: Iterable[int]) -> tuple[int, FrameReader]:
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
            draw, _ = self._draw_visit(coming)
            if draw.run not in self._held:  # else its frames are there, or decoded when it is their turn
                own = self._find_own(len(draw.contrast))
                self._ahead.submit(self._hold(draw.run).prepare, np.concatenate([draw.background[own], draw.contrast[own]]))

    def _find_own(self, count: int) -> np.ndarray:
        """Return which of a visit's `count` pairs are in this source's part of its batches."""
        index, parts = self.part
        share = self.sampling.share
        batches = [np.arange(start, min(start + share, count)) for start in range(0, count, share)]
        return np.concatenate([np.split(batch, parts)[index] for batch in batches])

    def _hold(self, number: int) -> FrameReader:
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
                f"{len(self.left_out)} that are not. The last is run {name}, frames {frames}; make the store again "
                "with `angiomorph prepare`"
            )
            raise self.error from error


def _check_intensity(runs: FrameReaders, intensity: str) -> None:
    """Refuse at the start what would stop a training at its first visit to a run."""
    resolve_mode("DISP", intensity)
    if intensity == "log":
        for number in range(len(runs)):
            runs[number]
