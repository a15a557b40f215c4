"""Runs of training stores as the network sees them; each frame is decoded when it is first needed."""

from __future__ import annotations

import bisect
import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import h5py
import numpy as np

from angiomorph.errors import InputError
from angiomorph.preprocessing.field import find_field, nearest_inside
from angiomorph.preprocessing.intensity import Normalisation, normalise, resolve_mode, stored_normalisation, to_domain
from angiomorph.preprocessing.resizing import fit_frames
from angiomorph.storage import store
from angiomorph.training.augmentation import Tone, tone
from angiomorph.training.config import Sampling
from angiomorph.training.draws import spell_numbers, split_frames

OPENED = 64  # runs whose count of frames and background are remembered

logger = logging.getLogger(__name__)


@dataclass
class RunFacts:
    """What stays in memory of a run after its first reading.

    Args:
        scale: see `intensity.stored_normalisation`; None before the first reading.
        unreadable: indices of frames that HDF5 cannot read.
        field: `(H, W)` bool, packed to bits along rows, the exposed field; None where it is the whole frame.
    """

    scale: Normalisation | None = None
    unreadable: tuple[int, ...] = ()
    field: np.ndarray | None = None


def _pack_field(frames: np.ndarray) -> np.ndarray | None:
    """Return `RunFacts.field` of a run's stored frames, `(T, H, W)`."""
    field = find_field(frames, np.ones(frames.shape[1:], bool))
    return None if field.all() else np.packbits(field, axis=1)


class FrameReader:
    """Read one stored run; decoded frames are kept until the run is released.

    A frame that HDF5 cannot read is reported once, and another replaces it (see `replace_unreadable`). The first reading reads
    all frames: it finds the scale, and what replaces what then does not depend on where a training began.

    Args:
        run: the stored run.
        sampling: how it is seen.
        facts: its remembered facts; the first reading fills them.
    """

    def __init__(self, run: store.RunReader, sampling: Sampling, facts: RunFacts) -> None:
        self.run = run
        self.name = run.name
        self.frames = run.shape[0]
        self.background = run.background
        self.mode = resolve_mode(run.relation, sampling.intensity)
        self.facts = facts
        self._size = sampling.frame_size
        self._kinds = split_frames(self.frames, self.background, sampling)
        self._most = 2 * sampling.frames_per_series  # frames that a visit may need
        self._decoded: dict[int, np.ndarray] = {}
        self._nearest: np.ndarray | None = None  # see `field.nearest_inside`
        self._lock = threading.Lock()

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the frames at `indices`, or those that replace them, as the network sees them.

        Returns:
            `(len(indices), size, size)` float32 in [0, 1].

        Raises:
            OSError or RuntimeError: HDF5 can read no background or no contrast frame.
        """
        with self._lock:
            self._decode(indices)
            return np.stack([self._decoded[index] for index in self.replace_unreadable(indices).tolist()])

    def read_clean(self, indices: np.ndarray) -> np.ndarray:
        """Return what `read` returns, without noise and contrast agent, after it.

        Raises:
            OSError or RuntimeError: HDF5 cannot read a frame.
        """
        frames, table = self.run.open_frames("clean"), self._tabulate(self._scale())
        stored = [frames[index] for index in self.replace_unreadable(indices).tolist()]
        return fit_frames(self._fill(np.take(table, np.stack(stored), mode="clip")), self._size)

    def tone(self) -> Tone:
        """Return what the values that `read` returns mean, after the first reading.

        Raises:
            ValueError: nothing has been read.
        """
        return tone(self.run.relation, self.mode, self._scale())

    def prepare(self, indices: np.ndarray) -> None:
        """Decode the frames at `indices`, so that `read` finds them.

        Raises:
            OSError or RuntimeError: see `read`.
        """
        with self._lock:
            self._decode(indices)

    def release(self) -> None:
        """Discard the decoded frames."""
        with self._lock:
            self._decoded.clear()
            self._nearest = None

    def replace_unreadable(self, indices: np.ndarray) -> np.ndarray:
        """Replace each unreadable index by the next readable frame of the same kind, wrapping around."""
        if not self.facts.unreadable:
            return indices
        replacements = np.arange(self.frames)
        for kind in self._kinds:
            left = np.setdiff1d(kind, self.facts.unreadable)
            replacements[kind] = left[np.searchsorted(left, kind) % len(left)] if len(left) else kind
        return replacements[indices]

    def _scale(self) -> Normalisation:
        if self.facts.scale is None:
            raise ValueError(f"run {self.name}: expected frames to have been read, found none")
        return self.facts.scale

    def _tabulate(self, scale: Normalisation) -> np.ndarray:
        """Return the normalised value of each stored one: to look it up is faster than a logarithm for each pixel."""
        return normalise(to_domain(np.arange(np.iinfo(self.run.dtype).max + 1), self.mode), scale)

    def _decode(self, indices: np.ndarray) -> None:
        if self.facts.scale is not None and not self._find_missing(indices):
            return
        frames = self.run.open_frames()
        scale, stored = self.facts.scale, dict[int, np.ndarray]()
        if scale is None:
            stored = self._read_all(frames)
            scale = self.facts.scale = stored_normalisation(list(stored.values()), self.mode)
            self.facts.field = _pack_field(np.stack(list(stored.values())))
        table = self._tabulate(scale)
        while missing := self._find_missing(indices):
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
        if self.facts.field is None:
            return frames
        if self._nearest is None:
            self._nearest = nearest_inside(np.unpackbits(self.facts.field, axis=1, count=frames.shape[2]).astype(bool))
        rows, columns = self._nearest
        return frames[:, rows, columns]

    def _find_missing(self, indices: np.ndarray) -> list[int]:
        return sorted({*self.replace_unreadable(indices).tolist()} - self._decoded.keys())

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
        self.facts.unreadable = tuple(sorted({*self.facts.unreadable, *indices}))
        if any(np.isin(kind, self.facts.unreadable).all() for kind in self._kinds):
            raise error
        logger.warning(
            "run %s: HDF5 cannot read frames %s, others stand in for them: %s", self.name, spell_numbers(indices), error
        )


class FrameReaders:
    """The readers of all runs of open stores, made when they are asked for; `RunFacts` alone stay in memory for all.

    Args:
        files: the open stores.
        sampling: how the runs are seen.
    """

    def __init__(self, files: Sequence[h5py.File], sampling: Sampling) -> None:
        self._files = files
        self._keys = [store.keys(file) for file in files]
        self._ends = list(itertools.accumulate(len(keys) for keys in self._keys))
        self._sampling = sampling
        self._facts: dict[int, RunFacts] = {}
        self._opened: OrderedDict[int, FrameReader] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> FrameReader:
        with self._lock:
            if number not in self._opened:
                stored = store.RunReader(*self._place(number))
                self._opened[number] = FrameReader(stored, self._sampling, self._facts.setdefault(number, RunFacts()))
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
        for run in self._list_readers():
            if not run.has_clean:
                raise InputError(
                    f"run {run.name}: expected clean frames, as simulated runs have, found none; make the store "
                    "with `angiomorph simulate --store`, or train with another `image_loss`"
                )

    def check_size(self, size: int) -> None:
        """Refuse a run whose frames are smaller than `size` pixels.

        Raises:
            InputError: there is one.
        """
        for run in self._list_readers():
            rows, columns = run.shape[1:]
            if max(rows, columns) < size:
                raise InputError(
                    f"run {run.name}: expected frames of at least {size} pixels a side (`finer`: twice `size`), "
                    f"found {rows} x {columns}; give a smaller `size`, or omit `finer`"
                )

    def unreadable(self, number: int) -> list[int]:
        """Return the numbers (from 1) of the frames of a run that are known to be unreadable."""
        return [index + 1 for index in self._facts.get(number, RunFacts()).unreadable]

    def _list_readers(self) -> Iterator[store.RunReader]:
        """Yield the runs that HDF5 can open; the others are reported when it is their turn."""
        for number in range(len(self)):
            with suppress(KeyError, *store.UNREADABLE):
                yield store.RunReader(*self._place(number))

    def _place(self, number: int) -> tuple[h5py.File, str]:
        file = bisect.bisect_right(self._ends, number)
        return self._files[file], self._keys[file][number - self._ends[file]]
