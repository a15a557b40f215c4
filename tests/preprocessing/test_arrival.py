"""When iodine arrives, on runs whose answer is known by construction."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.preprocessing.arrival import find_arrival

SIZE, FRAMES = 128, 16
FIELD = np.ones((SIZE, SIZE), bool)


def tree():
    """Return `(h, w)` bool: a vessel that forks."""
    vessel = np.zeros((SIZE, SIZE), bool)
    vessel[64:120, 62:65] = True
    for step in range(40):
        vessel[64 - step, 63 - step : 65 - step] = vessel[64 - step, 63 + step : 65 + step] = True
    return vessel


def bone(seed=0):
    """Return `(h, w)` in [0, 1]: texture with edges."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 4)
    return 0.5 + 0.15 * np.tanh(3 * texture / texture.std())


def run(*, fill, shifts=None, noise=0.01, seed=0):
    """Return (frames, moved, warps, still): a run that fills as `fill` says, and the first frame brought onto each frame.

    Args:
        fill: `(T,)` darkness of the vessels, [0, 1] of 0.15.
        shifts: `(T,)` rows by which the anatomy with its vessels lies lower; None for a still run.
        noise: standard deviation.
    """
    rng = np.random.default_rng(seed)
    shifts = np.zeros(len(fill)) if shifts is None else np.asarray(shifts, float)
    vessel = ndimage.gaussian_filter(tree().astype(float), 0.7)
    frames = np.stack(
        [
            ndimage.shift(bone() - 0.15 * part * vessel, (by, 0), order=1, mode="nearest")
            for part, by in zip(fill, shifts, strict=True)
        ]
    )
    frames += noise * rng.normal(size=frames.shape)
    warps = np.zeros((len(fill), SIZE, SIZE, 2), np.float32)
    warps[..., 0] = -shifts[:, None, None]
    moved = np.stack([ndimage.shift(frames[0], (by, 0), order=1, mode="nearest") for by in shifts])
    return frames.astype(np.float32), moved.astype(np.float32), warps


def filling(arrival, frames=FRAMES):
    """Return a filling from frame index `arrival` on, a tenth a frame at first."""
    return np.clip(0.1 * (np.arange(frames) - arrival + 1), 0, 1)


@pytest.mark.parametrize("arrival", [3, 6, 11])
def test_the_first_frame_with_iodine_is_found(arrival):
    assert find_arrival(*run(fill=filling(arrival), noise=0.003), FIELD).index == arrival


@pytest.mark.parametrize("arrival", [3, 6, 11])
def test_in_much_noise_iodine_is_found_a_frame_late_at_most(arrival):
    found = find_arrival(*run(fill=filling(arrival), noise=0.02), FIELD)
    assert found.index in (arrival, arrival + 1)
    assert 0.02 < found.resolved < 0.5


def test_iodine_is_found_in_anatomy_that_moves():
    shifts = 5 * np.sin(np.arange(FRAMES))
    shifts[0] = 0
    found = find_arrival(*run(fill=filling(7), shifts=shifts, noise=0.005), FIELD)
    assert found.index == 7


def test_one_in_a_hundred_of_the_later_contrast_is_enough():
    fill = filling(7)
    fill[5:7] = 0.01, 0.03
    found = find_arrival(*run(fill=fill, noise=0.003), FIELD)
    assert found.index in (5, 6)
    assert found.resolved < 0.03


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_nothing_is_found_where_nothing_arrives(noise):
    found = find_arrival(*run(fill=np.zeros(FRAMES), noise=noise), FIELD)
    assert found.index is None
    assert found.share.shape == found.deviation.shape == (FRAMES,)


def test_iodine_between_the_first_two_frames_is_told():
    assert find_arrival(*run(fill=np.minimum(filling(1) + 0.4 * (np.arange(FRAMES) > 0), 1)), FIELD).index == 1
    assert find_arrival(*run(fill=np.array([0.0, 1.0])), FIELD).index == 1


def test_a_jerk_that_does_not_go_on_is_passed_by():
    """A bone's edge that registration leaves dark from frame 4 on is new, thin, and stays, but it does not go on filling."""
    frames, moved, warps = run(fill=filling(10), noise=0.003)
    # It lies on the later vessels, where alone the map looks.
    frames[4:, 80:100, 62:65] -= 0.012
    assert find_arrival(frames, moved, warps, FIELD).index == 10


def test_what_lies_outside_of_the_field_does_not_count():
    frames, moved, warps = run(fill=np.zeros(FRAMES), noise=0.005)
    frames[6:, 20:100, 10:13] -= 0.2
    field = FIELD.copy()
    field[:, :24] = False
    assert find_arrival(frames, moved, warps, FIELD).index == 6
    assert find_arrival(frames, moved, warps, field).index is None


def test_in_a_narrow_field_iodine_is_found_a_frame_late_at_most():
    narrow = np.zeros_like(FIELD)
    narrow[:, 60:68] = True  # of which the margin leaves nothing
    assert find_arrival(*run(fill=filling(6), noise=0.003), narrow).index in (6, 7)


def test_runs_of_any_exposure_give_the_same_answer():
    frames, moved, warps = run(fill=filling(7), noise=0.005)
    brighter = frames + 0.2 * np.random.default_rng(1).random(FRAMES)[:, None, None].astype(np.float32)
    assert find_arrival(brighter, moved, warps, FIELD).index == 7
