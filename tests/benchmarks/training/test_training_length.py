"""The best λ and figures over the length of training, by hand."""

import json

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from benchmarks.training.training_length import lowest, main


def drawn(path, colour):
    """Return how many pixels of a picture have about this colour."""
    return int((np.abs(imread(path)[..., :3] - to_rgb(colour)).max(-1) < 0.02).sum())


def training(path, *, costs, image_loss="vle"):
    """A training of two validations at three λ; the artefact is half of the cost, the contrast 1 - λ / 10."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"training": {"image_loss": image_loss}}))
    lines = ["step,lambda,loss,artefact_left,contrast_kept,cost"]
    for step, row in zip((100, 200), costs, strict=True):
        lines += [f"{step},{h},{2 * c},{c / 2},{1 - h / 10},{c}" for h, c in zip((0.0, 0.5, 1.0), row, strict=True)]
    (path / "validation.csv").write_text("\n".join(lines) + "\n")
    return str(path)


def test_the_lowest_is_a_parabolas_vertex_between_the_ends():
    hypers = np.array([0, 0.25, 0.5, 1])
    assert lowest(hypers, 3 * (hypers - 0.4) ** 2 + 1) == pytest.approx(0.4)
    assert lowest(hypers, hypers) == 0
    assert lowest(hypers, -hypers) == 1
    assert lowest(hypers, np.ones(4)) == 0
    assert lowest(hypers, np.array([2.0, 1, 1, 1])) == pytest.approx(0.375)


def test_a_line_for_each_validation_and_a_picture(tmp_path, capsys):
    falling = training(tmp_path / "a", costs=([0.9, 0.5, 0.9], [0.4, 0.6, 1.0]))
    other = training(tmp_path / "b", costs=([1, 1, 1], [1, 1, 1]), image_loss="mse")
    assert main([falling, other, "--out", str(tmp_path / "p.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["| a | 100 | 0.50 | 0.250 | 0.950 |", "| a | 200 | 0.00 | 0.200 | 1.000 |"]
    assert lines[4].startswith("| b | 100 |")
    assert all(drawn(tmp_path / "p.png", colour) > 100 for colour in ("#009E73", "#D55E00"))


def test_a_training_without_truth_in_its_validation_is_told(tmp_path, capsys):
    path = training(tmp_path / "a", costs=([1, 1, 1], [1, 1, 1]))
    table = tmp_path / "a" / "validation.csv"
    table.write_text(table.read_text().replace("artefact_left", "edge_left"))
    assert main([path]) == 2
    assert "expected config.json and a validation.csv with artefact_left" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2
