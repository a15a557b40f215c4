"""Moving pictures of a registered run: what is shown, in one window, and what is said of it."""

import numpy as np
import pytest

from angiomorph.pictures import subtraction_window
from angiomorph.registration.cine import CAPTION, GAP, draw_cine, draw_sheet, find_window
from tests.registration.registrations import registered


def run(count=3, side=32, **changed):
    """Return a registered run whose iodine grows, beside a bright edge that only plain DSA has."""
    bsa = np.zeros((count, side, side), np.float32)
    for index in range(1, count):
        bsa[index, :, 10:14] = -index / count
    dsa = bsa.copy()
    dsa[1:, :4] = 0.3
    warp = np.ones((*bsa.shape, 2), np.float32)
    return registered(bsa, dsa=dsa, warp=warp, **changed)


def test_all_frames_are_in_the_window_of_the_most_iodine():
    result = run()
    black, white = find_window(result)
    assert (black, white) == subtraction_window(result.bsa[2])
    frames = list(draw_cine(result))
    assert [frame.shape for frame in frames] == [(32 + CAPTION, 64 + GAP)] * 3
    for index, frame in enumerate(frames):
        for shown, values in ((frame[CAPTION:, :32], result.dsa[index]), (frame[CAPTION:, -32:], result.bsa[index])):
            expected = 255 * np.clip((values - black) / (white - black), 0, 1)
            np.testing.assert_allclose(shown, expected, atol=0.51)


@pytest.mark.parametrize("window", [(-0.6, 0.2), (0.2, -0.6)])
def test_a_window_may_be_given_and_be_turned_over(window):
    result, (black, white) = run(), window
    shown = list(draw_cine(result, window=window))[2][CAPTION:, -32:]
    expected = 255 * np.clip((result.bsa[2] - black) / (white - black), 0, 1)
    np.testing.assert_allclose(shown, expected, atol=0.51)
    assert shown.std() > 5


def test_exposure_does_not_flicker_and_blades_are_grey():
    result = run()
    field = np.ones((32, 32), bool)
    field[:, 28:] = False
    bright = run(field=field)
    bright.bsa[1] += 0.5
    bright.bsa[:, :, 28:] = 9
    one, other = (list(draw_cine(each))[1][CAPTION:, -32:] for each in (result, bright))
    np.testing.assert_array_equal(other[:, :28], one[:, :28])
    grey = one[0, 0]
    assert (other[:, 28:] == grey).all()


def test_pictures_shrink_by_means():
    shown = list(draw_cine(run(side=64), size=32))[2]
    assert shown.shape == (32 + CAPTION, 64 + GAP)


@pytest.mark.parametrize(("count", "rows"), [(3, 1), (5, 2), (40, 4)])
def test_a_sheet_has_at_most_16_frames_in_fours(count, rows):
    weights = np.linspace(0, 1, count)
    panels = draw_sheet(run(count, weights=weights))
    assert [len(row) for row in panels] == [4] * rows
    titles = [panel.title for row in panels for panel in row if panel.title]
    assert titles[0] == "background frame 1, left unwarped"
    assert titles[-1] == f"frame {count}, BSA (λ 0.50)"
    assert "BSA, warped by " in titles[1]
    assert len({panel.window for row in panels for panel in row}) == 1
