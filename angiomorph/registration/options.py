"""What a registration can be asked for, and what is written of it; without TensorFlow, so that errors come at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from angiomorph.dicom.compress import check_encoding
from angiomorph.dicom.encoding import CLASSES, COMPRESSIONS, DEPTHS, Encoding
from angiomorph.dicom.naming import check_pattern
from angiomorph.errors import InputError
from angiomorph.options import check_options, document_options, option, refuse
from angiomorph.preprocessing.frame_numbers import named_frames
from angiomorph.preprocessing.intensity import INTENSITIES
from angiomorph.registration import kept_frames
from angiomorph.videos import check_video

ENDINGS = {
    "dicom": "_bsa.dcm",
    "h5": "_bsa.h5",
    "png": "_bsa.png",
    "sheet": "_bsa_sheet.png",
    "mp4": "_bsa.mp4",
    "gif": "_bsa.gif",
    "html": "_report.html",
    "dsa": "_dsa.dcm",
    "dsa-state": "_dsa_state.dcm",
    "shift-state": "_shift_state.dcm",
    "key": "_key.dcm",
    "nifti": "_bsa.nii.gz",
}
BESIDE = {"nifti": {"nifti-warp": "_warp.nii.gz"}}  # the second file of a kind that has two
TENSORFLOW, OPENVINO = ENGINES = ("tensorflow", "openvino")
OWN = "the model's"
MONTAGE = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # λ at which a report shows the key frame


@document_options
@dataclass(frozen=True)
class RegistrationOptions:
    """How runs are registered; the same options, with the same defaults, on the command line and in the library.

    >>> am.RegistrationOptions(hyper=0.2).rounds
    0
    >>> am.RegistrationOptions(levels=0)
    Traceback (most recent call last):
    angiomorph.errors.InputError: `levels` 0: expected a whole number from 1, got 0
    """

    hyper: float | None = option(
        None, "weight of the warp's smoothness, 0 to 1", flag="--lambda", metavar="L", low=0, high=1, shown=OWN
    )
    background: str = option("auto", "auto, tag, or frame numbers N or N-M, whose mean is warped", metavar="B")
    intensity: str | None = option(None, "what the network sees of a run", choices=INTENSITIES, shown=OWN)
    levels: int | None = option(
        None,
        "sizes at which the network sees the frames, each twice the one before, the first its own",
        metavar="N",
        low=1,
        shown=OWN,
    )
    rounds: int = option(
        0,
        "further passes of the network through its finer sizes; each takes about as long as the network",
        metavar="N",
        low=0,
    )
    refine: int | None = option(
        None,
        "steps that improve the warp after the network, by the loss of its training; not for one of truth",
        metavar="STEPS",
        low=0,
        shown="40; 0 for truth",
    )
    guard: bool = option(
        True,
        "scale each frame's warp by the evidence that something moves",
        off="warp every frame, also where nothing shows that it moves",
    )
    batch_size: int = option(4, "frames at a time", metavar="N", low=1)
    require_clean: bool = option(False, "refuse runs whose background shows iodine or may show it, instead of a warning")

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)
        named_frames(self.background)


USUAL = RegistrationOptions()


@dataclass(frozen=True, kw_only=True)
class CompleteOptions(RegistrationOptions):
    """Registration options in which a model has filled in what nobody named."""

    hyper: float
    levels: int
    refine: int


@document_options
@dataclass(frozen=True)
class EngineOptions:
    """What computes the network, and how exactly.

    >>> am.EngineOptions().engine
    'tensorflow'
    """

    engine: str = option(
        TENSORFLOW,
        "what computes the network: tensorflow, or openvino, which starts at once and takes less time on a CPU",
        choices=ENGINES,
    )
    mixed_precision: bool = option(
        False, "let the network compute in half precision, where GPU or CPU gain by it; warps change by some 0.01 pixels"
    )

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)


BY_TENSORFLOW = EngineOptions()


@document_options
@dataclass(frozen=True)
class OutputOptions:
    """What is written of a registered run, and how.

    >>> am.OutputOptions(kinds=("h5",)).pixel_depth
    12
    """

    kinds: tuple[str, ...] = option(
        ("dicom", "h5"),
        f"what to write, of {','.join(ENDINGS)}",
        flag="--save",
        metavar="KINDS",
        choices=tuple(ENDINGS),
        separator=",",
    )
    pixel_depth: int = option(Encoding.pixel_depth, "bits of the subtracted run", choices=DEPTHS)
    compress: str = option(Encoding.compress, "lossless compression of the subtracted run", choices=COMPRESSIONS)
    save_class: str = option(Encoding.save_class, "DICOM class of the subtracted run, XA or Enhanced XA", choices=CLASSES)
    save_moved: bool = option(False, "write into the h5 file, beside BSA and warp, the background as moved for each frame")
    keep_frames: str = option(
        kept_frames.ALL, "frames of the DICOM subtracted run: all, contrast, or frame numbers N or N-M", metavar="F"
    )
    name: str | None = option(
        None, "names of results by a pattern, as in {SeriesNumber}_{stem}-{hash}", metavar="P", shown="the sources' own"
    )
    anonymize: bool = option(
        False, "take the patient's identity out of all that is written, names too (DICOM PS3.15, basic profile)"
    )
    frame: int | None = option(
        None,
        "frame of the picture and the key frame, counted from 1",
        metavar="N",
        low=1,
        shown="the most iodine of those warped",
    )

    def __post_init__(self) -> None:
        """Check every option, that pixels can be compressed as asked, and names made as asked.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)
        if not self.kinds:
            raise refuse("kinds", f"some of {','.join(ENDINGS)}", "none")
        if "mp4" in self.kinds:
            check_video()
        check_encoding(self.encoding)
        kept_frames.named_range(self.keep_frames)
        check_pattern(self.name, anonymous=self.anonymize)

    @property
    def encoding(self) -> Encoding:
        """How written DICOM runs are stored."""
        return Encoding(self.pixel_depth, self.compress, self.save_class)


FILES = OutputOptions()


def list_endings(kinds: Iterable[str]) -> dict[str, str]:
    """Return the ending of every file that kinds of `ENDINGS` stand for, by what the file is.

    >>> list_endings(["png", "nifti"])
    {'png': '_bsa.png', 'nifti': '_bsa.nii.gz', 'nifti-warp': '_warp.nii.gz'}
    """
    return {file: ending for kind in kinds for file, ending in ({kind: ENDINGS[kind]} | BESIDE.get(kind, {})).items()}


@document_options
@dataclass(frozen=True)
class SweepOptions:
    """At which λ a run is tried, and on how many of its frames.

    >>> am.SweepOptions(hypers=(0, 1)).frames
    5
    """

    hypers: tuple[float, ...] = option(
        tuple(number / 10 for number in range(11)),
        "weights of the warp's smoothness to try",
        flag="--lambda",
        metavar="L",
        low=0,
        high=1,
    )
    frames: int = option(5, "frames to try them on, the fullest among them", metavar="N", low=1)

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            InputError: names the argument, what was expected, and what came.
        """
        check_options(self)


def check_folder(out: str | os.PathLike[str]) -> Path:
    """Return a folder to write into, which need not be there yet.

    Args:
        out: the folder.

    Raises:
        InputError: a file is in its place.
    """
    folder = Path(out)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"`out` {out}: expected a folder or a name for a new one, found the file {there}; name another")
    return folder
