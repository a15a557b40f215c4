"""Archives: what is in them is read as a folder is, nothing leaves it or stays behind, bombs are refused."""

import gc
import gzip
import pickle
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from angiomorph.dicom import archives, find_series, read_series
from angiomorph.dicom.find import ARCHIVES, NO_DICOM
from angiomorph.errors import InputError
from tests.runs import moving_frames

FRAMES = moving_frames((3, 8, 6))


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """Return the folder for temporary files, which must be empty in the end."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    gc.collect()
    assert list(folder.iterdir()) == []


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return path


def test_a_zip_is_read_as_its_folder_would_be(xa_file, xa_folder, tmp_path, temporary):
    folder = xa_folder(FRAMES)
    whole = xa_file("whole.dcm")
    members = {f"cd/{path.name}": path.read_bytes() for path in folder.iterdir()} | {"run.dcm": whole.read_bytes()}
    path = zipped(tmp_path / "study.zip", members | {"notes.txt": b"no picture", "inner.zip": b"PK\x03\x04"})
    passed_over = Counter()
    runs = find_series([path], passed_over=passed_over)
    assert [(str(run.folder), run.name, len(run.paths)) for run in runs] == [(".", "run", 1), ("cd", "cd", 3)]
    assert passed_over == {NO_DICOM: 1, ARCHIVES: 1}
    np.testing.assert_array_equal(read_series(runs[0]).frames, moving_frames())
    np.testing.assert_array_equal(read_series(runs[1]).frames, FRAMES)
    assert len(list(temporary.iterdir())) == 1
    assert runs[0].sources() == [str(path / "run.dcm")]


def test_frames_at_the_top_of_a_zip_are_called_after_it(xa_folder, tmp_path):
    folder = xa_folder(FRAMES)
    path = zipped(tmp_path / "study.zip", {file.name: file.read_bytes() for file in folder.iterdir()})
    series = read_series(path)
    assert series.name == "study"
    np.testing.assert_array_equal(series.frames, FRAMES)


def test_gz_files_are_read_as_the_files_in_them(xa_file, xa_folder, tmp_path):
    run, folder = xa_file("run.dcm"), xa_folder(FRAMES)
    for path in (run, *folder.iterdir()):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    np.testing.assert_array_equal(read_series(f"{run}.gz").frames, moving_frames())
    assert read_series(f"{run}.gz").name == "run"
    (found,) = find_series(sorted(folder.iterdir()))
    assert found.name == "folder"
    np.testing.assert_array_equal(read_series(found).frames, FRAMES)
    with pytest.raises(InputError, match=r"none; files passed over: 3 \(zip or gz.*: 3\); give the archive by its name"):
        find_series([folder])


def test_errors_and_warnings_name_the_archive(xa_file, tmp_path):
    good = xa_file("good.dcm", attributes={"BurnedInAnnotation": "YES"})
    bad = xa_file("bad.dcm", attributes={"PositionerMotion": "DYNAMIC"})
    path = zipped(tmp_path / "study.zip", {"good.dcm": good.read_bytes(), "bad.dcm": bad.read_bytes()})
    first, second = find_series([path])
    with pytest.raises(InputError, match=r"study\.zip.bad\.dcm: expected a resting C-arm") as error:
        read_series(first)
    assert "angiomorph-" not in str(error.value)
    assert read_series(second).warnings[0].startswith(str(path / "good.dcm"))


@pytest.mark.slow
def test_a_run_sent_to_another_process_takes_no_files_with_it(xa_file, tmp_path, temporary):
    path = zipped(tmp_path / "study.zip", {"run.dcm": xa_file().read_bytes()})
    (run,) = find_series([path])
    sent = pickle.loads(pickle.dumps(run))
    assert sent == run
    assert sent.sources() == [str(path / "run.dcm")]
    assert sent.original(sent.paths[0]) == path
    del sent
    gc.collect()
    assert len(read_series(run).frames) == 4
    del run
    gc.collect()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["../out.dcm", "/out.dcm", "a/../../out.dcm", "..\\out.dcm", "C:\\out.dcm", "\\out.dcm"])
def test_members_never_leave_their_folder(tmp_path, temporary, name):
    path = zipped(tmp_path / "study.zip", {"in.dcm": b"1", name: b"2"})
    with pytest.raises(InputError, match="expected files that stay in their folder"):
        find_series([path])
    assert not list(tmp_path.rglob("out.dcm"))
    assert not list(temporary.rglob("*out.dcm"))


def test_a_link_in_a_zip_is_a_file_of_its_text(xa_file, tmp_path):
    (tmp_path / "secret").write_bytes(xa_file().read_bytes())
    path = tmp_path / "study.zip"
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(link, str(tmp_path / "secret"))
    with pytest.raises(InputError, match="found none; files passed over: 1"):
        find_series([path])


def test_members_of_one_name_or_windows_names_are_all_read(xa_folder, tmp_path):
    files = [path.read_bytes() for path in sorted(xa_folder(FRAMES).iterdir())]
    data = zipped(tmp_path / "study.zip", {f"cd\\IM{index}": data for index, data in enumerate(files)}).read_bytes()
    (tmp_path / "study.zip").write_bytes(data.replace(b"IM2", b"IM1"))
    series = read_series(tmp_path / "study.zip")
    np.testing.assert_array_equal(series.frames, FRAMES)
    assert series.name == "cd"


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch, temporary):
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    path = zipped(tmp_path / "bomb.zip", {"zeros": bytes(8 << 20)})
    monkeypatch.setattr(archives, "copy_up_to", lambda *given: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="unpacks to 8388608 or more"):
        find_series([path])
    monkeypatch.setattr(archives, "MEMBERS", 0)
    with pytest.raises(InputError, match="expected at most 0 files in an archive, found 1"):
        find_series([path])


def test_archives_that_lie_about_their_size_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(bytes(8 << 20)))
    with pytest.raises(InputError, match="expected an archive of runs that this disk has room for"):
        find_series([bomb])
    path = zipped(tmp_path / "liar.zip", {"zeros": bytes(1 << 16)})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = (16).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"liar\.zip: expected a whole archive, found a damaged one"):
        find_series([path])


def test_a_full_disk_is_noticed_before(tmp_path, monkeypatch):
    path = zipped(tmp_path / "study.zip", {"zeros": bytes(100)})
    monkeypatch.setattr(archives, "ROOM", 1 << 62)
    with pytest.raises(InputError, match=r"that this disk has room for, found one of .* unpacks to 100 or more"):
        find_series([path])


@pytest.mark.parametrize("start", [archives.ZIP, archives.GZ])
def test_damaged_archives_are_refused_in_one_paragraph(xa_file, tmp_path, start):
    whole = tmp_path / "whole"
    data = xa_file().read_bytes()
    if start == archives.ZIP:
        zipped(whole, {"run.dcm": data})
    else:
        whole.write_bytes(gzip.compress(data))
    packed = whole.read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(60):
        broken = bytearray(packed)
        for place in rng.integers(4, len(broken), 2):
            broken[place] = rng.integers(256)
        broken = broken[: rng.choice([len(broken), rng.integers(4, len(broken))])]
        (tmp_path / "broken").write_bytes(broken)
        try:
            find_series([tmp_path / "broken"])
        except InputError as error:
            refused.append(str(error))
    assert len(refused) > 30
    assert [message for message in refused if "\n" in message or "broken: " not in message] == []


def test_a_password_is_said(tmp_path):
    path = zipped(tmp_path / "study.zip", {"run.dcm": b"1"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="expected an archive without a password"):
        find_series([path])


def test_a_compression_that_is_not_known_is_said(tmp_path):
    path = zipped(tmp_path / "study.zip", {"run.dcm": b"1"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(signature) + offset] = 97  # WavPack
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"study\.zip: expected an archive that this program can unpack, found another compr"):
        find_series([path])


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_members_of_every_compression_are_refused(xa_file, tmp_path, compression):
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", compression) as packed:
        packed.writestr("run.dcm", xa_file().read_bytes())
    whole = path.read_bytes()
    start = 30 + len("run.dcm")
    for place in range(start + 20, start + 120, 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"study\.zip: expected (a whole archive|to unpack it)"):
            find_series([path])
