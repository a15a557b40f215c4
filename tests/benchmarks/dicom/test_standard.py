"""dicom-validator by an edition in a folder: nothing is fetched, and what is missing is told.

The edition is made up of one class with one module: the standard's own is 60 MB, and is no part of the project.
"""

import json
import socket

import pydicom
import pytest
from pydicom.uid import XRayAngiographicImageStorage

from angiomorph.errors import InputError
from benchmarks.dicom import standard
from tests.tools import require_package


@pytest.fixture
def folder(tmp_path, monkeypatch):
    require_package("dicom-validator", "benchmark")
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("asked a network"))
    for edition in ("2023a", "2024b"):
        (tmp_path / "standard" / edition / "json").mkdir(parents=True)
    patient = {"(0010,0010)": {"name": "Patient's Name", "type": "2"}, "(0010,0020)": {"name": "Patient ID", "type": "2"}}
    modules = {"Patient": {"ref": "C.7.1.1", "use": "M"}}
    parts = {
        "dict_info.json": {},
        "iod_info.json": {str(XRayAngiographicImageStorage): {"title": "XA", "modules": modules, "group_macros": {}}},
        "module_info.json": {"C.7.1.1": patient},
        "uid_info.json": {},
    }
    for name, part in parts.items():
        (tmp_path / "standard" / "2024b" / "json" / name).write_text(json.dumps(part))
    return tmp_path / "standard"


def test_the_newest_whole_edition_is_taken(folder):
    assert standard.find_edition(folder) == "2024b"
    (folder / "2024b" / "json" / "iod_info.json").unlink()
    with pytest.raises(InputError, match="expected an edition of the standard, such as 2024b/json/, found none"):
        standard.find_edition(folder)


def test_what_a_class_demands_is_missed(folder, xa_file):
    check = standard.load_validator(folder)
    path = xa_file()
    before = check(path)
    assert "(0010,0020) TagMissing" not in before
    dataset = pydicom.dcmread(path)
    del dataset.PatientID
    dataset.save_as(path)
    assert "Patient: (0010,0020) TagMissing" in check(path)


def test_an_edition_of_other_classes_says_so(folder, xa_file):
    path = folder / "2024b" / "json" / "iod_info.json"
    path.write_text("{}")
    assert standard.load_validator(folder)(xa_file()) == "UnknownSOPClassUID"
