"""What a derived run takes over from its source, and what has to go or to be completed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, XRayAngiographicImageStorage

from angiomorph.dicom.attributes import functional, items, text, value, without_warnings, words
from angiomorph.dicom.header import BIPLANE_CLASS, ENHANCED_CLASSES, SECONDARY_CAPTURE_CLASSES, sop_class
from angiomorph.dicom.save import decimal

# What belongs to the source's pixels and would be wrong, or applied twice, beside the subtracted ones.
OF_THE_SOURCE_PIXELS = [
    "MaskSubtractionSequence",
    "RecommendedViewingMode",
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "PresentationLUTShape",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "IconImageSequence",
    "PixelIntensityRelationshipLUTSequence",
    "PixelIntensityRelationshipSign",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "FrameTime",
    "FrameTimeVector",
    "FrameIncrementPointer",
    "LossyImageCompressionRetired",
]
# What an enhanced object has and a classic one may not.
OF_ENHANCED_OBJECTS = [
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionOrganizationSequence",
    "DimensionIndexSequence",
    "DimensionOrganizationType",
    "ContentQualification",
    "PixelPresentation",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "PlanesInAcquisition",
    "AcquisitionProtocolName",
    "ConcatenationUID",
]
FROM_FUNCTIONAL_GROUPS = {
    "PositionerPrimaryAngle": "PositionerPositionSequence",
    "PositionerSecondaryAngle": "PositionerPositionSequence",
    "KVP": "FrameAcquisitionSequence",
}
# Type 2: must be there, may be empty. A deficient source is completed with nothing rather than with a guess.
TYPE_2 = [
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "Manufacturer",
    "PatientOrientation",
]
TYPE_2_XA = ["KVP", "PositionerMotion", "PositionerPrimaryAngle", "PositionerSecondaryAngle"]
EXPOSURE = ("Exposure", "ExposureTime", "XRayTubeCurrent")
# Body parts that have no side (PS3.16 CID 4): Laterality must be absent; for all others it must be there (C.7.3.1).
UNPAIRED = """
    ABDOMEN AORTA BLADDER BRAIN CHEST CIRCLEOFWILLIS COLON CORONARYARTERY CSPINE CTSPINE HEAD HEADNECK HEART JAW LIVER LSPINE
    LSSPINE MEDIASTINUM NECK PANCREAS PELVIS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TLSPINE TSPINE UTERUS WHOLEBODY
    """
PLANES = ("SINGLE PLANE", "BIPLANE A", "BIPLANE B")
REPEATING_GROUPS = (*range(0x5000, 0x5020), *range(0x6000, 0x6020))  # curves, overlays
FIRST_DATA_GROUP = 0x0008  # before it are network commands and the file's own meta information


def carried(source: Dataset) -> Dataset:
    """Return a copy of a source's header without what belongs to its pixels.

    Private groups, curves, overlays and values that break their own type are left out; an enhanced object becomes a
    classic one.

    Args:
        source: header of the run, or of its first frame.
    """
    with without_warnings():
        dataset = deepcopy(source)
        _drop_malformed(dataset)
        dataset.remove_private_tags()
    for tag in list(dataset.keys()):
        if tag.group in REPEATING_GROUPS or tag.group < FIRST_DATA_GROUP:
            del dataset[tag]
    dataset.SOPClassUID = sop_class(source)
    if dataset.SOPClassUID in ENHANCED_CLASSES:
        _flatten(dataset)
    if dataset.SOPClassUID == BIPLANE_CLASS:
        dataset.SOPClassUID = XRayAngiographicImageStorage
    for keyword in OF_THE_SOURCE_PIXELS:
        if keyword in dataset:
            del dataset[keyword]
    return dataset


def _drop_malformed(dataset: Dataset) -> None:
    """Leave out attributes whose values break their own type and could not be written again."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # pydicom raises whatever the conversion of the value raised
            del dataset[tag]
            continue
        components = element.value if element.VM > 1 else [element.value]
        if element.VR in ("DS", "IS") and any(isinstance(component, str) and component for component in components):
            del dataset[tag]  # pydicom returns what is no number as text
        elif element.VR == "SQ":
            for item in element.value:
                _drop_malformed(item)


def _flatten(dataset: Dataset) -> None:
    """Turn an enhanced object's attributes into those of the classic class."""
    for keyword, macro in FROM_FUNCTIONAL_GROUPS.items():
        framed = functional(dataset, macro, keyword)
        if keyword in framed:
            setattr(dataset, keyword, value(framed, keyword))
    for keyword in OF_ENHANCED_OBJECTS:
        if keyword in dataset:
            del dataset[keyword]
    dataset.SOPClassUID = XRayAngiographicImageStorage


def code_item(code: str, meaning: str) -> Dataset:
    """Return a coded concept of the DICOM controlled terminology, for a sequence of codes."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
    return item


def complete(dataset: Dataset) -> None:
    """Fill in what the class demands and the source does not have: with nothing where that is legal."""
    _leave_empty(dataset, TYPE_2)
    _set_laterality(dataset)
    if value(dataset, "SOPClassUID") in SECONDARY_CAPTURE_CLASSES:
        _complete_capture(dataset)
        return
    dataset.ImageType = ["DERIVED", "SECONDARY", _plane(dataset), "SUBTRACTED"]
    dataset.Modality = text(dataset, "Modality") or "XA"
    dataset.RadiationSetting = text(dataset, "RadiationSetting") or "GR"  # type 1; a run with contrast is no fluoroscopy
    _leave_empty(dataset, TYPE_2_XA)
    if not any(keyword in dataset for keyword in EXPOSURE):
        _leave_empty(dataset, EXPOSURE)


def _leave_empty(dataset: Dataset, keywords: Sequence[str]) -> None:
    for keyword in keywords:
        if keyword not in dataset:
            dataset.add_new(keyword, dictionary_VR(keyword), None)


def _set_laterality(dataset: Dataset) -> None:
    paired = text(dataset, "BodyPartExamined") not in UNPAIRED.split()
    if paired and not text(dataset, "ImageLaterality"):
        _leave_empty(dataset, ["Laterality"])
    if not paired and "Laterality" in dataset and not text(dataset, "Laterality"):
        del dataset.Laterality


def _plane(dataset: Dataset) -> str:
    """Return the image type's third value; a biplane one needs the reference to its other plane."""
    image_type = words(dataset, "ImageType")
    plane = image_type[2] if len(image_type) > 2 and image_type[2] in PLANES else PLANES[0]
    other = items(dataset, "ReferencedImageSequence")
    if plane == PLANES[0] or not other:
        return PLANES[0]
    other[0].PurposeOfReferenceCodeSequence = [code_item("121314", "Other image of biplane pair")]
    if "ReferencedFrameNumber" in other[0]:
        del other[0].ReferencedFrameNumber
    return plane


def _complete_capture(dataset: Dataset) -> None:
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = text(dataset, "ConversionType") or "WSD"
    dataset.BurnedInAnnotation = text(dataset, "BurnedInAnnotation") or "YES"  # type 1; unknown, so take care
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = decimal(0), decimal(1), "US"
    for keyword in ("PixelIntensityRelationship", "AcquisitionDeviceProcessingDescription"):
        if keyword in dataset:
            del dataset[keyword]
