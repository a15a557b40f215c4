import numpy as np
import pytest

from angiomorph.preprocessing.spacing import centre_indices, spread_indices


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(1, 1, [0]), (3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (6, 3, [0, 2, 5]), (100, 2, [0, 99])]
)
def test_the_ends_and_others_between(count, most, expected):
    np.testing.assert_array_equal(spread_indices(count, most), expected)


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(0, 8, []), (1, 8, [0]), (3, 8, [0, 1, 2]), (9, 3, [1, 4, 7]), (10, 1, [5])]
)
def test_the_middle_of_each_part(count, most, expected):
    assert centre_indices(count, most) == expected


@pytest.mark.parametrize("count", [1, 2, 7, 40, 41])
@pytest.mark.parametrize("most", [1, 2, 7, 40])
@pytest.mark.parametrize("choose", [spread_indices, centre_indices])
def test_as_many_as_asked_for_and_none_twice(choose, count, most):
    chosen = choose(count, most)
    assert len(chosen) == min(count, most) == len(set(map(int, chosen)))
    assert all(0 <= index < count for index in chosen)
