"""HDF5 files: the training store and a registration's result; a simulated run's truth is in `angiomorph.storage.truth`.

Training store (`angiomorph prepare`, `angiomorph simulate --store`), one group a run at the root::

    /<run>                      run key: "run-000001" or the archive's anonymous key; never an identity
        frames (T, H, W)        uint8 | uint16, as stored in DICOM, iodine dark; chunk (1, H, W), not compressed, each with
                                HDF5's Fletcher-32 checksum, so that a damaged frame raises OSError when it is read
        clean (T, H, W)         of simulated runs only: the same frames without contrast agent and noise, in the same units
                                and kept in the same way: the truth that `--image-loss truth` trains on
        @relation               "LIN" | "LOG" | "DISP": PixelIntensityRelationship
        @bits_stored            BitsStored
        @background             int array, background frame numbers named by the source, from 1; may be empty
        @frame_time             ms
    /@format                    "angiomorph-store", /@version 1

The version counts what readers must know. Checksums are none of that: HDF5 checks them by itself, programs from before them
read these stores, and stores from before them are read, unchecked.

Registration (`--save h5`): `bsa` (T,H,W), `warp` (T,H,W,2) float32, `background` int frame numbers from 1, `background_image`
(N,H,W) float32, `frame_times` (T,) ms, and where asked for `moved` (T,H,W), which is the frame minus `bsa`. Attributes: lambda,
model_sha256, intensity, relation, bits_stored, units, levels, rounds, refine, version, and format_version 3. Files of version 2
lack `background_image`, `frame_times` and bits_stored, so that without `moved` they do not lead back to the frames. Files
without the last attribute are of version 1, and always hold `moved`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import h5py
import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file
from angiomorph.storage.durable import DurableFile
from angiomorph.storage.interrupts import defer_interrupts
from angiomorph.storage.links import find_arrays, open_hdf5, telling_damage

FORMAT = "angiomorph-store"
VERSION = 1
UNREADABLE = (OSError, RuntimeError)  # what h5py makes of HDF5's errors
METADATA = 2**20  # bytes that HDF5 may count as its cache of an open store's metadata; it takes several times as many


@dataclass(frozen=True)
class StoredRun:
    """One run as the training store keeps it.

    Args:
        frames: `(T, H, W)` uint8 or uint16, stored values, iodine dark.
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        bits_stored: BitsStored.
        background: frame numbers (from 1) that the source names as background; empty if it names none.
        frame_time: ms between frames; 0 if unknown.
        clean: a simulated run's frames without contrast agent and noise, as `frames`; None where nobody knows.
    """

    frames: np.ndarray
    relation: str
    bits_stored: int
    background: tuple[int, ...] = ()
    frame_time: float = 0.0
    clean: np.ndarray | None = None


def create(path: str | os.PathLike[str] | DurableFile) -> h5py.File:
    """Open a new, empty training store for writing (see the module's schema)."""
    store = h5py.File(path, "w")
    store.attrs["format"] = FORMAT
    store.attrs["version"] = VERSION
    return store


def extend(path: str | os.PathLike[str] | DurableFile) -> h5py.File:
    """Open a store that `create` made for writing more runs."""
    return h5py.File(path, "r+")


def append(store: h5py.File, key: str, run: StoredRun) -> None:
    """Add one run to an open training store.

    Args:
        store: open store from `create` or `extend`.
        key: group name; carries no identity.
        run: the run to store.

    Raises:
        InputError: frames are not `(T, H, W)` unsigned integers, or `clean` is not of their shape and type.
    """
    frames = run.frames
    if frames.ndim != 3 or frames.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"run {key}: expected (T, H, W) frames of uint8 or uint16, got shape {frames.shape} of {frames.dtype}. "
            "Convert the run to unsigned integers as DICOM stores them"
        )
    if run.clean is not None and (run.clean.shape, run.clean.dtype) != (frames.shape, frames.dtype):
        raise InputError(
            f"run {key}: expected clean frames {frames.shape} of {frames.dtype} as the run's, got {run.clean.shape} of "
            f"{run.clean.dtype}; give each frame's own"
        )
    group = store.create_group(key)
    for name, values in (("frames", frames), ("clean", run.clean)):
        if values is not None:
            group.create_dataset(name, data=values, chunks=(1, *frames.shape[1:]), fletcher32=True)
    group.attrs["relation"] = run.relation
    group.attrs["bits_stored"] = run.bits_stored
    group.attrs["background"] = np.asarray(run.background, np.int64)
    group.attrs["frame_time"] = run.frame_time


@contextmanager
def open_store(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a training store for reading.

    Raises:
        InputError: the file is absent, not HDF5, or not a training store of a version this program reads, or has links, or
            arrays in other files.
    """
    with open_hdf5(path, "a training store (HDF5)") as store:
        _bound_metadata(store)
        with telling_damage(path, "a training store (HDF5)"):
            if store.attrs.get("format") != FORMAT or store.attrs.get("version") != VERSION:
                raise InputError(
                    f"{path}: expected a training store of format {FORMAT!r} version {VERSION}, found "
                    f"{store.attrs.get('format')!r} version {store.attrs.get('version')}; make one with `angiomorph prepare`"
                )
            _check_links(store, path, "a training store", "make one with `angiomorph prepare`")
        yield store


def _check_links(file: h5py.File, path: str | os.PathLike[str], expected: str, remedy: str) -> None:
    for _ in find_arrays(file, path, expected, remedy):
        pass  # not kept open: HDF5 keeps chunks of each


def _bound_metadata(store: h5py.File) -> None:
    """Let HDF5 remember where few runs lie: by default it keeps what takes up to 300 MB, run by run as they are visited."""
    config = store.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = METADATA // 2
    config.max_size = METADATA
    store.id.set_mdc_config(config)


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is an HDF5 file."""
    return os.path.isfile(path) and bool(h5py.is_hdf5(path))


def keys(store: h5py.File) -> list[str]:
    """Return the run keys of an open store, sorted."""
    return sorted(store)


def frame_count(store: h5py.File, key: str) -> int:
    """Return the number of frames of one run of an open store, some times faster than by h5py's groups."""
    return int(h5py.h5d.open(store.id, f"{key}/frames".encode()).shape[0])


def name_run(store: h5py.File, key: str) -> str:
    """Return the name of one run of an open store, for people: "run-000001 of store.h5"."""
    return f"{key} of {Path(store.filename).name}"


class RunReader:
    """One run of an open store, of which no frame is decoded before it is asked for.

    Args:
        store: the open store.
        key: the run's key.

    Raises:
        KeyError, OSError or RuntimeError: HDF5 cannot read what the store says of the run.
    """

    def __init__(self, store: h5py.File, key: str) -> None:
        group = store[key]
        self.name = name_run(store, key)
        self.shape: tuple[int, int, int] = group["frames"].shape
        self.dtype: np.dtype[Any] = group["frames"].dtype
        self.has_clean = "clean" in group
        self.relation = str(group.attrs["relation"])
        self.bits_stored = int(group.attrs["bits_stored"])
        self.background = tuple(int(number) for number in group.attrs["background"])
        self.frame_time = float(group.attrs["frame_time"])
        self._store, self._key = store, key

    def open_frames(self, name: Literal["frames", "clean"] = "frames") -> h5py.Dataset:
        """Return an array `(T, H, W)` that decodes a frame when it is indexed.

        Drop it after use: as long as it is open, HDF5 keeps up to 1 MB for it.
        """
        return self._store[self._key][name]

    def read(self) -> StoredRun:
        """Return the whole run, all its frames decoded.

        Raises:
            OSError or RuntimeError: a frame's bytes are not what was written.
        """
        return StoredRun(
            frames=self.open_frames()[()],
            relation=self.relation,
            bits_stored=self.bits_stored,
            background=self.background,
            frame_time=self.frame_time,
            clean=self.open_frames("clean")[()] if self.has_clean else None,
        )


def read(store: h5py.File, key: str) -> StoredRun:
    """Return one run of an open store, see `RunReader.read`."""
    return RunReader(store, key).read()


class Frames(Protocol):
    """An array, or what is read like one along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the length of each axis."""

    @property
    def dtype(self) -> Any:
        """Return the type of the values."""

    def __len__(self) -> int:
        """Return the length of the first axis."""

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return a frame."""


class _LateFailure(io.FileIO):
    """A new file that keeps its first failure and drops what is written after it.

    Of a full disk HDF5 tells from its destructors, out of reach of any handler, so that it must not learn of one.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, unless something failed."""
        whole = left = memoryview(data).cast("B")
        try:
            while left and self.failure is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.failure = error
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, unless something failed."""
        try:
            if self.failure is None:
                super().truncate(size)
        except OSError as error:
            self.failure = error
        return size or 0

    def check(self) -> None:
        """Raise the failure that was kept, if there was one."""
        if self.failure is not None:
            raise self.failure


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Frames],
    attributes: Mapping[str, Any],
    compression: Literal["gzip", "lzf"] = "gzip",
) -> None:
    """Write a registration or a truth file (see the module's schema), whole or not at all.

    Args:
        path: the file's final name.
        arrays: dataset name to array; arrays of three or more axes are chunked by frame, compressed, and read one frame at a
            time.
        attributes: attributes of the file's root.
        compression: lzf is the faster, and gzip makes the smaller files.

    Raises:
        OSError: the disk is full, or fails.
    """
    by_frame = {"compression": compression, "compression_opts": 1 if compression == "gzip" else None, "shuffle": True}
    with replace_file(path) as partial, defer_interrupts() as interrupt, _LateFailure(partial, "w+") as image:
        with h5py.File(image, "w") as file:
            for name, array in arrays.items():
                if len(array.shape) < 3:
                    file.create_dataset(name, data=array)
                    continue
                dataset = file.create_dataset(name, array.shape, array.dtype, chunks=(1, *array.shape[1:]), **by_frame)
                for index in range(len(array)):
                    dataset[index] = array[index]
                    image.check()
                    interrupt()
            file.attrs.update(attributes)
        image.check()


def read_arrays(
    path: str | os.PathLike[str], names: Collection[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and attributes of a registration or truth file.

    Args:
        path: the file.
        names: names of arrays to read where they are there; None for all.

    Raises:
        InputError: the file is absent, not HDF5, holds groups, as a store or a model does, or has links, or arrays in other
            files.
    """
    with open_arrays(path) as (arrays, attributes):
        return {name: arrays[name][()] for name in arrays if names is None or name in names}, attributes


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[tuple[dict[str, h5py.Dataset], dict[str, Any]]]:
    """Yield the arrays of a registration or truth file, read when they are asked for, and its attributes.

    Args:
        path: the file.

    Raises:
        InputError: as `read_arrays` has it, or a damaged array, where it is read.
    """
    expected = "an HDF5 file written by angiomorph"
    try:
        with open_hdf5(path, expected) as file:
            with telling_damage(path, expected):
                _check_links(file, path, "a registration or a truth file", "write it again with angiomorph")
                groups = [name for name in file if not isinstance(file[name], h5py.Dataset)]
                if groups:
                    raise InputError(f"{path}: expected a registration or a truth file, found the group {groups[0]!r} in it")
                arrays, attributes = {name: file[name] for name in file}, dict(file.attrs)
            yield arrays, attributes
    except OSError as error:
        raise InputError(f"{path}: expected {expected}, but it cannot be read: {error}") from error
