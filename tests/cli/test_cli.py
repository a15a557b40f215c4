"""The programs as a user runs them: exit status, what is said and where, and what is left on disk."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, UltrasoundMultiFrameImageStorage

from angiomorph import networks
from angiomorph.backend import tf, vxm
from angiomorph.cli import main, terminal
from angiomorph.storage import store
from tests.cli.refusals import left_in, refused, refused_by_argparse
from tests.dicom_tools import dciodvfy_errors
from tests.runs import SIZE, TINY, phantom, save_tiny_model

FRAMES = phantom((3, SIZE, SIZE))
PATIENT = {"PatientName": "Quartz^Zebulon", "PatientID": "QZ-4711", "PatientBirthDate": "19330911"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5")


def register(runs, model, out, *options):
    return main(["register", *map(str, runs), "--model", str(model), "--out", str(out), "--refine", "0", *options])


@pytest.mark.slow
def test_a_tree_with_a_bad_run_goes_on_and_lists_it(tmp_path, capsys, xa_file, model):
    xa_file("tree/a/run.dcm", frames=FRAMES)
    cut = xa_file("tree/b/run.dcm", frames=FRAMES)
    cut.write_bytes(cut.read_bytes()[:-3000])
    xa_file("tree/c/run.dcm", frames=FRAMES[::-1].copy())
    (tmp_path / "tree" / "notes.txt").write_text("not a run")
    out = tmp_path / "out"
    assert register([tmp_path / "tree"], model, out, "--background", "1") == 1
    said = capsys.readouterr()
    registered = [str(tmp_path / "tree" / folder / "run.dcm") for folder in "ac"]
    assert [line.partition(":")[0] for line in said.out.splitlines()] == registered
    first, failed, summary = said.err.splitlines()
    assert first == f"registering 3 runs with model {model}"
    assert failed.startswith(f"angiomorph register: failed: {cut}: ")
    assert "truncated" in failed
    assert summary == ("angiomorph register: 1 of 3 runs failed, the others are written; files passed over: 1 (no DICOM: 1)")
    assert left_in(out) == ["a", "a/run_bsa.dcm", "a/run_bsa.h5", "c", "c/run_bsa.dcm", "c/run_bsa.h5"]
    assert register([tmp_path / "tree", cut], model, out, "--background", "1", "--quiet", "--save", "h5") == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("failed, the others are written")
    assert (out / "a/run_bsa.h5").read_bytes() != (out / "c/run_bsa.h5").read_bytes()


@pytest.mark.slow
def test_results_hold_every_frame_and_nothing_of_the_patient(tmp_path, capsys, xa_file, model):
    run = xa_file("run.dcm", frames=FRAMES, attributes={**PATIENT, "BurnedInAnnotation": "YES"})
    out = tmp_path / "out"
    assert register([run], model, out, "--background", "1-2", "--save", " png, h5,dicom ,h5,html", "--lambda", "0.25") == 0
    said = capsys.readouterr()
    assert left_in(out) == ["run_bsa.dcm", "run_bsa.h5", "run_bsa.png", "run_report.html"]
    assert said.err.startswith(f"registering 1 run with model {model}\nangiomorph register: warning: {run}: ")
    assert "burnt-in text" in said.err
    written = pydicom.dcmread(out / "run_bsa.dcm")
    assert written.PatientName == PATIENT["PatientName"]  # the derived run belongs to the patient's study
    with h5py.File(out / "run_bsa.h5") as file:
        bsa = file["bsa"][()]
        assert sorted(file.attrs) == [
            *(
                "bits_stored",
                "engine",
                "format_version",
                "intensity",
                "lambda",
                "levels",
                "mixed_precision",
                "model_sha256",
                "refine",
                "relation",
                "rounds",
                "units",
            ),
            "version",
        ]
        assert file.attrs["lambda"] == 0.25
        assert file.attrs["model_sha256"] == networks.sha256(model)
        assert file["background"][()].tolist() == [1, 2]
    np.testing.assert_array_equal(written.pixel_array, np.clip(np.rint(1000.0 * bsa.astype(np.float64)) + 2048, 0, 4095))
    texts = [said.out.encode(), said.err.encode()]
    texts += [(out / "run_bsa.h5").read_bytes(), (out / "run_bsa.png").read_bytes()]
    texts.append(re.sub(rb"base64,[\w+/=]+", b"", (out / "run_report.html").read_bytes()))
    for secret in ("Quartz", "Zebulon", "4711", "19330911"):
        assert not [text for text in texts if secret.encode().lower() in text.lower()]
    assert dciodvfy_errors(out / "run_bsa.dcm") == []


@pytest.mark.slow
def test_json_quiet_and_repetition(tmp_path, capsys, xa_file, model):
    run = xa_file("one/run.dcm", frames=FRAMES, attributes={"BurnedInAnnotation": "YES"})
    other = xa_file("two/run.dcm", frames=FRAMES[::-1].copy())
    bad = xa_file("three/bad.dcm", frames=FRAMES[:1])
    out = tmp_path / "out"
    assert register([run, other, bad], model, out, "--background", "2", "--json", "--save", "h5") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == ["run", "run-2", "bad"]
    assert {"frames", "rows", "columns", "background", "lambda", "residue_dsa", "residue_bsa", "folding"} <= set(lines[0])
    assert (lines[0]["frames"], lines[0]["background"], len(lines[0]["warnings"])) == (3, [2], 1)
    assert "one single frame" in lines[2]["error"]
    assert [line["source"] for line in lines] == [str(run), str(other), str(bad)]
    assert [line.get("outputs") for line in lines] == [[str(out / "run_bsa.h5")], [str(out / "run-2_bsa.h5")], None]
    assert left_in(out) == ["run-2_bsa.h5", "run_bsa.h5"]
    (out / "run_bsa.h5").write_text("old")
    (out / "mine.txt").write_text("mine")
    assert register([run], model, out, "--background", "2", "--quiet", "--save", "h5") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert left_in(out) == ["mine.txt", "run-2_bsa.h5", "run_bsa.h5"]
    with h5py.File(out / "run_bsa.h5") as file:
        assert file["bsa"].shape == FRAMES.shape


@pytest.mark.slow
def test_a_tree_is_resumed_without_tensorflow(tmp_path, capsys, xa_file, model):
    run, out = xa_file("run.dcm", frames=FRAMES), tmp_path / "out"
    assert register([run], model, out, "--background", "2", "--save", "h5", "--skip-existing") == 0
    capsys.readouterr()
    program = (
        "import sys; from angiomorph.cli import main; status = main(); print('tensorflow' in sys.modules); sys.exit(status)"
    )
    given = ["--model", str(model), "--out", str(out), "--refine", "0", "--background", "2", "--save", "h5", "--skip-existing"]
    again = subprocess.run([sys.executable, "-c", program, "register", str(run), *given], capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (0, f"{run}: skipped, its results are there\nFalse\n")


@pytest.mark.slow
def test_the_first_line_comes_before_tensorflow(tmp_path, xa_file):
    """The import of TensorFlow ends the program, and says so."""
    program = (
        "import importlib.abc, os, sys; from angiomorph.cli import main\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'tensorflow': os.write(1, b'TensorFlow\\n'); os._exit(9)\n"
        "sys.meta_path.insert(0, Finder()); main()"
    )
    for name in "ab":
        xa_file(f"in/{name}.dcm", frames=FRAMES)
    command = [sys.executable, "-c", program, "register", "in"]
    one_pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ended = subprocess.run(command, **one_pipe, text=True, cwd=tmp_path, timeout=60)
    assert (ended.returncode, ended.stdout) == (9, "registering 2 runs with model truth\nTensorFlow\n")


@pytest.mark.slow
def test_sigterm_ends_as_ctrl_c_does(tmp_path):
    program = (
        "import os, signal, sys; from angiomorph.cli import main; from angiomorph.registration import runs\n"
        "def end(*given): os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "runs.find_series = end; sys.exit(main(['register', 'run.dcm']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "angiomorph register: interrupted\n")


def test_sigterm_before_anything_is_known_is_one_line_too(tmp_path):
    program = (
        "import importlib.abc, os, signal, sys; from angiomorph.cli import main\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pydicom': os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Finder()); sys.exit(main(['register', 'run.dcm']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "angiomorph: interrupted\n")


@pytest.mark.slow
def test_a_file_that_is_no_run_is_refused_without_tensorflow(tmp_path):
    (tmp_path / "notes.txt").write_text("no run")
    program = "import sys; from angiomorph.cli import main; print(main(), 'tensorflow' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program, "register", "notes.txt"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert ended.stdout == "2 False\n"


def ultrasound(dataset):
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.Modality = "US"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.NumberOfFrames = 1


def without_pixels(dataset):
    del dataset.PixelData


def subtracted(dataset):
    dataset.PixelIntensityRelationship = "DISP"
    dataset.ImageType = ["DERIVED", "PRIMARY", "SINGLE PLANE"]
    dataset.AcquisitionDeviceProcessingDescription = "subtracted"


@pytest.fixture
def no_run(tmp_path, xa_file):
    """Return what makes each input that is no run, by name."""

    def text():
        (tmp_path / "text.dcm").write_text("hello")
        return tmp_path / "text.dcm"

    def empty():
        (tmp_path / "empty").mkdir()
        return tmp_path / "empty"

    def cut():
        path = xa_file("cut.dcm", frames=FRAMES)
        path.write_bytes(path.read_bytes()[:-3000])
        return path

    return {
        "text": text,
        "absent": lambda: tmp_path / "absent.dcm",
        "empty": empty,
        "nopixels": lambda: xa_file("nopixels.dcm", without_pixels, FRAMES),
        "us": lambda: xa_file("us.dcm", ultrasound, FRAMES),
        "single": lambda: xa_file("single.dcm", frames=FRAMES[:1]),
        "subtracted": lambda: xa_file("subtracted.dcm", subtracted, FRAMES),
        "cut": cut,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text", "DICOM"),
        ("absent", "nothing there"),
        ("empty", "found none"),
        ("nopixels", "PixelData"),
        ("us", "Modality"),
        ("single", "one single frame"),
        ("subtracted", "or say --unsubtracted if"),
        ("cut", "truncated"),
    ],
)
def test_inputs_that_are_no_run(tmp_path, capsys, model, no_run, name, words):
    path = no_run[name]()
    status = register([path], model, tmp_path / "out")
    refused(capsys, status, str(path), words)
    assert left_in(tmp_path / "out") == []


@pytest.mark.slow
def test_our_own_output_is_already_subtracted(tmp_path, capsys, xa_file, model):
    run = xa_file("run.dcm", frames=FRAMES)
    assert register([run], model, tmp_path / "out", "--quiet", "--background", "1", "--save", "dicom") == 0
    capsys.readouterr()
    refused(capsys, register([tmp_path / "out" / "run_bsa.dcm"], model, tmp_path / "again"), "already subtracted")
    assert left_in(tmp_path / "again") == []
    # A tree in which results lie beside their sources is registered as if they were not there.
    shutil.copy(run, tmp_path / "out" / "run.dcm")
    assert register([tmp_path / "out"], model, tmp_path / "out", "--quiet", "--background", "1", "--save", "dicom") == 0
    assert left_in(tmp_path / "out") == ["run.dcm", "run_bsa.dcm"]


@pytest.fixture(scope="module")
def no_models(tmp_path_factory, model):
    """Return a folder of files that are no model."""
    folder = tmp_path_factory.mktemp("no_models")
    (folder / "runs").mkdir()
    (folder / "text.h5").write_text("hello")
    h5py.File(folder / "empty.h5", "w").close()
    networks.AngioMorph((32, 32), **TINY).save_weights(folder / "weights.h5")
    tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))]).save(folder / "other.h5")
    whole = Path(model).read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) * 2 // 3])
    shutil.copy(model, folder / "headless.h5")
    with h5py.File(folder / "headless.h5", "a") as file:
        del file["model_weights"]
    shutil.copy(model, folder / "garbled.h5")
    with h5py.File(folder / "garbled.h5", "a") as file:
        file.attrs["model_config"] = "{not json"
    return folder


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.h5", "cannot be opened as HDF5"),
        ("absent.h5", "no such file"),
        ("empty.h5", "give a model.h5"),
        ("weights.h5", "import-weights"),
        ("other.h5", "found 'Sequential'"),
        ("cut.h5", "cannot be opened as HDF5"),
        ("headless.h5", "expected a whole model"),
        ("garbled.h5", "expected a whole model"),
        ("runs", "cannot be opened as HDF5"),
    ],
)
def test_files_that_are_no_model(tmp_path, capsys, xa_file, no_models, name, words, batch):
    run = xa_file("runs/run.dcm", frames=FRAMES)
    xa_file("runs/second.dcm", frames=FRAMES)
    status = register([tmp_path / "runs" if batch else run], no_models / name, tmp_path / "out")
    refused(capsys, status, str(no_models / name), words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lambda", "1.5"], "expected a number from 0 to 1, got 1.5"),
        (["--lambda", "much"], "expected a number from 0 to 1, got much"),
        (["--lambda", "nan"], "expected a number from 0 to 1, got nan"),
        (["--frame", "0"], "expected a whole number from 1, got 0"),
        (["--frame", "x"], "expected a whole number from 1, got x"),
        (["--batch-size", "0"], "expected a whole number from 1, got 0"),
        (["--intensity", "loud"], "invalid choice: 'loud'"),
        (["--rounds", "-1"], "expected a whole number from 0, got -1"),
        (["--refine", "-1"], "expected a whole number from 0, got -1"),
        (["--pixel-depth", "14"], "invalid choice: 14"),
        (["--compress", "jpeg"], "invalid choice: 'jpeg'"),
        (["--save-class", "legacy"], "invalid choice: 'legacy'"),
        (["--sharpen"], "unrecognized arguments: --sharpen"),
    ],
)
def test_words_that_argparse_refuses(capsys, options, words):
    refused_by_argparse(capsys, ["register", "run.dcm", *options], words)


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "half"])
def test_a_lambda_is_a_share(capsys, share):
    refused_by_argparse(capsys, ["bake", "m.h5", "b.h5", f"--lambda={share}"], f"expected a number from 0 to 1, got {share}")


def test_a_verb_may_be_called_by_a_thread(tmp_path, capsys):
    found = []
    thread = threading.Thread(target=lambda: found.append(main(["info", str(tmp_path / "absent.h5")])))
    thread.start()
    thread.join()
    refused(capsys, found[0], "absent.h5", "found no such file")


def test_no_verb_and_no_run(capsys):
    refused_by_argparse(capsys, [], "VERB")
    refused(capsys, main(["register"]), "angiomorph register: expected RUN, or --moving")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--save", "tiff"], "expected some of dicom,h5,png,sheet,mp4,gif,html,dsa,dsa-state,shift-state,key,nifti, got tiff"),
        (["--save", ","], "expected some of dicom,h5,png,sheet,mp4,gif,html,dsa,dsa-state,shift-state,key,nifti, got none"),
        (["--background", "0"], "expected auto, tag, a frame number N or a range N-M"),
        (["--background", "soon"], "expected auto, tag, a frame number N or a range N-M"),
        (["--background", "9"], "expected frame numbers from 1 to 3"),
        (["--background", "tag"], "found none"),
        (["--frame", "9", "--save", "png"], "expected a frame number from 1 to 3"),
        (["--gpu", "seven"], "--gpu seven: expected"),
    ],
)
def test_words_that_do_not_fit_the_run(tmp_path, capsys, xa_file, model, options, words):
    run = xa_file("run.dcm", frames=FRAMES)
    refused(capsys, register([run], model, tmp_path / "out", *options), words)
    assert left_in(tmp_path / "out") == []


def test_refining_a_model_of_truth_is_refused_early(tmp_path, capsys, xa_file):
    truth = save_tiny_model(tmp_path / "truth.h5", image_loss="truth")
    for name in ("one", "two"):
        xa_file(f"runs/{name}.dcm", frames=FRAMES)
    status = register([tmp_path / "runs"], truth, tmp_path / "out", "--refine", "1")
    refused(capsys, status, "--refine 1: expected 0 for", str(truth), "a model of image loss truth", "use --rounds N")
    assert left_in(tmp_path / "out") == []


@pytest.mark.slow
def test_rounds_and_refinement_are_told_apart(tmp_path, capsys, xa_file, model):
    run = xa_file("run.dcm", frames=FRAMES)
    assert register([run], model, tmp_path / "out", "--rounds", "2", "--refine", "3", "--save", "h5", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    with h5py.File(tmp_path / "out" / "run_bsa.h5") as file:
        for found in (summary, file.attrs):
            assert (found["rounds"], found["refine"]) == (2, 3)


@pytest.mark.slow
def test_compact_and_bake(tmp_path, capsys, model):
    assert main(["compact", str(model), str(tmp_path / "small.h5"), "--rank", "2"]) == 0
    assert main(["bake", str(tmp_path / "small.h5"), str(tmp_path / "plain.h5"), "--lambda", "0.7"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == [str(tmp_path / "small.h5"), str(tmp_path / "plain.h5")]
    assert networks.sha256(tmp_path / "plain.h5") in said[1]
    rng = np.random.default_rng(0)
    moving, fixed = rng.random((2, 1, SIZE, SIZE, 1)).astype(np.float32)
    plain = vxm.networks.VxmDense.load(str(tmp_path / "plain.h5")).register(moving, fixed)
    small = networks.AngioMorph.load(tmp_path / "small.h5")
    np.testing.assert_allclose(small([moving, fixed, np.full((1, 1), 0.7, np.float32)])[1], plain, atol=1e-4)
    capsys.readouterr()
    again = main(["compact", str(tmp_path / "small.h5"), str(tmp_path / "x.h5")])
    refused(capsys, again, "expected full rank, found hyp_rank 2")
    refused(capsys, main(["bake", str(model), str(model / "x.h5"), "--lambda", "0.5"]), "cannot be read or written")
    refused_by_argparse(capsys, ["bake", str(model), "x.h5"], "--lambda")
    refused(capsys, main(["bake", str(model), "x.keras", "--lambda", "0.5"]), "x.keras: expected a name that ends in .h5")
    refused(
        capsys,
        main(["bake", str(model), "x.h5", "--lambda", "0.5", "--size", "30"]),
        "--size 30: expected a multiple of 4, got 30",
    )
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.slow
def test_import_weights(tmp_path, capsys):
    networks.AngioMorph((32, 32)).save_weights(tmp_path / "weights.h5")
    command = ["import-weights", str(tmp_path / "weights.h5"), str(tmp_path / "model.h5"), "--size", "32", "--lambda", "0.4"]
    assert main(command) == 0
    assert "parameters, SHA-256" in capsys.readouterr().out
    metadata = networks.AngioMorph.load_config(tmp_path / "model.h5")["metadata"]
    assert (metadata["intensity"], metadata["size"], metadata["lambda"]) == ("linear", 32, 0.4)
    with h5py.File(tmp_path / "weights.h5") as given, h5py.File(tmp_path / "model.h5") as found:
        flow = "angiomorph_flow/angiomorph_flow/kernel:0"
        np.testing.assert_array_equal(found["model_weights"][flow], given[flow])
    (tmp_path / "text.h5").write_text("hello")
    refused(capsys, main(["import-weights", str(tmp_path / "text.h5"), str(tmp_path / "x.h5"), "--size", "32"]), "text.h5")
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.slow
def test_prepare(tmp_path, capsys, xa_file):
    good, bad = xa_file("good.dcm", frames=FRAMES), xa_file("bad.dcm", frames=FRAMES[:1])
    target = tmp_path / "new" / "s.h5"
    assert main(["prepare", str(good), str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: 1 run taken, 0 left out\n"
    assert main(["prepare", str(good), str(bad), str(target)]) == 1
    said = capsys.readouterr()
    assert said.out == f"{target}: 1 run taken, 1 left out\n"
    assert "left out bad: " in said.err
    before = target.read_bytes()
    assert main(["prepare", str(bad), str(target)]) == 2
    assert "at least one usable run among 1" in capsys.readouterr().err
    assert target.read_bytes() == before
    (tmp_path / "notes.txt").write_text("no picture")
    assert main(["prepare", str(tmp_path), str(target)]) == 1
    assert capsys.readouterr().out == f"{target}: 1 run taken, 1 left out; files passed over: 3 (no DICOM: 3)\n"


@pytest.mark.slow
def test_prepare_names_flags_where_it_leaves_runs_out(tmp_path, capsys, xa_file):
    paths = [xa_file("good.dcm", frames=FRAMES), xa_file("bad.dcm", subtracted, FRAMES)]
    assert main(["prepare", *map(str, paths), str(tmp_path / "s.h5"), "--workers", "1"]) == 1
    assert "or say --unsubtracted if these are its pixels" in capsys.readouterr().err
    assert main(["train", str(paths[1]), "--model-dir", str(tmp_path / "m")]) == 2
    assert "or say `unsubtracted` if these are its pixels" in capsys.readouterr().err  # which is no flag of train


@pytest.mark.slow
def test_prepare_shrinks_and_tells_of_its_progress(tmp_path, capsys, xa_file):
    for index in range(3):
        xa_file(f"archive/{index}.dcm", frames=FRAMES)
    arguments = ["prepare", str(tmp_path / "archive"), str(tmp_path / "s.h5"), "--size", str(SIZE // 2), "--workers", "1"]
    assert main(arguments) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "runs read: 0/3"
    assert re.fullmatch(r"runs read: 2/3, about 0:00:\d\d left", lines[2])
    assert lines[3:] == ["runs read: 3/3"]
    with store.open_store(tmp_path / "s.h5") as file:
        assert store.read(file, "run-000003").frames.shape == (3, SIZE // 2, SIZE // 2)
    refused_by_argparse(capsys, [*arguments[:-1], "0"], "--workers", "expected a whole number from 1")


def test_progress_estimates_from_what_this_call_did(capsys, monkeypatch):
    clock = iter([0, 0, 10, 15, 80, 85])  # its start, then each call
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    progress = terminal.show_progress("runs read")
    for done in (600, 601, 602, 603, 699):  # of these the first were there before
        progress(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "runs read: 600/1000",
        "runs read: 603/1000, about 2:56:27 left",  # 397 at 3 in 80 s, after a minute without a line
    ]


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = terminal.show_progress("runs read")
    for done in (5, 6, 7):
        progress(done, 7)
    said = capsys.readouterr().err
    assert "5/7 [" in said
    assert said.rstrip().splitlines()[-1].split("\r")[-1].startswith("runs read: 100%")


def test_prepare_does_not_take_a_run_for_its_store(tmp_path, capsys, xa_file):
    one, other = xa_file("one.dcm", frames=FRAMES), xa_file("two.dcm", frames=FRAMES)
    before = other.read_bytes()
    refused(capsys, main(["prepare", str(one), str(other)]), str(other), "name the store last")
    assert other.read_bytes() == before


def test_a_new_training_spares_an_older_one(tmp_path, capsys, xa_file):
    (tmp_path / "m" / "checkpoints").mkdir(parents=True)
    for name in ("checkpoints/00000001.h5", "archive.h5"):
        (tmp_path / "m" / name).write_bytes(b"older")
    status = main(["train", str(xa_file()), "--model-dir", str(tmp_path / "m")])
    refused(capsys, status, "found a training in it; add --resume or name another")
    assert (tmp_path / "m" / "archive.h5").read_bytes() == b"older"


def test_what_no_data_is_given_for_is_said_once(tmp_path, capsys):
    refused(capsys, main(["train", "--model-dir", str(tmp_path)]), "angiomorph train: expected DATA (training stores")


def run_python(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_simulate_without_its_extra_packages(tmp_path):
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "from angiomorph.cli import main\n"
        f"sys.exit(main(['simulate', '--out', {str(tmp_path / 'out')!r}]))"
    )
    result = run_python("-c", program)
    assert result.returncode == 2
    said = "numba: expected to be installed for simulations, found nothing; run `pip install numba`"
    assert result.stderr == f"angiomorph simulate: {said}\n"
    assert not (tmp_path / "out").exists()


def test_simulate_with_nowhere_to_write(capsys):
    pytest.importorskip("numba", reason="the simulator's extra packages are not installed")
    pytest.importorskip("nibabel", reason="the simulator's extra packages are not installed")
    refused(capsys, main(["simulate"]), "expected a folder or a training store to write to")


def test_simulate_pictures_the_runs_that_it_made(tmp_path, monkeypatch):
    pytest.importorskip("numba", reason="the simulator's extra packages are not installed")
    asked = []
    monkeypatch.setattr("angiomorph.simulate.write.simulate", lambda out, **given: asked.append((out, given["runs"])))
    monkeypatch.setattr("angiomorph.simulate.contact_sheet.contact_sheet", lambda *given: asked.append(given))
    assert main(["simulate", "--runs", "2", "--out", str(tmp_path), "--picture", "runs.png"]) == 0
    assert asked == [(tmp_path, 2), ([tmp_path / "run-000001.dcm", tmp_path / "run-000002.dcm"], "runs.png")]


def installed_script():
    script = shutil.which("angiomorph", path=str(Path(sys.executable).parent))
    if script is None:
        pytest.skip("the package is not installed beside this Python, so there is no console script")
    return script


@pytest.mark.slow
def test_the_installed_program(tmp_path, xa_file, model):
    script = installed_script()
    helped = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert helped.returncode == 0
    verbs = ("train", "register", "prepare", "simulate", "import-weights", "compact", "bake")
    assert all(verb in helped.stdout for verb in verbs)
    wrong = subprocess.run([script, "register"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    run = xa_file("run.dcm", frames=FRAMES)
    command = [script, "register", run, "--model", model, "--out", tmp_path / "out", "--background", "1", "--save", "dicom,png"]
    command += ["--pixel-depth", "16", "--compress", "rle", "--keep-frames", "2-3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("\n"), done.stderr) == (1, f"registering 1 run with model {model}\n")
    assert left_in(tmp_path / "out") == ["run_bsa.dcm", "run_bsa.png"]
    written = pydicom.dcmread(tmp_path / "out" / "run_bsa.dcm")
    assert (written.NumberOfFrames, written.BitsStored) == (2, 16)
    assert written.file_meta.TransferSyntaxUID == RLELossless


def test_names_that_no_stream_takes_are_printed_all_the_same(capsys):
    terminal.print_line(os.fsdecode(b"M\xfcller: 3 frames"))
    assert capsys.readouterr().out == "M\\udcfcller: 3 frames\n"
