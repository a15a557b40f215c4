"""Figures of merit on cases whose answer is plain."""

import math

import numpy as np
import pytest

from angiomorph import metrics

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
    whole = metrics.error_energy(background, truth, EVERYWHERE)
    assert metrics.error_energy(truth, truth, EVERYWHERE) == 0
    assert metrics.error_energy((truth + background) / 2, truth, EVERYWHERE) == pytest.approx(0.25 * whole, rel=1e-5)
    assert metrics.error_energy(2 * background - truth, truth, EVERYWHERE) == pytest.approx(4 * whole, rel=1e-5)


def test_error_energy_looks_where_it_is_told_and_takes_the_level_from_the_anatomy():
    found = np.array([[[5.0, 5, 7, 99]], [[-1.0, -1, 3, 99]]])
    roi = np.array([[[1, 1, 1, 0]]] * 2, bool)
    region = np.array([[[1, 0, 1, 1]]] * 2, bool)
    assert metrics.error_energy(found, np.zeros((2, 1, 4)), roi) == (4 + 16) / 6
    assert metrics.error_energy(found, np.zeros((2, 1, 4)), roi, region) == (4 + 16) / 4
    assert math.isnan(metrics.error_energy(found, np.zeros((2, 1, 4)), roi, ~roi))


@pytest.mark.parametrize(("kept", "expected"), [(1.0, 1.0), (0.0, 0.0), (0.4, 0.4), (1.3, 1.3)])
@pytest.mark.parametrize("level", [0.0, 0.25])
def test_contrast_kept_perfect_none_eaten_invented(kept, expected, level):
    _, _, vessel, vessel_mask = scene()
    found = metrics.contrast_kept(kept * vessel + level, vessel, vessel_mask, EVERYWHERE)
    assert found == pytest.approx(expected, abs=1e-6)


def test_contrast_kept_takes_the_level_of_each_frame_and_only_vessels_in_the_field():
    _, _, vessel, vessel_mask = scene()
    levels = np.array([5.0, -1.0, 2.0])[:, None, None]
    roi = EVERYWHERE.copy()
    roi[2, 2:4] = False
    bsa = np.where(roi, vessel + levels, 99)
    assert metrics.contrast_kept(bsa, vessel, vessel_mask, roi) == pytest.approx(1, abs=1e-5)


def test_contrast_kept_without_vessels_is_undefined():
    _, _, vessel, _ = scene()
    assert math.isnan(metrics.contrast_kept(vessel, vessel, np.zeros(SHAPE, bool), EVERYWHERE))


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
    assert metrics.folding(warp) == pytest.approx(expected)
    assert metrics.folding(np.stack([warp, np.zeros_like(warp)])) == pytest.approx(expected / 2)


def test_bright_residue_ignores_what_iodine_does():
    still = np.zeros((2, 5, 5))
    field = np.ones((5, 5), bool)
    filled = still.copy()
    filled[1, 2] = -3
    assert metrics.bright_residue(still, field) == metrics.bright_residue(filled, field) == 0
    assert metrics.bright_residue(filled + np.array([7.0, -2.0])[:, None, None], field) == 0


def test_bright_residue_of_one_light_pixel():
    bsa = np.zeros((1, 2, 5))
    bsa[0, 0, 0] = 3
    assert metrics.bright_residue(bsa, np.ones((2, 5), bool)) == pytest.approx(3 / math.sqrt(10))
    behind = np.ones((2, 5), bool)
    behind[0, 0] = False
    assert metrics.bright_residue(bsa, behind) == 0
