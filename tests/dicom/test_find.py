"""Finding runs: what counts as one, what it is called, what is passed over."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, GrayscaleSoftcopyPresentationStateStorage

from angiomorph.dicom import find_series, read_series, write_bsa
from angiomorph.errors import InputError
from tests.conftest import moving_frames


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


def test_own_subtracted_runs_in_a_tree_are_passed_over_but_refused_when_given(xa_file, tmp_path):
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
    assert found(tmp_path) == [(".", "run", 1)]
    with pytest.raises(InputError, match="already subtracted"):
        read_series(find_series([out])[0])


def test_nothing_to_find(tmp_path):
    with pytest.raises(InputError, match=r"absent: expected a DICOM file or a folder of them, found nothing there"):
        find_series([tmp_path / "absent"])
    with pytest.raises(InputError, match="expected XA runs in this folder, found none"):
        find_series([tmp_path])


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
