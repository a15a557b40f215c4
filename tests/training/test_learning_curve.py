"""The learning curve: whole epochs, what was trained by name, and a logarithmic axis only where it serves."""

import csv

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from angiomorph.training.learning_curve import COLOURS, draw_figure, draw_learning_curve, read_learning_curve

LOSSES = ("loss", "angiomorph_transformer_loss", "angiomorph_flow_loss")
SIZES = (
    *("loss", "angiomorph_shrunk_transformer_loss", "angiomorph_network_loss"),
    *("angiomorph_window_transformer_loss", "angiomorph_network_1_loss"),
)


def write_history(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("epoch", *rows[0]))
        writer.writeheader()
        writer.writerows({"epoch": number, **row} for number, row in enumerate(rows))
    return path


def draw(path, image_loss="vle"):
    figure = draw_figure(read_learning_curve(path, image_loss))
    figure.canvas.draw()
    return figure.axes


def label(axes):
    return [text.get_text() for text in (axes.get_legend().get_texts() if axes.get_legend() else [])]


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 26, 100])
def test_every_tick_is_a_whole_epoch(tmp_path, epochs):
    rows = [dict(zip(LOSSES, (1 / (n + 1), 0.5, 0.1), strict=True)) for n in range(epochs)]
    for axes in draw(write_history(tmp_path / "history.csv", rows)):
        left, right = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
        assert ticks
        assert all(tick == int(tick) and 1 <= tick <= epochs for tick in ticks)
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(1, epochs + 1))


@pytest.mark.parametrize(("image_loss", "name"), [("mse", "MSE"), ("minmax", "MinMax"), ("vle", "VLE"), ("truth", "Truth")])
def test_titles_name_what_was_trained(tmp_path, image_loss, name):
    history = write_history(tmp_path / "history.csv", [dict(zip(LOSSES, (0.6, 0.5, 0.1), strict=True))] * 2)
    titles = [axes.get_title() for axes in draw(history, image_loss)]
    assert titles == [f"loss: (1 - λ) {name} / α² + λ smoothness", f"(1 - λ) {name} / α²", "λ smoothness"]
    assert read_learning_curve(history, image_loss).title == f"Reg-{name}"


def test_each_axis_has_its_own_values(tmp_path):
    history = write_history(tmp_path / "history.csv", [dict(zip(LOSSES, (0.6, 0.5, 0.1), strict=True))] * 3)
    assert [axes.lines[0].get_ydata().tolist() for axes in draw(history)] == [[0.6] * 3, [0.5] * 3, [0.1] * 3]


def test_validation_is_drawn_where_there_was_one(tmp_path):
    row = dict(zip(LOSSES, (0.6, 0.5, 0.1), strict=True))
    whole, *_ = draw(write_history(tmp_path / "a.csv", [row | {"val_loss": "NA", "val_loss_0": "NA"}] * 2))
    assert label(whole) == []
    given = {"val_loss": 0.3, "val_loss_0": 0.5, "val_loss_0.25": 0.1}
    whole, *parts = draw(write_history(tmp_path / "b.csv", [row | given] * 2))
    assert label(whole) == ["training", "validation, mean of λ 0, 0.25"]
    assert whole.lines[1].get_ydata().tolist() == [0.3, 0.3]
    assert [label(axes) for axes in parts] == [[], []]


@pytest.mark.parametrize(
    ("values", "scale"),
    [((1, 0.5, 0.11), "linear"), ((1, 0.5, 0.1), "log"), ((1, 0.01, 0), "linear"), ((1, "nan", 0.01), "log"), ((1,), "linear")],
)
def test_an_axis_is_logarithmic_where_values_are_far_apart(tmp_path, values, scale):
    rows = [dict.fromkeys(LOSSES, value) for value in values]
    assert {axes.get_yscale() for axes in draw(write_history(tmp_path / "history.csv", rows))} == {scale}


def test_losses_at_two_sizes_are_told_apart(tmp_path):
    history = write_history(tmp_path / "history.csv", [dict(zip(SIZES, (10, 1, 2, 3, 4), strict=True))] * 2)
    whole, similarity, smoothness = draw(history)
    assert whole.get_title().startswith("loss, sum of both sizes: ")
    for axes, values in ((similarity, (1, 3)), (smoothness, (2, 4))):
        assert label(axes) == ["network's size", "twice the size"]
        assert tuple(line.get_ydata()[0] for line in axes.lines) == values


@pytest.mark.parametrize("missing", ["NA", "", "nan"])
def test_a_training_that_stopped_on_nan_still_has_its_curve(tmp_path, missing):
    rows = [*[dict.fromkeys(LOSSES, 0.5)] * 3, dict.fromkeys(LOSSES, missing)]
    draw_learning_curve(write_history(tmp_path / "history.csv", rows), tmp_path / "curve.png", "vle")
    picture = imread(tmp_path / "curve.png")[..., :3]
    assert (np.abs(picture - to_rgb(COLOURS[0])).max(-1) < 0.02).sum() > 300
