"""Which frames the source names as masks, and what of it one background cannot follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from angiomorph.dicom.attributes import find_numbers, items, label, number, numbers, text
from angiomorph.dicom.header import sop_instance
from angiomorph.preprocessing.background import Step

AVERAGE = "AVG_SUB"
REFERENCES, UID = ("ReferencedImageSequence", "SourceImageSequence"), "ReferencedSOPInstanceUID"
MASK_IMAGE = "121321"  # DCM, "Mask image for image processing operation"
OTHER_OPERATIONS = {
    "TID": "each frame's mask is a frame some frames before it",
    "REV_TID": "masks run against the frames",
}


@dataclass(frozen=True)
class Mask:
    """One item of MaskSubtractionSequence.

    Args:
        numbers: frame numbers, from 1, ascending, all of the run.
        applied_to: numbers of the frames that are subtracted from them.
    """

    numbers: tuple[int, ...]
    applied_to: frozenset[int]


def find_masks(
    headers: Sequence[Dataset], count: int, stored: Sequence[int] | None = None
) -> tuple[tuple[Step, ...], list[str]]:
    """Return the frames whose average the source subtracts (AVG_SUB), and what is not used of what it says.

    Of a frame that several items apply to (ApplicableFrameRange) the first one counts. A frame that none applies to goes with
    the frame before it, and the first ones with the first that has a mask. Single-frame files name masks by InstanceNumber,
    or by place where no frame has that number.

    Args:
        headers: one of a multi-frame file, or one per frame, in order.
        count: T.
        stored: for each frame the number that masks know it by, from 1; None where that is its place.

    Returns:
        which frames have which mask, each frame once, in order; none if no item names any. One line for each thing to be told.

    Source: DICOM PS3.3 C.7.6.10.
    """
    masks: list[Mask] = []
    told: list[str] = []
    own = {str(sop_instance(header)) for header in headers}
    for item in _distinct_items(headers):
        if set(_references(item)) - own:
            continue  # see `name_other_images`
        mask, lines = _read_item(item, headers, stored or range(1, count + 1))
        masks += [mask] if mask else []
        told += lines
    steps = _share_out(masks, count)
    told += [_say_unused(mask) for mask in masks if mask.numbers not in {step.numbers for step in steps}]
    if len(steps) > 1:
        told.append(_say_several(steps))
    if masks and len(headers) > 1:
        told.append(f"{label('MaskFrameNumbers')} of single-frame files taken as {label('InstanceNumber')}")
    return steps, list(dict.fromkeys(told))


def _share_out(masks: Sequence[Mask], count: int) -> tuple[Step, ...]:
    """Return the frames of each mask."""
    if not masks:
        return ()
    named = [next((mask.numbers for mask in masks if frame in mask.applied_to), None) for frame in range(1, count + 1)]
    current = next((numbers for numbers in named if numbers), masks[0].numbers)
    frames: dict[tuple[int, ...], list[int]] = {}
    for frame, found in enumerate(named, 1):
        current = found or current
        frames.setdefault(current, []).append(frame)
    return tuple(Step(numbers, tuple(taken)) for numbers, taken in frames.items())


def name_other_images(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """Return the SOPInstanceUID of each other image that a header names for mask frames, and their numbers there, none for all.

    They are named by ReferencedImageSequence or SourceImageSequence with purpose 121321, or by the items of
    MaskSubtractionSequence.
    """
    found: dict[str, tuple[int, ...]] = {}
    own = str(sop_instance(dataset))
    for keyword in REFERENCES:
        for item in filter(_is_mask, items(dataset, keyword)):
            found.setdefault(text(item, UID), tuple(int(frame) for frame in numbers(item, "ReferencedFrameNumber")))
    for item in items(dataset, "MaskSubtractionSequence"):
        for reference in _references(item):
            found.setdefault(reference, tuple(int(frame) for frame in numbers(item, "MaskFrameNumbers")))
    return {uid: frames for uid, frames in found.items() if uid not in ("", own)}


def _references(item: Dataset) -> list[str]:
    """Return the images that an item of MaskSubtractionSequence names for its frame numbers."""
    named = [text(each, UID) for each in (item, *items(item, "ReferencedImageSequence"))]
    return [uid for uid in named if uid]


def _is_mask(reference: Dataset) -> bool:
    return any(text(code, "CodeValue") == MASK_IMAGE for code in items(reference, "PurposeOfReferenceCodeSequence"))


def _distinct_items(headers: Sequence[Dataset]) -> list[Dataset]:
    found: list[Dataset] = []
    for header in headers:
        found += [item for item in items(header, "MaskSubtractionSequence") if item not in found]
    return found


def _read_item(item: Dataset, headers: Sequence[Dataset], stored: Sequence[int]) -> tuple[Mask | None, list[str]]:
    operation = text(item, "MaskOperation")
    if operation in OTHER_OPERATIONS:
        return None, [f"{label('MaskOperation')} {operation} ({OTHER_OPERATIONS[operation]}) is not followed"]
    if operation != AVERAGE:
        return None, []
    name, found = label("MaskFrameNumbers"), find_numbers(item, "MaskFrameNumbers")
    if not found.numbers or found.unusable:
        return None, [f"{found.unusable or f'{name}: expected frame numbers, found none'}; passed over"]
    placed = {int(frame): _place(int(frame), headers, stored) for frame in found.numbers}
    missing = [str(frame) for frame, place in placed.items() if place is None]
    named = tuple(sorted({place for place in placed.values() if place is not None}))
    told = []
    if missing:
        nothing = "" if named else f"{name} names no frame of this run; "
        told.append(f"{nothing}{name} names frame {', '.join(missing)}, which this run does not have; left out")
    return (Mask(named, _find_applicable(item, stored)) if named else None), told


def _place(frame: int, headers: Sequence[Dataset], stored: Sequence[int]) -> int | None:
    """Return which frame of the run, from 1, a mask frame number means; None if none."""
    instances = [number(header, "InstanceNumber") for header in headers] if len(headers) > 1 else []
    if frame in instances:
        return instances.index(frame) + 1
    return stored.index(frame) + 1 if frame in stored else None


def _find_applicable(item: Dataset, stored: Sequence[int]) -> frozenset[int]:
    ranges = [int(frame) for frame in numbers(item, "ApplicableFrameRange")]
    if not ranges or len(ranges) % 2:
        return frozenset(range(1, len(stored) + 1))
    limits = list(zip(ranges[::2], ranges[1::2], strict=True))
    applies = (any(first <= frame <= last for first, last in limits) for frame in stored)
    return frozenset(place for place, applied in enumerate(applies, 1) if applied)


def _say_unused(mask: Mask) -> str:
    return (
        f"{label('MaskSubtractionSequence')} has another mask, frame {_list_frames(mask.numbers)}, for frames "
        f"{_list_frames(sorted(mask.applied_to))}, which have one before it; name it with "
        f"`background` {mask.numbers[-1]} to see it"
    )


def _say_several(steps: Sequence[Step]) -> str:
    several = "; ".join(f"frame {_list_frames(step.numbers)} for frames {_list_frames(step.frames)}" for step in steps)
    return f"{label('MaskSubtractionSequence')} has {len(steps)} masks: {several}"


def _list_frames(frames: Sequence[int]) -> str:
    said = ", ".join(map(str, frames))
    return said if len(said) <= 60 else f"{said[:60]}..."
