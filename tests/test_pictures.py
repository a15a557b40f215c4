"""Pictures, looked at pixel by pixel."""

import numpy as np
import pytest
from matplotlib.image import imread

from angiomorph.pictures import CAPTION, GAP, Panel, frame_window, grid, shade, side_by_side, subtraction_window


def test_grey_values_by_hand():
    grey = shade(np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]]), (-1.0, 1.0))
    np.testing.assert_array_equal(grey, [[0, 0, 128, 255, 255]])  # 127.5 rounds to even
    assert grey.dtype == np.uint8


def panels_of(path, columns, count):
    """Return the panels of a picture without captions, `(count, H, columns)`, grey in [0, 1]."""
    picture = imread(path)[CAPTION:, :, :3]
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1])
    lefts = [number * (columns + GAP) for number in range(count)]
    return np.stack([picture[:, left : left + columns, 0] for left in lefts])


@pytest.mark.parametrize(("rows", "columns"), [(20, 7), (64, 64), (37, 113), (101, 58)])
def test_a_picture_shows_each_pixel_once_and_exactly(tmp_path, rows, columns):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 2, (3, rows, columns))
    side_by_side([Panel("", image, (-0.5, 1.5)) for image in images], tmp_path / "p.png")
    assert imread(tmp_path / "p.png").shape == (rows + CAPTION, 3 * columns + 2 * GAP, 4)
    shown = panels_of(tmp_path / "p.png", columns, 3)
    np.testing.assert_allclose(shown, np.clip((images + 0.5) / 2, 0, 1), atol=2.01 / 255)


@pytest.mark.slow
def test_a_dark_vessel_is_dark_in_its_panel_and_nowhere_else(tmp_path):
    frame = np.full((48, 40), 7.0)
    bsa = np.random.default_rng(0).normal(0, 0.005, (48, 40))
    bsa[10:30, 18:22] -= 0.4
    panels = [Panel("contrast frame 3", frame, frame_window(frame)), Panel("BSA", bsa, subtraction_window(bsa))]
    side_by_side(panels, tmp_path / "new" / "p.png")
    left, right = panels_of(tmp_path / "new" / "p.png", 40, 2)
    assert right[10:30, 18:22].max() < 0.1
    assert 0.55 < np.median(right) < 0.75
    assert np.ptp(left) == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.png"]


def test_captions_are_drawn_above(tmp_path):
    image = np.zeros((30, 120))
    for title in ("", "plain DSA"):
        side_by_side([Panel(title, image, (0, 1))], tmp_path / f"{title}.png")
    assert imread(tmp_path / ".png")[..., :3].max() == 0
    written = imread(tmp_path / "plain DSA.png")[..., :3]
    assert written[:CAPTION].max() > 0.9
    assert written[CAPTION:].max() == 0


def test_a_grid_stacks_its_rows_and_shows_captions(tmp_path):
    images = np.random.default_rng(0).random((2, 2, 30, 50))
    rows = [[Panel("above" if row == 0 else "", image, (0, 1)) for image in images[row]] for row in (0, 1)]
    grid(rows, tmp_path / "p.png")
    picture = imread(tmp_path / "p.png")[..., 0]
    assert picture.shape == (CAPTION + 2 * 30 + GAP, 2 * 50 + GAP)
    assert picture[:CAPTION].max() > 0.9
    assert picture[CAPTION + 30 : CAPTION + 30 + GAP].max() == 0
    np.testing.assert_allclose(picture[CAPTION : CAPTION + 30, :50], images[0, 0], atol=2.01 / 255)
    np.testing.assert_allclose(picture[-30:, -50:], images[1, 1], atol=2.01 / 255)


def test_windows():
    assert frame_window(np.arange(201.0)) == (2.0, 199.0)
    black, white = frame_window(np.zeros((3, 3)))
    assert black == 0 < white
    bsa = np.zeros(1000)
    bsa[:20] = -0.6
    assert subtraction_window(bsa) == (-0.6, 0.3)
    black, white = subtraction_window(np.zeros(9))
    assert black < 0 < white
