"""Finding runs: what counts as one, what it is called, what is passed over."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from angiomorph.dicom import find_series, read_series, write_bsa
from angiomorph.dicom.find import ABSENT, ARCHIVES, COPIES, DIRECTORIES, NO_DICOM, NO_FILES, OTHER, OWN, say_passed_over
from angiomorph.dicom.header import without_warnings
from angiomorph.errors import InputError
from tests.runs import moving_frames


def found(*paths) -> list[tuple[str, str, int]]:
    return [(str(run.folder), run.name, len(run.paths)) for run in find_series(paths)]


def of_class(sop_class, modality):
    def change(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.Modality = modality

    return change


def test_tree_of_everything(xa_file, xa_folder, tmp_path):
    xa_file("b/run.dcm")
    xa_file("a/run.dcm")
    xa_file("a/deep/er/IM_0001")
    xa_folder(moving_frames((3, 8, 8)), "frames")
    xa_file("ct.dcm", change=of_class(CTImageStorage, "CT"))
    xa_file("state.dcm", change=of_class(GrayscaleSoftcopyPresentationStateStorage, "PR"))
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "old.zip").write_bytes(b"PK\x03\x04")
    shutil.copy(tmp_path / "b" / "run.dcm", tmp_path / "b" / "run (1).dcm")
    passed_over = Counter()
    find_series([tmp_path], passed_over=passed_over)
    assert passed_over == {NO_DICOM: 1, OTHER: 2, NO_FILES: 2, ARCHIVES: 1, COPIES: 1}
    assert found(tmp_path) == [("a", "run", 1), ("a/deep/er", "IM_0001", 1), ("b", "run", 1), ("frames", "frames", 3)]


def test_unusable_runs_of_a_tree_are_returned_and_say_why(xa_file, tmp_path):
    xa_file("rotating.dcm", change=lambda dataset: setattr(dataset, "PositionerMotion", "DYNAMIC"))
    xa_file("single.dcm", frames=moving_frames((1, 8, 8)))
    broken = xa_file("broken.dcm")
    broken.write_bytes(broken.read_bytes()[:700])
    runs = find_series([tmp_path])
    assert sorted(run.name for run in runs) == ["broken", "rotating", "single"]
    for run in runs:
        with pytest.raises(InputError, match=rf"{run.name}\.dcm"):
            read_series(run)


def test_a_file_given_by_itself_is_returned_whatever_it_is(xa_file, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    ct = xa_file("ct.dcm", change=of_class(CTImageStorage, "CT"), frames=moving_frames((1, 8, 8)))
    assert found(text, ct) == [(".", "notes", 1), (".", "ct", 1)]
    with pytest.raises(InputError, match="found Modality CT of class CT Image Storage"):
        read_series(find_series([ct])[0])


def test_single_frame_files_given_by_name_are_one_run(xa_folder):
    folder = xa_folder(moving_frames((3, 8, 8)))
    assert found(*sorted(folder.iterdir())) == [(".", "folder", 3)]


def test_acquisitions_of_one_series_are_runs_of_their_own(xa_folder):
    folder = xa_folder(
        moving_frames((5, 8, 8)), change=lambda single, index: setattr(single, "AcquisitionNumber", 1 + index // 3)
    )
    assert found(folder) == [(".", "folder", 3), (".", "folder-2", 2)]
    first, second = (read_series(run) for run in find_series([folder]))
    np.testing.assert_array_equal(np.concatenate([first.frames, second.frames]), moving_frames((5, 8, 8)))


def test_runs_of_one_name_stay_apart(xa_file, tmp_path):
    paths = [xa_file("x/run.dcm"), xa_file("y/RUN.ima"), xa_file("z/run-2.dcm"), xa_file("1.2.840.10008.5")]
    assert found(*paths, paths[0]) == [(".", "run", 1), (".", "RUN-2", 1), (".", "run-2-2", 1), (".", "1.2.840.10008.5", 1)]
    assert found(tmp_path / "x", tmp_path / "y") == [("x", "run", 1), ("y", "RUN", 1)]


def test_own_results_are_skipped_in_trees_and_refused_by_name(xa_file, tmp_path):
    series = read_series(xa_file())
    out = tmp_path / "out" / "run_bsa.dcm"
    write_bsa(
        out,
        series,
        np.zeros(series.frames.shape),
        units="ln(intensity)",
        model_name="m",
        model_sha256="0" * 64,
        hyper=0.7,
        background_numbers=[1],
    )
    passed_over = Counter()
    assert [run.name for run in find_series([tmp_path], passed_over=passed_over)] == ["run"]
    assert passed_over == {OWN: 1}
    with pytest.raises(InputError, match="already subtracted"):
        read_series(find_series([out])[0])


def test_nothing_to_find(tmp_path):
    with pytest.raises(InputError, match=r"absent: expected a DICOM file or a folder of them, found nothing there"):
        find_series([tmp_path / "absent"])
    with pytest.raises(InputError, match="expected XA runs in this folder, found none"):
        find_series([tmp_path])
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(
        InputError, match=r"found none; files passed over: 1 \(no DICOM: 1\); give a folder that has DICOM files"
    ):
        find_series([tmp_path])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: expected a DICOM file or a folder of them, found neither"):
        find_series([tmp_path / "pipe"])


def test_folders_that_may_not_be_listed_are_counted(xa_file, tmp_path, monkeypatch):
    xa_file("in/open/run.dcm")
    xa_file("in/closed/run.dcm")
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    passed_over = Counter()
    (run,) = find_series([tmp_path / "in"], passed_over=passed_over)
    assert (str(run.folder), passed_over) == ("open", {NO_FILES: 1})


def test_only_headers_are_read(xa_file, tmp_path):
    path = xa_file()
    dataset = pydicom.dcmread(path)
    header_only = Path(tmp_path / "cut.dcm")
    header_only.write_bytes(path.read_bytes()[: -len(dataset.PixelData)])
    assert [run.name for run in find_series([tmp_path])] == ["cut", "run"]
    assert {run.uid for run in find_series([tmp_path])} == {dataset.SeriesInstanceUID}


def test_progress_counts_every_file_looked_at(xa_file, tmp_path):
    for name in ("a/one.dcm", "b/two.dcm", "alone.dcm"):
        xa_file(name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    seen = []
    assert len(find_series([tmp_path / "a", tmp_path / "b", tmp_path / "alone.dcm"], seen.append)) == 3
    assert seen == [1, 2, 3, 4]


@pytest.fixture
def medium(xa_folder, tmp_path):
    """Return a DICOMDIR that names three frames of one run, in DICOM/IM0 to IM2; one more lies beside it, unnamed."""
    folder = xa_folder(moving_frames((4, 8, 6)))
    (tmp_path / "cd" / "DICOM").mkdir(parents=True)
    records = [pydicom.Dataset()]
    records[0].DirectoryRecordType = "PATIENT"
    for index, path in enumerate(sorted(folder.iterdir())[:3]):
        shutil.copy(path, tmp_path / "cd" / "DICOM" / f"IM{index}")
        record = pydicom.Dataset()
        record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["DICOM", f"IM{index}"]
        records.append(record)
    shutil.copy(folder / "99.dcm", tmp_path / "cd" / "99.dcm")
    directory = pydicom.Dataset()
    directory.file_meta = pydicom.dataset.FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory.DirectoryRecordSequence = records
    directory.save_as(tmp_path / "cd" / "DICOMDIR", enforce_file_format=True)
    return tmp_path / "cd" / "DICOMDIR"


def test_a_dicomdir_stands_for_the_files_that_it_names(medium):
    (run,) = find_series([medium])
    np.testing.assert_array_equal(read_series(run).frames, moving_frames((4, 8, 6))[1:])
    np.testing.assert_array_equal(read_series(medium).frames, moving_frames((4, 8, 6))[1:])
    passed_over = Counter()
    find_series([medium.parent], passed_over=passed_over)
    assert passed_over == {DIRECTORIES: 1}


def test_a_dicomdir_finds_lower_case_and_counts_absent_files(medium):
    for path in sorted(medium.parent.rglob("*"), reverse=True):
        if path != medium:
            path.rename(path.with_name(path.name.lower()))
    (medium.parent / "dicom" / "im0").unlink()
    passed_over = Counter()
    (run,) = find_series([medium], passed_over=passed_over)
    assert (len(run.paths), passed_over) == (2, {ABSENT: 1})


def test_a_dicomdir_without_its_files_stands_for_its_folder(medium):
    (medium.parent / "DICOM").rename(medium.parent / "renamed")
    passed_over = Counter()
    runs = find_series([medium], passed_over=passed_over)
    assert sorted(path.name for run in runs for path in run.paths)[0] == "99.dcm"
    assert passed_over == {ABSENT: 3, DIRECTORIES: 1}


def test_a_text_called_dicomdir_is_none(xa_file, tmp_path):
    run = xa_file("in/run.dcm")
    (tmp_path / "in" / "DICOMDIR").write_text("no directory")
    assert found(tmp_path / "in") == [(".", "run", 1)]
    with pytest.raises(InputError, match="DICOMDIR: expected a DICOM file, found no mark DICM"):
        read_series(tmp_path / "in" / "DICOMDIR")
    assert found(run) == [(".", "run", 1)]


@pytest.mark.parametrize(
    "leaving",
    [["..", "secret.dcm"], ["/etc", "hosts"], ["", "secret.dcm"], ["a/../../secret.dcm"], ["X" * 300], ["DICOM", "A\0B"]],
)
def test_names_in_a_dicomdir_never_leave_its_folder(medium, leaving):
    shutil.copy(medium.parent / "99.dcm", medium.parent.parent / "secret.dcm")
    dataset = pydicom.dcmread(medium)
    with without_warnings():
        for record in dataset.DirectoryRecordSequence[1:]:
            record.ReferencedFileID = leaving
        dataset.save_as(medium)
    passed_over = Counter()
    runs = find_series([medium], passed_over=passed_over)
    assert all(medium.parent in path.parents for run in runs for path in run.paths)
    assert passed_over[ABSENT] == 3


def bare(path):
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, enforce_file_format=True, implicit_vr=True, little_endian=True)
    data = path.read_bytes()
    path.write_bytes(data[144 + int.from_bytes(data[140:144], "little") :])


def test_bare_data_sets_are_found_and_similar_files_are_not(xa_file, xa_folder, tmp_path):
    bare(xa_file("run"))
    for path in xa_folder(moving_frames((3, 8, 6))).iterdir():
        bare(path)
    (tmp_path / "junk").write_bytes(b"\x08\0\x05\0" + bytes(range(256)))
    passed_over = Counter()
    runs = find_series([tmp_path], passed_over=passed_over)
    assert [(run.name, len(run.paths)) for run in runs] == [("run", 1), ("folder", 3)]
    assert passed_over == {NO_DICOM: 1}


def test_an_angiogram_of_no_known_class_is_returned(xa_file, tmp_path):
    xa_file("none.dcm", change=lambda dataset: delattr(dataset, "SOPClassUID"))
    xa_file("retired.dcm", change=of_class("1.2.840.10008.5.1.4.1.1.12.3", "XA"))
    assert [run.name for run in find_series([tmp_path])] == ["none", "retired"]


def test_what_was_passed_over_is_one_phrase():
    assert say_passed_over(Counter()) == ""
    assert say_passed_over(Counter({OTHER: 2, NO_DICOM: 1})) == (
        "files passed over: 3 (DICOM, but no angiogram: 2; no DICOM: 1)"
    )


@pytest.mark.parametrize("written", ["nan", "1e999", "many", "-3"])
def test_a_frame_count_that_is_no_number_does_not_end_the_search(xa_file, tmp_path, written):
    path = xa_file("odd.dcm")
    data = path.read_bytes()
    at = data.index(b"\x28\0\x08\0IS")
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    value = written.encode().ljust(6)
    path.write_bytes(data[: at + 6] + len(value).to_bytes(2, "little") + value + data[at + 8 + length :])
    xa_file("run.dcm")
    assert sorted(run.name for run in find_series([tmp_path])) == ["odd", "run"]


def test_damaged_headers_neither_end_the_search_nor_mislead(xa_folder, tmp_path):
    folder = xa_folder(moving_frames((6, 8, 6)))
    whole = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    rng = np.random.default_rng(0)
    accepted = 0
    for _ in range(60):
        for path, data in whole.items():
            broken = bytearray(data)
            if rng.random() < 0.3:
                for place in rng.integers(132, len(data) - 96, 3):
                    broken[place] = rng.choice([0, 32, 92, 255, rng.integers(256)])
            path.write_bytes(broken)
        for run in find_series([folder]):
            if run.refusal:
                continue
            accepted += len(run.paths) > 1
            names = [int(path.stem) for path in run.paths]
            assert names == sorted(names, reverse=True) or run.warnings
    assert accepted > 30
