import numpy as np
import pytest

from angiomorph.preprocessing.noise import cancel_structure, robust_deviation


def test_the_deviation_of_normal_errors_with_outliers():
    errors = np.random.default_rng(0).normal(0, 3.0, 100_000)
    errors[:500] = 1e6
    assert robust_deviation(errors) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize(("errors", "expected"), [([0.0, 0.0, 5.0], 0.0), ([-0.6745, 0.6745], 1.0)])
def test_the_deviation_by_hand(errors, expected):
    assert robust_deviation(np.array(errors)) == pytest.approx(expected)


def test_planes_vanish_and_noise_keeps_its_deviation():
    rows, columns = np.mgrid[:800, :800].astype(float)
    noise = np.random.default_rng(1).normal(0, 2.0, rows.shape)
    inside = cancel_structure(5 + 3 * rows - columns)[1:-1, 1:-1]
    np.testing.assert_allclose(inside, 0, atol=1e-9)
    assert cancel_structure(noise).std() == pytest.approx(2.0, rel=0.02)


def test_the_response_to_one_pixel_by_hand():
    frame = np.zeros((3, 3))
    frame[1, 1] = 6
    assert cancel_structure(frame)[1, 1] == 4
