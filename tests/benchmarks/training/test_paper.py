"""The paper's losses are trained alike, a stopped command resumes, and each is measured over λ."""

import csv
import shlex

import numpy as np
import pytest
from skimage.io import imread

from angiomorph.storage import store
from benchmarks.training import paper
from tests.benchmarks.made import make_run


@pytest.mark.parametrize("stage", paper.STAGES)
def test_losses_differ_in_nothing_but_loss_and_alpha(tmp_path, stage):
    named = [paper.stage_options(loss, stage, tmp_path, (4, 5)) for loss in paper.ALPHA]
    for options in named:
        for name in ("--image-loss", "--image-sigma", "--model-dir", *(["--load-weights"] if stage == "2" else [])):
            assert options.pop(options.index(name) + 1)
            options.remove(name)
    assert named[0] == named[1] == named[2]
    assert named[0][named[0].index("--epochs") + 1] == {"1": "4", "2": "5"}[stage]


def test_a_stage_with_its_model_is_not_trained_again(tmp_path):
    options = paper.stage_options("vle", "1", tmp_path, (1, 1))
    (tmp_path / "vle-1").mkdir()
    (tmp_path / "vle-1" / "model.h5").touch()
    paper.train_stage(["absent.h5"], options, [])  # would fail: there is no such store
    assert [path.name for path in (tmp_path / "vle-1").iterdir()] == ["model.h5"]


def test_a_failed_training_fails_the_command(tmp_path, capsys):
    (tmp_path / "none.h5").write_bytes(b"no store")
    given = [str(tmp_path / "none.h5"), "--runs", str(tmp_path), "--out", str(tmp_path / "out")]
    assert paper.main(given) == 2
    assert "expected this stage to be trained" in capsys.readouterr().err


def test_curves_are_running_means(tmp_path):
    with (tmp_path / "steps.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["step", "loss"], *((step, step % 2) for step in range(2 * paper.SMOOTH))])
    np.testing.assert_allclose(paper.read_curve(tmp_path), 0.5)


@pytest.mark.slow
def test_one_loss_from_stores_to_picture_and_table(tmp_path, capsys, monkeypatch):
    """At a tiny size: the recipe's own options but fewer features and steps."""
    frames = np.random.default_rng(0).integers(500, 3000, (6, 64, 64)).astype(np.uint16)
    with store.create(tmp_path / "s.h5") as file:
        for name in "abcd":
            store.append(file, name, store.StoredRun(frames, "LIN", 12, background=(1, 2)))
    few = shlex.split("--size 32 --enc 4 4 --dec 4 4 --hyp-units 4 --hyp-rank 2 --steps-per-epoch 1")
    monkeypatch.setattr(paper, "COARSE", (*paper.COARSE, *few))
    monkeypatch.setattr(paper, "FINE", (*paper.FINE, *few))
    monkeypatch.setattr(paper, "LAMBDAS", ("0.5",))
    run = make_run(tmp_path / "runs" / "run.dcm")
    given = [str(tmp_path / "s.h5"), "--runs", str(run), "--out", str(tmp_path), "--losses", "vle", "--thousands", "1", "1"]
    assert paper.main(given) == 0
    assert "contrast kept" in capsys.readouterr().out
    assert imread(tmp_path / "learning.png").std() > 1
