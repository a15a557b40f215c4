"""Turning a derived classic run into an Enhanced XA or XRF Image, whose frames are described in functional groups."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import EnhancedXAImageStorage, EnhancedXRFImageStorage, XRayRadiofluoroscopicImageStorage

from angiomorph.dicom.attributes import items, label, number, numbers, text, value, values, words
from angiomorph.dicom.derive import OF_BITMAPS, PLANES, code_item, copy_clean, keep_usable_shutters
from angiomorph.dicom.encoding import Encoding
from angiomorph.dicom.header import ENHANCED_CLASSES, SECONDARY_CAPTURE_CLASSES, sop_class, sop_instance
from angiomorph.dicom.identity import NO_MOMENT, are_named, refer_to
from angiomorph.dicom.save import derived_uid
from angiomorph.dicom.series import Series
from angiomorph.dicom.shutter import FRAME_SHUTTER, OF_SHUTTERS
from angiomorph.dicom.timing import CLOCKS, FIRST_DAY, read_moment
from angiomorph.errors import InputError

# Functional groups that speak of the source's pixels, or that are written anew.
NOT_CARRIED = (
    "DerivationImageSequence",
    "FrameContentSequence",
    "FramePixelDataPropertiesSequence",
    "FrameVOILUTSequence",
    "PixelIntensityRelationshipLUTSequence",
    "PixelValueTransformationSequence",
    "ReferencedImageSequence",
    "XAXRFFrameCharacteristicsSequence",
)
COLLIMATOR = (
    *("CollimatorShape", "CollimatorLeftVerticalEdge", "CollimatorRightVerticalEdge", "CollimatorUpperHorizontalEdge"),
    *("CollimatorLowerHorizontalEdge", "CenterOfCircularCollimator", "RadiusOfCircularCollimator"),
    "VerticesOfThePolygonalCollimator",
)
EXPOSURE = {"XRayTubeCurrent": "XRayTubeCurrentInmA", "ExposureTime": "ExposureTimeInms", "Exposure": "ExposureInmAs"}
FIELD = ("FieldOfViewShape", "FieldOfViewOrigin", "FieldOfViewRotation", "FieldOfViewHorizontalFlip")
ANGLES = ("PositionerPrimaryAngle", "PositionerSecondaryAngle")
REGIONS = {  # of BodyPartExamined, PS3.16 Annex L
    "ABDOMEN": ("818983003", "Abdomen"),
    "BRAIN": ("12738006", "Brain"),
    "CHEST": ("51185008", "Chest"),
    "HEAD": ("69536005", "Head"),
    "HEART": ("80891009", "Heart"),
    "NECK": ("45048000", "Neck"),
    "PELVIS": ("816092008", "Pelvis"),
}
ANYWHERE = ("38266002", "Entire body")  # the macro must name a region, and the standard has no code of an unknown one
NEEDED = {  # without which a functional group may not be there
    FRAME_SHUTTER: ("ShutterShape",),
    "CollimatorShapeSequence": ("CollimatorShape",),
    "FrameAcquisitionSequence": ("KVP", "XRayTubeCurrentInmA"),
    "FrameAnatomySequence": ("FrameLaterality", "AnatomicRegionSequence"),
    "IrradiationEventIdentificationSequence": ("IrradiationEventUID",),
}
CLASSIC_ONLY = (
    *("FrameTime", "FrameTimeVector", "FrameIncrementPointer", "PatientOrientation", "PositionerMotion", "TableMotion"),
    *("PixelIntensityRelationship", "WindowCenter", "WindowWidth", "SmallestImagePixelValue", "LargestImagePixelValue"),
    *("ImagerPixelSpacing", "PixelSpacing", "Laterality", "ImageLaterality", "AnatomicRegionSequence", "IrradiationEventUID"),
    *("DerivationDescription", "DerivationCodeSequence", "AcquisitionDeviceProcessingDescription", "SourceImageSequence"),
    *("DistanceSourceToDetector", "DistanceSourceToPatient", "EstimatedRadiographicMagnificationFactor"),
    *(*ANGLES, *FIELD, "FieldOfViewDimensions", *OF_SHUTTERS, *OF_BITMAPS, *COLLIMATOR, *EXPOSURE),
    *("CineRate", "FrameDelay", "ActualFrameDuration", "ReferencedImageSequence"),
)
UNKNOWN = "unknown"  # for what an Enhanced object may not leave empty

Groups = dict[str, Sequence[Dataset]]


def check_save_class(series: Series, encoding: Encoding) -> None:
    """Raise where a run cannot be written in the class that is wanted.

    Raises:
        InputError: a captured run, or one with burnt-in text, as an enhanced object.
    """
    if encoding.save_class != "enhanced":
        return
    captured = sop_class(series.headers[0]) in SECONDARY_CAPTURE_CLASSES
    if captured or text(series.headers[0], "BurnedInAnnotation") == "YES":
        found = "a captured one, which says nothing of its acquisition" if captured else f"{label('BurnedInAnnotation')} YES"
        raise InputError(
            f"{series.name}: expected a run of class XA or XRF without burnt-in text for `save_class` enhanced, got {found}; "
            "leave `save_class` out"
        )


def enhance(dataset: Dataset, series: Series, kept: Sequence[int], background_numbers: Sequence[int]) -> None:
    """Turn a derived classic run into an enhanced one, in place.

    Args:
        dataset: the classic run, complete.
        series: its source; an enhanced one's functional groups are carried, as far as they do not speak of its pixels.
        kept: frame numbers of the source (from 1), one a frame of the run.
        background_numbers: frame numbers of the background.

    Source: DICOM PS3.3 A.47 and A.48 (IODs), C.7.6.16 (functional groups), C.7.6.17 (dimensions), C.8.19.6; PS3.17 FFF.2.4.2.
    """
    source = copy_clean(series.headers[0])
    fluoroscopic = dataset.SOPClassUID == XRayRadiofluoroscopicImageStorage or source.SOPClassUID == EnhancedXRFImageStorage
    dataset.SOPClassUID = EnhancedXRFImageStorage if fluoroscopic else EnhancedXAImageStorage
    dataset.Modality = "RF" if fluoroscopic else "XA"
    _set_plane(dataset, source)
    if _take_values(dataset, ANGLES) and not text(dataset, "PositionerType"):
        dataset.PositionerType = "CARM"  # what such angles are of, and without which they may not be there
    shared, framed = _carry_groups(source, kept)
    for macro, item in _shared_groups(dataset, series).items():
        if macro not in shared and not any(macro in groups for groups in framed):
            shared[macro] = [item]
    contents = _frame_contents(source, series, kept)
    derivations = _derivations(dataset, series, kept, background_numbers)
    _set_root(dataset, source, series)
    dataset.SharedFunctionalGroupsSequence = [_group(shared)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _group({**groups, "FrameContentSequence": [content], "DerivationImageSequence": [derivation]})
        for groups, content, derivation in zip(framed, contents, derivations, strict=True)
    ]
    _set_dimension(dataset)


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, found in attributes.items():
        setattr(item, keyword, found)
    return item


def _group(macros: Mapping[str, Sequence[Dataset]]) -> Dataset:
    return _item(**macros)


def _carry_groups(source: Dataset, kept: Sequence[int]) -> tuple[Groups, list[Groups]]:
    """Return the functional groups of an enhanced source, shared and of each frame; none of a classic one."""
    if source.SOPClassUID not in ENHANCED_CLASSES:
        return {}, [{} for _ in kept]
    shared = _macros(next(iter(items(source, "SharedFunctionalGroupsSequence")), Dataset()))
    groups = items(source, "PerFrameFunctionalGroupsSequence")
    return shared, [_macros(groups[frame - 1]) if frame <= len(groups) else {} for frame in kept]


def _macros(group: Dataset) -> Groups:
    found = {element.keyword: items(group, element.keyword) for element in group if element.VR == "SQ"}
    for shutter in found.get(FRAME_SHUTTER, ()):
        keep_usable_shutters(shutter)
        if "ShutterPresentationValue" not in shutter:
            shutter.add_new("ShutterPresentationValue", "US", 0)
    return {keyword: macro for keyword, macro in found.items() if keyword not in NOT_CARRIED and _is_whole(keyword, macro)}


def _is_whole(keyword: str, macro: Sequence[Dataset]) -> bool:
    """Return whether a functional group has items, and each what it needs."""
    return bool(macro) and all(values(item, needed) for item in macro for needed in NEEDED.get(keyword, ()))


def _take_values(dataset: Dataset, keywords: Sequence[str]) -> dict[str, Any]:
    return {keyword: dataset[keyword].value for keyword in keywords if values(dataset, keyword)}


def _shared_groups(dataset: Dataset, series: Series) -> dict[str, Dataset]:
    """Return what a classic run says of all its frames, as the items of functional groups."""
    event = value(dataset, "IrradiationEventUID") or derived_uid("event", str(sop_instance(series.file_headers[0])))
    found = {
        "IrradiationEventIdentificationSequence": _item(IrradiationEventUID=event),
        "FramePixelDataPropertiesSequence": _item(
            FrameType=list(dataset.ImageType),
            PixelIntensityRelationship="OTHER",  # a difference of logarithms, or of display values
            PixelIntensityRelationshipSign=1,
            GeometricalProperties="UNIFORM",
            ImageProcessingApplied="DIGITAL_SUBTR",
            **_take_values(dataset, ["ImagerPixelSpacing"]),
        ),
        "FrameVOILUTSequence": _item(WindowCenter=dataset.WindowCenter, WindowWidth=dataset.WindowWidth),
        "XAXRFFrameCharacteristicsSequence": _item(
            **_take_values(
                dataset, ["DerivationDescription", "DerivationCodeSequence", "AcquisitionDeviceProcessingDescription"]
            )
        ),
    }
    if shutter := _take_values(dataset, OF_SHUTTERS):
        found[FRAME_SHUTTER] = _item(**shutter)
        found[FRAME_SHUTTER].add_new("ShutterPresentationValue", "US", 0)
    if collimator := _take_values(dataset, COLLIMATOR):
        found["CollimatorShapeSequence"] = _item(**collimator)
    angles = _take_values(dataset, ANGLES)
    if len(angles) == len(ANGLES) and text(dataset, "PositionerType") == "CARM":
        found["PositionerPositionSequence"] = _item(**angles)
    distances = (number(dataset, "DistanceSourceToPatient"), number(dataset, "DistanceSourceToDetector"))
    if None not in distances:  # the classic class means the isocentre by the patient
        found["XRayGeometrySequence"] = _item(DistanceSourceToIsocenter=distances[0], DistanceSourceToDetector=distances[1])
    return found | _field_of_view(dataset) | _anatomy(dataset)


def _field_of_view(dataset: Dataset) -> dict[str, Dataset]:
    sizes, given = numbers(dataset, "FieldOfViewDimensions"), _take_values(dataset, FIELD)
    if not sizes or len(given) < len(FIELD):
        return {}
    return {"FieldOfViewSequence": _item(**given, FieldOfViewDimensionsInFloat=list(sizes))}


def _anatomy(dataset: Dataset) -> dict[str, Dataset]:
    region = items(dataset, "AnatomicRegionSequence")[:1]
    if not region:
        region = [code_item(*REGIONS.get(text(dataset, "BodyPartExamined"), ANYWHERE))]
        region[0].CodingSchemeDesignator = "SCT"
    side = text(dataset, "ImageLaterality") or text(dataset, "Laterality")
    return {
        "FrameAnatomySequence": _item(FrameLaterality=side if side in ("R", "L", "B") else "U", AnatomicRegionSequence=region)
    }


def _frame_contents(source: Dataset, series: Series, kept: Sequence[int]) -> list[Dataset]:
    """Return when each frame was taken: as an enhanced source says, else by the classic one's clock and frame times."""
    groups = items(source, "PerFrameFunctionalGroupsSequence")
    start = _start(source, series) if series.frame_time else None
    found = []
    for index, frame in enumerate(kept):
        carried = items(groups[frame - 1], "FrameContentSequence")[:1] if frame <= len(groups) else []
        content = carried[0] if carried else _item(FrameAcquisitionNumber=frame)
        if (series.anonymous or not carried) and start is not None:  # all times of anonymous frames are alike
            moment = start + datetime.timedelta(milliseconds=float(series.frame_times[frame - 1]))
            content.FrameReferenceDateTime = content.FrameAcquisitionDateTime = _write_moment(moment)
        content.add_new("TemporalPositionIndex", "UL", index + 1)
        content.add_new("DimensionIndexValues", "UL", [index + 1])
        found.append(content)
    return found


def _start(source: Dataset, series: Series) -> datetime.datetime | None:
    """Return when a run began, None where it does not say; of an anonymous one a moment that tells nothing."""
    if series.anonymous:
        return NO_MOMENT
    for date, time in (*CLOCKS.values(), ("SeriesDate", "SeriesTime"), ("StudyDate", "StudyTime")):
        found = read_moment(source, date, time)
        if found is not None and found[0] is not None:
            first = datetime.datetime(1900, 1, 1)
            return first + datetime.timedelta(days=found[0] - FIRST_DAY, microseconds=found[1])
    return None


def _derivations(dataset: Dataset, series: Series, kept: Sequence[int], background: Sequence[int]) -> list[Dataset]:
    """Return of each frame which frames of the source it is derived from."""
    named = are_named(series.file_headers)
    found = []
    for frame in kept:
        item = _item(**_take_values(dataset, ["DerivationDescription", "DerivationCodeSequence"]))
        item.SourceImageSequence = _sources(series, frame, background) if named else []
        found.append(item)
    return found


def _sources(series: Series, frame: int, background: Sequence[int]) -> list[Dataset]:
    index, place = series.place(frame)
    found = [_refer_to_frames(series, index, "121322", "YES", [place])]
    masks: dict[int, list[int]] = {}
    for file, number_there in map(series.place, background):
        masks.setdefault(file, []).append(number_there)
    return [*found, *(_refer_to_frames(series, file, "121321", "NO", sorted(frames)) for file, frames in sorted(masks.items()))]


def _refer_to_frames(series: Series, index: int, purpose: str, preserved: str, frames: Sequence[int]) -> Dataset:
    reference = refer_to(series.file_headers[index], purpose, preserved=preserved)
    if len(series.headers) == 1:
        reference.ReferencedFrameNumber = list(frames)
    return reference


def _set_root(dataset: Dataset, source: Dataset, series: Series) -> None:
    """Write what the class demands beside the frames, and leave out what has moved to these."""
    _set_exposure(dataset, source)
    for keyword in CLASSIC_ONLY:
        if keyword in dataset:
            del dataset[keyword]
    for keyword in ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"):
        if not value(dataset, keyword):
            setattr(dataset, keyword, UNKNOWN)
    dataset.AcquisitionContextSequence = items(dataset, "AcquisitionContextSequence")
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.BurnedInAnnotation = "NO"  # the one value that the class allows
    dataset.ContentQualification = "RESEARCH"
    if text(dataset, "LossyImageCompression") == "01":
        dataset.LossyImageCompressionRatio = value(dataset, "LossyImageCompressionRatio") or 1
        dataset.LossyImageCompressionMethod = value(dataset, "LossyImageCompressionMethod") or UNKNOWN.upper()
    start = _start(source, series)
    dataset.AcquisitionDateTime = text(dataset, "ContentDate") if start is None else _write_moment(start)
    if are_named(series.file_headers):
        dataset.SourceImageEvidenceSequence = _evidence(dataset, series)
    if series.frame_time:
        dataset.RecommendedDisplayFrameRate = max(1, round(1000 / series.frame_time))


def _set_plane(dataset: Dataset, source: Dataset) -> None:
    """Say which plane this is; one of two names the other, else it counts as single."""
    found = words(source, "ImageType")
    plane = found[2] if len(found) > 2 and found[2] in PLANES else PLANES[0]
    other = items(source, "ReferencedOtherPlaneSequence")[:1] or items(source, "ReferencedImageSequence")[:1]
    plane = plane if other else PLANES[0]
    dataset.ImageType = ["DERIVED", "PRIMARY", plane, "NONE"]
    if plane == PLANES[0]:
        dataset.PlanesInAcquisition = dataset.PlaneIdentification = "MONOPLANE"
        return
    dataset.PlanesInAcquisition, dataset.PlaneIdentification = "BIPLANE", f"PLANE {plane[-1]}"
    dataset.ReferencedOtherPlaneSequence = [
        _item(**_take_values(other[0], ["ReferencedSOPClassUID", "ReferencedSOPInstanceUID"])),
    ]


def _set_exposure(dataset: Dataset, source: Dataset) -> None:
    """Write an exposure as the enhanced class does, in mA, ms and mAs."""
    if source.SOPClassUID in ENHANCED_CLASSES:
        for keyword, found in _take_values(source, ["AcquisitionProtocolName", *EXPOSURE.values()]).items():
            setattr(dataset, keyword, found)
    for whole, fine in EXPOSURE.items():
        given = number(dataset, whole)
        if given is not None and fine not in dataset:
            setattr(dataset, fine, given)


def _write_moment(moment: datetime.datetime) -> str:
    return f"{moment.year:04d}{moment:%m%d%H%M%S.%f}"


def _evidence(dataset: Dataset, series: Series) -> list[Dataset]:
    """Return where the source's files are found."""
    found: dict[str, list[Dataset]] = {}
    for header in series.file_headers:
        reference = _item(ReferencedSOPClassUID=sop_class(header), ReferencedSOPInstanceUID=sop_instance(header))
        found.setdefault(str(value(header, "SeriesInstanceUID") or dataset.SeriesInstanceUID), []).append(reference)
    series_items = [_item(SeriesInstanceUID=uid, ReferencedSOPSequence=files) for uid, files in found.items()]
    return [_item(StudyInstanceUID=dataset.StudyInstanceUID, ReferencedSeriesSequence=series_items)]


def _set_dimension(dataset: Dataset) -> None:
    """Say that the frames are ordered by time."""
    uid = derived_uid("dimension", dataset.SOPInstanceUID)
    dataset.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=uid)]
    dataset.DimensionIndexSequence = [
        _item(
            DimensionIndexPointer=tag_for_keyword("TemporalPositionIndex"),
            FunctionalGroupPointer=tag_for_keyword("FrameContentSequence"),
            DimensionOrganizationUID=uid,
        )
    ]
