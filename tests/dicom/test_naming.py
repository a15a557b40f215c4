"""Names by pattern: values of what holds no identity, safe in any file system, and never two runs of one name."""

import os

import pydicom
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import tag_for_keyword

from angiomorph.dicom import check_pattern, name_run, read_series
from angiomorph.dicom.anonymize import EDITION
from angiomorph.dicom.naming import KEYWORDS, hash_run
from angiomorph.errors import InputError
from tests.dicom.headers import setting
from tests.runs import moving_frames
from tests.tools import REPOSITORY


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{hash}", "{hash}"),
        ("{SeriesNumber}_{AcquisitionNumber}_{stem}", "3_7_run-{hash}"),
        ("{Modality}.{hash}.{BodyPartExamined}", "XA.{hash}.HEAD_NECK"),
        ("a+b", "a+b-{hash}"),
        ("{PositionerPrimaryAngle}{PositionerSecondaryAngle}", "30.5-12-{hash}"),
        ("{Manufacturer}{PixelIntensityRelationship}", "A_B_C_DLIN-{hash}"),
        ("{KVP}", "none-{hash}"),
        ("..{stem}", "run-{hash}"),
    ],
)
def test_names_by_hand(xa_file, pattern, name):
    attributes = {"SeriesNumber": 3, "AcquisitionNumber": 7, "BodyPartExamined": "HEAD NECK", "Manufacturer": "/A:B*C  D/"}
    attributes |= {"PositionerPrimaryAngle": 30.5, "PositionerSecondaryAngle": "-12"}
    series = read_series(xa_file(attributes=attributes))
    check_pattern(pattern, anonymous=False)
    assert name_run(pattern, series, "run").replace(hash_run(series), "{hash}") == name


def test_enhanced_runs_have_their_angles_too():
    series = read_series(REPOSITORY / "data" / "sample_enhanced.dcm")
    assert name_run("{PositionerPrimaryAngle}_{hash}", series, "run").startswith("85.5477007352072_")


def test_hashes_tell_runs_apart_and_stay(xa_file, xa_folder):
    first = hash_run(read_series(xa_file("a.dcm")))
    assert first == hash_run(read_series(xa_file("a.dcm")))
    others = [xa_file("b.dcm"), xa_folder(moving_frames((3, 8, 6)))]
    nameless = [unnamed(xa_file(f"{seed}.dcm", frames=moving_frames(seed=seed))) for seed in (1, 2)]
    assert len({first, *(hash_run(read_series(path)) for path in (*others, *nameless))}) == 5
    assert len(first) == 8
    assert all(digit in "0123456789abcdef" for digit in first)


def unnamed(path):
    """Take a file's instance UIDs out."""
    dataset = pydicom.dcmread(path)
    del dataset.SOPInstanceUID
    dataset.file_meta.MediaStorageSOPInstanceUID = ""
    pydicom.dcmwrite(path, dataset, enforce_file_format=False)
    return path


@pytest.mark.parametrize(
    "keyword",
    [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "AccessionNumber",
        "StudyDate",
        "StudyInstanceUID",
        "Rows ",
        "seriesnumber",
    ],
)
def test_what_may_hold_identity_is_refused(keyword):
    with pytest.raises(InputError, match=rf"found '{keyword}', which may hold identity.*use {{hash}} to tell runs apart"):
        check_pattern(f"{{{keyword}}}_{{stem}}", anonymous=False)


@pytest.mark.parametrize(
    "pattern", ["", "  ", "a/b", "..\\a", "{SeriesNumber", "a b", "a}", "{}", "ä", "a:b", "{hash}\0", "{{hash}}"]
)
def test_what_is_no_name_is_refused(pattern):
    with pytest.raises(InputError, match=r"`name` .*: expected"):
        check_pattern(pattern, anonymous=False)


def test_the_sources_name_may_be_the_patients():
    check_pattern(None, anonymous=True)
    check_pattern("{SeriesNumber}", anonymous=True)
    with pytest.raises(InputError, match=r"{stem} is the file's name, which may be the patient's; use {hash}"):
        check_pattern("{stem}", anonymous=True)


def test_no_keyword_is_one_of_identity():
    table = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")["ALL_TAGS"]
    tags = [tag_for_keyword(keyword) for keyword in KEYWORDS]
    assert not {(tag >> 16, tag & 0xFFFF) for tag in tags} & {*table}


@pytest.mark.parametrize("written", ["CON", ".hidden", "a" * 64, "-rf", "é"])
def test_names_are_safe_whatever_a_header_says(xa_file, tmp_path, written):
    series = read_series(xa_file(change=setting(Manufacturer=written)))
    name = name_run("{Manufacturer}", series, "run")
    assert name.isascii()
    assert name[0] not in ".-"
    assert os.sep not in name
    (tmp_path / name).touch()
