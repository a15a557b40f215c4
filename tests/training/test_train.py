"""Training through the command line: the model directory, resuming after kills and full disks, what is refused."""

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.cli import main
from angiomorph.networks import AngioMorph, precision
from angiomorph.storage import store
from angiomorph.training import checkpoints
from angiomorph.training.model_dir import list_checkpoints
from angiomorph.training.source import Source
from tests.training.trainings import FEW, TINY, board, history, largest_file, run_train, table

pytestmark = pytest.mark.slow


def test_a_training_leaves_its_model_directory_and_learns(tmp_path, moving_archive):
    model_dir = tmp_path / "m"
    assert run_train(moving_archive, "--model-dir", model_dir, *TINY, *FEW, "--epochs", 6, "--steps-per-epoch", 10) == 0
    names = {path.name for path in model_dir.iterdir()}
    assert names == {
        *("model.h5", "best.h5", "checkpoints", "config.json"),
        *("history.csv", "steps.csv", "tensorboard", "learning_curve.png"),
    }
    assert sorted(path.name for path in (model_dir / "checkpoints").iterdir()) == [f"{n:08d}.h5" for n in (40, 50, 60)]
    losses = history(model_dir)
    assert len(losses) == 6
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
    steps = table(model_dir / "steps.csv")
    # Batches of equal size: an epoch's loss is the mean of its steps', which Keras keeps by itself.
    np.testing.assert_allclose(losses, steps["loss"].reshape(6, 10).mean(1), rtol=1e-5)
    best = tf.keras.models.load_model(model_dir / "best.h5", compile=False)
    assert best.metadata["epochs"] == 1 + np.argmin(losses)
    resolved = json.loads((model_dir / "config.json").read_text())
    assert resolved["training"]["sampling"]["seed"] == 0
    assert resolved["versions"]["voxelmorph"] == "0.2"
    model = tf.keras.models.load_model(model_dir / "model.h5", compile=False)
    assert {key: model.metadata[key] for key in ("size", "image_loss", "lambda", "epochs")} == {
        "size": 32,
        "image_loss": "vle",
        "lambda": 0.7,
        "epochs": 6,
    }
    assert model.metadata["data"] == {"runs": 2, "frames": 12, "validation_stores": 0, "validation_runs": 0}
    assert model.metadata["training"]["lr"] == 0.001


def test_a_training_leaves_the_terminal_to_its_own_lines(tmp_path, moving_archive, capfd):
    assert run_train(moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 2) == 0
    out, err = capfd.readouterr()
    assert re.fullmatch(r"training on .*; from step 0\n", err)
    assert [line.split()[0] for line in out.splitlines()] == ["2/2", "trained:"]
    assert tf.config.optimizer.get_experimental_options().get("remapping", True)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, moving_archive):
    options = [moving_archive, *TINY, *FEW, "--seed", 3, "--oversample-rate", 0.2]
    assert run_train(*options, "--model-dir", tmp_path / "whole", "--epochs", 3) == 0
    assert run_train(*options, "--model-dir", tmp_path / "parts", "--epochs", 2) == 0
    # As a version wrote it that did not have these yet.
    resolved = json.loads((tmp_path / "parts" / "config.json").read_text())
    del resolved["training"]["best_by"], resolved["validation_runs"]
    (tmp_path / "parts" / "config.json").write_text(json.dumps(resolved))
    assert run_train(*options, "--model-dir", tmp_path / "parts", "--epochs", 3, "--resume", "--lambda", 0.4) == 0
    np.testing.assert_allclose(history(tmp_path / "parts"), history(tmp_path / "whole"), rtol=1e-4)
    whole, parts = (AngioMorph.load(tmp_path / name / "model.h5") for name in ("whole", "parts"))
    assert (whole.metadata["lambda"], parts.metadata["lambda"]) == (0.7, 0.4)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("compute", ["float16", "bfloat16"])
def test_a_resumed_mixed_precision_equals_an_uninterrupted_one(tmp_path, moving_archive, capfd, monkeypatch, compute):
    monkeypatch.setattr(precision, "choose_type", lambda: compute)
    options = [moving_archive, *TINY, "--enc", 4, 4, *FEW, "--seed", 3, "--steps-per-epoch", 12, "--lambda", 0.5]
    assert run_train(*options, "--model-dir", tmp_path / "plain", "--epochs", 3) == 0
    mixed = [*options, "--mixed-precision", "--checkpoint-steps", 7]
    assert run_train(*mixed, "--model-dir", tmp_path / "whole", "--epochs", 3) == 0
    assert run_train(*mixed, "--model-dir", tmp_path / "parts", "--epochs", 2) == 0
    assert run_train(*mixed, "--model-dir", tmp_path / "parts", "--epochs", 3, "--resume") == 0
    plain, whole, parts = (table(tmp_path / name / "steps.csv")["loss"] for name in ("plain", "whole", "parts"))
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    np.testing.assert_allclose(whole, plain, rtol=0.01)
    assert np.abs(whole[24:] / plain[24:] - 1).max() > 1e-5  # resumed in float32 it would show
    models = [AngioMorph.load(tmp_path / name / "model.h5") for name in ("whole", "parts")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert models[1].metadata["training"]["mixed_precision"] == compute
    assert {layer.compute_dtype for layer in models[1].layers} == {"float32"}
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    optimizer = checkpoints.load(list_checkpoints(tmp_path / "parts")[-1])[0].optimizer
    assert optimizer.initial_scale == (2**15 if compute == "float16" else None)
    if compute == "float16":
        assert int(optimizer.finite_steps) == 36
    capfd.readouterr()
    assert run_train(*options, "--model-dir", tmp_path / "parts", "--epochs", 4, "--resume") == 2
    assert f"mixed_precision: {compute} then, None now" in capfd.readouterr().err


def test_a_validation_has_the_figures_of_evaluate(tmp_path, moving_archive, simulated_folder):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    assert run_train(*options, "--validation", moving_archive, simulated_folder) == 0
    evaluated = ["--lambda", "0", "0.25", "0.5", "0.75", "1", "--refine", "0", "--no-guard", "--quiet", "--out", tmp_path / "e"]
    given = [str(value) for value in [simulated_folder, "--model", tmp_path / "m" / "model.h5", *evaluated]]
    assert main(["evaluate", *given]) == 0
    lines = json.loads((tmp_path / "e" / "evaluation.json").read_text())["lines"]
    found, epoch = table(tmp_path / "m" / "validation.csv"), table(tmp_path / "m" / "history.csv")
    np.testing.assert_array_equal(found["step"], [1] * 5)
    np.testing.assert_array_equal(found["lambda"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found["loss"], [epoch[f"val_loss_{hyper:g}"][0] for hyper in found["lambda"]])
    for kind, names in {
        "moving": ("artefact_left", "contrast_kept", "rmse_over_floor", "warp_error"),
        "still": ("harm",),
    }.items():
        for name in names:
            expected = [line[kind][name]["mean"] for line in lines]
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)
    expected = [line["still"]["contrast_kept"]["mean"] for line in lines]
    np.testing.assert_allclose(found["still_contrast_kept"], expected, rtol=1e-4)
    # The stored runs, which have no truth either, are in these means too.
    assert not np.allclose(found["edge_left"], [line["real"]["edge_left"]["mean"] for line in lines], rtol=1e-3)
    resolved = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (resolved["validation"], resolved["validation_runs"]["count"]) == (["archive.h5"], 3)
    for path in (each for each in (tmp_path / "m").glob("*") if each.suffix in (".json", ".csv")):
        assert "still" not in path.read_text().replace("still_contrast_kept", "")  # a run's name may be a patient's
    assert run_train(*options, "--validation", moving_archive, simulated_folder / "still.dcm", "--epochs", 2, "--resume") == 2


def test_what_cannot_be_validated_is_told_before_training(tmp_path, moving_archive, simulated_folder, capsys):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    (tmp_path / "runs").mkdir()
    for name in ("moving.dcm", "moving_truth.h5"):
        (tmp_path / "runs" / name).write_bytes((simulated_folder / name).read_bytes())
    (tmp_path / "runs" / "cut.dcm").write_bytes((simulated_folder / "still.dcm").read_bytes()[:9000])
    assert run_train(*options, "--validation", tmp_path / "runs") == 2
    assert "cut.dcm" in capsys.readouterr().err
    (tmp_path / "runs" / "cut.dcm").unlink()
    (tmp_path / "runs" / "moving_truth.h5").write_text("no truth")
    assert run_train(*options, "--validation", tmp_path / "runs") == 2
    assert "moving_truth.h5" in capsys.readouterr().err
    assert run_train(*options, "--validation", simulated_folder / "absent") == 2
    assert "absent: expected a DICOM file or a folder" in capsys.readouterr().err
    assert not (tmp_path / "m" / "checkpoints").exists()
    assert not (tmp_path / "m" / "config.json").exists()


@pytest.mark.parametrize("names", [[], ["still.dcm", "real.dcm"]], ids=["none", "none that moves"])
def test_the_artefact_needs_runs_in_which_something_moves(tmp_path, moving_archive, simulated_folder, capsys, names):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    held_out = ["--validation", moving_archive, *(simulated_folder / name for name in names)]
    assert run_train(*options, *held_out, "--best-by", "artefact") == 2
    assert "--best-by artefact: expected runs of `angiomorph simulate`" in capsys.readouterr().err
    assert not (tmp_path / "m" / "config.json").exists()


def started(arguments, log):
    """Return a training in a process of its own."""
    command = [sys.executable, "-m", "angiomorph", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"})


def wait_for_another_checkpoint(process, model_dir, known):
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        if set(list_checkpoints(model_dir)) - known:
            return
        time.sleep(0.01)
    pytest.fail(f"no new checkpoint; exit status {process.poll()}")


def test_a_training_killed_at_random_moments_is_resumed(tmp_path, moving_archive):
    options = [moving_archive, *TINY, *FEW, "--seed", 3, "--oversample-rate", 0.2, "--epochs", 4, "--steps-per-epoch", 101]
    options += ["--checkpoint-steps", 6]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_train(*options, "--model-dir", whole) == 0
    moments, reached = random.Random(5), []
    for attempt in range(3):
        known = set(list_checkpoints(parts))
        with open(tmp_path / "log.txt", "a") as log:
            process = started([*options, "--model-dir", parts, *(["--resume"] if attempt else [])], log)
            wait_for_another_checkpoint(process, parts, known)
            time.sleep(moments.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
        reached.append(int(list_checkpoints(parts)[-1].stem))
    assert reached == sorted(reached), reached
    assert 0 < reached[-1] < 404, reached
    assert run_train(*options, "--model-dir", parts, "--resume") == 0
    expected, found = table(whole / "steps.csv"), table(parts / "steps.csv")
    for column in ("step", "epoch", "lambda"):
        np.testing.assert_array_equal(found[column], expected[column], err_msg=f"killed at {reached}")
    np.testing.assert_array_equal(found["step"], range(404))
    # One thread and two add in other orders; a wrong draw or a lost moment would differ in the first digits.
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3, err_msg=f"killed at {reached}")
    for column, values in table(whole / "history.csv").items():
        np.testing.assert_allclose(table(parts / "history.csv")[column], values, rtol=1e-4)
    assert board(parts) == board(whole)
    assert not list(parts.glob("**/.*.partial"))


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, moving_archive, capfd):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--steps-per-epoch", 3]
    assert run_train(*options, "--epochs", 1) == 0
    last = list_checkpoints(tmp_path / "m")[-1]
    content = last.read_bytes()
    capfd.readouterr()
    with largest_file(len(content) // 2):
        assert run_train(*options, "--epochs", 2, "--resume", "--keep", 1) == 2
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("angiomorph")] == said[-1:]
    assert f"{tmp_path / 'm' / 'checkpoints' / '00000006.h5'}: expected room" in said[-1]
    assert os.strerror(errno.EFBIG) in said[-1]
    assert "--resume" in said[-1]
    assert list_checkpoints(tmp_path / "m")[-1] == last
    assert last.read_bytes() == content
    assert not list((tmp_path / "m").glob("**/.*.partial"))
    assert run_train(*options, "--epochs", 2, "--resume") == 0
    np.testing.assert_array_equal(table(tmp_path / "m" / "steps.csv")["step"], range(6))


def test_too_many_unreadable_runs_stop_with_one_paragraph(tmp_path, moving_archive, capsys, monkeypatch):
    def fail(self, indices):
        raise OSError("filter returned failure")

    monkeypatch.setattr("angiomorph.training.reader.FrameReader.read", fail)
    assert run_train(moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1) == 2
    error = capsys.readouterr().err
    assert "expected at least half of the 2 runs to be readable, found 2" in error
    assert "Traceback" not in error


def test_what_cannot_be_resumed_or_begun_is_refused(tmp_path, moving_archive, capsys):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    assert run_train(*options, "--resume") == 2
    assert "expected checkpoints/NNNNNNNN.h5 to resume from, found none" in capsys.readouterr().err
    assert run_train(*options) == 0
    assert run_train(*options) == 2
    assert "found a training in it; add --resume" in capsys.readouterr().err
    assert run_train(*options, "--resume") == 0
    assert "all of --epochs 1 are done" in capsys.readouterr().err
    assert run_train(*options, "--resume", "--image-loss", "mse", "--epochs", 2) == 2
    assert "image_loss: vle then, mse now" in capsys.readouterr().err


def test_ctrl_c_keeps_the_step_under_way(tmp_path, moving_archive, capsys, monkeypatch):
    options = [moving_archive, *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 6]
    assert run_train(*options, "--model-dir", tmp_path / "whole") == 0
    said = capsys.readouterr().err
    assert re.search(
        r"^training on 2 runs, 2 epochs of 6 steps of \d+ pairs, [\d,]+ parameters, by .*; from step 0$", said, re.M
    )
    batch = Source.batch

    def interrupting(source, step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return batch(source, step)

    with monkeypatch.context() as patched:
        patched.setattr(Source, "batch", interrupting)
        assert run_train(*options, "--model-dir", tmp_path / "m") == 130
    said = capsys.readouterr().err
    assert "ending after this step; once more ends at once" in said
    step = int(re.search(r"interrupted; step (\d+) is kept; continue with --resume", said)[1])
    assert list_checkpoints(tmp_path / "m")[-1].stem == f"{step:08d}"
    assert run_train(*options, "--model-dir", tmp_path / "m", "--resume") == 0
    assert (tmp_path / "m" / "steps.csv").read_text() == (tmp_path / "whole" / "steps.csv").read_text()


@pytest.mark.parametrize("image_loss", ["mse", "minmax"])
def test_the_other_losses_and_first_weights(tmp_path, moving_archive, image_loss):
    options = [moving_archive, "--image-loss", image_loss, *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 2]
    assert run_train(*options, "--model-dir", tmp_path / "a", "--init", "voxelmorph") == 0
    assert run_train(*options, "--model-dir", tmp_path / "b", "--load-weights", tmp_path / "a" / "model.h5", "--lr", 1e-9) == 0
    first, second = (AngioMorph.load(tmp_path / name / "model.h5") for name in "ab")
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_dicom_runs_are_prepared_and_trained_on(tmp_path, xa_file):
    rng = np.random.default_rng(1)
    paths = [xa_file(f"{k}.dcm", frames=rng.integers(2000, 4000, (5, 32, 32)).astype(np.uint16)) for k in range(2)]
    (tmp_path / "list.txt").write_text("\n".join(["# our archive", *map(str, paths)]) + "\n\n")
    model_dir = tmp_path / "m"
    given = ["--img-list", tmp_path / "list.txt", "--model-dir", model_dir, *TINY, *FEW, "--epochs", 1]
    assert run_train(*given) == 0
    with store.open_store(model_dir / "archive.h5") as file:
        assert len(store.keys(file)) == 2


def test_unusable_data_is_one_paragraph(tmp_path, capsys):
    (tmp_path / "text.h5").write_text("hello")
    assert run_train(tmp_path / "text.h5", "--model-dir", tmp_path / "m") == 2
    assert run_train("--model-dir", tmp_path / "m") == 2
    assert run_train("--img-list", tmp_path / "none.txt", "--model-dir", tmp_path / "m") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert not (tmp_path / "m" / "model.h5").exists()


@pytest.mark.parametrize("contrast_weight", [0.0, 20.0])
def test_truth_is_trained_on_and_resumed(tmp_path, known, contrast_weight):
    options = [
        "--image-loss",
        "truth",
        "--contrast-weight",
        contrast_weight,
        *TINY,
        *FEW,
        "--steps-per-epoch",
        10,
        "--validation",
        known,
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_train(known, "--model-dir", whole, *options, "--epochs", 4) == 0
    assert run_train(known, "--model-dir", parts, *options, "--epochs", 2) == 0
    assert run_train(known, "--model-dir", parts, *options, "--epochs", 4, "--resume", "--levels", 3) == 0
    models = [AngioMorph.load(path / "model.h5") for path in (whole, parts)]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert [model.metadata["levels"] for model in models] == [1, 3]
    assert {model.metadata["image_loss"] for model in models} == {"truth"}
    assert [tuple(shape[0][1:3] for shape in [model.input_shape]) for model in models] == [((32, 32),)] * 2
    losses = table(whole / "history.csv")
    assert losses["val_loss"][-1] < losses["val_loss"][0]
    assert models[0].metadata["training"]["contrast_weight"] == contrast_weight


def test_truth_of_a_store_without_it_is_refused(tmp_path, moving_archive, capsys):
    assert run_train(moving_archive, "--model-dir", tmp_path / "m", "--image-loss", "truth", *TINY, *FEW) == 2
    assert "run-0 of archive.h5: expected clean frames" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_several_runs_a_batch_are_trained_on_and_logged(tmp_path, moving_archive):
    options = [*TINY, "--frames-per-series", 4, "--batch-size", 4, "--series-per-batch", 2, "--epochs", 3]
    assert run_train(moving_archive, "--model-dir", tmp_path, *options) == 0
    assert len(table(tmp_path / "steps.csv")["loss"]) == 3 * 2


@pytest.mark.parametrize("image_loss", ["truth", "vle"])
def test_two_sizes_leave_an_ordinary_model_and_are_resumed(tmp_path, known, image_loss):
    options = ["--image-loss", image_loss, *TINY, *FEW, "--size", 16, "--finer", "--steps-per-epoch", 10, "--validation", known]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_train(known, "--model-dir", whole, *options, "--epochs", 4) == 0
    assert run_train(known, "--model-dir", parts, *options, "--epochs", 2) == 0
    assert run_train(known, "--model-dir", parts, *options, "--epochs", 4, "--resume") == 0
    models = [AngioMorph.load(path / "model.h5") for path in (whole, parts)]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert models[0].input_shape[0] == (None, 16, 16, 1)
    losses = table(whole / "history.csv")
    assert losses["angiomorph_window_transformer_loss"][-1] > 0
    assert losses["loss"][-1] < losses["loss"][0]


def test_two_sizes_of_frames_that_are_too_small_are_refused(tmp_path, moving_archive, capsys):
    assert run_train(moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--finer") == 2
    assert "expected frames of at least 64 pixels a side (--finer: twice --size)" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
