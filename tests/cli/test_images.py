"""Runs that are not DICOM, as a user gives them to the programs."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from angiomorph.cli import main
from angiomorph.storage import store
from tests.cli.test_cli import left_in, refused, refused_by_argparse
from tests.runs import SIZE, phantom, save_tiny_model
from tests.tools import REPOSITORY

FRAMES = phantom((3, SIZE, SIZE))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    for number, frame in enumerate(FRAMES, 1):
        Image.fromarray(frame).save(tmp_path / "run" / f"{number}.png")
    return tmp_path / "run"


def register(*arguments):
    return main(["register", *map(str, arguments), "--refine", "0", "--background", "1"])


def test_images_give_what_dicom_gives(tmp_path, folder, model, xa_file):
    dicom = xa_file("dicom.dcm", frames=FRAMES)
    assert register(folder, "--relation", "LIN", "--model", model, "--out", tmp_path / "a") == 0
    assert register(dicom, "--model", model, "--out", tmp_path / "b", "--save", "h5") == 0
    assert left_in(tmp_path / "a") == ["run_bsa.h5"]
    found, expected = (store.read_arrays(tmp_path / name) for name in ("a/run_bsa.h5", "b/dicom_bsa.h5"))
    assert found[1] == expected[1]
    for name, array in expected[0].items():
        np.testing.assert_array_equal(found[0][name], array)


def test_every_kind_without_headers(tmp_path, folder, model):
    assert register(folder, "--relation", "LOG", "--save", "h5,png,nifti", "--model", model, "--out", tmp_path / "a") == 0
    assert left_in(tmp_path / "a") == ["run_bsa.h5", "run_bsa.png", "run_warp.nii.gz"]


def test_prepare_takes_images(tmp_path, folder, capsys):
    arguments = [str(folder), str(tmp_path / "s.h5"), "--relation", "LIN", "--frame-time", "125", "--workers", "1"]
    assert main(["prepare", *arguments]) == 0
    assert "1 runs taken, 0 left out" in capsys.readouterr().out
    with store.reading(tmp_path / "s.h5") as file:
        assert store.read(file, "run-000001").frame_time == 125


WRONG = {
    "no relation": (["run/1.png"], "run/1.png: expected --relation with images"),
    "time alone": (["run", "--frame-time", "5"], "--frame-time: expected --relation with it"),
    "nothing": (["--relation", "LIN", "absent"], "absent: expected an image file or a folder"),
    "dicom": (["--relation", "LIN", "run", "--save", "dicom,png"], "expected h5, png or nifti for images, got dicom"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_refused(name, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    arguments, words = WRONG[name]
    refused(capsys, register(*arguments), words)


def test_wrong_use_is_refused_before_tensorflow(folder):
    code = "import sys\nfrom angiomorph.cli import main\nstatus = main(sys.argv[1:])\n"
    code += "sys.exit(9 if 'tensorflow' in sys.modules else status)"
    arguments = ["register", str(folder), "--relation", "LIN", "--save", "dicom"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "got dicom" in done.stderr) == (2, True)


@pytest.mark.parametrize("time", ["0", "-1", "inf", "x"])
def test_a_frame_time_is_above_0(capsys, time):
    refused_by_argparse(capsys, ["register", "a", "--relation", "LIN", "--frame-time", time], "expected milliseconds above 0")
