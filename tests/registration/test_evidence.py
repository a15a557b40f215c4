"""Evidence of motion is what its equation says: at most the noise where nothing moves, and more where something does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from angiomorph.registration.evidence import FULL, LEAST, find_evidence, weigh_warps

SIZE = 256
KNOWN = np.ones((1, SIZE, SIZE), bool)


def bone(seed=0):
    """Return `(H, W)`: texture with edges, about 1 high."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 5)
    return np.tanh(3 * texture / texture.std())


def noisy(frame, noise, seed):
    return frame + noise * np.random.default_rng(seed).normal(size=frame.shape)


def evidence(frame, background, moved, known=KNOWN):
    return float(find_evidence((frame - background)[None], (frame - moved)[None], background, known)[0])


@pytest.mark.parametrize("noise", [0.01, 0.05])
@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_a_warp_of_what_keeps_still_has_no_evidence(noise, shift):
    background = noisy(bone(), noise, 1)
    moved = ndimage.shift(background, (shift, 0), order=1, mode="nearest")
    assert evidence(noisy(bone(), noise, 2), background, moved) < LEAST


def test_even_a_warp_that_removed_all_noise_has_no_evidence():
    background, frame = noisy(bone(), 0.05, 1), noisy(bone(), 0.05, 2)
    assert 0.85 < evidence(frame, background, frame) < LEAST


def test_the_noise_may_depend_on_the_intensity():
    still = bone()
    noise = 0.05 - 0.03 * still
    background, frame = noisy(still, noise, 1), noisy(still, noise, 2)
    assert evidence(frame, background, frame) < LEAST


def test_a_background_may_have_two_intensities_alone():
    still = (bone() > 0).astype(float)
    background, frame = noisy(bone(), 0.05, 1), noisy(bone(), 0.05, 2)
    assert np.isfinite(float(find_evidence((frame - background)[None], (0.5 * (frame - background))[None], still, KNOWN)[0]))


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_warp_that_removes_motion_has_evidence(noise):
    background = noisy(bone(), noise, 1)
    frame = noisy(ndimage.shift(bone(), (1.0, 0.5), order=1, mode="nearest"), noise, 2)
    moved = ndimage.shift(background, (1.0, 0.5), order=1, mode="nearest")
    found = evidence(frame, background, moved)
    assert found > FULL
    # Half of the way leaves a quarter of the energy.
    halfway = ndimage.shift(background, (0.5, 0.25), order=1, mode="nearest")
    assert 0.4 * found < evidence(frame, background, halfway) < found
    assert evidence(frame, background, background) == 0


def test_it_is_the_energy_removed_at_edges_over_the_noise():
    """Known by construction: noise of variance 4 everywhere, and of the frame's further variance 12 at edges none is left."""
    rng = np.random.default_rng(3)
    background = np.zeros((SIZE, SIZE))
    background[:, ::16] = 50.0
    background = ndimage.gaussian_filter(background, 1)
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(background, 1.0)))
    edges = slope > np.quantile(slope, 0.9)
    after = 2 * rng.normal(size=background.shape)
    before = after + np.where(edges, np.sqrt(12) * rng.normal(size=background.shape), 0)
    found = float(find_evidence(before[None], after[None], background, KNOWN)[0])
    assert 2 < found < 4


def test_iodine_is_no_motion():
    """A warp that eats a vessel removes energy, at the vessel's own edges only; a warp that keeps it changes nothing."""
    background = noisy(bone(), 0.02, 1)
    vessel = np.zeros_like(background)
    vessel[:, 120:126] = -0.6
    frame = noisy(bone(), 0.02, 2) + vessel
    assert evidence(frame, background, background) == 0
    assert evidence(frame, background, ndimage.shift(background, (0, 0.2), order=1, mode="nearest")) < LEAST


def test_what_is_not_known_does_not_count():
    background = noisy(bone(), 0.02, 1)
    frame = noisy(bone(), 0.02, 2)
    frame[:192] = ndimage.shift(frame, (3, 0), order=1)[:192]
    moved = background.copy()
    moved[:192] = frame[:192]
    known = KNOWN.copy()
    known[:, :192] = False
    assert evidence(frame, background, moved) > FULL
    assert evidence(frame, background, moved, known) < LEAST
    assert evidence(frame, background, moved, np.zeros_like(KNOWN)) == 0


@pytest.mark.parametrize(("rows", "warped"), [(64, False), (192, True)])
def test_most_tiles_with_edges_must_agree(rows, warped):
    """What a network removes in a few places only may be iodine; a patient's motion shows at most edges."""
    background, frame = noisy(bone(), 0.02, 1), noisy(bone(), 0.02, 2)
    moved = background.copy()
    frame[:rows] = ndimage.shift(frame, (2, 0), order=1)[:rows]
    moved[:rows] = frame[:rows]
    assert (evidence(frame, background, moved) > FULL) == warped
    assert (evidence(frame, background, moved) < LEAST) != warped


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([1.2, 1.1, -9.0], [0.0, 0.0, 0.0]),
        ([1.7], [0.5]),
        ([2.2, 9.0], [1.0, 1.0]),
        # x = 0.75, 3 x^2 - 2 x^3 = 0.84375; exp(-1 / 5) 1.95 = 1.5965 goes on.
        ([1.95, 0.0], [0.84375, 0.84375]),
        # exp(-4 / 5) 2.2 = 0.99 does not; the three before it fade.
        ([2.2, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 2 / 3, 1 / 3, 0.0, 0.0]),
        ([2.0, 1.1, 1.0, 1.05, 1.1, 1.0], [0.896] * 6),
    ],
)
def test_weights_rise_smoothly_and_last(given, expected):
    np.testing.assert_allclose(weigh_warps(np.array(given)), expected, atol=1e-4)


def test_no_frame_among_warped_ones_comes_back_unwarped():
    weights = weigh_warps(np.array([5.0, 4.0, 0.3, 0.2, 4.0, 5.0, *[0.0] * 12]))
    # 5 exp(-8 / 5) = 1.009 goes on, 5 exp(-9 / 5) = 0.826 does not.
    np.testing.assert_allclose(weights, [1] * 12 + [2 / 3, 1 / 3] + [0] * 4)


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 6)), st.data())
def test_more_evidence_lowers_no_weight(evidence, data):
    """Hence a weight of 1 by the frames up to now, the later ones taken as 0, is final."""
    more = evidence + data.draw(hnp.arrays(np.float64, evidence.shape, elements=st.floats(0, 6) | st.just(0)))
    assert (weigh_warps(more) >= weigh_warps(evidence)).all()
    so_far = np.where(np.arange(len(evidence)) < data.draw(st.integers(0, len(evidence))), evidence, 0)
    assert (weigh_warps(evidence)[weigh_warps(so_far) == 1] == 1).all()
