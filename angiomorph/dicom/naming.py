"""What a run's results are called where a pattern says so: `--name`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from pydicom import Dataset

from angiomorph.dicom.attributes import functional, value
from angiomorph.dicom.derive import FROM_FUNCTIONAL_GROUPS
from angiomorph.dicom.header import sop_instance
from angiomorph.dicom.series import Series
from angiomorph.errors import InputError

STEM, HASH = "stem", "hash"
# Of which PS3.15 knows no identity.
KEYWORDS = (
    *("SeriesNumber", "AcquisitionNumber", "InstanceNumber", "Modality", "BodyPartExamined", "Manufacturer"),
    *("ManufacturerModelName", "PositionerPrimaryAngle", "PositionerSecondaryAngle", "PixelIntensityRelationship", "KVP"),
)
ANONYMOUS = "{Modality}_{SeriesNumber}"
PLACE = re.compile(r"\{(.*?)\}")
NO_PART_OF_NAMES = re.compile(r"[^A-Za-z0-9._+-]+")
HEX_DIGITS = 8
ABSENT = "none"


def check_pattern(pattern: str | None, *, anonymous: bool) -> None:
    """Raise where a pattern names what may hold identity, or is no pattern.

    Args:
        pattern: pattern of `--name`; None without.
        anonymous: whether names may tell nothing of the source's.

    Raises:
        InputError: a keyword that is not offered, the source's own name where it may not be used, a stray brace or slash.
    """
    if pattern is None:
        return
    offered = [*KEYWORDS, HASH, *([] if anonymous else [STEM])]
    for place in PLACE.findall(pattern):
        if place == STEM and anonymous:
            raise InputError(f"`name` {pattern}: {{stem}} is the file's name, which may be the patient's; use {{hash}}")
        if place not in offered:
            raise InputError(
                f"`name` {pattern}: expected some of {', '.join(offered)} in braces, found {place!r}, which may hold identity "
                "or is no such keyword; use {hash} to tell runs apart"
            )
    rest = PLACE.sub("", pattern)
    if not pattern.strip() or NO_PART_OF_NAMES.search(rest):
        raise InputError(
            f"`name` {pattern}: expected letters, digits, ., _, +, - and keywords in braces; name the folder with `out`"
        )


def name_run(pattern: str, series: Series, stem: str) -> str:
    """Return what a run's results are called: the pattern with its values, and `{hash}` where it has none.

    Characters that are no part of names become one underscore each; what is absent is "none".

    Args:
        pattern: checked by `check_pattern`.
        series: the run.
        stem: the source's own name.

    Returns:
        a file's name, without ending, of ASCII but for the stem.
    """
    pattern = pattern if f"{{{HASH}}}" in pattern else f"{pattern}-{{{HASH}}}"
    header = series.headers[0]
    values: Mapping[str, str] = {
        **{keyword: _plain(_find(header, keyword)) for keyword in KEYWORDS},
        "PixelIntensityRelationship": series.relation,
        STEM: stem,
        HASH: hash_run(series),
    }
    return PLACE.sub(lambda place: values[place[1]], pattern).lstrip(".-")


def hash_run(series: Series) -> str:
    """Return 8 hexadecimal digits that tell a run from others: of its UIDs, or of its pixels where it has none."""
    uids = [sop_instance(header) for header in series.file_headers]
    digest = hashlib.sha256()
    for uid in uids:
        digest.update(f"{uid}\n".encode())
    if None in uids:
        for frame in series.frames:
            digest.update(frame.tobytes())
    return digest.hexdigest()[:HEX_DIGITS]


def _find(header: Dataset, keyword: str) -> object:
    """Return a value, where an enhanced object has it in a functional group too."""
    macros = [macro for macro, keywords in FROM_FUNCTIONAL_GROUPS.items() if keyword in keywords]
    framed = [value(functional(header, macro, keyword), keyword) for macro in macros]
    return next((found for found in (value(header, keyword), *framed) if found is not None), None)


def _plain(found: object) -> str:
    if found is None:
        return ABSENT
    return NO_PART_OF_NAMES.sub("_", str(found).strip()).strip("_") or ABSENT
