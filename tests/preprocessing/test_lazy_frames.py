"""Lazy frames are the array that they stand for, and make no more than is asked for."""

import numpy as np
import pytest

from angiomorph.preprocessing.lazy_frames import LazyFrames, join_frames, select_frames

ARRAY = np.arange(60, dtype=np.uint16).reshape(5, 3, 4)


@pytest.fixture
def made():
    return []


@pytest.fixture
def lazy(made):
    def make(index):
        made.append(index)
        return ARRAY[index]

    return LazyFrames(ARRAY.shape, ARRAY.dtype, make)


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        (0, [0]),
        (-1, [4]),
        (np.int64(2), [2]),
        (slice(1, 3), [1, 2]),
        (slice(4, 9), [4]),
        (slice(None, None, 2), [0, 2, 4]),
        ([3, 0], [3, 0]),
        (np.array([True, False, False, True, False]), [0, 3]),
        (slice(2, 2), []),
    ],
)
def test_a_key_returns_what_the_array_returns_and_makes_no_more(lazy, made, key, asked):
    found = lazy[key]
    np.testing.assert_array_equal(found, ARRAY[key])
    assert (found.shape, found.dtype) == (ARRAY[key].shape, ARRAY.dtype)
    assert made == asked


def test_it_looks_like_the_array(lazy):
    assert (lazy.shape, lazy.dtype, lazy.ndim, lazy.size, len(lazy)) == ((5, 3, 4), np.uint16, 3, 60, 5)
    assert (lazy.min(), lazy.max()) == (0, 59)
    np.testing.assert_array_equal(lazy, ARRAY)
    np.testing.assert_array_equal(list(lazy), ARRAY)
    assert np.asarray(lazy, np.float32).dtype == np.float32
    with pytest.raises(IndexError):
        lazy[5]


def test_frames_are_selected_and_joined(lazy, made):
    chosen = select_frames(lazy, range(1, 5, 3))
    both = join_frames([ARRAY[:1], chosen])
    assert (chosen.shape, both.shape, made) == ((2, 3, 4), (3, 3, 4), [])
    np.testing.assert_array_equal(both, ARRAY[[0, 1, 4]])
