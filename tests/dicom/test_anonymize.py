"""No value of a patient's is left in what is written, and what is written refers to itself alone."""

import itertools

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage

from angiomorph.dicom import anonymize, read_series, write_dsa_run, write_dsa_state
from angiomorph.dicom.anonymize import EDITION
from angiomorph.dicom.encoding import CLASSES, Encoding
from angiomorph.errors import InputError
from tests.dicom.headers import item, setting, write
from tests.dicom_tools import dciodvfy_errors
from tests.tools import REPOSITORY

MARKED = ("PN", "LO", "SH", "LT", "ST", "UT", "DA", "TM", "DT", "UI")
GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x4008)
OF_THE_CLASS = {"SOPClassUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID", "TransferSyntaxUID"}


def identities():
    """Return attributes of which the standard's profile says that they are or may hold identity, each with its mark."""
    table = {tag for tag in dicom_anonymization_database_selector(f"dicomfields_{EDITION}")["ALL_TAGS"] if len(tag) == 2}
    numbers = itertools.count(1)
    for tag, (vr, *_, keyword) in sorted(DicomDictionary.items()):
        listed = (tag >> 16, tag & 0xFFFF) in table
        if listed and vr in MARKED and tag >> 16 in GROUPS and not keyword.endswith("ClassUID") and keyword not in OF_THE_CLASS:
            yield keyword, mark(vr, next(numbers))


def mark(vr, number):
    return {
        "DA": f"{1950 + number // 336}{number // 28 % 12 + 1:02d}{number % 28 + 1:02d}",
        "TM": f"{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d}.7351",
        "DT": f"1949{number // 28 % 12 + 1:02d}{number % 28 + 1:02d}{number % 24:02d}5959.{number:06d}",
        "UI": f"1.2.3.45678.{number}.9",
        "PN": f"Qzname{number}^Wxgiven{number}",
    }.get(vr, f"Qzmark{number}z")


def marked_run(xa_file, name="run.dcm"):
    """Return a run in which each attribute of identity is marked, and its marks."""
    marks = dict(identities())
    family, given = marks["PatientName"].split("^")

    def change(dataset):
        for keyword, found in marks.items():
            setattr(dataset, keyword, found)
        dataset.RequestAttributesSequence = [item(RequestedProcedureDescription="Qznested1z")]
        other = item(ReferencedSOPClassUID=dataset.SOPClassUID, ReferencedSOPInstanceUID="1.2.3.45678.99999.1")
        other.PurposeOfReferenceCodeSequence = [
            item(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning=f"seen by {family}")
        ]
        dataset.ReferencedImageSequence = [other]
        dataset.FrameOfInterestDescription = f"shown to {given} by night"  # of which the profile says nothing
        dataset.FrameNumbersOfInterest = 1
        dataset.add_new(0x00291010, "LO", "Qzprivate1z")
        dataset.add_new(0x00180811, "LO", "Qzunknown1z")
        block = dataset.private_block(0x0029, "QZCREATOR", create=True)
        block.add_new(1, "LO", "Qzprivate2z")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

    marks |= {
        "nested": "Qznested1z",
        "other": "1.2.3.45678.99999.1",
        "private": "Qzprivate",
        "unknown": "Qzunknown1z",
        "free text": f"{given} by",
    }
    return xa_file(name, change=change), marks


def left(data, marks):
    """Return the attributes whose marks are in the bytes of a file; of names each part counts."""
    found = {keyword: value.split("^") for keyword, value in marks.items()}
    return [keyword for keyword, parts in found.items() if any(part.encode() in data for part in parts)]


def write_all(folder, series):
    written = [write(folder / f"{save_class}.dcm", series, encoding=Encoding(save_class=save_class)) for save_class in CLASSES]
    write_dsa_run(folder / "dsa.dcm", series, [1])
    write_dsa_state(folder / "state.dcm", series, [1])
    return [*written, pydicom.dcmread(folder / "dsa.dcm"), pydicom.dcmread(folder / "state.dcm")]


def test_no_mark_of_a_patient_is_left(xa_file, tmp_path):
    path, marks = marked_run(xa_file)
    assert len(marks) > 150
    assert left(path.read_bytes(), marks) == [*marks]
    series = read_series(path)
    write_all(tmp_path, anonymize(series))
    for name in ("classic.dcm", "enhanced.dcm", "dsa.dcm", "state.dcm"):
        assert left((tmp_path / name).read_bytes(), marks) == [], name
    assert series.headers[0].PatientName == marks["PatientName"]


def test_marks_are_found_where_nothing_is_taken_out(xa_file, tmp_path):
    path, marks = marked_run(xa_file)
    write(tmp_path / "bsa.dcm", read_series(path))
    found = left((tmp_path / "bsa.dcm").read_bytes(), marks)
    assert {"PatientName", "PatientID", "AccessionNumber", "InstitutionName", "StudyInstanceUID", "free text"} <= {*found}


def test_objects_stay_valid_and_together(xa_file, tmp_path):
    source = read_series(xa_file(attributes={"PatientName": "Doe^Jane", "AccessionNumber": "A1", "StudyID": "S1"}))
    classic, enhanced, dsa, state = write_all(tmp_path, anonymize(source))
    for name in ("classic.dcm", "enhanced.dcm", "dsa.dcm"):
        assert dciodvfy_errors(tmp_path / name) == [], name
    every = (classic, enhanced, dsa, state)
    assert len({dataset.StudyInstanceUID for dataset in every}) == 1
    assert len({(str(dataset.PatientName), dataset.PatientID) for dataset in every}) == 1
    assert len({dataset.SOPInstanceUID for dataset in every}) == len({dataset.SeriesInstanceUID for dataset in every}) == 4
    frame = enhanced.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    references = [classic.SourceImageSequence[0], dsa.SourceImageSequence[0], frame.SourceImageSequence[0]]
    references.append(state.ReferencedSeriesSequence[0].ReferencedImageSequence[0])
    assert len({reference.ReferencedSOPInstanceUID for reference in references}) == 1
    assert references[0].ReferencedSOPInstanceUID != source.headers[0].SOPInstanceUID
    for dataset in every:
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert (dataset.SeriesDate, dataset.SeriesTime) == ("19000101", "000000")
        assert not dataset.get("AccessionNumber")
    times = [group.FrameContentSequence[0].FrameAcquisitionDateTime for group in enhanced.PerFrameFunctionalGroupsSequence]
    assert times == [f"19000101000000.{40 * index:03d}000" for index in range(4)]


def test_no_mark_is_left_in_the_frames_of_enhanced_runs(tmp_path):
    dataset = pydicom.dcmread(REPOSITORY / "data" / "sample_enhanced.dcm")
    marks = {keyword: str(dataset[keyword].value) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    shared = dataset.SharedFunctionalGroupsSequence[0]
    marks["event"] = str(shared.IrradiationEventIdentificationSequence[0].IrradiationEventUID)
    dataset.PatientName = marks["name"] = "Qzfamily^Wxgiven"
    dataset.AcquisitionProtocolName = "head of WXGIVEN"
    shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning = "Head, Qzfamily"
    for group in dataset.PerFrameFunctionalGroupsSequence:
        content = group.FrameContentSequence[0]
        content.FrameComments = marks["comment"] = "Qzcomment1z"
        content.FrameAcquisitionDateTime = f"19530607{content.FrameAcquisitionDateTime[8:]}"
        content.FrameReferenceDateTime = content.FrameAcquisitionDateTime
    marks["date"] = "19530607"
    dataset.save_as(tmp_path / "run.dcm")
    series = read_series(tmp_path / "run.dcm")
    written = write_all(tmp_path, anonymize(series))
    for name in ("classic.dcm", "enhanced.dcm", "dsa.dcm", "state.dcm"):
        assert left((tmp_path / name).read_bytes().upper(), {key: mark.upper() for key, mark in marks.items()}) == [], name
    assert dciodvfy_errors(tmp_path / "enhanced.dcm") == []
    again = read_series(tmp_path / "enhanced.dcm", unsubtracted=True)
    np.testing.assert_allclose(again.frame_times, series.frame_times)
    assert written[1].NumberOfFrames == 6


def test_same_run_same_uids_other_run_others(xa_file, tmp_path):
    path = xa_file()
    first, again = (write(tmp_path / name, anonymize(read_series(path))) for name in ("a.dcm", "b.dcm"))
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    other = write(tmp_path / "c.dcm", anonymize(read_series(xa_file("other.dcm"))))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert first[keyword].value == again[keyword].value != other[keyword].value
    plain = write(tmp_path / "plain.dcm", read_series(path))
    assert plain.SOPInstanceUID != first.SOPInstanceUID


def test_runs_of_one_study_stay_in_one(xa_file, tmp_path):
    study = setting(StudyInstanceUID="1.2.3.4")
    runs = [anonymize(read_series(xa_file(name, change=study))) for name in ("a.dcm", "b.dcm")]
    written = [write(tmp_path / f"{index}.dcm", run) for index, run in enumerate(runs)]
    assert len({dataset.StudyInstanceUID for dataset in written}) == 1
    assert len({dataset.PatientID for dataset in written}) == 1
    assert written[0].PatientID.startswith("ANON-")


@pytest.mark.parametrize("name", ["sample_lin.dcm", "sample_enhanced.dcm", "sample_single_frames"])
def test_samples_stay_what_they_are(tmp_path, name):
    source = read_series(REPOSITORY / "data" / name)
    plain, anonymous = write(tmp_path / "plain.dcm", source), write(tmp_path / "anonymous.dcm", anonymize(source))
    np.testing.assert_array_equal(plain.pixel_array, anonymous.pixel_array)
    for keyword in ("PositionerPrimaryAngle", "ImagerPixelSpacing", "FrameTime", "BodyPartExamined", "SOPClassUID", "Rows"):
        if keyword in plain:
            assert plain[keyword].value == anonymous[keyword].value, keyword
    assert dciodvfy_errors(tmp_path / "anonymous.dcm") == []


def test_what_cannot_be_read_is_taken_out(xa_file, tmp_path):
    path = xa_file(attributes={"BodyPartExamined": "HEAD", "PatientWeight": 70, "ContrastBolusAgent": "Doe"})
    path.write_bytes(path.read_bytes().replace(b"\x10\x00\x30\x10DS\x02\x0070", b"\x10\x00\x30\x10DS\x02\x00Qz"))
    write(tmp_path / "bsa.dcm", anonymize(read_series(path)))
    assert b"Qz" not in (tmp_path / "bsa.dcm").read_bytes()


ODD = {
    "numbers that end within one": ("XRayTubeCurrentInmA", "FD", b"Qzname"),
    "of unknown type and too long to be given one": ("FrameOfInterestDescription", "UN", b"Qz" * 40000),
    "of a type for which there is no dummy": ("XRaySourceID", "OW", b"Qzname"),
    "a name too short to be looked for": ("EvaluatorName", "PN", b"Qz^W"),
}


@pytest.mark.parametrize(("keyword", "kind", "content"), ODD.values(), ids=ODD)
def test_odd_elements_are_taken_out(xa_file, tmp_path, keyword, kind, content):
    tag = Tag(keyword)
    raw = RawDataElement(tag, kind, len(content), content, 0, False, True)
    path = xa_file(change=lambda dataset: dataset.__setitem__(tag, raw))
    assert b"Qz" in path.read_bytes()
    anonymous = anonymize(read_series(path))
    assert tag not in anonymous.headers[0]
    write(tmp_path / "bsa.dcm", anonymous)
    assert b"Qz" not in (tmp_path / "bsa.dcm").read_bytes()


@pytest.mark.parametrize("found", ["HEAD_DOE", "doe", "DOE2", "2DOE_", "O'Doe", "id 4711", "id4711", "4711a"])
def test_a_mark_is_found_beside_anything_but_its_like(xa_file, found):
    said = {"PatientName": "Doe^Jane", "PatientID": "4711", "FrameOfInterestDescription": f"seen {found}"}
    (header,) = anonymize(read_series(xa_file(attributes=said))).headers
    assert header.FrameOfInterestDescription == "REMOVED"


@pytest.mark.parametrize("found", ["Doering", "Aldoe", "DOEÄ", "47112", "14711", "d o e"])
def test_longer_words_and_numbers_are_no_marks(xa_file, found):
    said = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Doe^Jane", "PatientID": "4711"}
    (header,) = anonymize(read_series(xa_file(attributes=said | {"FrameOfInterestDescription": found}))).headers
    assert header.FrameOfInterestDescription == found


@pytest.mark.parametrize(
    "change", [{"BurnedInAnnotation": "YES"}, {"SOPClassUID": SecondaryCaptureImageStorage}], ids=["said", "captured"]
)
def test_burnt_in_text_is_refused(xa_file, change):
    series = read_series(xa_file(change=setting(**change)))
    with pytest.raises(InputError, match=r"without burnt-in text for `anonymize`.*Text in the pixels stays"):
        anonymize(series)


def test_every_type_of_the_table_has_a_mark():
    assert {dictionary_VR(keyword) for keyword, _ in identities()} <= {*MARKED}
