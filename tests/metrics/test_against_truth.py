"""Figures of merit on cases whose answer is plain."""

import math

import numpy as np
import pytest

from angiomorph.metrics import against_truth

SHAPE = (3, 8, 10)
EVERYWHERE = np.ones(SHAPE, bool)


def scene():
    """Return truth, an unregistered background, a vessel layer and its place."""
    rng = np.random.default_rng(0)
    truth = rng.normal(6, 1, SHAPE).astype(np.float32)
    vessel_mask = np.zeros(SHAPE, bool)
    vessel_mask[1:, 2:6, 4:6] = True
    vessel = np.where(vessel_mask, rng.uniform(-0.6, -0.1, SHAPE), 0).astype(np.float32)
    return truth, truth[0], vessel, vessel_mask


def test_error_energy_of_none_perfect_half_and_worse():
    truth, background, _, _ = scene()
    whole = against_truth.error_energy(background, truth, EVERYWHERE)
    assert against_truth.error_energy(truth, truth, EVERYWHERE) == 0
    assert against_truth.error_energy((truth + background) / 2, truth, EVERYWHERE) == pytest.approx(0.25 * whole, rel=1e-5)
    assert against_truth.error_energy(2 * background - truth, truth, EVERYWHERE) == pytest.approx(4 * whole, rel=1e-5)


def test_error_energy_looks_where_it_is_told():
    found = np.array([[[5.0, 5, 7, 99]], [[-1.0, -1, 3, 99]]])
    roi = np.array([[[1, 1, 1, 0]]] * 2, bool)
    region = np.array([[[1, 0, 1, 1]]] * 2, bool)
    assert against_truth.error_energy(found, np.zeros((2, 1, 4)), roi) == (4 + 16) / 6
    assert against_truth.error_energy(found, np.zeros((2, 1, 4)), roi, region) == (4 + 16) / 4
    assert math.isnan(against_truth.error_energy(found, np.zeros((2, 1, 4)), roi, ~roi))


@pytest.mark.parametrize(("kept", "expected"), [(1.0, 1.0), (0.0, 0.0), (0.4, 0.4), (1.3, 1.3)])
@pytest.mark.parametrize("level", [0.0, 0.25])
def test_contrast_kept_perfect_none_eaten_invented(kept, expected, level):
    _, _, vessel, vessel_mask = scene()
    found = against_truth.contrast_kept(kept * vessel + level, vessel, vessel_mask, EVERYWHERE)
    assert found == pytest.approx(expected, abs=1e-6)


def test_contrast_kept_takes_the_level_of_each_frame():
    _, _, vessel, vessel_mask = scene()
    levels = np.array([5.0, -1.0, 2.0])[:, None, None]
    roi = EVERYWHERE.copy()
    roi[2, 2:4] = False
    bsa = np.where(roi, vessel + levels, 99)
    assert against_truth.contrast_kept(bsa, vessel, vessel_mask, roi) == pytest.approx(1, abs=1e-5)


def test_contrast_kept_without_vessels_is_undefined():
    _, _, vessel, _ = scene()
    assert math.isnan(against_truth.contrast_kept(vessel, vessel, np.zeros(SHAPE, bool), EVERYWHERE))


WIDE = (2, 64, 64)  # the ring is the pixels next to a vessel, the window five pixels wide, the opening's square three


def crossing(depths=(0.4, 0.1)):
    """Return a vessel layer of two upright vessels far apart, three pixels wide, and its place."""
    vessel = np.zeros(WIDE)
    vessel[1, :, 10:13], vessel[1, :, 40:43] = -depths[0], -depths[1]
    return vessel, vessel < 0


def local(bsa, vessel, mask, roi=None):
    return against_truth.local_contrast(bsa, vessel, mask, np.ones(WIDE, bool) if roi is None else roi)


def test_ring_is_between_two_shares_of_the_side():
    vessels = np.zeros((256, 512), bool)
    vessels[:, 100] = True
    found = against_truth.ring(vessels)
    assert np.array_equal(np.flatnonzero(found[7]), [*range(92, 98), *range(103, 109)])  # 3 to 8 pixels away
    assert (found == found[7]).all()
    assert not against_truth.ring(~vessels & vessels).any()


@pytest.mark.parametrize(("kept", "expected"), [(1.0, 1.0), (0.0, 0.0), (0.4, 0.4), (1.3, 1.3)])
def test_local_contrast_perfect_none_eaten_invented(kept, expected):
    vessel, mask = crossing()
    assert local(kept * vessel + np.array([5.0, -2.0])[:, None, None], vessel, mask) == pytest.approx(expected)


def test_local_contrast_sees_darkness_beside_vessels():
    vessel, mask = crossing()
    darker = vessel.copy()
    darker[1, :, 7:10] -= 0.1
    darker[1, :, 13:16] -= 0.1
    assert against_truth.contrast_kept(darker, vessel, mask, np.ones(WIDE, bool)) == pytest.approx(1)
    # Of 3 * 64 pixels of 0.4 and as many of 0.1, the first have 0.3 left.
    assert local(darker, vessel, mask) == pytest.approx((0.3 + 0.1) / (0.4 + 0.1))


def test_local_contrast_weighs_by_contrast_and_not_by_its_square():
    vessel, mask = crossing()
    eaten = vessel.copy()
    eaten[1, :, 40:43] = 0
    assert local(eaten, vessel, mask) == pytest.approx(0.4 / 0.5)
    assert against_truth.contrast_kept(eaten, vessel, mask, np.ones(WIDE, bool)) == pytest.approx(0.16 / 0.17)


def test_local_contrast_is_taken_beside_each_vessel():
    """A shade over half of the frame changes nothing: each vessel is compared with its own surroundings."""
    vessel, mask = crossing()
    shaded = vessel.copy()
    shaded[:, :, 25:] -= 0.2
    assert local(shaded, vessel, mask) == pytest.approx(1)


def test_local_contrast_needs_surroundings_in_the_anatomy():
    vessel, mask = crossing()
    roi = np.ones(WIDE, bool)
    roi[:, :, 36:40] = roi[:, :, 43:50] = False  # nothing beside the second vessel
    bsa = np.where(roi, 0.5 * vessel, 99)
    bsa[1, :, 40:43] = 7
    assert local(bsa, vessel, mask, roi) == pytest.approx(0.5)
    assert math.isnan(local(vessel, vessel, np.zeros(WIDE, bool)))


def invented(found, truth=None, mask=None, roi=None):
    truth = np.zeros(WIDE) if truth is None else truth
    mask = np.zeros(WIDE, bool) if mask is None else mask
    return against_truth.thin_darkness(found, truth, mask, np.ones(WIDE, bool) if roi is None else roi)


def test_thin_darkness_of_a_line_is_its_energy():
    line = np.zeros(WIDE)
    line[1, :, 30] = 0.3  # the background is too light there, the subtraction too dark
    assert invented(line) == pytest.approx(0.09 * 64 / (2 * 64 * 64))
    assert invented(line + np.array([4.0, -1.0])[:, None, None]) == pytest.approx(0.09 / 128)
    assert invented(-line) == 0
    assert invented(line + 3, line + 3) == 0


def test_thin_darkness_leaves_shades_out():
    shade = np.zeros(WIDE)
    shade[1, 8:24, 8:24] = 0.2
    assert invented(shade) == 0
    shade[1, 8:24, 16] += 0.1
    assert invented(shade) == pytest.approx(0.01 * 16 / (2 * 64 * 64))


def test_thin_darkness_is_sought_away_from_vessels():
    found, mask, roi = np.zeros(WIDE), np.zeros(WIDE, bool), np.ones(WIDE, bool)
    found[1, :, 30], found[1, :, 50], found[1, :, 10] = 0.3, 0.5, 0.2
    mask[1, :, 30] = True
    roi[:, :, 50] = False
    assert invented(found, mask=mask, roi=roi) == pytest.approx(0.04 * 64 / (2 * 64 * 63 - 64))
    assert math.isnan(invented(found, mask=roi, roi=roi))


def test_contrast_to_noise_of_known_surroundings():
    bsa, mask = np.zeros((1, 64, 64)), np.zeros((1, 64, 64), bool)
    mask[0, :, 20] = True
    bsa[0, :, 20] = -0.6
    bsa[0, :, 19], bsa[0, :, 21] = 0.1, -0.1
    assert against_truth.contrast_to_noise(bsa, mask, np.ones((1, 64, 64), bool)) == pytest.approx(6)


def warp_of(function, side=12):
    """Return the warp `function(row, column) - (row, column)`."""
    row, column = np.mgrid[:side, :side].astype(float)
    return np.stack([function(row, column)[0] - row, function(row, column)[1] - column], -1)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda row, column: (row, column), 0),
        (lambda row, column: (row + 50, column - 3), 0),
        (lambda row, column: (column, row), 1),  # a mirror
        (lambda row, column: (-row, -column), 0),  # half a turn
        (lambda row, column: (row, 0 * column), 1),  # collapsed to a line
        (lambda row, column: (3 * row, 0.1 * column), 0),
        (lambda row, column: (row + 5 * column, column), 0),  # shear
        (lambda row, column: (row, np.where(column < 6, column, 10 - column)), 6 / 11),
    ],
)
def test_folding_of_known_warps(function, expected):
    warp = warp_of(function)
    assert against_truth.folding(warp) == pytest.approx(expected)
    assert against_truth.folding(np.stack([warp, np.zeros_like(warp)])) == pytest.approx(expected / 2)


def test_bright_residue_ignores_what_iodine_does():
    still = np.zeros((2, 5, 5))
    field = np.ones((5, 5), bool)
    filled = still.copy()
    filled[1, 2] = -3
    assert against_truth.bright_residue(still, field) == against_truth.bright_residue(filled, field) == 0
    assert against_truth.bright_residue(filled + np.array([7.0, -2.0])[:, None, None], field) == 0


def test_bright_residue_of_one_light_pixel():
    bsa = np.zeros((1, 2, 5))
    bsa[0, 0, 0] = 3
    assert against_truth.bright_residue(bsa, np.ones((2, 5), bool)) == pytest.approx(3 / math.sqrt(10))
    behind = np.ones((2, 5), bool)
    behind[0, 0] = False
    assert against_truth.bright_residue(bsa, behind) == 0


def test_where_there_is_nothing_to_judge_figures_are_none():
    nothing, flat = np.zeros((1, 8, 8), bool), np.zeros((1, 8, 8))
    assert math.isnan(against_truth.similarity(flat, flat, nothing))
    assert math.isnan(against_truth.endpoint_error(np.zeros((1, 8, 8, 2)), np.zeros((1, 2, 2, 2)), np.zeros((1, 2, 2), bool)))
