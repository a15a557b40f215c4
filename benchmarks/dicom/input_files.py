"""Rows of `benchmarks.dicom.inputs`: headers of one multi-frame file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    RLELossless,
    XRayRadiofluoroscopicImageStorage,
)

from benchmarks.dicom.input_tools import (
    FRAME_TIME,
    RUN,
    SHAPE,
    Expected,
    Row,
    a_run,
    encode,
    item,
    noise,
    patch,
    replace_bytes,
    save,
    with_attributes,
    with_bytes,
)

COUNT, TIMES, MASKS, GREY, CLASSES = "frame count", "frame times", "masks", "grey values", "classes"
FILE, TEXTS, SHUTTERS, MOTION = "encoding of the file", "texts and numbers", "shutters", "motion"
TAKEN_AS_PIXELS = "so many there are pixels"
VECTOR: dict[str, Any] = {"FrameTime": None, "FrameIncrementPointer": 0x00181065}
INCREMENTS = [125, 124, 125, 500, 500, 500, 1000]
BYTES = noise(8)


def _average(**attributes: Any) -> Dataset:
    return item(MaskOperation="AVG_SUB", **attributes)


def _typed(representation: str, value: Any) -> Dataset:
    mask = _average()
    mask.add_new("MaskFrameNumbers", representation, value)
    return mask


def _masks(words: str, expected: str, *items: Dataset, **given: Any) -> Row:
    return with_attributes(MASKS, words, expected, MaskSubtractionSequence=list(items), **given)


def _few_in_rle(folder: Path) -> Expected:
    dataset = encode(a_run(), RLELossless)
    dataset.NumberOfFrames = 5
    return Expected(save(dataset, folder / "run.dcm", RLELossless), (RUN[:5],), told="NumberOfFrames (0028,0008) is 5")


def _decimal_count(folder: Path) -> Expected:
    return Expected(patch(save(a_run(), folder / "run.dcm"), "NumberOfFrames", b"8.0"))


def _behind(data: bytes) -> Any:
    def make(folder: Path) -> Expected:
        dataset = a_run()
        dataset.PixelData += data
        return Expected(save(dataset, folder / "run.dcm"))

    return make


def _trailing(folder: Path) -> Expected:
    dataset = a_run()
    dataset.add_new(0xFFFCFFFC, "OB", bytes(512))
    return Expected(save(dataset, folder / "run.dcm"))


def _as_said(words: bytes, syntax: str, told: str = "", refused: str = "") -> Any:
    """Return a maker of a run in one encoding whose meta information names another one."""

    def make(folder: Path) -> Expected:
        path = save(a_run(), folder / "run.dcm", ImplicitVRLittleEndian if syntax == "implicit" else ExplicitVRLittleEndian)
        patch(path, "TransferSyntaxUID", words or None)
        return Expected(path, () if refused else (RUN,), told=told, refused=refused)

    return make


def bare(dataset: Dataset, path: Path) -> Path:
    """Write a data set of Implicit VR without preamble and meta information."""
    data = save(dataset, path, ImplicitVRLittleEndian).read_bytes()
    path.write_bytes(data[144 + struct.unpack("<L", data[140:144])[0] :])
    return path


def _meta_length(folder: Path) -> Expected:
    path = save(a_run(), folder / "run.dcm")
    data = path.read_bytes()
    path.write_bytes(data[:132] + data[144:])
    return Expected(path)


def _meta_length_of_zero(folder: Path) -> Expected:
    path = save(a_run(), folder / "run.dcm")
    data = path.read_bytes()
    path.write_bytes(data[:140] + bytes(4) + data[144:])
    return Expected(path)


def _pixels_as(representation: bytes) -> Any:
    def make(folder: Path) -> Expected:
        path = save(a_run(), folder / "run.dcm")
        return Expected(replace_bytes(path, b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x10\0" + representation))

    return make


def _private_sequence(folder: Path) -> Expected:
    """A private sequence of items in Implicit VR, as UN of undefined length."""
    path = save(a_run(), folder / "run.dcm")
    data = path.read_bytes()
    inner = struct.pack("<HHL", 0x0021, 0x0010, 4) + b"ACME"
    end = struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    creator = struct.pack("<HH2sH", 0x0021, 0x0010, b"LO", 4) + b"ACME"
    opening = struct.pack("<HH2sHL", 0x0021, 0x1002, b"UN", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    start = data.index(b"\x28\0\x02\0US")
    path.write_bytes(data[:start] + creator + opening + inner + end + data[start:])
    return Expected(path)


def _icon(folder: Path) -> Expected:
    icon = item(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0, SamplesPerPixel=1)
    icon.add_new(0x7FE00010, "OB", b"1234")
    path = save(a_run(PixelData=None, IconImageSequence=[icon]), folder / "run.dcm")
    return Expected(path, (), refused="found no top-level PixelData")


def _colour(folder: Path) -> Expected:
    dataset = a_run(BYTES, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    dataset.PixelData = np.repeat(BYTES[..., None], 3, -1).tobytes()
    return Expected(save(dataset, folder / "run.dcm"), (), refused="expected grey-scale pixels")


def _overlay_bits(folder: Path) -> Expected:
    frames = RUN.copy()
    frames[:, 10:20, 5:30] |= 1 << 12
    frames[:, 30:35, 5:30] |= 1 << 13
    dataset = a_run()
    dataset.PixelData = frames.tobytes()
    for group, bit in ((0x6000, 12), (0x6002, 13)):
        for element, kind, value in (
            (0x10, "US", 48),
            (0x11, "US", 40),
            (0x40, "CS", "G"),
            (0x100, "US", 16),
            (0x102, "US", bit),
        ):
            dataset.add_new((group, element), kind, value)
    return Expected(save(dataset, folder / "run.dcm"))


def _to_linear(folder: Path) -> Expected:
    table = item(LUTDescriptor=[4096, 0, 16], ModalityLUTType="US")
    table.add_new("LUTData", "OW", np.linspace(0, 65535, 4096).astype("<u2").tobytes())
    return Expected(save(a_run(PixelIntensityRelationship="LOG", ModalityLUTSequence=[table]), folder / "run.dcm"))


def _captured(modality: str, told: str) -> Row:
    kind = {"SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage, "ConversionType": "WSD", "Modality": modality}
    words = f"Secondary Capture of 8 bits, Modality {modality}"
    return with_attributes(CLASSES, words, "read, told", frames=BYTES, PixelIntensityRelationship=None, told=told, **kind)


def _bytes_of_text(words: str, patches: dict[str, bytes], **given: Any) -> Row:
    return with_bytes(TEXTS, words, "read; the output is written", {key: data for key, data in patches.items()}, **given)


def _acr(folder: Path) -> Expected:
    dataset = a_run()
    for tag, kind, value in (
        (0x00080001, "UL", 1000),
        (0x00080010, "SH", "ACR-NEMA 2.0"),
        (0x00280005, "US", 3),
        (0x00280200, "US", 0x7FE0),
        (0x40000010, "LT", "arbitrary"),
        (0x50000005, "US", 2),
        (0x50003000, "OW", b"1234"),
    ):
        dataset.add_new(tag, kind, value)
    return Expected(save(dataset, folder / "run.dcm"))


def _circle() -> np.ndarray:
    rows, columns = np.indices(SHAPE[1:]) + 1
    return (rows - 24) ** 2 + (columns - 20) ** 2 <= 15**2


CIRCLE: dict[str, Any] = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [24, 20], "RadiusOfCircularShutter": 15}
ALL_EXPOSED = np.ones(SHAPE[1:], bool)
SQUARE = [1, 1, 1, 40, 48, 40, 48, 1]

ROWS: tuple[Row, ...] = (
    with_attributes("control", "a valid run", "read", times=FRAME_TIME),
    with_attributes(COUNT, "NumberOfFrames absent", "all frames, told", NumberOfFrames=None, told=TAKEN_AS_PIXELS),
    with_attributes(COUNT, "NumberOfFrames 1, pixels for 8", "refused by name", NumberOfFrames=1, refused="NumberOfFrames"),
    with_attributes(
        COUNT, "NumberOfFrames 5, pixels for 8", "5, told", NumberOfFrames=5, read=RUN[:5], told="first 5 are read"
    ),
    with_attributes(COUNT, "NumberOfFrames 4, pixels for 8", "refused by name", NumberOfFrames=4, refused="NumberOfFrames"),
    with_attributes(COUNT, "Rows 24, pixels for 48", "refused by name", Rows=24, refused="Rows (0028,0010) 48"),
    with_attributes(COUNT, "Columns 20, pixels for 40", "refused by name", Columns=20, refused="Columns (0028,0011) 40"),
    with_attributes(COUNT, "Rows 47, pixels for 48", "refused by name", Rows=47, refused="Rows (0028,0010) 48"),
    Row(COUNT, "NumberOfFrames 5, 8 fragments of RLE", "5, told", _few_in_rle),
    Row(COUNT, "NumberOfFrames '8.0'", "8 frames", _decimal_count),
    Row(COUNT, "19 kB of padding behind the pixels", "8 frames", _behind(bytes(19044))),
    Row(COUNT, "DataSetTrailingPadding behind the pixels", "8 frames", _trailing),
    with_bytes(
        TIMES,
        "FrameTimeVector whose first component is empty",
        "250 ms",
        {"FrameTimeVector": b"\\250" * 7},
        times=FRAME_TIME,
        FrameTimeVector=[0] + [250] * 7,
        **VECTOR,
    ),
    with_attributes(
        TIMES,
        "FrameTimeVector one short",
        "250 ms, told",
        FrameTimeVector=[250] * 7,
        times=FRAME_TIME,
        told="one less",
        **VECTOR,
    ),
    with_attributes(
        TIMES, "FrameTimeVector of a rate that changes", "kept", FrameTimeVector=[0, *INCREMENTS], times=INCREMENTS, **VECTOR
    ),
    with_attributes(TIMES, "FrameTime empty, pointer (0000,0000)", "told", FrameTime="", FrameIncrementPointer=0, told="time"),
    with_attributes(
        TIMES, "pointer to FrameLabelVector, no times", "told", FrameTime=None, FrameIncrementPointer=0x00182002, told="time"
    ),
    with_attributes(
        TIMES, "FrameTime 0, CineRate 4", "250 ms, told", FrameTime="0", CineRate=4, times=FRAME_TIME, told="FrameTime"
    ),
    with_attributes(TIMES, "FrameTime -33", "unknown, told", FrameTime="-33", times=0, told="FrameTime"),
    with_bytes(TIMES, "FrameTime NaN", "unknown, told", {"FrameTime": b"NaN"}, times=0, told="FrameTime"),
    _masks("AVG_SUB of frame 2", "frame 2", _average(MaskFrameNumbers=2), masks=(2,)),
    _masks("no item", "none", masks=()),
    _masks("frame 0", "none, told", _average(MaskFrameNumbers=0), masks=(), told="names frame 0"),
    _masks(
        "frame 99 in the first item, frame 2 in the second",
        "frame 2, told",
        _average(MaskFrameNumbers=99),
        _average(MaskFrameNumbers=2),
        masks=(2,),
        told="frame 99",
    ),
    _masks("frames 2, 0 and 99", "frame 2, told", _average(MaskFrameNumbers=[2, 0, 99]), masks=(2,), told="frame 0, 99"),
    _masks(
        "frame 2 for frames 1 to 4, frame 5 for 5 to 8",
        "each range has its own",
        _average(MaskFrameNumbers=2, ApplicableFrameRange=[1, 4]),
        _average(MaskFrameNumbers=5, ApplicableFrameRange=[5, 8]),
        steps=((2,), (5,)),
        told="has 2 masks",
    ),
    _masks("frame number as text", "frame 2", _typed("LO", "2"), masks=(2,)),
    _masks("frame numbers as decimals", "frames 2 and 3", _typed("DS", ["2.0", "3.0"]), masks=(2, 3)),
    _masks("frame number as a word", "none, told", _typed("LO", "second"), masks=(), told="MaskFrameNumbers"),
    _masks("TID", "none, told", item(MaskOperation="TID", TIDOffset=1), masks=(), told="TID"),
    _masks(
        "NONE for frames 1 to 3, then AVG_SUB",
        "frame 2",
        item(MaskOperation="NONE", ApplicableFrameRange=[1, 3]),
        _average(MaskFrameNumbers=2, ApplicableFrameRange=[4, 8]),
        masks=(2,),
    ),
    with_attributes(
        GREY, "MONOCHROME1", "iodine dark, told", PhotometricInterpretation="MONOCHROME1", read=4095 - RUN, told="bright"
    ),
    with_attributes(
        GREY, "MONOCHROME1 with sign 1", "as it is", PhotometricInterpretation="MONOCHROME1", PixelIntensityRelationshipSign=1
    ),
    with_attributes(GREY, "PresentationLUTShape INVERSE", "iodine dark", PresentationLUTShape="INVERSE", read=4095 - RUN),
    with_attributes(GREY, "DERIVED, unsubtracted", "read", ImageType=["DERIVED", "SECONDARY", "SINGLE PLANE", "DA", "ACQ"]),
    with_attributes(
        GREY,
        "DERIVED, 'DSA 3 f/s'",
        "refused with an override",
        ImageType=["DERIVED", "PRIMARY", "SINGLE PLANE"],
        AcquisitionDeviceProcessingDescription="DSA 3 f/s",
        refused="say `unsubtracted`",
    ),
    with_attributes(
        GREY,
        "DERIVED, 'DSA 3 f/s', with --unsubtracted",
        "read, told",
        ImageType=["DERIVED", "PRIMARY", "SINGLE PLANE"],
        AcquisitionDeviceProcessingDescription="DSA 3 f/s",
        unsubtracted=True,
        told="taken as acquired",
    ),
    Row(GREY, "LOG with a modality LUT", "stored values", _to_linear),
    with_attributes(
        GREY, "LIN with RescaleIntercept -1024", "told", RescaleSlope=1, RescaleIntercept=-1024, told="is not applied"
    ),
    with_attributes(GREY, "no PixelIntensityRelationship", "told", PixelIntensityRelationship=None, told="taken as DISP"),
    with_attributes(GREY, "10 bits stored of 16", "read", frames=noise(10), bits=10),
    with_attributes(GREY, "HighBit 15 of 12 bits", "moved down", frames=RUN << 4, bits=16, BitsStored=12, HighBit=15, read=RUN),
    Row(GREY, "overlays in bits 12 and 13", "without them", _overlay_bits),
    with_attributes(GREY, "8 bits stored of 16", "read", frames=noise(8).astype(np.uint16), BitsStored=8, HighBit=7),
    with_attributes(GREY, "signed, none below 0", "read", frames=RUN >> 1, PixelRepresentation=1),
    with_attributes(GREY, "signed, some below 0", "refused", PixelRepresentation=1, refused="found negative ones"),
    Row(GREY, "colour", "refused", _colour),
    with_attributes(GREY, "no SamplesPerPixel", "told", SamplesPerPixel=None, told="SamplesPerPixel"),
    with_attributes(
        GREY, "no PhotometricInterpretation", "told", PhotometricInterpretation=None, told="PhotometricInterpretation"
    ),
    with_attributes(GREY, "BitsStored 16 with HighBit 11", "refused", BitsStored=16, refused="HighBit"),
    _captured("OT", "nothing says that this is an angiogram"),
    _captured("XA", "taken as DISP"),
    with_attributes(CLASSES, "retired biplane class", "read", SOPClassUID="1.2.840.10008.5.1.4.1.1.12.3"),
    with_attributes(CLASSES, "XRF", "read", SOPClassUID=XRayRadiofluoroscopicImageStorage, Modality="RF"),
    with_bytes(CLASSES, "SOPClassUID in the meta information alone", "read", {"SOPClassUID": None}),
    with_bytes(CLASSES, "SOPInstanceUID in the meta information alone", "read", {"SOPInstanceUID": None}),
    Row(FILE, "says Implicit VR, is Explicit", "read, told", _as_said(ImplicitVRLittleEndian.encode(), "explicit")),
    Row(FILE, "says Explicit VR, is Implicit", "read, told", _as_said(ExplicitVRLittleEndian.encode(), "implicit")),
    Row(FILE, "no TransferSyntaxUID", "read, told", _as_said(b"", "explicit", "TransferSyntaxUID (0002,0010) is absent")),
    Row(FILE, "GE's private syntax", "refused by name", _as_said(b"1.2.840.113619.5.2", "implicit", refused="113619.5.2")),
    Row(
        FILE, "an unknown syntax", "refused by name", _as_said(b"1.2.840.10008.1.2.2.123456", "explicit", refused="2.2.123456")
    ),
    Row(FILE, "a bare data set", "read", lambda folder: Expected(bare(a_run(), folder / "bare"))),
    Row(FILE, "no length of the meta information", "read", _meta_length),
    Row(FILE, "length 0 of the meta information", "read", _meta_length_of_zero),
    Row(FILE, "PixelData as UN", "read", _pixels_as(b"UN")),
    Row(FILE, "16 bit PixelData as OB", "read", _pixels_as(b"OB")),
    Row(FILE, "private sequence as UN of undefined length", "read", _private_sequence),
    Row(FILE, "an icon without pixels", "refused", _icon),
    _bytes_of_text("no SpecificCharacterSet, Latin-1 name", {"PatientName": b"M\xfcller^J\xe4ne"}, SpecificCharacterSet=None),
    _bytes_of_text(
        "SpecificCharacterSet 'Not Supplied'", {"SpecificCharacterSet": b"Not Supplied"}, SpecificCharacterSet="ISO_IR 100"
    ),
    _bytes_of_text(
        "SpecificCharacterSet with a NUL", {"SpecificCharacterSet": b"ISO\0IR 100"}, SpecificCharacterSet="ISO_IR 100"
    ),
    _bytes_of_text(
        "Japanese name with escapes",
        {"SpecificCharacterSet": rb"ISO 2022 IR 6\ISO 2022 IR 87", "PatientName": b"Yamada=\x1b$B;3ED\x1b(B"},
        SpecificCharacterSet="ISO_IR 100",
    ),
    _bytes_of_text("GB18030 name", {"PatientName": "Wang=\u738b".encode("gb18030")}, SpecificCharacterSet="GB18030"),
    _bytes_of_text("UTF-8 said, Latin-1 name", {"PatientName": b"M\xfcller"}, SpecificCharacterSet="ISO_IR 192"),
    _bytes_of_text(
        "Latin-1 said, Cyrillic name", {"PatientName": "\u0418\u0432".encode("cp1251")}, SpecificCharacterSet="ISO_IR 100"
    ),
    _bytes_of_text("dates and times of ACR-NEMA", {"StudyDate": b"1994.10.16", "StudyTime": b"08:30:00"}),
    _bytes_of_text("StudyInstanceUID that is none", {"StudyInstanceUID": b"STUDY-1"}),
    _bytes_of_text("SeriesNumber 5.5", {"SeriesNumber": b"5.5"}),
    _bytes_of_text("SeriesNumber beyond 32 bits", {"SeriesNumber": b"99999999999"}),
    with_bytes(
        TEXTS, "Rows with two values", "refused by name", {"Rows": struct.pack("<HH", 48, 48)}, refused="Rows (0028,0010)"
    ),
    Row(TEXTS, "ACR-NEMA's tags, comments and curves", "read; the output is written", _acr),
    _bytes_of_text("words in birth date, sex and KVP", {"PatientBirthDate": b"ANON", "PatientSex": b"ANON", "KVP": b"ANON"}),
    with_attributes(
        TEXTS, "PixelAspectRatio and spacing 0", "read", PixelAspectRatio=["0", "0"], ImagerPixelSpacing=["0", "0"]
    ),
    _bytes_of_text("ImagerPixelSpacing with one value", {"ImagerPixelSpacing": b"0.2"}, ImagerPixelSpacing=["0.2", "0.2"]),
    with_attributes(TEXTS, "no BodyPartExamined", "read", BodyPartExamined=None),
    with_attributes(TEXTS, "BodyPartExamined KOPF", "read", BodyPartExamined="KOPF"),
    with_attributes(
        SHUTTERS,
        "a polygon of one vertex",
        "passed over, told",
        ShutterShape="POLYGONAL",
        VerticesOfThePolygonalShutter=[10, 10],
        exposed=ALL_EXPOSED,
    ),
    with_bytes(
        SHUTTERS,
        "a polygon with a trailing backslash",
        "passed over, told",
        {"VerticesOfThePolygonalShutter": "\\".join(map(str, [*SQUARE, ""])).encode()},
        ShutterShape="POLYGONAL",
        VerticesOfThePolygonalShutter=SQUARE,
        exposed=ALL_EXPOSED,
    ),
    with_attributes(SHUTTERS, "a circle", "honoured", exposed=_circle(), **CIRCLE),
    with_bytes(
        SHUTTERS,
        "a circle whose centre lacks a value",
        "told",
        {"CenterOfCircularShutter": b"24\\ "},
        told="Circular",
        **CIRCLE,
    ),
    with_attributes(
        SHUTTERS, "a bitmap", "read", ShutterShape="BITMAP", ShutterPresentationValue=0, ShutterOverlayGroup=0x6000
    ),
    with_attributes(
        MOTION,
        "DYNAMIC",
        "refused by name",
        PositionerMotion="DYNAMIC",
        refused="PositionerMotion (0018,1500) STATIC), found DYNAMIC",
    ),
    with_attributes(
        MOTION,
        "increments of the angle",
        "refused by name",
        PositionerMotion=None,
        PositionerPrimaryAngleIncrement=[0.5] * 8,
        refused="PositionerPrimaryAngleIncrement (0018,1520) other than 0",
    ),
    with_bytes(
        MOTION,
        "increments of the angle with commas",
        "told",
        {"PositionerPrimaryAngleIncrement": rb"0,0\0,0"},
        PositionerMotion=None,
        PositionerPrimaryAngleIncrement=[0.5] * 8,
        told="PositionerPrimaryAngleIncrement",
    ),
)
