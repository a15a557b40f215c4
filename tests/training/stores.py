"""Small training stores, spoilt ones too, and the batches that are drawn from them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from angiomorph.training.config import Sampling
from angiomorph.training.source import Source

SMALL = Sampling(frames_per_series=4, batch_size=2, size=16)
FINER = Sampling(frames_per_series=4, batch_size=2, size=8, finer=True)


def take(paths, sampling, count, first_step=0):
    with Source(paths, sampling) as source:
        return [source.batch(step) for step in range(first_step, first_step + count)]


def spoil(path: Path, key: str, frame: int) -> None:
    """Overwrite a frame's chunk in the file so that its checksum fails."""
    with h5py.File(path) as file:
        chunk = file[key]["frames"].id.get_chunk_info_by_coord((frame, 0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 8] = b"spoilt!!"
    path.write_bytes(content)


def same(one, two):
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.moving, second.moving)
        np.testing.assert_array_equal(first.fixed, second.fixed)
        assert first.hyper == second.hyper
