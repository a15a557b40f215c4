"""Taking a patient's identity out of a run's headers, before anything is written from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from dicomanonymizer.simpledicomanonymizer import replace_element
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag
from pydicom.uid import UID_dictionary

from angiomorph.dicom.attributes import label, text, value, without_warnings
from angiomorph.dicom.derive import TEXTS, code_item
from angiomorph.dicom.header import SECONDARY_CAPTURE_CLASSES, sop_class, sop_instance
from angiomorph.dicom.save import derived_uid
from angiomorph.dicom.series import Series
from angiomorph.errors import InputError

EDITION = "2026c"  # of the standard's table of attributes and actions
# Actions of PS3.15 table E.1-1. Where it allows several, the one that leaves least: writers fill in what a class demands.
REMOVED = ("X_TAGS", "X_Z_TAGS", "X_D_TAGS", "X_Z_D_TAGS")
EMPTIED = ("Z_TAGS", "Z_D_TAGS")
REPLACED = ("D_TAGS",)
DATE = "19000101"
MOMENTS = {"DA": DATE, "TM": "000000", "DT": f"{DATE}000000"}
# Whose values are looked for in all other texts.
NAMING = (
    *("PatientID", "OtherPatientIDs", "PatientBirthDate", "AccessionNumber", "StudyID", "InstitutionName"),
    *("InstitutionAddress", "PatientAddress", "PatientTelephoneNumbers", "MedicalRecordLocator", "StationName"),
)
INSTEAD = "REMOVED"
SHORTEST_NAME = 3  # characters: shorter ones are part of too many words
TEXTS_AND_CODES = (*TEXTS, "CS", "AE", "UR")

Action = Callable[[Dataset, DataElement], None]


def anonymize(series: Series) -> Series:
    """Return a run whose headers have no identity: all that is written of it has the same new UIDs, and none of the old.

    Follows the basic profile of PS3.15, table E.1-1: attributes are removed, emptied, or replaced. UIDs become hashes of the
    old ones, so that the same run gets the same UIDs again. Who has an old UID can compute the new one. Private and unknown
    attributes go; every other text that holds a name, the patient's number or birth date, or a place becomes "REMOVED".

    Args:
        series: the run.

    Raises:
        InputError: burnt-in text, or a captured run that does not deny it.

    Source: DICOM PS3.15 E.2 (basic application level confidentiality profile), table E.1-1.
    """
    check_burnt_in(series)
    with without_warnings():
        marks = _marks([*series.headers, *series.files])
        patient = f"ANON-{derived_uid('patient', str(value(series.headers[0], 'StudyInstanceUID')))[5:17]}"
        headers = tuple(_anonymize(header, marks, patient) for header in series.headers)
        files = tuple(_anonymize(header, marks, patient) for header in series.files)
    return replace(series, headers=headers, files=files, anonymous=True)


def check_burnt_in(series: Series) -> None:
    """Raise where the pixels may show who the patient is.

    Raises:
        InputError: BurnedInAnnotation YES, or a captured run without BurnedInAnnotation NO.
    """
    said = text(series.headers[0], "BurnedInAnnotation")
    captured = sop_class(series.headers[0]) in SECONDARY_CAPTURE_CLASSES
    if said == "YES" or (captured and said != "NO"):
        raise InputError(
            f"{series.name}: expected a run without burnt-in text for `anonymize`, found {label('BurnedInAnnotation')} "
            f"{said or 'absent in a captured run'}. Text in the pixels stays; "
            "export the run without it, or leave `anonymize` out"
        )


def new_uid(old: str) -> str:
    """Return the UID that stands for another one: a hash of it; the standard's own stay."""
    return old if not old or old in UID_dictionary else derived_uid("anonymous", old)


def _anonymize(header: Dataset, marks: re.Pattern[str] | None, patient: str) -> Dataset:
    dataset = deepcopy(header)
    instance = new_uid(str(sop_instance(header) or ""))
    _apply(dataset, marks)
    meta = getattr(dataset, "file_meta", None)
    if meta is not None and "MediaStorageSOPInstanceUID" in meta:
        meta.MediaStorageSOPInstanceUID = instance
    dataset.PatientName = dataset.PatientID = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"angiomorph, PS3.15 basic profile, table E.1-1 of {EDITION}"
    dataset.DeidentificationMethodCodeSequence = [code_item("113100", "Basic Application Confidentiality Profile")]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    return dataset


def _apply(dataset: Dataset, marks: re.Pattern[str] | None) -> None:
    actions = _read_actions()
    for tag in list(dataset.keys()):
        element = _element(dataset, tag)
        if element is None or tag.is_private or not dictionary_has_tag(tag):
            del dataset[tag]
        elif action := actions.get((tag.group, tag.element)):
            action(dataset, element)
        elif element.VR == "SQ":
            for item in element.value:
                _apply(item, marks)
        elif element.VR == "UI":
            _renew(element)
        elif element.VR in ("UN", "PN"):
            del dataset[tag]
        elif marks and element.VR in TEXTS_AND_CODES and marks.search(_read_text(element).casefold()):
            dataset[tag] = DataElement(tag, element.VR, INSTEAD)


def _element(dataset: Dataset, tag: int) -> DataElement | None:
    try:
        return dataset[tag]
    except Exception:  # pydicom raises whatever the conversion of the value raised
        return None


@cache
def _read_actions() -> Mapping[tuple[int, int], Action]:
    """Return what is done with each attribute; curves and overlays, which the table masks, are never carried."""
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    found: dict[tuple[int, int], Action] = {}
    for kinds, action in ((REMOVED, _remove), (EMPTIED, _empty), (REPLACED, _replace)):
        for kind in kinds:
            found.update({(tag[0], tag[1]): action for tag in table[kind] if len(tag) == 2})
    return found


def _remove(dataset: Dataset, element: DataElement) -> None:
    del dataset[element.tag]


def _empty(dataset: Dataset, element: DataElement) -> None:
    dataset[element.tag] = DataElement(element.tag, element.VR, [] if element.VR == "SQ" else None)


def _replace(dataset: Dataset, element: DataElement) -> None:
    if element.VR in MOMENTS:
        element.value = MOMENTS[element.VR]
        return
    try:
        replace_element(element)
    except Exception:  # the library has no dummy for every type
        del dataset[element.tag]


def _renew(element: DataElement) -> None:
    if element.is_empty or element.keyword.endswith("ClassUID"):
        return
    element.value = [new_uid(str(uid)) for uid in element.value] if element.VM > 1 else new_uid(str(element.value))


def _marks(headers: Sequence[Dataset]) -> re.Pattern[str] | None:
    """Return what finds the patient's names and numbers in other texts; None where the headers have none."""
    found = {mark for header in headers for mark in _names(header)}
    known = sorted((mark for mark in found if len(mark) >= SHORTEST_NAME), key=len, reverse=True)
    return re.compile("|".join(map(_by_itself, known))) if known else None


def _by_itself(mark: str) -> str:
    """Return a pattern of a mark that no further letter of its word, or digit of its number, stands beside."""
    before, after = (r"\d" if mark[end].isdigit() else r"[^\W\d_]" for end in (0, -1))
    return rf"(?<!{before}){re.escape(mark)}(?!{after})"


def _names(dataset: Dataset) -> Iterator[str]:
    for tag in list(dataset.keys()):
        element = _element(dataset, tag)
        if element is None:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _names(item)
        elif element.VR == "PN" or element.keyword in NAMING:
            for part in re.split(r"[\^=\\,]", _read_text(element)):
                yield part.strip().casefold()


def _read_text(element: DataElement) -> str:
    if element.is_empty:
        return ""
    return "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)
