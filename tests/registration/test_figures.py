"""Figures that are gathered frame by frame are those of the whole run."""

import numpy as np
import pytest

from angiomorph.metrics import against_truth
from angiomorph.registration.figures import describe_frame, describe_frames, root_mean

RNG = np.random.default_rng(1)
BSA, DSA = (RNG.normal(0.3, 0.1, (3, 40, 30)).astype(np.float32) for _ in range(2))
WARP = RNG.normal(0, 0.7, (3, 40, 30, 2)).astype(np.float32)
FIELD = np.zeros((40, 30), bool)
FIELD[5:35, 3:20] = True


def test_together_they_are_those_of_the_run():
    found = describe_frames(BSA, DSA, WARP, FIELD)
    assert root_mean([each.residue_bsa for each in found]) == pytest.approx(against_truth.bright_residue(BSA, FIELD), rel=1e-6)
    assert root_mean([each.residue_dsa for each in found]) == pytest.approx(against_truth.bright_residue(DSA, FIELD), rel=1e-6)
    assert max(each.largest_shift for each in found) == against_truth.largest_shift(WARP)
    assert np.mean([each.folding for each in found]) == pytest.approx(against_truth.folding(WARP))
    np.testing.assert_allclose([each.mean_shift for each in found], WARP[:, FIELD].mean(1, dtype=np.float64), rtol=1e-4)


def test_a_frame_by_hand():
    bsa = np.array([[-3, 0, 0, 1, 7]], np.float32)  # the last is behind a blade
    field = np.array([[True, True, True, True, False]])
    found = describe_frame(bsa, bsa, np.zeros((1, 5, 2), np.float32), field)
    assert (found.warped, found.darkness, found.mean_shift) == (False, -0.75, (0, 0))
    assert (found.residue_bsa, found.residue_dsa, found.largest_shift, found.folding) == (0.25, 0.25, 0, 0)
