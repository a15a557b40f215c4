"""What a derived run takes over from its source, and what has to go or to be completed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.uid import MultiFrameGrayscaleWordSecondaryCaptureImageStorage, XRayAngiographicImageStorage

from angiomorph.dicom.attributes import functional, items, number, numbers, text, value, values, without_warnings, words
from angiomorph.dicom.header import BIPLANE_CLASS, ENHANCED_CLASSES, SECONDARY_CAPTURE_CLASSES, sop_class
from angiomorph.dicom.save import decimal
from angiomorph.dicom.shutter import EDGES, FRAME_SHUTTER, OF_SHUTTERS, frame_shutters

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
    "SOPInstanceUIDOfConcatenationSource",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
]
FROM_FUNCTIONAL_GROUPS = {
    "PositionerPositionSequence": ("PositionerPrimaryAngle", "PositionerSecondaryAngle"),
    "FrameAcquisitionSequence": ("KVP",),
    "FramePixelDataPropertiesSequence": ("ImagerPixelSpacing",),
    "XRayGeometrySequence": ("DistanceSourceToDetector",),
    "FieldOfViewSequence": ("FieldOfViewShape", "FieldOfViewRotation", "FieldOfViewHorizontalFlip"),
    "FrameAnatomySequence": ("AnatomicRegionSequence",),
    FRAME_SHUTTER: OF_SHUTTERS,
}
FIELD_SIZES = "FieldOfViewDimensionsInFloat"
# Enhanced numbers of mA, ms and mAs, and their names in the classic class, which are whole.
WHOLE_EXPOSURE = {"XRayTubeCurrentInmA": "XRayTubeCurrent", "ExposureTimeInms": "ExposureTime", "ExposureInmAs": "Exposure"}
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
    "SeriesNumber",
]
TYPE_2_XA = ["KVP", "PositionerMotion", "PositionerPrimaryAngle", "PositionerSecondaryAngle"]
OF_PATIENT_AND_STUDY = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate"),
    *("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("StudyDescription", "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "SeriesDescription", "Manufacturer"),
    *("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"),
    *("BodyPartExamined", "Laterality", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("DeidentificationMethodCodeSequence", "LongitudinalTemporalInformationModified"),
)
EXPOSURE = ("Exposure", "ExposureTime", "XRayTubeCurrent")
# Body parts that have no side (PS3.16 CID 4): Laterality must be absent; for all others it must be there (C.7.3.1).
UNPAIRED = """
    ABDOMEN AORTA BLADDER BRAIN CHEST CIRCLEOFWILLIS COLON CORONARYARTERY CSPINE CTSPINE HEAD HEADNECK HEART JAW LIVER LSPINE
    LSSPINE MEDIASTINUM NECK PANCREAS PELVIS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TLSPINE TSPINE UTERUS WHOLEBODY
    """
OF_TIMES = ("FrameTime", "FrameTimeVector", "FrameIncrementPointer")
PLANES = ("SINGLE PLANE", "BIPLANE A", "BIPLANE B")
LEFT_OUT_GROUPS = (0x4000, *range(0x5000, 0x5020), *range(0x6000, 0x6020), 0xFFFC)  # comments, curves, overlays, padding
# Of ACR-NEMA files: lengths and places in the old file, a recognition code, the number of dimensions.
RETIRED = (0x00080001, 0x00080010, 0x00280005, 0x00280200)
SHUTTERS = {
    "RECTANGULAR": EDGES,
    "CIRCULAR": ("CenterOfCircularShutter", "RadiusOfCircularShutter"),
    "POLYGONAL": ("VerticesOfThePolygonalShutter",),
}
OF_BITMAPS = ("ShutterOverlayGroup", "ShutterPresentationValue", "ShutterPresentationColorCIELabValue")
TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
OF_CHARACTERS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
NUMERIC = ("DS", "IS", "FD", "FL", "SL", "SS", "UL", "US")
WORDS = {"OW": "u2", "OF": "u4", "OL": "u4", "OD": "u8", "OV": "u8"}
MOMENTS = {
    "DA": re.compile(r"(\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01]))?"),
    "TM": re.compile(r"(([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?)?(\.\d{1,6})?)?"),
    "DT": re.compile(r"(\d{4}(\d\d){0,5}(\.\d{1,6})?([+-]\d{4})?)?"),
    "AS": re.compile(r"(\d{3}[DWMY])?"),
}
WITHOUT_MARKS = {"DA": {ord("."): None}, "TM": {ord(":"): None}, "DT": {}, "AS": {}}
FIRST_DATA_GROUP = 0x0008  # before it are network commands and the file's own meta information


def carry_over(source: Dataset) -> Dataset:
    """Return a copy of a source's header without what belongs to its pixels, as one of the classic class.

    Private groups, curves, overlays, retired groups and values that break their own type are left out. Dates and times of
    ACR-NEMA are written as DICOM does. Texts keep their bytes, whatever their character set. An enhanced object becomes a
    classic one.

    Args:
        source: header of the run, or of its first frame.
    """
    plain = copy_clean(source)
    if plain.SOPClassUID in ENHANCED_CLASSES:
        _flatten(plain)
    if plain.SOPClassUID == BIPLANE_CLASS:
        plain.SOPClassUID = XRayAngiographicImageStorage
    for keyword in OF_THE_SOURCE_PIXELS:
        if keyword in plain:
            del plain[keyword]
    keep_usable_shutters(plain)
    return plain


def copy_clean(source: Dataset) -> Dataset:
    """Return a copy of a source's header of which everything can be written, of the source's own class.

    Args:
        source: header of the run, or of its first frame.
    """
    with without_warnings():
        dataset = deepcopy(source)
        for tag in list(dataset.keys()):
            if tag.group in LEFT_OUT_GROUPS or tag.group < FIRST_DATA_GROUP or tag in RETIRED:
                del dataset[tag]
        encoding = getattr(source, "original_encoding", (None, None))
        _clean(dataset, swapped=encoding[1] is False)
        plain = Dataset()  # a file's data set can only be written in the byte order that it had
        plain.update({tag: dataset.get_item(tag) for tag in list(dataset.keys())})
        plain.set_original_encoding(False, True, source.original_character_set)
        plain.SOPClassUID = sop_class(source)
    return plain


def keep_usable_shutters(dataset: Dataset) -> None:
    """Leave out the shutter's shapes whose values are not there, as a bitmap's overlay never is."""
    shapes = words(dataset, "ShutterShape")
    kept = [shape for shape in shapes if shape in SHUTTERS and all(values(dataset, keyword) for keyword in SHUTTERS[shape])]
    if kept == shapes:
        return
    dataset.ShutterShape = kept
    for keyword in [*(keyword for shape in shapes if shape not in kept for keyword in SHUTTERS.get(shape, ())), *OF_BITMAPS]:
        if keyword in dataset:
            del dataset[keyword]
    if not kept:
        del dataset.ShutterShape


def _clean(dataset: Dataset, *, swapped: bool) -> None:
    """Leave out private attributes and what cannot be written as it is; put right what only has another form.

    Args:
        dataset: as read; changed in place.
        swapped: whether words stand in the other byte order.
    """
    for tag in list(dataset.keys()):
        raw: Any = dataset.get_item(tag)  # pydicom does not type that it may be one of a file, still in bytes
        try:
            element = dataset[tag]
        except Exception:  # pydicom raises whatever the conversion of the value raised
            del dataset[tag]
            continue
        unusable = not (_is_of_its_type(element) and _is_writable(element))
        if tag.is_private or tag.element == 0 or unusable or (swapped and element.VR == "UN"):
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _clean(item, swapped=swapped)
        elif element.VR in TEXTS and isinstance(raw, RawDataElement) and raw.value:
            dataset[tag] = raw._replace(VR=element.VR, is_implicit_VR=False, is_little_endian=True)
        elif swapped and element.VR in WORDS and element.value:
            element.value = np.frombuffer(element.value, WORDS[element.VR]).byteswap().tobytes()
        elif element.VR in MOMENTS:
            _set_moment(dataset, element)
    dataset.set_original_encoding(False, True)  # else pydicom decodes the texts and writes them anew


def _is_of_its_type(element: DataElement) -> bool:
    """Return whether an attribute has its type by the standard, or one text for another, which viewers read all the same."""
    if not dictionary_has_tag(element.tag):
        return True
    expected = dictionary_VR(element.tag).split(" or ")
    return element.VR in expected or (element.VR in OF_CHARACTERS and expected[0] in OF_CHARACTERS)


def _is_writable(element: DataElement) -> bool:
    """Return whether numbers are numbers, of the range of their type, and as many as the standard says."""
    if element.VR not in NUMERIC or element.is_empty:
        return True
    components = element.value if element.VM > 1 else [element.value]
    if any(isinstance(component, str) for component in components):
        return False  # pydicom returns what is no number as text
    if not all(np.isfinite(float(component)) for component in components):
        return False
    if element.VR == "IS" and any(abs(int(component)) >= 1 << 31 for component in components):
        return False
    multiplicity = dictionary_VM(element.tag) if dictionary_has_tag(element.tag) else ""
    return not multiplicity.isdigit() or int(multiplicity) == element.VM


def _set_moment(dataset: Dataset, element: DataElement) -> None:
    """Write dates and times in DICOM's form, or leave them out where they are none."""
    components = element.value if element.VM > 1 else [element.value or ""]
    written = [str(component).strip().translate(WITHOUT_MARKS[element.VR]) for component in components]
    if all(MOMENTS[element.VR].fullmatch(component) for component in written):
        element.value = written if element.VM > 1 else written[0]
    else:
        del dataset[element.tag]


def _flatten(dataset: Dataset) -> None:
    """Turn an enhanced object's attributes into those of the classic class."""
    several = [FRAME_SHUTTER] if len(frame_shutters(dataset)) > 1 else []
    for macro, keywords in FROM_FUNCTIONAL_GROUPS.items():
        for keyword in keywords if macro not in several else ():
            framed = functional(dataset, macro, keyword)
            if keyword in framed and not framed[keyword].is_empty:
                setattr(dataset, keyword, value(framed, keyword))
    sizes = numbers(functional(dataset, "FieldOfViewSequence", FIELD_SIZES), FIELD_SIZES)
    if sizes:
        dataset.FieldOfViewDimensions = [round(size) for size in sizes]  # whole mm in the classic class
    _flatten_exposure(dataset)
    if laterality := text(functional(dataset, "FrameAnatomySequence", "FrameLaterality"), "FrameLaterality"):
        dataset.ImageLaterality = laterality
    for keyword in OF_ENHANCED_OBJECTS:
        if keyword in dataset:
            del dataset[keyword]
    dataset.SOPClassUID = XRayAngiographicImageStorage


def _flatten_exposure(dataset: Dataset) -> None:
    """Write an exposure as the classic class does, in whole mA, ms and mAs."""
    for fine, whole in WHOLE_EXPOSURE.items():
        given = [number(functional(dataset, "FrameAcquisitionSequence", fine), fine), number(dataset, fine)]
        found = [round(each) for each in given if each is not None and 0 <= round(each) < 1 << 31]
        if found and number(dataset, whole) is None:
            setattr(dataset, whole, found[0])
        if fine in dataset:
            del dataset[fine]


def describe_patient_and_study(source: Dataset) -> Dataset:
    """Return what of a source's header any object of its study has, whatever its class.

    Args:
        source: header of the run, or of its first frame.
    """
    complete_header = carry_over(source)
    complete(complete_header)
    dataset = Dataset()
    tags = [complete_header[keyword].tag for keyword in OF_PATIENT_AND_STUDY if keyword in complete_header]
    dataset.update({tag: complete_header.get_item(tag) for tag in tags})
    dataset.set_original_encoding(False, True, complete_header.original_character_set)
    set_laterality(dataset)
    return dataset


def code_item(code: str, meaning: str) -> Dataset:
    """Return a coded concept of the DICOM controlled terminology, for a sequence of codes."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
    return item


def complete(dataset: Dataset) -> None:
    """Fill in what the class demands and the source does not have: with nothing where that is legal."""
    _leave_empty(dataset, TYPE_2)
    set_laterality(dataset)
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


def set_laterality(dataset: Dataset) -> None:
    """Leave the side empty where it must be there, and out where it may not be."""
    region = next(iter(items(dataset, "AnatomicRegionSequence")), Dataset())
    part = text(dataset, "BodyPartExamined") or text(region, "CodeMeaning").replace(" ", "")
    paired = part not in UNPAIRED.split()
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
    single = number(dataset, "NumberOfFrames") == 1  # of which this class, unlike XA, has no times
    for keyword in ("PixelIntensityRelationship", "AcquisitionDeviceProcessingDescription", *(OF_TIMES if single else ())):
        if keyword in dataset:
            del dataset[keyword]
