"""Frames to be written, gathered one by one on the disk, since UIDs and limits stand before them and depend on all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedIOBase, BufferedReader

import numpy as np
from pydicom import Dataset
from pydicom.pixels import get_encoder
from pydicom.pixels.utils import as_pixel_options

from angiomorph.dicom.compress import Coder
from angiomorph.storage.spool import Spool, open_unnamed, write_all

ITEM = b"\xfe\xff\x00\xe0"
MOST_OFFSET = (1 << 32) - 1
CHUNK = 1 << 20


class GatheredFrames:
    """Unsigned frames in a temporary file, in order, and what is said of all of them.

    Args:
        frames: `(H, W)` each, of which one at a time is asked for.
        shape: `(T, H, W)`.
        dtype: "u1" or "<u2".
        field: `(H, W)` bool, where values are counted.
        folder: on whose disk they lie.
        every: step of the frames whose values are counted; 1 for all.

    Raises:
        InputError: the disk is full, or fails.
    """

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        shape: Sequence[int],
        dtype: str,
        *,
        field: np.ndarray,
        folder: str | os.PathLike[str],
        every: int = 1,
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.smallest, self.largest = np.iinfo(self.dtype).max, 0
        self.counts = np.zeros(np.iinfo(self.dtype).max + 1, np.int64)
        self._folder = folder
        self._spool = Spool(folder, self.shape[1:], self.dtype)
        for index, frame in enumerate(frames):
            self._spool[index] = frame
            self.smallest, self.largest = min(self.smallest, int(frame.min())), max(self.largest, int(frame.max()))
            if index % every == 0:
                self.counts += np.bincount(frame[field], minlength=self.counts.size)

    def __len__(self) -> int:
        """Return how many bytes all frames have, for hashes of them."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes of each frame."""
        return (self._spool[index].tobytes() for index in range(self.shape[0]))

    def open(self) -> BufferedIOBase:
        """Return the bytes of all frames, padded to an even number, as a file."""
        if len(self) % 2:
            self._spool.file.seek(0, os.SEEK_END)
            write_all(self._spool.file, b"\0", self._folder)
        self._spool.file.seek(0)
        return BufferedReader(self._spool.file, CHUNK)

    def compress(self, dataset: Dataset, coder: Coder, folder: str | os.PathLike[str]) -> BufferedIOBase:
        """Return the frames without loss in fragments, behind the table of their offsets, as a file.

        Args:
            dataset: data set that they belong to; beyond 4 GiB of them it gets the extended offset table.
            coder: encoder of the compression.
            folder: on whose disk the file lies.

        Source: DICOM PS3.5 A.4; PS3.3 C.7.6.3.1.8 (extended offset table).
        """
        extended = len(self) > MOST_OFFSET
        table = bytearray(0 if extended else 4 * self.shape[0])
        file = open_unnamed(folder)
        write_all(file, ITEM + len(table).to_bytes(4, "little") + table, folder)
        first = file.tell()
        offsets, lengths = [], []
        encoder, options = get_encoder(coder.syntax), as_pixel_options(dataset) | {"number_of_frames": 1}
        for frame in self:
            data = encoder.encode(frame, encoding_plugin=coder.plugin, **options)
            offsets.append(file.tell() - first)
            lengths.append(len(data))
            data += b"\0" * (len(data) % 2)
            write_all(file, ITEM + len(data).to_bytes(4, "little") + data, folder)
        if extended:
            dataset.ExtendedOffsetTable = np.array(offsets, "<u8").tobytes()
            dataset.ExtendedOffsetTableLengths = np.array(lengths, "<u8").tobytes()
        else:
            file.seek(8)
            write_all(file, np.array(offsets, "<u4").tobytes(), folder)
        file.seek(0)
        return BufferedReader(file, CHUNK)


def percentile(counts: np.ndarray, share: float, values: np.ndarray | None = None) -> float:
    """Return `np.percentile(np.repeat(values, counts), share)`.

    Args:
        counts: `(N,)` int, how often each value is there.
        share: percent.
        values: `(N,)`, rising; None for 0, 1, 2 ...
    """
    total = int(counts.sum())
    place = share / 100 * (total - 1)
    ranks = np.minimum([int(place), int(place) + 1], total - 1)
    found = np.searchsorted(np.cumsum(counts), ranks, side="right")
    low, high = (float(number) for number in (found if values is None else values[found]))
    return low + (high - low) * (place - int(place))
