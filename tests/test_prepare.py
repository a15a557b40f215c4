"""An archive becomes a store: every usable run exactly, nobody's identity, whole or not at all."""

import csv
import hashlib

import numpy as np
import pydicom
import pytest

from angiomorph import store
from angiomorph.errors import InputError
from angiomorph.prepare import prepare
from tests.conftest import moving_frames
from tests.tools import shared_data


@pytest.fixture
def archive(tmp_path, xa_file, xa_folder):
    """Return an archive of two usable and two unusable runs in folders that are named like patients."""
    name = "DOE^JANE"
    frames = moving_frames((3, 8, 6))
    xa_file("archive/a_Doe/Doe1.dcm", frames=moving_frames(seed=1), attributes={"MaskFrameNumbers": [2], "PatientName": name})
    xa_file("archive/b_Doe/Doe2.dcm", frames=moving_frames((1, 8, 8)), attributes={"PatientName": name})
    xa_folder(frames, "archive/c_Doe", change=lambda single, index: setattr(single, "PatientName", name))
    broken = xa_file("archive/d_Doe/Doe4.dcm", attributes={"PatientName": name})
    broken.write_bytes(broken.read_bytes()[:-100])
    return tmp_path / "archive"


def test_every_usable_run_is_stored_exactly(archive, tmp_path):
    seen = []
    report = prepare([archive], tmp_path / "out" / "s.h5", progress=lambda done, total: seen.append((done, total)))
    assert report.taken == 2
    assert [name for name, _ in report.left_out] == ["Doe2", "Doe4"]
    assert "one single frame" in report.left_out[0][1]
    assert "truncated" in report.left_out[1][1]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with store.reading(tmp_path / "out" / "s.h5") as file:
        assert store.keys(file) == ["run-000001", "run-000003"]
        first, third = (store.read(file, key) for key in store.keys(file))
    np.testing.assert_array_equal(first.frames, moving_frames(seed=1))
    np.testing.assert_array_equal(third.frames, moving_frames((3, 8, 6)))
    assert (first.relation, first.bits_stored, first.background, first.frame_time) == ("LIN", 12, (2,), 40)


def test_nothing_of_a_patient_is_in_store_or_manifest(archive, tmp_path):
    report = prepare([archive], tmp_path / "s.h5")
    uid = pydicom.dcmread(archive / "a_Doe" / "Doe1.dcm").SeriesInstanceUID
    with report.manifest.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["key"] for line in lines] == ["run-000001", "run-000002", "run-000003", "run-000004"]
    assert lines[0]["series_sha256"] == hashlib.sha256(uid.encode()).hexdigest()
    assert [bool(line["left_out"]) for line in lines] == [False, True, False, True]
    for path in (tmp_path / "s.h5", report.manifest):
        data = path.read_bytes().upper()
        assert b"DOE" not in data
        assert str(archive).encode().upper() not in data
        assert uid.encode() not in data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "s.h5", "s.manifest.csv"]


def test_unusable_archive_leaves_nothing(archive, tmp_path):
    with pytest.raises(InputError, match=r"at least one usable run among 1, found none; the first: .*one single frame"):
        prepare([archive / "b_Doe"], tmp_path / "out" / "s.h5")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_preparation_keeps_the_old_store(archive, tmp_path):
    prepare([archive], tmp_path / "s.h5")
    before = (tmp_path / "s.h5").read_bytes()

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([archive], tmp_path / "s.h5", progress=interrupt)
    assert (tmp_path / "s.h5").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_real_archive(tmp_path):
    report = prepare([shared_data("xa/fodicom_HasFragmentSequence.dcm")], tmp_path / "s.h5")
    assert report.taken == 1
    with store.reading(tmp_path / "s.h5") as file:
        assert store.read(file, "run-000001").frames.shape == (96, 512, 512)
    assert b"Rubo" not in (tmp_path / "s.h5").read_bytes()
