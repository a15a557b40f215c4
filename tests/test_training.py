"""Training through the command line: the objective, the model directory, resuming, the paper's preset."""

import csv
import json

import numpy as np
import pytest

from angiomorph import networks, store
from angiomorph.backend import tf
from angiomorph.cli import _training_config as training_config
from angiomorph.cli import main, parser
from angiomorph.dataset import Sampling, dataset
from angiomorph.losses import VLE, GradientPenalty
from angiomorph.networks import AngioMorph
from angiomorph.training import TrainingConfig, build, compile_model

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


def train(*arguments) -> int:
    return main(["train", *map(str, arguments)])


def history(model_dir):
    with open(model_dir / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_the_objective_is_equation_one(archive):
    config = TrainingConfig(sampling=Sampling(frames_per_series=4, batch_size=4, size=32), enc=[4], dec=[4, 4], hyp_units=[4])
    model = build(config)
    compile_model(model, config)
    (moving, fixed, hyper), targets, weights = next(iter(dataset([archive], config.sampling, (32, 32, 2))))
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
    assert train(archive, "--model-dir", model_dir, *TINY, *FEW, "--epochs", 6, "--steps-per-epoch", 10) == 0
    names = {path.name for path in model_dir.iterdir()}
    assert names == {"model.h5", "checkpoints", "config.json", "history.csv", "tensorboard", "learning_curve.png"}
    assert sorted(path.name for path in (model_dir / "checkpoints").iterdir()) == ["0004.h5", "0005.h5", "0006.h5"]
    losses = history(model_dir)
    assert len(losses) == 6
    assert np.mean(losses[-2:]) < np.mean(losses[:2])
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


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, archive):
    options = [archive, *TINY, *FEW, "--seed", 3, "--oversample-rate", 0.2]
    assert train(*options, "--model-dir", tmp_path / "whole", "--epochs", 3) == 0
    assert train(*options, "--model-dir", tmp_path / "parts", "--epochs", 2) == 0
    assert train(*options, "--model-dir", tmp_path / "parts", "--epochs", 3, "--resume", "--lambda", 0.4) == 0
    np.testing.assert_allclose(history(tmp_path / "parts"), history(tmp_path / "whole"), rtol=1e-4)
    whole, parts = (AngioMorph.load(tmp_path / name / "model.h5") for name in ("whole", "parts"))
    assert (whole.metadata["lambda"], parts.metadata["lambda"]) == (0.7, 0.4)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_cannot_be_resumed_or_begun_is_refused(tmp_path, archive, capsys):
    options = [archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 1]
    assert train(*options, "--resume") == 2
    assert "expected checkpoints/NNNN.h5 to resume from, found none" in capsys.readouterr().err
    assert train(*options) == 0
    assert train(*options) == 2
    assert "found a training in it; add --resume" in capsys.readouterr().err
    assert train(*options, "--resume") == 2
    assert "expected fewer than --epochs 1 done, found 1" in capsys.readouterr().err
    assert train(*options, "--resume", "--image-loss", "mse", "--epochs", 2) == 2
    assert "image_loss: vle then, mse now" in capsys.readouterr().err


@pytest.mark.parametrize("image_loss", ["mse", "minmax"])
def test_the_other_losses_and_first_weights(tmp_path, archive, image_loss):
    options = [archive, "--image-loss", image_loss, *TINY, *FEW, "--epochs", 1, "--steps-per-epoch", 2]
    assert train(*options, "--model-dir", tmp_path / "a", "--init", "voxelmorph") == 0
    assert train(*options, "--model-dir", tmp_path / "b", "--load-weights", tmp_path / "a" / "model.h5", "--lr", 1e-9) == 0
    first, second = (AngioMorph.load(tmp_path / name / "model.h5") for name in "ab")
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_dicom_runs_and_lists_of_them_are_prepared_and_trained_on(tmp_path, xa_file):
    rng = np.random.default_rng(1)
    paths = [xa_file(f"{k}.dcm", frames=rng.integers(2000, 4000, (5, 32, 32)).astype(np.uint16)) for k in range(2)]
    (tmp_path / "list.txt").write_text("\n".join(map(str, paths)) + "\n\n")
    model_dir = tmp_path / "m"
    given = ["--img-list", tmp_path / "list.txt", "--model-dir", model_dir, *TINY, *FEW, "--epochs", 1]
    assert train(*given) == 0
    with store.reading(model_dir / "archive.h5") as file:
        assert len(store.keys(file)) == 2


def test_unusable_data_is_one_paragraph(tmp_path, capsys):
    (tmp_path / "text.h5").write_text("hello")
    assert train(tmp_path / "text.h5", "--model-dir", tmp_path / "m") == 2
    assert train("--model-dir", tmp_path / "m") == 2
    assert train("--img-list", tmp_path / "none.txt", "--model-dir", tmp_path / "m") == 2
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
