"""What every derived object says of itself: its UIDs and numbers, who made it, from what, and when its frames were taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import numpy as np
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from angiomorph import __version__
from angiomorph.dicom.attributes import items, number, numbers, text, value
from angiomorph.dicom.derive import code_item
from angiomorph.dicom.header import sop_class, sop_instance
from angiomorph.dicom.save import PROGRAM, Entropy, decimal, derived_uid
from angiomorph.dicom.series import Series
from angiomorph.dicom.timing import NOMINAL_FRAME_TIME

MOST_SERIES = 2**31 // 100
NO_MOMENT = datetime(1900, 1, 1)  # for runs without identity: the day of writing may be the day of the examination
ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless)
PURPOSES = {
    "121321": "Mask image for image processing operation",
    "121322": "Source image for image processing operation",
}


@dataclass(frozen=True)
class Role:
    """What a derived object is to its source.

    Args:
        name: distinguishes its UIDs from those of other objects of the same source.
        number: number of its series within the source's, 1 to 99.
        series: end of SeriesDescription, at most 63 characters.
        contribution: description of this program's work.
    """

    name: str
    number: int
    series: str
    contribution: str


def set_identity(dataset: Dataset, series: Series, role: Role, entropy: Sequence[Entropy]) -> None:
    """Give a derived object its own series and instance in its source's study, and say who made it.

    Args:
        dataset: with the source's study, series and equipment; changed in place.
        series: the source.
        role: the object's role.
        entropy: texts that its UIDs are hashes of, beside the source's UIDs.
    """
    uids = [str(sop_instance(header)) for header in series.file_headers]
    if not value(dataset, "StudyInstanceUID"):
        dataset.StudyInstanceUID = derived_uid("study", *uids, *entropy)
    dataset.SeriesInstanceUID = derived_uid("series", role.name, *uids, *entropy)
    dataset.SOPInstanceUID = derived_uid("image", role.name, *uids, *entropy)
    source = int(number(series.headers[0], "SeriesNumber") or 0)
    if 0 <= source < MOST_SERIES:
        dataset.SeriesNumber = 100 * source + role.number  # else as it was, or none where it is no number of its type
    dataset.InstanceNumber = 1
    described = str(value(dataset, "SeriesDescription") or "")[: 63 - len(role.series)]
    dataset.SeriesDescription = f"{described} {role.series}".strip()
    now = NO_MOMENT if series.anonymous else datetime.now(_timezone(dataset))
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{keyword}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{keyword}Time", now.strftime("%H%M%S"))
    made = _equipment(now, role.contribution)
    dataset.ContributingEquipmentSequence = [*items(dataset, "ContributingEquipmentSequence"), made]


def _timezone(dataset: Dataset) -> timezone | None:
    """Return the zone that the file's times are in; None for this machine's."""
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", text(dataset, "TimezoneOffsetFromUTC"))
    if found is None:
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)


def _equipment(now: datetime, contribution: str) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item("109103", "Modifying Equipment")]
    item.Manufacturer = PROGRAM
    item.ManufacturerModelName = PROGRAM
    item.SoftwareVersions = __version__
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = contribution
    return item


def are_named(headers: Sequence[Dataset]) -> bool:
    """Return whether all say their class and instance: a bare data set may name neither, and a reference needs both."""
    return all(sop_class(header) is not None and sop_instance(header) is not None for header in headers)


def refer_to(header: Dataset, purpose: str, *, preserved: str) -> Dataset:
    """Return an item of SourceImageSequence.

    Args:
        header: the image's header.
        purpose: code, of `PURPOSES`.
        preserved: SpatialLocationsPreserved, "YES" or "NO".
    """
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class(header)
    item.ReferencedSOPInstanceUID = sop_instance(header)
    item.PurposeOfReferenceCodeSequence = [code_item(purpose, PURPOSES[purpose])]
    item.SpatialLocationsPreserved = preserved
    return item


def refer_to_sources(series: Series, kept: Sequence[int] = ()) -> list[Dataset]:
    """Return items of SourceImageSequence for the files of a run, which stay where they are.

    Args:
        series: the run.
        kept: numbers of the frames that are written; none for all. Files that have none of them are left out.
    """
    everything = len(kept) in (0, len(series.frames))
    frames: dict[int, list[int]] = {}
    for index, place in map(series.place, kept if not everything else range(1, len(series.frames) + 1)):
        frames.setdefault(index, []).append(place)
    found = []
    for index, places in sorted(frames.items()):
        reference = refer_to(series.file_headers[index], "121322", preserved="YES")
        if not everything and len(series.headers) == 1:
            reference.ReferencedFrameNumber = sorted(places)
        found.append(reference)
    return found


def was_lossy(headers: Sequence[Dataset]) -> bool:
    """Return whether the pixels were ever compressed with loss, which is never taken back."""
    return any(
        text(header, "LossyImageCompressionRetired") == "01"
        or text(header, "LossyImageCompression") == "01"
        or header.file_meta.get("TransferSyntaxUID") in ALWAYS_LOSSY
        for header in headers
    )


def set_frame_times(dataset: Dataset, series: Series, kept: Sequence[int] = ()) -> None:
    """Write when the frames of a run were taken, as FrameTime where they are even.

    Args:
        dataset: data set of the written run; changed in place.
        series: its source.
        kept: numbers of the frames that are written, rising; none for all.
    """
    times = series.frame_times[np.asarray(kept) - 1] if len(kept) else series.frame_times
    increments = np.diff(times, prepend=times[0])
    even = np.allclose(increments[1:], series.frame_time)
    if even and not (series.frame_time and numbers(series.headers[0], "FrameTimeVector")):
        dataset.FrameTime = decimal(series.frame_time or NOMINAL_FRAME_TIME)
        dataset.FrameIncrementPointer = tag_for_keyword("FrameTime")
        return
    dataset.FrameTimeVector = [decimal(increment) for increment in increments]
    dataset.FrameIncrementPointer = tag_for_keyword("FrameTimeVector")
