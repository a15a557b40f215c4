"""Runs that are not DICOM, as a user gives them to the programs."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from angiomorph.cli import main, parser
from angiomorph.cli.images import read_one_run, read_training_data
from angiomorph.errors import InputError
from angiomorph.images import ImageOptions
from angiomorph.storage import store
from tests.cli.refusals import left_in, refused, refused_by_argparse
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


@pytest.mark.slow
def test_images_give_what_dicom_gives(tmp_path, folder, model, xa_file):
    dicom = xa_file("dicom.dcm", frames=FRAMES)
    assert register(folder, "--relation", "LIN", "--model", model, "--out", tmp_path / "a") == 0
    assert register(dicom, "--model", model, "--out", tmp_path / "b", "--save", "h5") == 0
    assert left_in(tmp_path / "a") == ["run_bsa.h5"]
    found, expected = (store.read_arrays(tmp_path / name) for name in ("a/run_bsa.h5", "b/dicom_bsa.h5"))
    assert found[1] == expected[1]
    assert not found[0].pop("frame_times").any()  # images have none
    assert expected[0].pop("frame_times").tolist() == [0, 40, 80]
    for name, array in expected[0].items():
        np.testing.assert_array_equal(found[0][name], array)


def test_every_kind_without_headers(tmp_path, folder, model):
    assert (
        register(
            folder, "--relation", "LOG", "--save", "h5,png,nifti,sheet,gif,html", "--model", model, "--out", tmp_path / "a"
        )
        == 0
    )
    assert left_in(tmp_path / "a") == [
        "run_bsa.gif", "run_bsa.h5", "run_bsa.nii.gz", "run_bsa.png", "run_bsa_sheet.png", "run_report.html", "run_warp.nii.gz",
    ]  # fmt: skip


def test_one_run_of_images_is_read_as_a_verb_names_it(folder):
    series = read_one_run(parser().parse_args(["view", str(folder), "--relation", "LIN", "--frame-time", "40"]))
    np.testing.assert_array_equal(series.frames, FRAMES)
    assert (series.relation, series.frame_time) == ("LIN", 40)


@pytest.mark.parametrize("verb", ["view", "sweep"])
def test_of_several_runs_of_images_one_is_to_be_given(tmp_path, folder, capsys, verb):
    (tmp_path / "run" / "more").mkdir()
    Image.fromarray(FRAMES[0]).save(tmp_path / "run" / "more" / "1.png")
    out = ["--out", str(tmp_path / "out")] if verb == "sweep" else []
    refused(
        capsys, main([verb, str(folder), "--relation", "LIN", *out]), f"{folder}: expected one run, found 2; give one of them"
    )


@pytest.mark.slow
def test_prepare_takes_images(tmp_path, folder, capsys):
    arguments = [str(folder), str(tmp_path / "s.h5"), "--relation", "LIN", "--frame-time", "125", "--workers", "1"]
    assert main(["prepare", *arguments]) == 0
    assert "1 run taken, 0 left out" in capsys.readouterr().out
    with store.open_store(tmp_path / "s.h5") as file:
        assert store.read(file, "run-000001").frame_time == 125


WRONG = {
    "no relation": (["run/1.png"], "run/1.png: expected --relation with images"),
    "time alone": (["run", "--frame-time", "5"], "--frame-time: expected --relation with it"),
    "nothing": (["--relation", "LIN", "absent"], "absent: expected an image file or a folder"),
    "key": (
        ["--relation", "LIN", "run", "--save", "key"],
        "expected none of dicom, dsa, dsa-state, shift-state, key for images, got key",
    ),
    "identity": (["--relation", "LIN", "run", "--anonymize"], "--anonymize: expected DICOM runs with it, got images"),
    "pattern": (["--relation", "LIN", "run", "--name", "{stem}-{hash}"], "--name {stem}-{hash}: expected DICOM runs with it"),
    "dicom": (
        ["--relation", "LIN", "run", "--save", "dicom,png"],
        "expected none of dicom, dsa, dsa-state, shift-state, key for images, got dicom",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_refused(name, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    arguments, words = WRONG[name]
    refused(capsys, register(*arguments), words)


@pytest.mark.slow
def test_wrong_use_is_refused_before_tensorflow(folder):
    code = "import sys\nfrom angiomorph.cli import main\nstatus = main(sys.argv[1:])\n"
    code += "sys.exit(9 if 'tensorflow' in sys.modules else status)"
    arguments = ["register", str(folder), "--relation", "LIN", "--save", "dicom"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "got dicom" in done.stderr) == (2, True)


@pytest.mark.parametrize("time", ["-1", "inf", "x"])
def test_a_frame_time_is_a_number_from_0(capsys, time):
    words = f"expected a number from 0, got {time}"
    refused_by_argparse(capsys, ["register", "a", "--relation", "LIN", f"--frame-time={time}"], words)


def read(*arguments):
    return read_training_data(parser().parse_args(["train", *map(str, arguments)]))


def test_lists_name_data_and_pairs(tmp_path, folder):
    (tmp_path / "two words").mkdir()
    (tmp_path / "list.txt").write_text("run/1 run/2\n\n  run/2\trun/3\n")
    given = read("--img-list", tmp_path / "list.txt", "--img-prefix", f"{tmp_path}/", "--img-suffix", ".png")
    assert given.pairs == [(folder / "1.png", folder / "2.png"), (folder / "2.png", folder / "3.png")]
    assert (given.paths, given.images) == ([], ImageOptions("DISP"))
    (tmp_path / "list.txt").write_text("two words\nrun\n")
    given = read("--img-list", tmp_path / "list.txt", "--img-prefix", f"{tmp_path}/")
    assert (given.paths, given.pairs, given.images) == ([tmp_path / "two words", folder], [], None)


def test_a_relation_for_pairs_and_runs(tmp_path, folder):
    (tmp_path / "list.txt").write_text(f"{folder}/1.png {folder}/2.png")
    given = read(folder, "--img-list", tmp_path / "list.txt", "--relation", "LIN", "--frame-time", "40")
    assert (given.paths, len(given.pairs), given.images) == ([folder], 1, ImageOptions("LIN", 40.0))


def test_pairs_beside_dicom_are_refused(tmp_path, folder, xa_file):
    (tmp_path / "list.txt").write_text(f"{folder}/1.png {folder}/2.png")
    with pytest.raises(InputError, match="expected no DICOM beside pairs of images"):
        read(xa_file(), "--img-list", tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--img-list", "list.txt"], "list.txt: expected a text file"),
        (["run", "--img-prefix", "a"], "expected --img-list with them"),
        (["run/1.png"], "expected --relation with images"),
    ],
)
def test_wrong_training_data_is_refused(folder, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(InputError, match=words):
        read(*arguments)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--multichannel"], "--multichannel: images have one grey channel"),
        (["--bidir"], "--bidir: warps go one way"),
        (["--atlas", "a.npz"], "--atlas: each run has its own moving image"),
        (["--use-probs"], "--use-probs: a warp is one field here"),
        (["--kl-lambda", "10"], "--kl-lambda: there is no distribution of warps here"),
        (["--test-reg", "a.npz", "b.npz", "c.npz"], "--test-reg: register a run or a pair with"),
        (["--legacy-image-sigma", "0.02"], "--legacy-image-sigma: the scale of every loss is --image-sigma"),
        (["--image-loss", "ncc"], "expected vle instead of ncc"),
        (["--image-loss", "ssd"], "invalid choice: 'ssd'"),
    ],
)
def test_voxelmorphs_options_are_answered(capsys, option, words):
    refused_by_argparse(capsys, ["train", "store.h5", *option], words)


@pytest.mark.slow
def test_training_on_pairs(tmp_path, folder, capsys):
    (tmp_path / "list.txt").write_text("1 2\n1 3\n")
    arguments = ["--img-list", str(tmp_path / "list.txt"), "--img-prefix", f"{folder}/", "--img-suffix", ".png"]
    arguments += ["--enc", "4", "4", "--dec", "4", "4", "--hyp-units", "4", "--size", "32", "--epochs", "1"]
    assert main(["train", *arguments, "--frames-per-series", "1", "--model-dir", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert "from 2 image paths" in said
    assert "2 runs taken, 0 left out" in said
    with store.open_store(tmp_path / "m" / "archive.h5") as file:
        runs = [store.read(file, key) for key in store.keys(file)]
    np.testing.assert_array_equal([run.frames for run in runs], [FRAMES[[0, 1]], FRAMES[[0, 2]]])
    assert [(run.relation, run.background) for run in runs] == [("DISP", (1,))] * 2
    assert (tmp_path / "m" / "model.h5").is_file()


@pytest.mark.slow
def test_a_baked_model_registers_as_its_source(tmp_path, folder, model, capsys):
    baked = tmp_path / "baked.h5"
    assert main(["bake", str(model), str(baked), "--lambda", "0.2"]) == 0
    assert register(folder, "--relation", "LIN", "--model", model, "--lambda", "0.2", "--out", tmp_path / "a") == 0
    assert register(folder, "--relation", "LIN", "--model", baked, "--out", tmp_path / "b") == 0
    (source, of_source), (plain, of_plain) = (store.read_arrays(tmp_path / name / "run_bsa.h5") for name in ("a", "b"))
    np.testing.assert_allclose(plain["warp"], source["warp"], atol=1e-4)
    assert of_plain["lambda"] == of_source["lambda"] == 0.2
    capsys.readouterr()
    wrong = register(folder, "--relation", "LIN", "--model", baked, "--lambda", "0.5", "--out", tmp_path / "c")
    refused(capsys, wrong, "--lambda 0.5: expected 0.2, at which", "was baked")
