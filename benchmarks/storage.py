"""How a training store's checksums and compression change its size and the speed of reading frames.

    python -m benchmarks.storage [RUN.dcm]...

stores the runs (default: the example run), their frames enlarged or cut to 512 x 512 by repeating and cropping, once as they
are, once with HDF5's Fletcher-32 checksum of each frame, as `angiomorph.storage.store` does, once with zlib's CRC-32 of each
in a data set of their own, and compressed with lzf and with gzip at level 1, both after shuffling bytes. It prints the size
of each and how many frames a second are read, and where there are checksums checked, in random order, one at a time, from a
warm cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from angiomorph.dicom import read_series

EXAMPLE = Path(__file__).parents[1] / "data" / "example_run.dcm"
SIZE = 512
FRAMES = 64
ROUNDS = 5
CRC32 = "CRC-32 beside the frames"
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "Fletcher-32": {"fletcher32": True},
    CRC32: {},
    "lzf, shuffled": {"compression": "lzf", "shuffle": True},
    "gzip 1, shuffled": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
}


def main(argv: Sequence[str] | None = None) -> None:
    """Print one row for each kind of store."""
    parser = argparse.ArgumentParser(description="Size and reading speed of a store by checksum and compression.")
    parser.add_argument("runs", nargs="*", type=Path, default=[EXAMPLE], metavar="RUN.dcm", help="(default: the example run)")
    parser.add_argument("--reads", type=int, default=200, metavar="N", help="frames read a round (default: 200)")
    arguments = parser.parse_args(argv)
    frames = np.concatenate([fitted(read_series(path).frames) for path in arguments.runs])
    print(f"{len(frames)} frames of {SIZE} x {SIZE}, {frames.dtype}, largest value {frames.max()}\n")
    print("| store | size, share | write, frames/s | read, frames/s |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder) / f"{index}.h5" for index, kind in enumerate(KINDS)}
        written = {kind: write(path, frames, kind) for kind, path in paths.items()}
        # Round about, so that what else the machine does falls on all kinds alike; the fastest round is least disturbed.
        rounds = [{kind: read(path, arguments.reads) for kind, path in paths.items()} for _ in range(ROUNDS)]
        for kind, path in paths.items():
            share = path.stat().st_size / frames.nbytes
            print(f"| {kind} | {share:.2f} | {written[kind]:.0f} | {max(speeds[kind] for speeds in rounds):.0f} |")


def fitted(frames: np.ndarray) -> np.ndarray:
    """Return up to 64 frames, repeated to the right and below and cropped to 512 x 512: noise and range stay as they are."""
    repeats = [-(-SIZE // side) for side in frames.shape[1:]]
    return np.tile(frames[:FRAMES], (1, *repeats))[:, :SIZE, :SIZE]


def write(path: Path, frames: np.ndarray, kind: str) -> float:
    """Write frames as `angiomorph.storage.store` chunks them and return how many a second."""
    start = time.perf_counter()
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", data=frames, chunks=(1, *frames.shape[1:]), **KINDS[kind])
        if kind == CRC32:
            file["crc32"] = np.array([zlib.crc32(frame) for frame in frames], np.uint32)
    return len(frames) / (time.perf_counter() - start)


def read(path: Path, count: int) -> float:
    """Read `count` frames in random order, one at a time, check their CRC-32 if there is one, and return how many a second."""
    with h5py.File(path, "r") as file:
        frames, crc32 = file["frames"], file["crc32"][()] if "crc32" in file else None
        order = np.random.default_rng(0).integers(0, len(frames), count)
        start = time.perf_counter()
        for index in order:
            frame = frames[index]
            if crc32 is not None and zlib.crc32(frame) != crc32[index]:
                raise OSError(f"{path}: frame {index + 1} is not what was written")
        return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
