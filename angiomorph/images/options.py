"""What images do not say of themselves, and what can be written of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass

from angiomorph.dicom.series import RELATIONS
from angiomorph.errors import InputError
from angiomorph.options import check_options, document_options, option

OF_DICOM = ("dicom", "dsa", "dsa-state", "shift-state", "key")  # kinds of files that are derived from DICOM headers


@document_options
@dataclass(frozen=True)
class ImageOptions:
    """What the user says of a run that has no DICOM headers; `relation` is DICOM's PixelIntensityRelationship."""

    relation: str = option(
        MISSING,
        f"the runs are images. {'; '.join(f'{name}: {meaning}' for name, meaning in RELATIONS.items())}",
        choices=tuple(RELATIONS),
    )
    frame_time: float = option(0.0, "time between frames, ms; 0 where it is unknown", metavar="MS", low=0)

    def __post_init__(self) -> None:
        check_options(self)


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
            f"`kinds` {','.join(wanted)}: expected none of {', '.join(OF_DICOM)} for images, got "
            f"{', '.join(impossible)}. "
            "A DICOM file is derived from the headers of a DICOM run, and images have none"
        )
    return tuple(kind for kind in wanted if kind not in OF_DICOM)
