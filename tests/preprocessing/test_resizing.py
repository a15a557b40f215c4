"""A smaller frame holds means over areas: by hand, by blocks, and as an integral says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from angiomorph.preprocessing.resizing import (
    average_areas,
    average_blocks,
    fit_frames,
    fit_within,
    fitted_shape,
    level_shapes,
    pad,
    shrink_frames,
    unpad,
)


@pytest.mark.parametrize(
    ("shape", "size", "expected"), [((512, 512), 256, (256, 256)), ((1000, 500), 512, (512, 256)), ((40, 30), 512, (40, 30))]
)
def test_larger_frames_shrink_and_smaller_ones_stay(shape, size, expected):
    assert fitted_shape(shape, size) == expected


def test_whole_blocks_are_averaged():
    frames = np.random.default_rng(0).integers(0, 4096, (3, 8, 12)).astype(np.uint16)
    small = shrink_frames(frames, 6)
    assert small.dtype == np.uint16
    np.testing.assert_array_equal(small, np.rint(frames.reshape(3, 4, 2, 6, 2).mean((2, 4))))


def test_parts_of_pixels_count_by_their_part():
    row = np.array([[[0, 30, 60]]], np.uint8)  # new pixels cover 1.5 old ones: (0 + 30 / 2) / 1.5, (30 / 2 + 60) / 1.5
    np.testing.assert_array_equal(shrink_frames(row, 2), [[[10, 50]]])
    np.testing.assert_array_equal(shrink_frames(row.reshape(1, 3, 1), 2), [[[10], [50]]])


@pytest.mark.parametrize(("shape", "size"), [((37, 50), 16), ((50, 37), 49), ((1024, 9), 511), ((7, 1000), 3)])
def test_it_is_the_difference_of_the_frames_integral(shape, size):
    frames = np.random.default_rng(1).integers(0, 65536, (1, *shape)).astype(np.uint16)
    small = shrink_frames(frames, size)[0]
    assert small.shape == fitted_shape(shape, size)
    integral = np.pad(frames[0].astype(float), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    for axis in (0, 1):
        edges = np.linspace(0, shape[axis], small.shape[axis] + 1)
        integral = np.apply_along_axis(lambda line, at=edges: np.interp(at, np.arange(len(line)), line), axis, integral)
    area = shape[0] / small.shape[0] * shape[1] / small.shape[1]
    expected = np.diff(np.diff(integral, axis=0), axis=1) / area
    assert np.abs(small - expected).max() <= 0.5 + 1e-6


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (65535, np.uint16), (0, np.uint16)])
def test_the_ends_of_the_range_stay_in_it(value, dtype):
    assert np.all(shrink_frames(np.full((2, 33, 21), value, dtype), 10) == value)


def test_small_frames_are_left_as_they_are():
    frames = np.zeros((2, 8, 6), np.uint8)
    assert shrink_frames(frames, 8) is frames


@pytest.mark.parametrize(
    ("shape", "levels", "own", "expected"),
    [
        ((512, 512), 1, 3, [(128, 128)]),
        ((512, 512), 3, 3, [(128, 128), (256, 256), (512, 512)]),
        ((512, 512), 5, 3, [(128, 128), (256, 256), (512, 512)]),
        ((1024, 512), 3, 3, [(128, 64), (256, 128), (512, 256)]),
        ((700, 700), 4, 3, [(128, 128), (256, 256), (512, 512), (700, 700)]),
        ((200, 300), 3, 3, [(85, 128), (171, 256), (341, 512)]),
        ((200, 300), 2, 3, [(85, 128), (171, 256)]),
        ((200, 300), 5, 3, [(85, 128), (171, 256), (341, 512)]),
        ((200, 300), 3, 1, [(85, 128), (171, 256), (200, 300)]),
        ((128, 80), 3, 3, [(128, 80)]),
        ((100, 80), 3, 3, [(100, 80)]),
    ],
)
def test_levels_double_up_to_the_networks_own_or_the_frames_size(shape, levels, own, expected):
    assert level_shapes(shape, 128, levels, own) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_keep_their_type_and_the_frames_mean(dtype):
    frames = np.random.default_rng(0).random((2, 30, 21)).astype(dtype)
    small = average_areas(frames, (7, 5))
    assert (small.shape, small.dtype) == ((2, 7, 5), dtype)
    np.testing.assert_allclose(small.mean((1, 2)), frames.mean((1, 2)), rtol=1e-5)


def test_frames_that_fit_are_left_as_they_are():
    frames = np.zeros((2, 8, 6), np.float32)
    assert average_areas(frames, (8, 6)) is frames
    assert fit_within(frames, 8) is frames


def test_frames_fit_within_their_longer_side():
    frames = np.random.default_rng(0).random((2, 30, 20), np.float32)
    np.testing.assert_array_equal(fit_within(frames, 15), average_areas(frames, (15, 10)))


@pytest.mark.parametrize(("shape", "size"), [((2, 32, 32), 16), ((2, 40, 24), 16), ((1, 20, 12), 32)])
def test_frames_fit_the_network_shrunk_or_padded(shape, size):
    frames = np.random.default_rng(1).random(shape, np.float32)
    fitted = fit_frames(frames, size)
    assert fitted.shape == (shape[0], size, size)
    rows, columns = fitted_shape(shape[1:], size)
    inside = frames if max(shape[1:]) <= size else average_areas(frames, (rows, columns))
    np.testing.assert_array_equal(fitted[:, :rows, :columns], inside)
    np.testing.assert_array_equal(
        fitted[:, rows:, columns:], np.broadcast_to(inside[:, -1:, -1:], fitted[:, rows:, columns:].shape)
    )


def test_whole_blocks_by_hand():
    frames = np.array([[[0, 1, 2, 3, 4], [4, 5, 6, 7, 9]]], np.uint16)
    np.testing.assert_array_equal(average_blocks(frames, 1), [[[2.5, 4.5]]])
    np.testing.assert_array_equal(average_blocks(frames, 2), frames)


DTYPES = st.sampled_from([np.uint8, np.uint16, np.float32])


@given(data=st.data(), multiple=st.integers(1, 17))
def test_unpad_undoes_pad(data, multiple):
    shape = data.draw(arrays.array_shapes(min_dims=3, max_dims=4, max_side=9))
    frames = data.draw(arrays.arrays(data.draw(DTYPES), shape, elements={"min_value": 0, "max_value": 200}))
    padded = pad(frames, multiple)
    assert padded.shape[0] == shape[0]
    assert padded.shape[3:] == shape[3:]
    assert all(size % multiple == 0 and size - old < multiple for size, old in zip(padded.shape[1:3], shape[1:3], strict=True))
    np.testing.assert_array_equal(unpad(padded, shape[1:3]), frames)


def test_padding_repeats_the_bottom_and_right_edge():
    padded = pad(np.array([[[1, 2], [3, 4], [5, 6]]], np.uint8), 4)
    np.testing.assert_array_equal(padded, [[[1, 2, 2, 2], [3, 4, 4, 4], [5, 6, 6, 6], [5, 6, 6, 6]]])
