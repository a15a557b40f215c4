import numpy as np
import pytest

from angiomorph.preprocessing.noise import robust_deviation


def test_the_deviation_of_normal_errors_with_outliers():
    errors = np.random.default_rng(0).normal(0, 3.0, 100_000)
    errors[:500] = 1e6
    assert robust_deviation(errors) == pytest.approx(3.0, rel=0.02)


@pytest.mark.parametrize(("errors", "expected"), [([0.0, 0.0, 5.0], 0.0), ([-0.6745, 0.6745], 1.0)])
def test_the_deviation_by_hand(errors, expected):
    assert robust_deviation(np.array(errors)) == pytest.approx(expected)
