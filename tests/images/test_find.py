"""Runs of images are found by names and headers."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from angiomorph.errors import InputError
from angiomorph.images import find_image_runs, find_pairs
from angiomorph.images.find import OTHER

FRAME = np.zeros((4, 5), np.uint8)


@pytest.fixture
def tree(tmp_path):
    """Return a tree of a run of PNG beside other files, one of single TIFFs, and three files of several images."""
    for name in ("a/10.png", "a/2.png", "a/1.png", "a/b/x2.tif", "a/b/x10.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(FRAME).save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".hidden.png").write_text("no image")
    tifffile.imwrite(tmp_path / "run.tif", np.zeros((3, 4, 5), np.uint8), photometric="minisblack")
    np.save(tmp_path / "run.npy", np.zeros((3, 4, 5)))
    (tmp_path / "head.nii.gz").write_bytes(b"")
    return tmp_path


def found_in(runs, root):
    return [(run.name, str(run.folder), [path.relative_to(root).as_posix() for path in run.paths]) for run in runs]


def test_a_tree(tree):
    passed_over = Counter()
    assert found_in(find_image_runs([tree], passed_over), tree) == [
        ("head", ".", ["head.nii.gz"]),
        ("run", ".", ["run.npy"]),
        ("run-2", ".", ["run.tif"]),
        ("a", "a", ["a/1.png", "a/2.png", "a/10.png"]),
        ("b", "a/b", ["a/b/x2.tif", "a/b/x10.tif"]),
    ]
    assert passed_over == {OTHER: 2}


def test_files_named_one_by_one_are_one_run(tree):
    (run,) = find_image_runs(sorted(tree.glob("a/[0-9]*.png")))
    assert found_in([run], tree) == [("a", ".", ["a/1.png", "a/2.png", "a/10.png"])]


def test_trees_keep_their_names_apart(tree):
    runs = find_image_runs([tree / "a", tree / "a" / "b"])
    assert [run.folder for run in runs] == [Path("a"), Path("a/b"), Path("b")]


def test_a_damaged_tiff_is_a_run_that_fails(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"no image")
    assert [run.name for run in find_image_runs([tmp_path])] == ["a"]


def test_dicom_is_sent_away(xa_file):
    with pytest.raises(InputError, match=r"found another ending; leave out `relation`"):
        find_image_runs([xa_file()])


@pytest.mark.parametrize(("name", "words"), [("absent", "found nothing there"), ("", "found none"), ("a.txt", "convert it")])
def test_what_is_no_image(tmp_path, name, words):
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(InputError, match=words):
        find_image_runs([tmp_path / name])


def test_pairs_are_runs_of_two_frames(tree):
    one, two, ten = (tree / "a" / f"{number}.png" for number in (1, 2, 10))
    runs = find_pairs([(one, two), (str(ten), str(two))])
    assert [(run.name, run.paths) for run in runs] == [("2", (one, two)), ("2-2", (ten, two))]
    with pytest.raises(InputError, match="found nothing there"):
        find_pairs([(one, tree / "absent.png")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
def test_what_is_neither_file_nor_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(
        InputError, match=r"a\.png: expected an image file or a folder of them, found neither; copy what it gives"
    ):
        find_image_runs([tmp_path / "a.png"])
