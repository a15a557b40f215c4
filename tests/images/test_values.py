"""Any numbers become unsigned integers, by a rule that is told."""

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.images.values import store_values


@pytest.mark.parametrize(
    ("highest", "dtype", "bits", "stored"),
    [
        (255, np.uint8, 8, np.uint8),
        (1, np.bool_, 8, np.uint8),
        (255, np.int16, 8, np.uint8),
        (256, np.uint16, 10, np.uint16),
        (4095, np.int32, 12, np.uint16),
        (4096, np.uint16, 14, np.uint16),
        (65535, np.int64, 16, np.uint16),
    ],
)
def test_whole_numbers_stay_as_they_are(highest, dtype, bits, stored):
    values = np.array([[[0, 1], [1, highest]]]).astype(dtype)
    found, found_bits, warnings = store_values("a", values)
    assert (found.dtype, found_bits, warnings) == (stored, bits, ())
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_fractions_fill_16_bits(dtype):
    found, bits, warnings = store_values("a.npy", np.array([[[0, 0.25], [0.5, 2]]], dtype))
    np.testing.assert_array_equal(found, [[[0, 8192], [16384, 65535]]])  # 8191.875 and 16383.75
    assert bits == 16
    assert warnings == (f"a.npy: {np.dtype(dtype)} values from 0 to 2 are stored in 16 bits, the highest as 65535",)


def test_numbers_above_16_bits_are_scaled():
    np.testing.assert_array_equal(store_values("a", np.array([[[0, 65536], [131070, 2]]]))[0], [[[0, 32768], [65535, 1]]])


def test_the_smallest_floats_are_scaled():
    np.testing.assert_array_equal(store_values("a", np.array([[[0, 1e-45]]], np.float32))[0], [[[0, 65535]]])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[[-1.0, 0]]], "expected values from 0 on, found -1"),
        ([[[np.nan, 0]]], "expected finite values"),
        ([[[np.inf, 0]]], "expected finite values"),
        ([[[0.0, 0]]], "found 0 everywhere"),
    ],
)
def test_what_is_no_image_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        store_values("a", np.array(values))
