"""Attributes of data sets: the one place through which each is read, whatever stands in it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag

from angiomorph.errors import InputError

SHOWN = 32  # characters of a value in a message


class Kind(NamedTuple):
    """What an attribute should hold: so many values (None for any), whole ones, above 0."""

    values: int | None = 1
    whole: bool = False
    positive: bool = False

    def __str__(self) -> str:
        numbers = "numbers" if self.values != 1 else "number"
        count = {None: "", 1: "one "}.get(self.values, f"{self.values} ")
        return f"{count}{'whole ' if self.whole else ''}{numbers}{' above 0' if self.positive else ''}"


ANY = Kind(None)
SIZE = Kind(whole=True, positive=True)
WHOLE = Kind(whole=True)
# Attributes without which nothing can be read, or of which their own reader says what was wrong.
TOLD_BY_THEIR_READER: Mapping[str, Kind] = {
    "Rows": SIZE,
    "Columns": SIZE,
    "BitsAllocated": SIZE,
    "BitsStored": SIZE,
    "FrameTimeVector": ANY,
    "MaskFrameNumbers": Kind(None, whole=True),
    "ApplicableFrameRange": Kind(None, whole=True),
}
OPTIONAL: Mapping[str, Kind] = {
    "NumberOfFrames": SIZE,
    "SamplesPerPixel": SIZE,
    "HighBit": WHOLE,
    "PixelRepresentation": WHOLE,
    "PixelIntensityRelationshipSign": WHOLE,
    "RescaleIntercept": Kind(),
    "InstanceNumber": WHOLE,
    "SeriesNumber": WHOLE,
    "FrameTime": Kind(positive=True),
    "CineRate": Kind(positive=True),
    "RecommendedDisplayFrameRate": Kind(positive=True),
    "ActualFrameDuration": Kind(positive=True),
    "ShutterUpperHorizontalEdge": Kind(),
    "ShutterLowerHorizontalEdge": Kind(),
    "ShutterLeftVerticalEdge": Kind(),
    "ShutterRightVerticalEdge": Kind(),
    "CenterOfCircularShutter": Kind(2),
    "RadiusOfCircularShutter": Kind(),
    "VerticesOfThePolygonalShutter": ANY,
    "PositionerPrimaryAngleIncrement": ANY,
    "PositionerSecondaryAngleIncrement": ANY,
    "TableVerticalIncrement": ANY,
    "TableLateralIncrement": ANY,
    "TableLongitudinalIncrement": ANY,
}
NUMBERS: Mapping[str, Kind] = {**TOLD_BY_THEIR_READER, **OPTIONAL}
SEQUENCES = (
    "MaskSubtractionSequence",
    "DerivationCodeSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
MACROS = ("FramePixelDataPropertiesSequence", "XAXRFFrameCharacteristicsSequence", "PositionerPositionSequence")


@dataclass(frozen=True)
class Found:
    """What a data set has of one attribute of numbers.

    Args:
        numbers: one a component, nan for a component that is none; empty if the attribute is absent or empty.
        unusable: text with the expected and the found value; empty if the attribute is absent or as it should be.
    """

    numbers: tuple[float, ...] = ()
    unusable: str = ""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence pydicom's warnings, whose texts quote values and so may name a patient."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def label(keyword: str) -> str:
    """Return an attribute's name for an error text: "Rows (0028,0010)"."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{keyword} ({tag.group:04X},{tag.element:04X})"


def value(dataset: Dataset, keyword: str) -> Any:
    """Return an attribute's value, or None where it is absent, empty or malformed."""
    with without_warnings():
        try:
            found = dataset.get(keyword)
        except Exception:  # pydicom raises whatever the conversion of the value raised
            return None
    return None if found == "" else found


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return an attribute's values as a list, to be compared: empty where it is absent, of one where it has one."""
    found = value(dataset, keyword)
    if found is None:
        return []
    return [found] if isinstance(found, str | bytes) or not hasattr(found, "__iter__") else list(found)


def words(dataset: Dataset, keyword: str) -> list[str]:
    """Return an attribute's values as upper-case strings."""
    return [str(item).strip().upper() for item in values(dataset, keyword)]


def text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute's values as one upper-case string, joined by backslashes."""
    return "\\".join(str(item) for item in values(dataset, keyword)).strip().upper()


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none where the attribute is absent, empty or no sequence."""
    found = value(dataset, keyword)
    return list(found) if isinstance(found, DicomSequence) else []


def find_numbers(dataset: Dataset, keyword: str) -> Found:
    """Return what a data set has of one attribute, as `NUMBERS` expects it; any count of numbers if it does not say."""
    kind = NUMBERS.get(keyword, ANY)
    with without_warnings():
        if keyword not in dataset:
            return Found()
        try:
            found = dataset[keyword].value
        except Exception:  # pydicom raises whatever the conversion of the value raised
            return Found((math.nan,), f"{label(keyword)}: expected {kind}, found bytes that are none")
    if isinstance(found, DicomSequence):
        return Found((math.nan,), f"{label(keyword)}: expected {kind}, found a sequence")
    several = hasattr(found, "__iter__") and not isinstance(found, str | bytes)
    components = list(found) if several else [] if found is None or str(found).strip() == "" else _components(found)
    numbers = tuple(map(_number, components))
    if not numbers or _is(numbers, kind):
        return Found(numbers)
    return Found(numbers, f"{label(keyword)}: expected {kind}, found '{show_values(components)}'")


def _components(found: Any) -> list[Any]:
    """Return the components of a value that pydicom did not take apart: text of another type, or unknown bytes."""
    if isinstance(found, bytes):
        found = found.decode("latin-1").strip("\0 ")
    return found.split("\\") if isinstance(found, str) else [found]


def _number(component: Any) -> float:
    try:
        number = float(component)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _is(numbers: tuple[float, ...], kind: Kind) -> bool:
    if kind.values not in (None, len(numbers)) or any(map(math.isnan, numbers)):
        return False
    return not (kind.positive and min(numbers) <= 0) and not (kind.whole and any(number % 1 for number in numbers))


def show_values(components: Sequence[Any]) -> str:
    """Return values for a message, joined by backslashes, short and in printable ASCII."""
    joined = "\\".join("" if component is None else str(component) for component in components)
    printable = "".join(character if " " <= character <= "~" else "?" for character in joined)
    return printable if len(printable) <= SHOWN else f"{printable[:SHOWN]}..."


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return an attribute's numbers; none where it is absent, empty or unusable."""
    found = find_numbers(dataset, keyword)
    return () if found.unusable else found.numbers


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return an attribute's one number, or None where it is absent, empty or unusable."""
    found = numbers(dataset, keyword)
    return found[0] if len(found) == 1 else None


def require_number(path: Path, dataset: Dataset, keyword: str) -> int:
    """Return an attribute's one whole number.

    Raises:
        InputError: it is absent, empty or unusable.
    """
    found = find_numbers(dataset, keyword)
    if found.numbers and not found.unusable:
        return int(found.numbers[0])
    wrong = found.unusable or f"{label(keyword)}: expected {NUMBERS[keyword]}, found none"
    raise InputError(f"{path}: {wrong}; fetch the file again from its archive")


def functional(dataset: Dataset, macro: str, keyword: str) -> Dataset:
    """Return the item of an enhanced object's functional group that has `keyword`, shared or of the first frame.

    Returns:
        an empty data set where there is none.
    """
    return next((item for item in _of_macro(dataset, macro) if keyword in item), Dataset())


def _of_macro(dataset: Dataset, macro: str) -> Iterator[Dataset]:
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items(dataset, groups)[:1]:
            yield from items(group, macro)[:1]


def frame_items(dataset: Dataset, macro: str) -> list[Dataset]:
    """Return each frame's item of an enhanced object's functional group; an empty data set for a frame that has none."""
    groups = items(dataset, "PerFrameFunctionalGroupsSequence")
    return [next(iter(items(group, macro)), Dataset()) for group in groups]


def find_unusable(dataset: Dataset) -> list[str]:
    """Return what stands where `OPTIONAL` numbers and `SEQUENCES` should be, one line an attribute."""
    parts = [dataset, *(item for macro in MACROS for item in _of_macro(dataset, macro))]
    found = [find_numbers(part, keyword).unusable for part in parts for keyword in OPTIONAL]
    for keyword in SEQUENCES:
        there = value(dataset, keyword)
        if there is not None and not isinstance(there, DicomSequence):
            found.append(f"{label(keyword)}: expected a sequence, found something else")
    return [f"{line}; passed over" for line in dict.fromkeys(found) if line]
