"""Images give the same run as DICOM does, and go the same way to a store and to a result."""

import numpy as np
import pytest
from PIL import Image

from angiomorph.archive.prepare import prepare
from angiomorph.dicom import SeriesFiles, read_series
from angiomorph.errors import InputError
from angiomorph.images import ImageOptions, find_image_runs, read_image_run, read_images
from angiomorph.storage import store
from tests.runs import phantom

FRAMES = phantom((3, 8, 6))
LIN = ImageOptions("LIN", 40.0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "run" / f"{index + 9}.png")
    return tmp_path / "run"


def test_a_folder_gives_what_dicom_gives(folder, xa_file):
    (files,) = find_image_runs([folder])
    run = read_image_run(files, LIN)
    dicom = read_series(xa_file("run.dcm", frames=FRAMES))
    np.testing.assert_array_equal(run.frames, dicom.frames)
    np.testing.assert_array_equal(run.frame_times, dicom.frame_times)
    np.testing.assert_array_equal(run.shutter, dicom.shutter)
    for name in ("relation", "bits_stored", "background_numbers", "name", "frame_time"):
        assert getattr(run, name) == getattr(dicom, name), name
    assert (run.headers, run.warnings) == ((), ())


def test_of_two_images_the_first_is_the_background(tmp_path):
    np.save(tmp_path / "pair.npy", FRAMES[:2])
    run = read_image_run(SeriesFiles("pair", (tmp_path / "pair.npy",)), ImageOptions("DISP"))
    assert (run.background_numbers, run.relation, run.frame_time) == ((1,), "DISP", 0.0)


@pytest.mark.parametrize("given", [lambda run: str(run), lambda run: [run], lambda run: sorted(run.iterdir(), reverse=True)])
def test_one_run_is_read_by_folder_or_files(folder, given):
    run = read_images(given(folder), LIN)
    np.testing.assert_array_equal(run.frames, FRAMES)
    assert (run.name, run.frame_time) == ("run", 40.0)


def test_several_runs_or_none_are_refused(folder):
    np.save(folder / "other.npy", FRAMES)
    with pytest.raises(InputError, match=f"^{folder}: expected one run, found 2; give one of them"):
        read_images(folder, LIN)
    with pytest.raises(InputError, match="expected the files of a run, got none"):
        read_images([], LIN)


def test_images_of_two_sizes_are_no_run(folder):
    Image.fromarray(FRAMES[0, :4]).save(folder / "10.png")
    (files,) = find_image_runs([folder])
    with pytest.raises(InputError, match=r"10.png: expected \(8, 6\) of uint16 as 9.png, found \(4, 6\) of uint16"):
        read_image_run(files, LIN)


def test_one_image_is_no_run(folder):
    (files,) = find_image_runs([folder / "9.png"])
    with pytest.raises(InputError, match="found one image; give the folder"):
        read_image_run(files, LIN)


@pytest.mark.slow
def test_folders_become_a_store_without_names(folder, tmp_path):
    (folder.parent / "run" / "Doe.npy").write_bytes(b"no array")
    report = prepare([folder], tmp_path / "s.h5", images=LIN)
    assert report.taken == 1
    with store.open_store(tmp_path / "s.h5") as file:
        (key,) = store.keys(file)
        run = store.read(file, key)
    np.testing.assert_array_equal(run.frames, FRAMES)
    assert (run.relation, run.bits_stored, run.background, run.frame_time) == ("LIN", 12, (), 40.0)
    manifest = report.manifest.read_text()
    assert "Doe" not in manifest
    assert "file: expected an array of NumPy" in manifest


def test_more_images_than_memory_are_refused_by_the_first(folder, monkeypatch):
    monkeypatch.setattr("angiomorph.images.runs.MOST_BYTES", 3 * 8 * 6 * 2 - 1)
    (files,) = find_image_runs([folder])
    with pytest.raises(
        InputError, match=r"run: expected at most 0 GiB of pixels, found 3 images of shape \(8, 6\); give fewer"
    ):
        read_image_run(files, LIN)
