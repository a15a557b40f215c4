"""The same image twice: byte by byte, under one SOPInstanceUID, in one folder or in two."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from angiomorph.dicom import find_series, read_series
from angiomorph.dicom.find import COPIES
from angiomorph.errors import InputError
from tests.runs import moving_frames

FRAMES = moving_frames((4, 8, 6))


@pytest.fixture
def counted():
    return Counter()


def setting(path, **attributes):
    dataset = pydicom.dcmread(path)
    for keyword, written in attributes.items():
        setattr(dataset, keyword, written)
    dataset.save_as(path)


def test_a_copied_frame_counts_once_and_is_named(xa_folder, counted):
    folder = xa_folder(FRAMES)
    shutil.copy(folder / "97.dcm", folder / "97 (1).dcm")
    (run,) = find_series([folder], passed_over=counted)
    assert counted == {COPIES: 1}
    series = read_series(run)
    np.testing.assert_array_equal(series.frames, FRAMES)
    assert len([warning for warning in series.warnings if "97 (1).dcm" in warning]) == 1


def test_a_copied_frame_without_identity_is_found_by_its_bytes(xa_folder, counted):
    folder = xa_folder(FRAMES, change=lambda single, index: delattr(single, "SOPInstanceUID"))
    shutil.copy(folder / "97.dcm", folder / "copy.dcm")
    np.testing.assert_array_equal(read_series(find_series([folder], passed_over=counted)[0]).frames, FRAMES)
    assert counted == {COPIES: 1}


def test_a_copied_run_counts_once_in_whatever_folder_it_lies(xa_file, xa_folder, tmp_path, counted):
    xa_folder(FRAMES, "a/loose")
    xa_file("a/run.dcm")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.copy(tmp_path / "a" / "run.dcm", tmp_path / "a" / "run (1).dcm")
    runs = find_series([tmp_path], passed_over=counted)
    assert [(str(run.folder), run.name, len(run.paths)) for run in runs] == [("a", "run", 1), ("a/loose", "loose", 4)]
    assert counted == {COPIES: 6}
    assert str(tmp_path / "b" / "run.dcm") in " ".join(runs[0].warnings)
    assert len(find_series([tmp_path / "a", tmp_path / "b"])) == 2
    assert len(find_series([tmp_path / "a" / "run.dcm", tmp_path / "b" / "run.dcm"])) == 1


def test_another_encoding_or_header_is_the_same_instance(xa_file, tmp_path):
    xa_file("a/run.dcm")
    for name in ("b", "c"):
        shutil.copytree(tmp_path / "a", tmp_path / name)
    setting(tmp_path / "b" / "run.dcm", PatientName="CORRECTED^NAME", PatientComments="longer than before")
    packed = pydicom.dcmread(tmp_path / "c" / "run.dcm")
    packed.compress(RLELossless, generate_instance_uid=False)
    packed.save_as(tmp_path / "c" / "run.dcm")
    assert [str(run.folder) for run in find_series([tmp_path])] == ["a"]


def test_a_damaged_copy_of_another_size_is_its_own_run(xa_file, tmp_path):
    xa_file("a/run.dcm")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    packed = pydicom.dcmread(tmp_path / "b" / "run.dcm")
    packed.compress(RLELossless, generate_instance_uid=False)
    packed.Rows = 60000
    packed.save_as(tmp_path / "b" / "run.dcm")
    assert [str(run.folder) for run in find_series([tmp_path])] == ["a", "b"]


def test_many_copies_are_one_warning_with_archives_named(xa_file, tmp_path):
    path = xa_file("a.dcm")
    for index in range(4):
        shutil.copy(path, tmp_path / f"copy{index}.dcm")
    shutil.make_archive(str(tmp_path / "b"), "zip", tmp_path, "a.dcm")
    (run,) = find_series([path, tmp_path / "b.zip"])
    assert run.warnings == (f"{path}: copies of the run's files are left out: {tmp_path / 'b.zip' / 'a.dcm'}",)
    (run,) = find_series([tmp_path])
    (warning,) = run.warnings
    assert warning.endswith(" and 1 more")
    assert warning.startswith(f"{path}: ")


def test_frames_that_an_anonymiser_gave_one_identity_are_kept(xa_folder, counted):
    folder = xa_folder(FRAMES, change=lambda single, index: setattr(single, "SOPInstanceUID", "1.2.3"))
    np.testing.assert_array_equal(read_series(find_series([folder], passed_over=counted)[0]).frames, FRAMES)
    assert not counted


def test_runs_of_one_identity_but_other_pixels_are_kept(xa_file, tmp_path):
    for seed in range(2):
        setting(xa_file(f"{seed}.dcm", frames=moving_frames((4, 8, 6), seed=seed)), SOPInstanceUID="1.2.3")
    assert len(find_series([tmp_path])) == 2


def test_the_larger_of_two_runs_with_common_frames_stays(xa_folder, tmp_path, counted):
    xa_folder(FRAMES, "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "99.dcm").unlink()
    (run,) = find_series([tmp_path], passed_over=counted)
    assert (str(run.folder), len(run.paths), counted) == ("b", 4, {COPIES: 3})


def test_of_two_runs_that_overlap_the_smaller_one_is_refused(xa_folder, tmp_path):
    xa_folder(FRAMES, "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a" / "99.dcm").unlink()
    (tmp_path / "b" / "97.dcm").unlink()
    (tmp_path / "b" / "96.dcm").unlink()
    whole, part = find_series([tmp_path])
    series = read_series(whole)
    assert len(series.frames) == 3
    assert f"1 of its frames are in the run of {tmp_path / 'b' / '99.dcm'} too, left out there" in series.warnings[0]
    with pytest.raises(InputError, match=r"b.99\.dcm: expected frames of its own, found 1 of 2 in another folder's run too"):
        read_series(part)


def test_a_copy_stands_in_for_a_file_that_cannot_be_read(xa_file, tmp_path):
    path = xa_file("a/run.dcm")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    setting(path, PositionerMotion="DYNAMIC")
    (run,) = find_series([tmp_path])
    series = read_series(run)
    np.testing.assert_array_equal(series.frames, moving_frames())
    assert "b" in series.warnings[-1]
    assert "the same image, is taken instead" in series.warnings[-1]
    setting(tmp_path / "b" / "run.dcm", TableMotion="DYNAMIC")
    with pytest.raises(InputError, match=r"a.run\.dcm: expected a resting C-arm"):
        read_series(find_series([tmp_path])[0])


def test_copies_that_cannot_be_compared_are_runs_of_their_own(xa_file, tmp_path, monkeypatch):
    def fail(path, other):
        raise OSError(5, "Input/output error")

    xa_file("a/run.dcm")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(Path, "samefile", fail)
    assert [str(run.folder) for run in find_series([tmp_path])] == ["a", "b"]
