"""Frames come back from a result, to the last bit of what was stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.recovery import Recovery, move_image, read_steps

SHAPE = (5, 24, 30)


def make_result(seed=0, pairs=None, highest=65535):
    """Return stored frames, and their result in ln: each moved by its own warp, the first by none."""
    random = np.random.default_rng(seed)
    frames = random.integers(1, highest + 1, SHAPE)
    logs = np.log(frames.astype(np.float32))
    steps = read_steps(pairs) if pairs is not None else (Step((1, 2), tuple(range(1, 6))),)
    images = np.stack([logs[np.array(step.numbers) - 1].mean(0) for step in steps])
    warp = random.normal(0, 3, (*SHAPE, 2)).astype(np.float32)
    warp[0] = 0
    place = {frame: number for number, step in enumerate(steps) for frame in step.frames}
    moved = np.stack([move_image(images[place[index + 1]], warp[index]) for index in range(5)])
    arrays = {"bsa": logs - moved, "warp": warp, "background": np.array([1, 2]), "background_image": images}
    return frames, arrays | ({} if pairs is None else {"background_of_frame": pairs}), moved


PAIRS = np.array([(1, 2), (2, 2), (3, 1), (4, 1), (4, 2), (5, 1)])


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["one", "several"])
def test_stored_values_come_back_exactly(pairs):
    frames, arrays, moved = make_result(pairs=pairs)
    recovery = Recovery(arrays, "a")
    for index, frame in enumerate(frames):
        values = np.exp(recovery.values(index))
        np.testing.assert_array_equal(np.rint(values), frame)
        assert np.abs(values - frame).max() < 0.3  # far from the next whole number, of 16 bits too
    with_moved = Recovery(arrays | {"moved": moved}, "a")
    np.testing.assert_allclose(with_moved.values(3), recovery.values(3), atol=1e-6)


def test_backgrounds_are_those_of_each_frame():
    _, arrays, moved = make_result(pairs=PAIRS)
    assert read_steps(PAIRS) == (Step((2,), (1, 2)), Step((1,), (3, 5)), Step((1, 2), (4,)))
    older = {name: array for name, array in arrays.items() if name != "background_image"} | {"moved": moved}
    for recovery in (Recovery(arrays, "a"), Recovery(older, "a")):
        for index, place in enumerate((0, 0, 1, 2, 1)):
            np.testing.assert_allclose(recovery.background(index), arrays["background_image"][place], atol=2e-6)


@settings(deadline=None)
@given(
    of_numpy.arrays(np.float32, (7, 9), elements=st.floats(0, 12, width=32)),
    of_numpy.arrays(np.float32, (7, 9, 2), elements=st.floats(-20, 20, width=32)),
)
def test_scipy_moves_an_image_as_we_do(image, warp):
    places = [
        np.clip(np.arange(n).reshape(-1, *(1,) * (1 - axis)) + warp[..., axis], 0, n - 1) for axis, n in enumerate((7, 9))
    ]
    expected = ndimage.map_coordinates(image.astype(np.float64), places, order=1)
    np.testing.assert_allclose(move_image(image, warp), expected, atol=2e-5)


def test_a_warp_that_is_not_finite_gives_nan():
    warp = np.zeros((4, 5, 2), np.float32)
    warp[1, 2] = np.nan
    moved = move_image(np.ones((4, 5), np.float32), warp)
    assert np.isnan(moved[1, 2])
    assert np.isnan(moved).sum() == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bsa": None}, "found no bsa in it"),
        ({"background": None}, "found no background in it"),
        ({"background_image": None}, "found no background_image in it; register the run again"),
        ({"warp": np.zeros((5, 24, 30))}, "do not fit bsa"),
        ({"background_image": np.zeros((2, 24, 30))}, "do not fit bsa"),
        ({"moved": np.zeros((4, 24, 30))}, "do not fit bsa"),
        ({"background": np.array([6])}, "do not fit bsa"),
        ({"background": np.empty(0, int)}, "do not fit bsa"),
        ({"background": np.array(1)}, "do not fit bsa"),
        ({"background_of_frame": np.array([(1, 1)])}, "do not fit bsa"),
        ({"background_of_frame": np.array([1, 1])}, "do not fit bsa"),
        ({"bsa": np.zeros((5, 24))}, "do not fit bsa"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed, words):
    _, arrays, _ = make_result()
    given = {name: array for name, array in (arrays | changed).items() if array is not None}
    with pytest.raises(InputError, match=f"^a_bsa.h5: expected .*{words}"):
        Recovery(given, "a_bsa.h5")
