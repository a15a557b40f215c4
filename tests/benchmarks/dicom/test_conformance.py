"""Written runs before other programs: the short form of the command, and that each fault is noticed."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from angiomorph.dicom.encoding import CLASSES, COMPRESSIONS, DEPTHS
from angiomorph.errors import InputError
from benchmarks.dicom import conformance, orthanc
from benchmarks.dicom.conformance import CHECKS, SOURCES, SYNTAXES, archive, cases, check, check_file, faults, table, write
from benchmarks.dicom.standard import load_validator
from tests.tools import require_package, require_tool

SHORT = 9  # every so many of the cases


@pytest.fixture(autouse=True)
def _programs():
    for program in (*conformance.PROGRAMS, "Orthanc"):
        require_tool(program)
    require_package("SimpleITK", "benchmark")


def test_cases_have_names_of_their_own():
    every = cases()
    assert len(every) == len({case.name for case in every}) == 224


@pytest.mark.parametrize(("step", "least"), [(1, 3), (SHORT, 1)])
def test_each_kind_meets_each_other(step, least):
    chosen = cases()[::step]
    assert Counter(case.source for case in chosen).keys() == set(SOURCES)
    assert Counter(case.encoding.compress for case in chosen).keys() == set(COMPRESSIONS)
    assert Counter(case.encoding.pixel_depth for case in chosen).keys() == set(DEPTHS)
    written = {(case.source, case.encoding.save_class) for case in chosen}
    assert written == {*itertools.product(SOURCES, CLASSES)} - {("captured", "enhanced")}
    assert {case.kept for case in chosen} == {(), (3,), (2, 3)}
    assert {case.anonymous for case in chosen} == {True, False}
    found = Counter(case.syntax for case in chosen)
    assert found.keys() == set(SYNTAXES)
    assert min(found.values()) >= least
    assert {case.plane for case in chosen} == {"SINGLE PLANE", "BIPLANE A"}
    assert {case.photometric for case in chosen} == {"MONOCHROME1", "MONOCHROME2"}
    assert {case.bits for case in chosen} == set(conformance.BITS)
    assert {case.relation for case in chosen} == {"LIN", "DISP"}
    assert {case.invert for case in chosen} == {case.shutter for case in chosen} == {True, False}


@pytest.mark.slow
def test_written_runs_are_what_other_programs_read(tmp_path):
    found = check(cases()[::SHORT], tmp_path)
    assert faults(found) == []
    assert len(found) == 25
    assert all({*CHECKS} - {*wrong} <= {"picture"} for _, wrong in found)


def test_faults_are_noticed(tmp_path):
    case, path = cases()[0], tmp_path / "run.dcm"
    stored = write(case, tmp_path, path)
    assert not any(check_file(path, case, stored).values())
    other = check_file(path, case, stored + 200)
    assert {name for name, wrong in other.items() if wrong} == {"SimpleITK", "picture"}
    dataset = pydicom.dcmread(path)
    del dataset.RadiationSetting
    dataset.WindowCenter = 100
    dataset.NumberOfFrames = 2
    dataset.save_as(path)
    wrong = check_file(path, case, stored)
    assert "RadiationSetting" in wrong["dciodvfy"]
    assert all(wrong.values())
    path.write_bytes(b"no DICOM")
    assert check_file(path, case, stored)["dciodvfy"].startswith("names no class")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"SOPInstanceUID": "1.2.3"}, "did not arrive"),
        ({"PatientName": "OTHER"}, "other attributes"),
        ({"PixelData": bytes(2 * np.prod(conformance.SHAPE))}, "other pixels"),
    ],
)
def test_what_comes_over_otherwise_is_noticed(tmp_path, change, said):
    path = tmp_path / "run.dcm"
    write(cases()[0], tmp_path, path)
    sent, arrived = pydicom.dcmread(path), pydicom.dcmread(path)
    for keyword, value in change.items():
        setattr(arrived, keyword, value)
    assert conformance.find_change(sent, {str(arrived.SOPInstanceUID): arrived}) == said


def test_counts_by_hand():
    first, second = cases()[0], cases()[-1]
    found = [(first, {"dciodvfy": "", "picture": "grey"}), (second, {"dciodvfy": ""})]
    lines = table(found).splitlines()
    assert lines[2] == "| classic | 1 | 1 of 1 | none | 0 of 1 | none | none | none |"
    assert lines[-1] == "| all | 2 | 2 of 2 | none | 0 of 1 | none | none | none |"
    assert faults(found) == [f"FAULT {first.name}: picture: grey"]
    by_standard = table([(first, {"dciodvfy": "", "dicom-validator": "Patient: TagMissing"})]).splitlines()
    assert by_standard[0].endswith("| Orthanc | dicom-validator |")
    assert by_standard[-1] == "| all | 1 | 1 of 1 | none | none | none | none | none | 0 of 1 |"


def test_an_absent_edition_is_told(tmp_path, capsys):
    assert conformance.main(["--every", "99", "--standard", str(tmp_path)]) == 2
    assert "expected an edition of the standard" in capsys.readouterr().err


def test_written_runs_are_valid_to_dicom_validator(tmp_path):
    folder = Path(os.environ.get("ANGIOMORPH_DICOM_STANDARD", Path.home() / "dicom-validator"))
    try:
        check_standard = load_validator(folder)
    except InputError as error:
        pytest.skip(str(error))
    found = check(cases()[::SHORT], tmp_path, check_standard)
    assert [fault for fault in faults(found) if "dicom-validator" in fault] == []


def test_absent_programs_are_told(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert conformance.main([]) == 2
    assert "found no dciodvfy, dcmdump, dcm2pnm, dcml2pnm, storescu, storescp; install" in capsys.readouterr().err


@pytest.mark.slow
def test_what_an_archive_gives_back_otherwise_is_noticed(tmp_path, monkeypatch):
    path, case = tmp_path / "run.dcm", cases()[0]
    write(case, tmp_path, path)
    fetch = orthanc.Server.fetch
    monkeypatch.setattr(orthanc.Server, "fetch", lambda server, uid: fetch(server, uid).replace(b"SIMULATED", b"SOMEBODY "))
    assert archive({path: case}) == {path: "other attributes"}
    monkeypatch.setattr(orthanc.Server, "fetch", lambda server, uid: b"")
    assert archive({path: case}) == {path: "did not arrive"}
