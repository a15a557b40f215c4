"""Which λ is suggested, by hand-computed residues, and what makes it less sure."""

import math

import numpy as np
import pytest

from angiomorph.registration.suggestion import suggest_hyper

HYPERS = (0.0, 0.25, 0.5, 0.75, 1.0)
FRAMES = 3


def suggest(*frames, contrast=1.0, plain=10.0):
    """Return the suggestion of frames, each with its residue by λ, and what plain DSA has."""
    residue = np.array(frames, float).T
    fainter = np.broadcast_to(np.reshape(contrast, (-1, 1)), residue.shape)
    return suggest_hyper(HYPERS, residue, np.broadcast_to(plain, len(frames)).astype(float), fainter, 0.2)


def test_the_smoothest_warp_that_removes_nearly_all_is_named():
    found = suggest(*[[2, 2.1, 2.3, 2.5, 5]] * FRAMES)  # of 10, λ 0 removes 8; 95 % of that is 7.6, and leaves 2.4
    assert (found.hyper, found.sure, found.least) == (0.5, "sure", 0.0)
    assert found.removed == pytest.approx(0.8)
    assert found.own == (0.5, 0.5, 0.5)
    assert "λ 0 removes most, 80% of the bright residue; λ 0.5 is the smoothest warp that removes 95% of that" in found.why


def test_frames_count_by_the_residue_that_they_have():
    """sqrt(2**2 + 2**2 + 12**2) and so on: the frame with most of it decides."""
    found = suggest([2, 2, 2, 2, 2], [2, 2, 2, 2, 2], [12, 12, 12, 12, 15], plain=20.0)
    assert found.hyper == 0.75
    left = [math.hypot(2, 2, each) for each in (12, 15)]
    removed = [1 - each / math.sqrt(1200) for each in left]
    assert removed[1] < 0.95 * removed[0]
    assert found.removed == pytest.approx(removed[0])


@pytest.mark.parametrize(
    ("residue", "hyper"),
    [
        ([2, 3, 2.1, 2.1, 2.1], 0.0),  # what lies behind a worse one is another valley
        ([3, 2.5, 2, 2.1, 3], 0.75),  # from the best on, and not below it
        ([3, 2.5, 2, 2, 2], 1.0),
        ([5, 4, 3, 2, 1], 1.0),
    ],
)
def test_the_suggestion_lies_in_the_valley_of_the_best(residue, hyper):
    assert suggest(*[residue] * FRAMES).hyper == hyper


@pytest.mark.parametrize("level", [9.0, 10.0, 40.0, 0.0])
def test_where_no_lambda_removes_anything_the_usual_one_is_named(level):
    found = suggest(*[[level] * 5] * FRAMES, plain=10.0 if level else 0.0)
    assert (found.hyper, found.sure) == (0.2, "not sure")
    assert found.own == (None, None, None)
    assert "λ hardly matters" in found.why


@pytest.mark.parametrize(
    ("others", "sure"),
    [([2, 2, 2.2, 5, 5], "sure"), ([2, 2, 2, 2.2, 5], "fairly sure"), ([2, 2, 2, 2, 2], "not sure")],
)
def test_frames_that_disagree_make_it_less_sure(others, sure):
    found = suggest([2, 2, 2.2, 5, 5], [2, 2, 2.2, 5, 5], others)
    assert found.sure == sure
    assert f"single frames say λ 0.5 to {max(found.own):g}" in found.why


def test_frames_with_little_residue_do_not_disagree():
    frames = [[2, 2, 2.2, 5, 5]] * FRAMES
    assert suggest(*frames, [1, 1, 1, 1, 1], plain=[10, 10, 10, 4.9]).sure == "sure"
    found = suggest(*frames, [1, 1, 1, 1, 1], plain=[10, 10, 10, 5.1])
    assert (found.sure, found.own) == ("not sure", (0.5, 0.5, 0.5, 1.0))


def test_fainter_vessels_are_a_doubt():
    frames = [[2, 2, 2.2, 5, 5]] * FRAMES
    found = suggest(*frames, contrast=[0.5, 0.6, 0.9, 1, 1])
    assert found.sure == "fairly sure"
    assert "vessels seem 10% fainter than at λ 1, look at them" in found.why
    assert suggest(*frames, contrast=[0.5, 0.6, 0.96, 1, 1]).sure == "sure"


@pytest.mark.parametrize("contrast", [math.nan, 0.0])
def test_no_vessel_seen_says_nothing(contrast):
    assert suggest(*[[2, 2, 2.2, 5, 5]] * FRAMES, contrast=contrast).sure == "sure"


def test_few_frames_that_say_anything_are_a_doubt():
    found = suggest([2, 2, 2.2, 5, 5], [9, 9, 9, 9, 9], [9, 9, 9, 9, 9])
    assert found.own == (0.5, None, None)
    assert found.sure == "fairly sure"
    assert "only 1 of 3 frames say anything" in found.why
    assert suggest([2, 2, 2.2, 5, 5]).sure == "sure"  # one frame was asked, and it says something
