"""A run as the rest of the package sees it, and the files it is made of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset

from angiomorph.dicom.archives import Unpacked
from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step

RELATIONS = {  # PixelIntensityRelationship
    "LIN": "values proportional to X-ray intensity",
    "LOG": "values proportional to its logarithm",
    "DISP": "values made for display",
}


@dataclass(frozen=True)
class MaskImage:
    """Mask frames that are in another image than the run.

    Args:
        path: the image.
        numbers: numbers of its mask frames, from 1; none where all of them are.
    """

    path: Path
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one run, found but not yet decoded.

    Args:
        name: stem of outputs' names; distinct within `folder`.
        paths: one multi-frame file, the parts of a concatenation, or the single-frame files of the run, in the order in which
            they were taken.
        folder: the run's folder, relative to the folder that was searched; "." for a file given by itself.
        uid: SeriesInstanceUID; empty if it cannot be read.
        warnings: warnings about the choice and order of the files.
        refusal: why they are no run; "" if nothing is known against it before they are read.
        instead: copies of the run in other files, in case that these cannot be read.
        masks: other images that the run names for its mask frames, as far as they were found.
        unpacked: the archives that the files come from; these files last as long as this object.
    """

    name: str
    paths: tuple[Path, ...]
    folder: Path = Path()
    uid: str = ""
    warnings: tuple[str, ...] = ()
    refusal: str = ""
    instead: tuple[SeriesFiles, ...] = ()
    masks: tuple[MaskImage, ...] = ()
    unpacked: tuple[Unpacked, ...] = field(default=(), repr=False, compare=False)

    def sources(self) -> list[str]:
        """Return the paths as their user knows them, in an archive for example."""
        return [self.told(str(path)) for path in self.paths]

    def original(self, path: Path) -> Path:
        """Return the archive that one of the paths comes from, or the path itself."""
        return next((unpacked.source for unpacked in self.unpacked if unpacked.holds(path)), path)

    def told(self, message: str) -> str:
        """Return a message in which archives stand for the folders that they are unpacked to."""
        for unpacked in self.unpacked:
            message = unpacked.told(message)
        return message

    def read(self, reader: Callable[[SeriesFiles], Series]) -> Series:
        """Return the run as a reader reads it, with its errors and warnings about the files as their user knows them.

        Raises:
            InputError: the files are no run.
            Exception: the reader's; of these files, if no copy of the run can be read either.
        """
        try:
            return self._read(reader)
        except Exception as error:
            for copy in self.instead:
                with suppress(Exception):
                    series = replace(copy, name=self.name)._read(reader)
                    return replace(series, warnings=(*series.warnings, self._say_unusable(copy)))
            raise error

    def _read(self, reader: Callable[[SeriesFiles], Series]) -> Series:
        try:
            if self.refusal:
                raise InputError(self.refusal)
            series = reader(self)
        except InputError as error:
            raise InputError(self.told(str(error))) from error
        return replace(series, warnings=tuple(map(self.told, (*self.warnings, *series.warnings))))

    def _say_unusable(self, copy: SeriesFiles) -> str:
        return f"{self.sources()[0]}: cannot be read as a run; {copy.sources()[0]}, the same image, is taken instead"


@dataclass(frozen=True, eq=False)
class Series:
    """One angiographic run.

        >>> run = am.read_series("data/example_run.dcm")
        >>> run.frames.shape, run.frames.dtype.name, run.relation, run.background_numbers
        ((8, 512, 512), 'uint16', 'LIN', (1, 2, 3))

    Args:
        frames: `(T, H, W)` uint8 or uint16, stored values below 2**bits_stored, turned so that iodine is dark.
            Of `open_series` they are `LazyFrames` instead.
        relation: PixelIntensityRelationship: "LIN", "LOG" or "DISP".
        bits_stored: BitsStored.
        frame_times: `(T,)` float64, ms since the first frame; all 0 if unknown.
        background_numbers: frame numbers (from 1) that the source subtracts as average (AVG_SUB); empty if it names none; of
            several masks that of most frames.
        name: the file's or folder's name without ending.
        shutter: `(H, W)` bool, True where the picture is exposed, False behind the display shutter.
        headers: data sets without pixel data, one for a multi-frame file or a concatenation, T for single-frame files.
        warnings: warnings about the run, without patient identity.
        files: data sets of the files, without pixel data; none where they are `headers`.
        places: index of each frame's file and its number there, from 1; none where it is in the order of these.
        steps: which frames have which mask, every frame once, where the source names several; none where it names one.
        anonymous: whether identity was taken out of the headers.
    """

    frames: np.ndarray
    relation: str
    bits_stored: int
    frame_times: np.ndarray
    background_numbers: tuple[int, ...]
    name: str
    shutter: np.ndarray
    headers: tuple[Dataset, ...]
    warnings: tuple[str, ...] = ()
    files: tuple[Dataset, ...] = ()
    places: tuple[tuple[int, int], ...] = ()
    steps: tuple[Step, ...] = ()
    anonymous: bool = False

    @property
    def file_headers(self) -> tuple[Dataset, ...]:
        """Return the data sets of the files, without pixel data."""
        return self.files or self.headers

    def place(self, frame: int) -> tuple[int, int]:
        """Return the index in `file_headers` of the file that a frame stands in, and its number there; both numbers from 1."""
        if self.places:
            return self.places[frame - 1]
        return (0, frame) if len(self.file_headers) == 1 else (frame - 1, 1)

    @property
    def frame_time(self) -> float:
        """Return the median time between frames, ms; 0 if unknown."""
        return float(np.median(np.diff(self.frame_times)))
