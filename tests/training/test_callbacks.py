"""What happens around the steps: learning rate, what is not finite, validation, the best model and early stopping."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.networks import precision
from angiomorph.pages.moments import read_moments
from angiomorph.training import checkpoints, objective
from angiomorph.training.callbacks import StepLog, StepReport
from angiomorph.training.checkpoints import Progress
from angiomorph.training.config import Sampling, TrainingConfig
from angiomorph.training.model_dir import list_checkpoints
from angiomorph.training.source import Source
from tests.training.trainings import FEW, TINY, board, history, run_train, spoil_batches, table


@pytest.mark.slow
def test_a_loss_scale_is_searched_without_stopping(tmp_path, moving_archive, capfd, monkeypatch):
    monkeypatch.setattr(precision, "choose_type", lambda: "float16")
    monkeypatch.setattr(objective, "INITIAL_SCALE", 2.0**40)
    spoil_batches(monkeypatch, 1, 1e30, (30,))
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 25]
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
    optimizer = checkpoints.load(list_checkpoints(tmp_path / "m")[-1])[0].optimizer
    assert float(optimizer.loss_scale) == 2.0 ** (40 - len(overflows))
    assert int(optimizer.finite_steps) == taken[overflows[-1] :].sum()
    assert int(optimizer.iterations) == taken.sum()


@pytest.mark.slow
def test_validation_is_logged_keeps_the_best_and_stops(tmp_path, moving_archive, capsys):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 9, "--steps-per-epoch", 5, "--lr", 0]
    options += ["--validation", moving_archive, "--validation-steps", 2]
    # No learning, so that every validation after the first, at steps 2, 4, 5, 6, ..., brings no lower loss.
    assert run_train(*options, "--patience", 1) == 0
    assert "stopped at step 4: 1 validation without a lower loss" in capsys.readouterr().err
    first = table(tmp_path / "m" / "history.csv")
    assert {f"val_loss{part}" for part in ("", "_0", "_0.25", "_0.5", "_0.75", "_1")} < set(first)
    assert tf.keras.models.load_model(tmp_path / "m" / "best.h5", compile=False).metadata["steps"] == 2
    assert run_train(*options, "--patience", 1, "--resume") == 0
    assert "--patience 1 is over without a lower loss" in capsys.readouterr().err
    assert run_train(*options, "--patience", 3, "--resume") == 0
    assert "stopped at step 6: 3 validations" in capsys.readouterr().err
    np.testing.assert_array_equal(table(tmp_path / "m" / "steps.csv")["step"], range(6))
    rows = table(tmp_path / "m" / "history.csv")
    np.testing.assert_array_equal(rows["epoch"], [0, 1])
    np.testing.assert_array_equal(rows["val_loss"], first["val_loss"].repeat(2))
    shown = board(tmp_path / "m")
    assert [step for step, tag in shown if tag == "val_loss_0.25"] == [2, 4, 5, 6]
    assert [step for step, tag in shown if tag == "background, contrast, DSA, BSA"] == [2, 4, 5, 6]


@pytest.mark.slow
def test_validations_of_a_killed_training_are_there_once(tmp_path, moving_archive, simulated_folder):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 4]
    options += ["--validation", simulated_folder, "--validation-steps", 2, "--checkpoint-steps", 3, "--keep", 9]
    options += ["--best-by", "artefact"]
    assert run_train(*options) == 0
    path = tmp_path / "m" / "validation.csv"
    first, shown = table(path), board(tmp_path / "m")
    np.testing.assert_array_equal(first["step"], np.repeat([2, 4, 6, 8], 5))
    assert [step for step, tag in shown if tag == "artefact_left/0.25"] == [2, 4, 6, 8]
    assert [step for step, tag in shown if tag == "harm/1"] == [2, 4, 6, 8]
    assert [step for step, tag in shown if tag == "figures of merit over λ"] == [2, 4, 6, 8]
    assert [step for step, tag in shown if tag == "background, contrast, DSA, BSA"] == [2, 4, 6, 8]
    page = tmp_path / "m" / "validation.html"
    moments, curves = read_moments(page), page.read_text().count("<circle")
    assert [moment.step for moment in moments] == [2, 4, 6, 8]
    costs = first["cost"].reshape(4, 5).min(1)
    best = 2 + 2 * np.argmin(costs)
    assert tf.keras.models.load_model(tmp_path / "m" / "best.h5", compile=False).metadata["steps"] == best
    # As a kill leaves it: logs beyond the checkpoint of the step of a validation, the last row cut short.
    for checkpoint in list_checkpoints(tmp_path / "m"):
        if int(checkpoint.stem) > 4:
            checkpoint.unlink()
    path.write_text(path.read_text() + "9,0.25,0.")
    assert run_train(*options, "--resume") == 0
    again = table(path)
    for name, values in first.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-3, atol=1e-5, err_msg=name)
    assert board(tmp_path / "m") == shown
    resumed = read_moments(page)
    assert [moment.step for moment in resumed] == [2, 4, 6, 8]
    assert resumed[:2] == moments[:2]
    assert page.read_text().count("<circle") == curves


# A warp that is not a number breaks TensorFlow's step off; a square that overflows gives a loss that is not finite.
@pytest.mark.slow
@pytest.mark.parametrize(("moving", "fixed", "loss"), [(np.nan, 1, "nan"), (1, 1e30, "inf")])
def test_what_is_not_finite_is_named_and_stops_or_is_skipped(
    tmp_path, moving_archive, capsys, caplog, monkeypatch, moving, fixed, loss
):
    options = [moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, "--epochs", 2, "--steps-per-epoch", 4]
    options += ["--checkpoint-steps", 1, "--keep", 9]
    spoil_batches(monkeypatch, moving, fixed, (5, 7))
    assert run_train(*options) == 2
    with Source([moving_archive], Sampling(frames_per_series=4, batch_size=2, size=32)) as source:
        described = source.describe(5)
    error = capsys.readouterr().err
    assert f"step 5: {described}: loss {loss}" in error
    assert "--on-nan skip" in error
    assert "Traceback" not in error
    assert list_checkpoints(tmp_path / "m")[-1].stem == "00000005"
    before, _ = checkpoints.load(list_checkpoints(tmp_path / "m")[-1])
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


@pytest.mark.slow
def test_nothing_finite_any_more_stops_even_if_skipped(tmp_path, moving_archive, capsys, monkeypatch):
    spoil_batches(monkeypatch, 1, 1e30, range(200))
    options = ["--epochs", 1, "--steps-per-epoch", 200, "--on-nan", "skip"]
    assert run_train(moving_archive, "--model-dir", tmp_path / "m", *TINY, *FEW, *options) == 2
    assert "(100 in a row)" in capsys.readouterr().err


@pytest.mark.slow
def test_the_learning_rate_falls_along_half_a_cosine(tmp_path, moving_archive, monkeypatch):
    rates = []
    log = StepLog.on_train_batch_end

    def note(self, batch, logs=None):
        rates.append(float(self.model.optimizer.learning_rate.numpy()))
        log(self, batch, logs)

    monkeypatch.setattr(StepLog, "on_train_batch_end", note)
    options = [moving_archive, "--model-dir", tmp_path, *TINY, *FEW, "--steps-per-epoch", 4, "--final-lr", 1e-4]
    assert run_train(*options, "--epochs", 2) == 0
    assert run_train(*options, "--epochs", 3, "--resume") == 0
    expected = 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(8) / 8)) / 2
    np.testing.assert_allclose(rates[:8], expected, rtol=1e-5)
    np.testing.assert_allclose(rates[8:], 1e-4 + 9e-4 * (1 + np.cos(np.pi * np.arange(8, 12) / 12)) / 2, rtol=1e-5)


def test_a_log_gets_a_line_a_minute(monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    course = SimpleNamespace(progress=Progress(10), config=TrainingConfig(epochs=2), steps=100)
    report = StepReport(course, told.append)
    report.on_train_begin()
    for step in range(11, 51):
        clock[0] += 4
        course.progress.step = step
        report.on_train_batch_end(0, {"loss": 0.25})
    assert told == [
        "step 25 of 200: loss 0.2500, 4.00 s a step, about 0:11:40 left",
        "step 40 of 200: loss 0.2500, 4.00 s a step, about 0:10:40 left",
    ]
