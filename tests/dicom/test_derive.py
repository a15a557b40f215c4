"""What a derived run takes over: identity byte for byte, nothing of the old file's form, nothing that breaks its type."""

import struct

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from angiomorph.dicom import read_series
from angiomorph.dicom.attributes import without_warnings
from tests.dicom.headers import item, reencoded, setting, write
from tests.dicom_tools import dciodvfy_errors
from tests.runs import moving_frames


def in_bytes(path, tag, content):
    """Return the path of a file of Explicit VR Little Endian in which an element's value is any bytes."""
    raw = path.read_bytes()
    place = raw.index(struct.pack("<HH", *tag), 132)
    length = struct.unpack("<H", raw[place + 6 : place + 8])[0]
    content += b" " * (len(content) % 2)
    path.write_bytes(raw[: place + 6] + struct.pack("<H", len(content)) + content + raw[place + 8 + length :])
    return path


def raw_value(path, tag):
    with without_warnings():
        return pydicom.dcmread(path).get_item(tag).value.rstrip(b" ")


@pytest.mark.parametrize("bits", [8, 12])
def test_big_endian_source_is_written(xa_file, tmp_path, bits):
    frames = moving_frames(bits=bits)
    path = xa_file(frames=frames, attributes={"PatientName": "DOE^JANE"})
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dataset.PixelData = frames.astype(">u2").tobytes() if bits == 12 else frames.tobytes()
    pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False, force_encoding=True)
    written = write(tmp_path / "bsa.dcm", read_series(path))
    assert written.PatientName == "DOE^JANE"
    assert written.pixel_array[0].tolist() == [[2048] * 12] * 16
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_words_of_a_big_endian_source_are_turned(xa_file, tmp_path):
    values = np.array([1.5, -2.25], np.float32)

    def change(dataset):
        dataset.add_new("FloatPixelData", "OF", values.astype(">f4").tobytes())
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian

    path = xa_file()
    dataset = pydicom.dcmread(path)
    change(dataset)
    part = pydicom.Dataset()
    part.add_new("VectorGridData", "OF", dataset.FloatPixelData)
    del dataset.FloatPixelData
    dataset.DeformableRegistrationGridSequence = [part]
    pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False, force_encoding=True)
    written = write(tmp_path / "bsa.dcm", read_series(path))
    np.testing.assert_array_equal(np.frombuffer(written.DeformableRegistrationGridSequence[0].VectorGridData, "<f4"), values)


@pytest.mark.parametrize("transfer_syntax", [None, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", b"M\xfcller^J\xe4ne"),  # Latin-1 where UTF-8 was announced
        ("ISO_IR 100", "Иванов^Пётр".encode("cp1251")),
        ("GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030")),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    ],
)
def test_texts_keep_their_bytes(xa_file, tmp_path, transfer_syntax, character_set, name):
    def change(dataset):
        dataset.SpecificCharacterSet = character_set.split("\\")
        dataset.ReferencedStudySequence = [item(StudyDescription="x")]

    path = in_bytes(xa_file(change=change), (0x0010, 0x0010), name)
    if transfer_syntax is not None:
        raw = path.read_bytes()  # pydicom would write the text anew
        assert raw.count(name) == 1
        stand_in = b"N" * len(name)
        path.write_bytes(raw.replace(name, stand_in))
        reencoded(path, transfer_syntax)
        path.write_bytes(path.read_bytes().replace(stand_in, name))
    with without_warnings():
        write(tmp_path / "bsa.dcm", read_series(path))
    assert raw_value(tmp_path / "bsa.dcm", 0x00100010) == name
    assert character_set.encode() in (tmp_path / "bsa.dcm").read_bytes()


def test_dates_and_times_of_acr_nema_take_dicoms_form(xa_file, tmp_path):
    path = xa_file()
    for tag, content in (((0x0008, 0x0020), b"1994.10.16"), ((0x0008, 0x0030), b"08:30:00"), ((0x0010, 0x0030), b"ANON")):
        in_bytes(path, tag, content)
    written = write(tmp_path / "bsa.dcm", read_series(path))
    assert (written.StudyDate, written.StudyTime, written.PatientBirthDate) == ("19941016", "083000", "")
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_nothing_of_the_old_files_form_is_carried(xa_file, tmp_path):
    def change(dataset):
        dataset.add_new(0x00080001, "UL", 1000)
        dataset.add_new(0x00080010, "SH", "ACR-NEMA 2.0")
        dataset.add_new(0x00280005, "US", 3)
        dataset.add_new(0x00280200, "US", 0x7FE0)
        dataset.add_new(0x40000010, "LT", "arbitrary")
        dataset.add_new(0x50003000, "OW", b"1234")
        dataset.add_new(0xFFFCFFFC, "OB", bytes(8))

    written = write(tmp_path / "bsa.dcm", read_series(xa_file(change=change)))
    for tag in (0x00080001, 0x00080010, 0x00280005, 0x00280200, 0x40000010, 0x50003000, 0xFFFCFFFC):
        assert tag not in written
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize(
    ("keyword", "content", "kept"),
    [
        ("ImagerPixelSpacing", b"0.2", False),
        ("ImagerPixelSpacing", b"0.2\\0.2", True),
        ("ImagerPixelSpacing", b"0,2\\0,2", False),
        ("DistanceSourceToDetector", b"about 1 m", False),
        ("DistanceSourceToDetector", b"NaN", False),
        ("SeriesNumber", b"99999999999", None),
    ],
)
def test_numbers_that_break_their_type_are_left_out(xa_file, tmp_path, keyword, content, kept):
    attributes = {"ImagerPixelSpacing": [0.3, 0.3], "DistanceSourceToDetector": 1000}
    tag = pydicom.tag.Tag(keyword)
    path = in_bytes(xa_file(attributes=attributes), (tag.group, tag.element), content)
    written = write(tmp_path / "bsa.dcm", read_series(path))
    assert (keyword in written) == (kept is not False)
    assert kept is not None or written[keyword].value in (None, 1)
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize(
    ("shutter", "kept"),
    [
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [8, 6], "RadiusOfCircularShutter": 5}, "CIRCULAR"),
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [8, 6]}, None),
        ({"ShutterShape": "BITMAP", "ShutterOverlayGroup": 0x6000, "ShutterPresentationValue": 0}, None),
        (
            {
                "ShutterShape": ["BITMAP", "POLYGONAL"],
                "VerticesOfThePolygonalShutter": [1, 1, 1, 12, 16, 12],
                "ShutterOverlayGroup": 0x6000,
            },
            "POLYGONAL",
        ),
    ],
)
def test_shutters_without_their_values_are_left_out(xa_file, tmp_path, shutter, kept):
    written = write(tmp_path / "bsa.dcm", read_series(xa_file(change=setting(**shutter))))
    assert written.get("ShutterShape") == kept
    assert "ShutterOverlayGroup" not in written
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_what_only_the_meta_information_names(xa_file, tmp_path):
    path = xa_file()
    dataset = pydicom.dcmread(path)
    uid = dataset.SOPInstanceUID
    del dataset.SOPClassUID, dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset)
    written = write(tmp_path / "bsa.dcm", read_series(path))
    assert {part.ReferencedSOPInstanceUID for part in written.SourceImageSequence} == {uid}
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_retired_biplane_class_becomes_xa(xa_file, tmp_path):
    source = read_series(xa_file(change=setting(SOPClassUID="1.2.840.10008.5.1.4.1.1.12.3")))
    written = write(tmp_path / "bsa.dcm", source)
    assert written.SOPClassUID == "1.2.840.10008.5.1.4.1.1.12.1"
    assert written.SourceImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.12.3"
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize(
    "attributes", [{"FrameTime": None}, {"FrameTime": -33}, {"FrameTimeVector": [0, 0, 0, 0], "FrameTime": None}]
)
def test_unknown_time_is_written_as_one_that_viewers_play(xa_file, tmp_path, attributes):
    source = read_series(xa_file(change=setting(**attributes)))
    written = write(tmp_path / "bsa.dcm", source)
    assert (written.FrameTime, written.FrameIncrementPointer) == (500, 0x00181063)
    assert "FrameTimeVector" not in written
    assert written.DerivationDescription.endswith("frame time unknown")
    assert any("nothing tells the time between frames; written as 500 ms" in line for line in source.warnings)
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


def test_a_number_that_ends_within_itself_is_left_out(xa_file, tmp_path):
    content = struct.pack("<d", 9.5)[:6]
    raw = RawDataElement(Tag("XRayTubeCurrentInmA"), "FD", len(content), content, 0, False, True)
    path = xa_file(change=lambda dataset: dataset.__setitem__(raw.tag, raw))
    assert "XRayTubeCurrentInmA" not in write(tmp_path / "bsa.dcm", read_series(path))
    assert dciodvfy_errors(tmp_path / "bsa.dcm") == []


@pytest.mark.parametrize(("part", "side", "left"), [("HEAD", "", False), ("HEAD", "L", True), ("HAND", "", True)])
def test_an_unknown_side_stands_where_the_part_has_two(xa_file, tmp_path, part, side, left):
    written = write(tmp_path / "bsa.dcm", read_series(xa_file(change=setting(BodyPartExamined=part, Laterality=side))))
    assert (written.get("Laterality") == side) is left
