"""Training through the command line: the objective, the model directory, resuming, the paper's preset."""

import csv
import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.cli import main, parser
from angiomorph.cli.train import read_training_config as training_config
from angiomorph.errors import InputError
from angiomorph.networks.losses import VLE, GradientPenalty
from angiomorph.networks.model import AngioMorph
from angiomorph.storage import store
from angiomorph.training import checkpoints, train
from angiomorph.training.dataset import Pairs, Sampling, Source, dataset
from angiomorph.training.train import TrainingConfig, build, compile_model
from tests.benchmarks.made import make_run

TINY = ["--size", "32", "--enc", "4", "4", "--dec", "4", "4", "4", "--hyp-units", "4", "8", "--lr", "0.001", "--gpu", "-1"]
FEW = ["--frames-per-series", "4", "--batch-size", "2"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two runs of a shifting smooth background in which a dark bar appears."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("archive") / "archive.h5"
    with store.create(path) as file:
        for run in range(2):
            wide = 2000 + 800 * np.sin(np.arange(48) / 4 + rng.random())[None, :] * np.cos(np.arange(32) / 5)[:, None]
            frames = np.stack([np.roll(wide, shift, axis=1)[:, :32] for shift in (0, 0, 0, 1, 2, 3)])
            frames[3:, 10:14] *= 0.6
            store.append(file, f"run-{run}", store.StoredRun(frames.astype(np.uint16), "LIN", 12))
    return path


def run_train(*arguments) -> int:
    return main(["train", *map(str, arguments)])


def table(path):
    """Return a CSV file's columns as arrays."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def board(model_dir):
    """Return (step, tag) of everything TensorBoard would show."""
    shown = []
    for path in (model_dir / "tensorboard").glob("**/events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            shown += [(event.step, value.tag) for value in event.summary.value]
    return sorted(shown)


def history(model_dir):
    with open(model_dir / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_the_objective_is_equation_one(archive):
    config = TrainingConfig(sampling=Sampling(frames_per_series=4, batch_size=4, size=32), enc=[4], dec=[4, 4], hyp_units=[4])
    model = build(config)
    compile_model(model, config)
    with Source([archive], config.sampling) as source:
        (moving, fixed, hyper), targets, weights = next(iter(dataset(source, (32, 32, 2))))
    # Unequal λ within the batch, so that a weight paired with the wrong sample would show.
    hyper = tf.constant([[0.1], [0.4], [0.7], [1.0]])
    weights = (1 - hyper[:, 0], hyper[:, 0])
    moved, flow = model([moving, fixed, hyper])
    similarity, smoothness = VLE(0.3).call(fixed, moved), GradientPenalty().call(None, flow)
    expected = np.mean((1 - hyper[:, 0]) * similarity + hyper[:, 0] * smoothness)
    total = model.test_on_batch([moving, fixed, hyper], targets, weights)[0]
    # Eager and traced convolutions differ in their last bits; a mispaired λ would differ by tens of percent.
    np.testing.assert_allclose(total, expected, rtol=1e-3)


def test_a_training_leaves_its_model_directory_and_learns(tmp_path, archive):
    model_dir = tmp_path / "m"
    assert run_train(archive, "--model-dir", model_dir, *TINY, *FEW, "--epochs", 6, "--steps-per-epoch", 10) == 0
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


def test_a_training_leaves_the_terminal_to_its_own_lines(tmp_path, archive, capfd):
    assert run_train(archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 2) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["2/2", "trained:"]
    assert tf.config.optimizer.get_experimental_options().get("remapping", True)


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, archive):
    options = [archive, *TINY, *FEW, "--seed", 3, "--oversample-rate", 0.2]
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
def test_a_resumed_training_in_mixed_precision_equals_an_uninterrupted_one(tmp_path, archive, capfd, monkeypatch, compute):
    monkeypatch.setattr(train.precision, "of_machine", lambda: compute)
    options = [archive, *TINY, *FEW, "--seed", 3, "--steps-per-epoch", 12, "--lambda", 0.5]
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
    optimizer = checkpoints.load(checkpoints.found(tmp_path / "parts")[-1])[0].optimizer
    assert optimizer.initial_scale == (2**15 if compute == "float16" else None)
    if compute == "float16":
        assert int(optimizer.finite_steps) == 36
    capfd.readouterr()
    assert run_train(*options, "--model-dir", tmp_path / "parts", "--epochs", 4, "--resume") == 2
    assert f"mixed_precision: {compute} then, None now" in capfd.readouterr().err


def test_the_search_for_a_loss_scale_stops_no_training_but_a_loss_that_is_not_finite_does(
    tmp_path, archive, capfd, monkeypatch
):
    monkeypatch.setattr(train.precision, "of_machine", lambda: "float16")
    monkeypatch.setattr(train, "INITIAL_SCALE", 2.0**40)
    spoilt(monkeypatch, 1, 1e30, (30,))
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 25]
    assert run_train(*options, "--mixed-precision") == 2
    said = capfd.readouterr().err
    assert "step 30: run run-" in said
    assert ": loss nan, norm of the gradient" in said  # 1e30 is infinite in float16, and so are the warps
    assert "remapper" not in said
    assert run_train(*options, "--mixed-precision", "--resume", "--on-nan", "skip") == 0
    steps = table(tmp_path / "m" / "steps.csv")
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(steps["loss"])), [30])
    taken = np.isfinite(steps["gradient_norm"])
    overflows = np.flatnonzero(~taken & np.isfinite(steps["loss"]))
    np.testing.assert_array_equal(overflows[:5], range(5))
    assert 5 <= len(overflows) < 20
    optimizer = checkpoints.load(checkpoints.found(tmp_path / "m")[-1])[0].optimizer
    assert float(optimizer.loss_scale) == 2.0 ** (40 - len(overflows))
    assert int(optimizer.finite_steps) == taken[overflows[-1] :].sum()
    assert int(optimizer.iterations) == taken.sum()


def test_validation_is_logged_keeps_the_best_and_stops(tmp_path, archive, capsys):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 9, "--steps-per-epoch", 5, "--lr", 0]
    options += ["--validation", archive, "--validation-steps", 2]
    # No learning, so that every validation after the first, at steps 2, 4, 5, 6, ..., brings no lower loss.
    assert run_train(*options, "--patience", 1) == 0
    assert "stopped at step 4: 1 validations without a lower loss" in capsys.readouterr().out
    first = table(tmp_path / "m" / "history.csv")
    assert {f"val_loss{part}" for part in ("", "_0", "_0.25", "_0.5", "_0.75", "_1")} < set(first)
    assert tf.keras.models.load_model(tmp_path / "m" / "best.h5", compile=False).metadata["steps"] == 2
    assert run_train(*options, "--patience", 1, "--resume") == 2
    assert "expected fewer than --patience 1 validations without a lower loss, found 1" in capsys.readouterr().err
    assert run_train(*options, "--patience", 3, "--resume") == 0
    assert "stopped at step 6: 3 validations" in capsys.readouterr().out
    np.testing.assert_array_equal(table(tmp_path / "m" / "steps.csv")["step"], range(6))
    rows = table(tmp_path / "m" / "history.csv")
    np.testing.assert_array_equal(rows["epoch"], [0, 1])
    np.testing.assert_array_equal(rows["val_loss"], first["val_loss"].repeat(2))
    shown = board(tmp_path / "m")
    assert [step for step, tag in shown if tag == "val_loss_0.25"] == [2, 4, 5, 6]
    assert [step for step, tag in shown if tag == "background, contrast, DSA, BSA"] == [2, 4, 5, 6]
    assert run_train(archive, "--model-dir", tmp_path / "n", *TINY, "--patience", 1) == 2
    assert "expected --validation STORE with --patience" in capsys.readouterr().err


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A folder with a run that moves, a still one, and one without truth."""
    folder = tmp_path_factory.mktemp("simulated")
    for seed, (name, shift) in enumerate({"moving": (3, -2), "still": (0, 0), "real": (1, 1)}.items()):
        make_run(folder / f"{name}.dcm", shift, seed)
    (folder / "real_truth.h5").unlink()
    return folder


def test_a_validation_has_the_figures_of_evaluate_with_the_model_it_leaves(tmp_path, archive, simulated):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    assert run_train(*options, "--validation", archive, simulated) == 0
    evaluated = ["--lambda", "0", "0.25", "0.5", "0.75", "1", "--refine", "0", "--no-guard", "--quiet", "--out", tmp_path / "e"]
    given = [str(value) for value in [simulated, "--model", tmp_path / "m" / "model.h5", *evaluated]]
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
    assert run_train(*options, "--validation", archive, simulated / "still.dcm", "--epochs", 2, "--resume") == 2


def test_validations_of_a_killed_training_are_there_once(tmp_path, archive, simulated):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 4]
    options += ["--validation", simulated, "--validation-steps", 2, "--checkpoint-steps", 3, "--keep", 9]
    options += ["--best-by", "artefact"]
    assert run_train(*options) == 0
    path = tmp_path / "m" / "validation.csv"
    first, shown = table(path), board(tmp_path / "m")
    np.testing.assert_array_equal(first["step"], np.repeat([2, 4, 6, 8], 5))
    assert [step for step, tag in shown if tag == "artefact_left/0.25"] == [2, 4, 6, 8]
    assert [step for step, tag in shown if tag == "harm/1"] == [2, 4, 6, 8]
    assert [step for step, tag in shown if tag == "figures of merit over λ"] == [2, 4, 6, 8]
    assert [step for step, tag in shown if tag == "background, contrast, DSA, BSA"] == [2, 4, 6, 8]
    costs = first["cost"].reshape(4, 5).min(1)
    best = 2 + 2 * np.argmin(costs)
    assert tf.keras.models.load_model(tmp_path / "m" / "best.h5", compile=False).metadata["steps"] == best
    # As a kill leaves it: logs beyond the checkpoint of the step of a validation, the last row cut short.
    for checkpoint in checkpoints.found(tmp_path / "m"):
        if int(checkpoint.stem) > 4:
            checkpoint.unlink()
    path.write_text(path.read_text() + "9,0.25,0.")
    assert run_train(*options, "--resume") == 0
    again = table(path)
    for name, values in first.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
    assert board(tmp_path / "m") == shown


def test_what_cannot_be_validated_is_told_before_training(tmp_path, archive, simulated, capsys):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    (tmp_path / "runs").mkdir()
    for name in ("moving.dcm", "moving_truth.h5"):
        (tmp_path / "runs" / name).write_bytes((simulated / name).read_bytes())
    (tmp_path / "runs" / "cut.dcm").write_bytes((simulated / "still.dcm").read_bytes()[:9000])
    assert run_train(*options, "--validation", tmp_path / "runs") == 2
    assert "cut.dcm" in capsys.readouterr().err
    (tmp_path / "runs" / "cut.dcm").unlink()
    (tmp_path / "runs" / "moving_truth.h5").write_text("no truth")
    assert run_train(*options, "--validation", tmp_path / "runs") == 2
    assert "moving_truth.h5" in capsys.readouterr().err
    assert run_train(*options, "--validation", simulated / "absent") == 2
    assert "absent: expected a DICOM file or a folder" in capsys.readouterr().err
    for held_out in ([], ["--validation", archive], ["--validation", simulated / "still.dcm", simulated / "real.dcm"]):
        assert run_train(*options, *held_out, "--best-by", "artefact") == 2
        assert "--best-by artefact: expected runs of `angiomorph simulate`" in capsys.readouterr().err
    assert not (tmp_path / "m" / "checkpoints").exists()
    assert not (tmp_path / "m" / "config.json").exists()


def started(arguments, log):
    """Return a training in a process of its own."""
    command = [sys.executable, "-m", "angiomorph", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"})


def wait_for_another_checkpoint(process, model_dir, known):
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        if set(checkpoints.found(model_dir)) - known:
            return
        time.sleep(0.01)
    pytest.fail(f"no new checkpoint; exit status {process.poll()}")


def test_a_training_killed_at_random_moments_goes_on_as_if_nothing_had_been(tmp_path, archive):
    options = [archive, *TINY, *FEW, "--seed", 3, "--oversample-rate", 0.2, "--epochs", 4, "--steps-per-epoch", 101]
    options += ["--checkpoint-steps", 6]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run_train(*options, "--model-dir", whole) == 0
    moments, reached = random.Random(), []
    for attempt in range(3):
        known = set(checkpoints.found(parts))
        with open(tmp_path / "log.txt", "a") as log:
            process = started([*options, "--model-dir", parts, *(["--resume"] if attempt else [])], log)
            wait_for_another_checkpoint(process, parts, known)
            time.sleep(moments.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
        reached.append(int(checkpoints.found(parts)[-1].stem))
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


def test_logs_are_cut_to_what_a_checkpoint_counts_as_done(tmp_path):
    (tmp_path / "steps.csv").write_text("step,loss\n0,0.5\n1,0.4\n2,0.3\n3,0.")
    (tmp_path / "history.csv").write_text("epoch,loss\n0,0.5\n1,0.4\n")
    (tmp_path / "validation.csv").write_text("step,lambda,loss\n2,0,0.5\n2,1,0.4\n3,0,0.3\n3,1,0.")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".00000004.h5.123.partial").write_text("cut short")
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    with writer.as_default():
        for step in range(5):
            tf.summary.scalar("loss", 0.1, step)
    writer.close()
    events = next((tmp_path / "tensorboard").iterdir())
    events.write_bytes(events.read_bytes()[:-3])
    checkpoints.tidy(tmp_path, checkpoints.Progress(2), 1)
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n0,0.5\n1,0.4\n"
    assert (tmp_path / "history.csv").read_text() == "epoch,loss\n0,0.5\n"
    assert (tmp_path / "validation.csv").read_text() == "step,lambda,loss\n2,0,0.5\n2,1,0.4\n"
    assert board(tmp_path) == [(0, "loss"), (1, "loss"), (2, "loss")]
    assert list((tmp_path / "checkpoints").iterdir()) == []


@contextmanager
def largest_file(size):
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stops_with_one_line_and_the_last_checkpoint_whole(tmp_path, archive, capfd):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--steps-per-epoch", 3]
    assert run_train(*options, "--epochs", 1) == 0
    last = checkpoints.found(tmp_path / "m")[-1]
    content = last.read_bytes()
    capfd.readouterr()
    with largest_file(len(content) // 2):
        assert run_train(*options, "--epochs", 2, "--resume", "--keep", 1) == 2
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("angiomorph")] == said[-1:]
    assert f"{tmp_path / 'm' / 'checkpoints' / '00000006.h5'}: expected room" in said[-1]
    assert os.strerror(errno.EFBIG) in said[-1]
    assert "--resume" in said[-1]
    assert checkpoints.found(tmp_path / "m")[-1] == last
    assert last.read_bytes() == content
    assert not list((tmp_path / "m").glob("**/.*.partial"))
    assert run_train(*options, "--epochs", 2, "--resume") == 0
    np.testing.assert_array_equal(table(tmp_path / "m" / "steps.csv")["step"], range(6))


def test_a_full_disk_under_the_logs_is_told_by_their_names(tmp_path):
    log = checkpoints.Table(tmp_path / "steps.csv")
    for step in range(1000):
        log.add({"step": step, "loss": 0.5})
    with largest_file(1000), pytest.raises(InputError, match=r"steps.csv: expected room .*--resume"):
        log.flush()
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="expected room and permission to write, found"):
        checkpoints.write(tmp_path / "taken" / "x.h5", b"x")


def spoilt(monkeypatch, moving, fixed, steps):
    """Multiply what the network sees at these steps."""
    batch = Source.batch

    def spoil(self, step):
        pairs = batch(self, step)
        return Pairs(pairs.moving * moving, pairs.fixed * fixed, pairs.hyper) if step in steps else pairs

    monkeypatch.setattr(Source, "batch", spoil)


# A warp that is not a number breaks TensorFlow's step off; a square that overflows gives a loss that is not finite.
@pytest.mark.parametrize(("moving", "fixed", "loss"), [(np.nan, 1, "nan"), (1, 1e30, "inf")])
def test_what_is_not_finite_is_named_and_stops_or_is_left_out(
    tmp_path, archive, capsys, caplog, monkeypatch, moving, fixed, loss
):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 4]
    options += ["--checkpoint-steps", 1, "--keep", 9]
    spoilt(monkeypatch, moving, fixed, (5, 7))
    assert run_train(*options) == 2
    with Source([archive], Sampling(frames_per_series=4, batch_size=2, size=32)) as source:
        described = source.describe(5)
    error = capsys.readouterr().err
    assert f"step 5: {described}: loss {loss}" in error
    assert "--on-nan skip" in error
    assert "Traceback" not in error
    assert checkpoints.found(tmp_path / "m")[-1].stem == "00000005"
    before, _ = checkpoints.load(checkpoints.found(tmp_path / "m")[-1])
    assert run_train(*options, "--resume", "--on-nan", "skip") == 0
    assert f"step 5: {described}: loss {loss}" in caplog.text
    last_finite, last = (checkpoints.load(tmp_path / "m" / "checkpoints" / f"0000000{n}.h5") for n in (7, 8))
    assert (last_finite[1].step, last[1].step) == (7, 8)
    assert any(np.any(one != other) for one, other in zip(before.get_weights(), last[0].get_weights(), strict=True))
    after = [*last[0].weights, *last[0].optimizer.variables]
    assert len(after) > 3 * len(last[0].trainable_weights)
    for one, other in zip([*last_finite[0].weights, *last_finite[0].optimizer.variables], after, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(other).all()
    steps = table(tmp_path / "m" / "steps.csv")
    np.testing.assert_array_equal(steps["step"], range(8))
    np.testing.assert_array_equal(np.flatnonzero(~np.isfinite(steps["loss"])), [5, 7])
    expected = [steps["loss"][:4].mean(), steps["loss"][[4, 6]].mean()]
    np.testing.assert_allclose(history(tmp_path / "m"), expected, rtol=1e-5)


def test_nothing_finite_any_more_stops_even_where_such_batches_are_skipped(tmp_path, archive, capsys, monkeypatch):
    spoilt(monkeypatch, 1, 1e30, range(200))
    options = ["--epochs", 1, "--steps-per-epoch", 200, "--on-nan", "skip"]
    assert run_train(archive, "--model-dir", tmp_path / "m", *TINY, *FEW, *options) == 2
    assert "(100 in a row)" in capsys.readouterr().err


def test_too_many_unreadable_runs_stop_the_training_with_one_paragraph(tmp_path, archive, capsys, monkeypatch):
    def fail(self, indices):
        raise OSError("filter returned failure")

    monkeypatch.setattr("angiomorph.training.dataset.Run.read", fail)
    assert run_train(archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1) == 2
    error = capsys.readouterr().err
    assert "expected at least half of the 2 runs to be readable, found 2" in error
    assert "Traceback" not in error


def test_what_cannot_be_resumed_or_begun_is_refused(tmp_path, archive, capsys):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    assert run_train(*options, "--resume") == 2
    assert "expected checkpoints/NNNNNNNN.h5 to resume from, found none" in capsys.readouterr().err
    assert run_train(*options) == 0
    assert run_train(*options) == 2
    assert "found a training in it; add --resume" in capsys.readouterr().err
    assert run_train(*options, "--resume") == 2
    assert "expected fewer than --epochs 1 done, found 1" in capsys.readouterr().err
    assert run_train(*options, "--resume", "--image-loss", "mse", "--epochs", 2) == 2
    assert "image_loss: vle then, mse now" in capsys.readouterr().err


@pytest.mark.parametrize("image_loss", ["mse", "minmax"])
def test_the_other_losses_and_first_weights(tmp_path, archive, image_loss):
    options = [archive, "--image-loss", image_loss, *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 2]
    assert run_train(*options, "--model-dir", tmp_path / "a", "--init", "voxelmorph") == 0
    assert run_train(*options, "--model-dir", tmp_path / "b", "--load-weights", tmp_path / "a" / "model.h5", "--lr", 1e-9) == 0
    first, second = (AngioMorph.load(tmp_path / name / "model.h5") for name in "ab")
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_dicom_runs_and_lists_of_them_are_prepared_and_trained_on(tmp_path, xa_file):
    rng = np.random.default_rng(1)
    paths = [xa_file(f"{k}.dcm", frames=rng.integers(2000, 4000, (5, 32, 32)).astype(np.uint16)) for k in range(2)]
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)) + "\n\n")
    model_dir = tmp_path / "m"
    given = ["--img-list", tmp_path / "list.txt", "--model-dir", model_dir, *TINY, *FEW, "--epochs", 1]
    assert run_train(*given) == 0
    with store.reading(model_dir / "archive.h5") as file:
        assert len(store.keys(file)) == 2


def test_unusable_data_is_one_paragraph(tmp_path, capsys):
    (tmp_path / "text.h5").write_text("hello")
    assert run_train(tmp_path / "text.h5", "--model-dir", tmp_path / "m") == 2
    assert run_train("--model-dir", tmp_path / "m") == 2
    assert run_train("--img-list", tmp_path / "none.txt", "--model-dir", tmp_path / "m") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert not (tmp_path / "m" / "model.h5").exists()


def test_the_papers_preset_holds_every_number_of_the_paper():
    config = training_config(parser().parse_args(["train", "x.h5", "--preset", "paper"]))
    assert config == TrainingConfig(
        image_loss="vle",
        image_sigma=0.3,
        sampling=Sampling(
            frames_per_series=50, background_frames=3, batch_size=1, size=512, oversample_rate=0.0, intensity="linear", seed=0
        ),
        epochs=10,
        steps_per_epoch=None,
        lr=1e-4,
        enc=[16, 32, 32, 32],
        dec=[32, 32, 32, 32, 32, 16, 16],
        int_steps=0,
        hyp_units=[32, 64, 128, 128],
        hyp_rank=None,
        init="voxelmorph",
    )


def test_an_oversampling_that_the_sampling_of_lambda_ignores_is_refused():
    options = parser().parse_args(["train", "x.h5", "--oversample-rate", "0.2", "--lambda-sampling", "beta"])
    with pytest.raises(InputError, match=r"--oversample-rate 0\.2: expected --lambda-sampling ends with it, got beta"):
        training_config(options)


def test_a_users_option_wins_over_the_preset():
    config = training_config(parser().parse_args(["train", "x.h5", "--preset", "paper", "--lr", "3e-4", "--size", "256"]))
    assert (config.lr, config.sampling.size, config.epochs) == (3e-4, 256, 10)


def test_initialised_kernels_have_the_scale_of_an_ordinary_network():
    tf.keras.utils.set_random_seed(0)
    model = AngioMorph((32, 32))
    networks.initialise(model)
    plain = networks.bake(model, 0.5)
    for name, inputs in (("enc_conv_1_0", 16), ("dec_conv_0_0", 64)):
        kernel = plain.get_layer(f"angiomorph_unet_{name}").get_weights()[0]
        assert kernel.shape[2] == inputs
        assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * inputs)), rel=0.15)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The runs of `archive`, and what they would be without the dark bar."""
    path = tmp_path_factory.mktemp("known") / "known.h5"
    with store.create(path) as file:
        for run in range(2):
            wide = 2000 + 800 * np.sin(np.arange(48) / 4 + run)[None, :] * np.cos(np.arange(32) / 5)[:, None]
            clean = np.stack([np.roll(wide, shift, axis=1)[:, :32] for shift in (0, 0, 0, 1, 2, 3)]).astype(np.uint16)
            frames = clean.copy()
            frames[3:, 10:14] = 0.6 * clean[3:, 10:14]
            store.append(file, f"run-{run}", store.StoredRun(frames, "LIN", 12, clean=clean))
    return path


@pytest.mark.parametrize("contrast_weight", [0.0, 20.0])
def test_truth_is_trained_on_and_its_checkpoints_are_the_trainings(tmp_path, known, contrast_weight):
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


def test_contrast_weight_is_for_the_truth(tmp_path, archive, capsys):
    assert run_train(archive, "--model-dir", tmp_path / "m", "--contrast-weight", 5, *TINY, *FEW) == 2
    assert "--contrast-weight 5.0: expected --image-loss truth with it, got vle" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_train(archive, "--model-dir", tmp_path / "m", "--image-loss", "truth", "--contrast-weight", -1, *TINY, *FEW)
    assert "expected a number from 0, got -1" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_truth_of_a_store_without_it_is_refused(tmp_path, archive, capsys):
    assert run_train(archive, "--model-dir", tmp_path / "m", "--image-loss", "truth", *TINY, *FEW) == 2
    assert "run-0 of archive.h5: expected clean frames" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_the_learning_rate_falls_along_half_a_cosine_also_when_resumed(tmp_path, archive, monkeypatch):
    rates = []
    count = train.Upkeep._count

    def noted(upkeep, loss, norm):
        rates.append(float(upkeep.model.optimizer.learning_rate.numpy()))
        count(upkeep, loss, norm)

    monkeypatch.setattr(train.Upkeep, "_count", noted)
    options = [archive, "--model-dir", tmp_path, *TINY, *FEW, "--steps-per-epoch", 4, "--final-lr", 1e-4]
    assert run_train(*options, "--epochs", 2) == 0
    assert run_train(*options, "--epochs", 3, "--resume") == 0
    expected = 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(8) / 8)) / 2
    np.testing.assert_allclose(rates[:8], expected, rtol=1e-5)
    np.testing.assert_allclose(rates[8:], 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(8, 12) / 12)) / 2, rtol=1e-5)


def test_several_runs_a_batch_are_trained_on_and_logged(tmp_path, archive):
    options = [*TINY, "--frames-per-series", 4, "--batch-size", 4, "--series-per-batch", 2, "--epochs", 3]
    assert run_train(archive, "--model-dir", tmp_path, *options) == 0
    assert len(table(tmp_path / "steps.csv")["loss"]) == 3 * 2


@pytest.mark.parametrize("image_loss", ["truth", "vle"])
def test_a_training_at_two_sizes_leaves_an_ordinary_model_and_goes_on_as_if_undisturbed(tmp_path, known, image_loss):
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


def test_two_sizes_of_frames_that_are_too_small_are_refused(tmp_path, archive, capsys):
    assert run_train(archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--finer") == 2
    assert "expected frames of at least 64 pixels a side, twice --size, with --finer" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
