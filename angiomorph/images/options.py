"""What images do not say of themselves, and what can be written of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from angiomorph.errors import InputError

RELATIONS = {
    "LIN": "values proportional to X-ray intensity",
    "LOG": "values proportional to its logarithm",
    "DISP": "values made for display",
}
OF_DICOM = ("dicom", "dsa", "dsa-state", "shift-state", "key")  # kinds of files that are derived from DICOM headers


@dataclass(frozen=True)
class ImageOptions:
    """What the user says of a run that has no DICOM headers.

    Args:
        relation: "LIN", "LOG" or "DISP", what values have to do with X-ray intensity (PixelIntensityRelationship).
        frame_time: ms between frames; 0 if unknown.

    Raises:
        InputError: another relation, or a time that is negative or not finite.
    """

    relation: str
    frame_time: float = 0.0

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise InputError(f"relation: expected {', '.join(RELATIONS)}, got {self.relation!r}")
        if not 0 <= self.frame_time < math.inf:
            raise InputError(f"frame_time: expected ms between frames, from 0, got {self.frame_time}")


def choose_kinds(wanted: Sequence[str], usual: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of files to write of images: those that need no DICOM headers.

    Args:
        wanted: kinds that the user asks for.
        usual: kinds that are written where nobody asks; those that need headers are left out without a word.

    Raises:
        InputError: the user asks for a kind that needs headers.
    """
    impossible = [kind for kind in wanted if kind in OF_DICOM]
    if impossible and tuple(wanted) != tuple(usual):
        raise InputError(
            f"--save {','.join(wanted)}: expected h5, png or nifti for images, got {', '.join(impossible)}; "
            "a DICOM file is derived from the headers of a DICOM run, and images have none"
        )
    return tuple(kind for kind in wanted if kind not in OF_DICOM)
