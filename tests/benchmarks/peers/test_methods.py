"""Every peer's warp against a known one: moved(x) = moving(x + warp(x)), rows first, on the fixed grid."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.peers.methods import PEERS, Peer, level_frame, lit, none, pixel_shift
from tests.tools import require_package

pytestmark = pytest.mark.slow

SIDE = 256
MARGIN = 32  # pixels: beyond the border nothing is known


def peer(name: str) -> Peer:
    """Return a peer whose package is here."""
    found = next(peer for peer in PEERS if peer.name == name)
    require_package(found.package, "benchmark")
    return found


@pytest.fixture(scope="module")
def elsewhere():
    """Return a process of its own: one that has used the peers' libraries and TensorFlow may crash when it ends."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        yield process


def grid() -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    return rows, columns


def shifted(down: float = 5.3, right: float = -2.6) -> np.ndarray:
    return np.broadcast_to([down, right], (SIDE, SIDE, 2))


def turned(degrees: float = 2.0) -> np.ndarray:
    """Return a rotation about a point off the middle, and a shift."""
    rows, columns = grid()
    angle = np.deg2rad(degrees)
    row, column = rows - 100, columns - 140
    return np.stack(
        [
            np.cos(angle) * row - np.sin(angle) * column - row + 1.5,
            np.sin(angle) * row + np.cos(angle) * column - column - 2.2,
        ],
        -1,
    )


def sheared() -> np.ndarray:
    rows, columns = grid()
    return np.stack([0.02 * (rows - 120) - 0.015 * (columns - 90) + 2, 0.01 * (rows - 70) - 0.012 * (columns - 128) - 1], -1)


def bent() -> np.ndarray:
    """Return a smooth warp that no affine one comes near."""
    rows, columns = grid()
    return np.stack([3.5 * np.sin(columns / 40) + 1, 2.5 * np.cos(rows / 48) - 1.5], -1)


def pair(warp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a textured moving frame and the fixed frame that the warp makes of it, both a little noisy."""
    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3) + 3 * ndimage.gaussian_filter(
        rng.normal(size=(SIDE, SIDE)), 12
    )
    moving = 0.1 + 0.8 * (texture - texture.min()) / np.ptp(texture)
    rows, columns = grid()
    fixed = ndimage.map_coordinates(moving, [rows + warp[..., 0], columns + warp[..., 1]], order=1, mode="nearest")
    noise = rng.normal(0, 0.004, (2, SIDE, SIDE))
    return (moving + noise[0]).astype(np.float32), (fixed + noise[1]).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "true", "bound"),
    [
        ("pixel shift", shifted(), 0.5),
        ("elastix rigid", turned(), 0.1),
        ("elastix affine", sheared(), 0.1),
        ("elastix B-spline", bent(), 0.6),
        ("ANTs SyN", bent(), 0.4),
        ("symmetric demons", bent(), 0.6),
        ("DIS flow", bent(), 0.8),
        ("TV-L1 flow", bent(), 0.6),
        ("DeepFlow", bent(), 0.6),
    ],
)
def test_known_warp_is_found(elsewhere, name, true, bound):
    moving, fixed = pair(true)
    (warp,), seconds = elsewhere.submit(peer(name).warps, moving, fixed[None]).result()
    assert warp.shape == (SIDE, SIDE, 2)
    assert warp.dtype == np.float32
    assert seconds > 0
    inside = slice(MARGIN, -MARGIN)
    error = np.linalg.norm(warp - true, axis=-1)[inside, inside]
    unregistered = np.linalg.norm(true, axis=-1)[inside, inside]
    assert error.mean() < bound
    assert error.mean() < 0.25 * unregistered.mean()


def test_none_is_plain_dsa():
    moving, fixed = pair(shifted())
    np.testing.assert_array_equal(none(moving, fixed), np.zeros((SIDE, SIDE, 2), np.float32))


def test_pixel_shift_on_a_torus_is_theirs_up_to_the_taper():
    moving, _ = pair(shifted())
    found = pixel_shift(moving, np.roll(moving, (-7, 4), (0, 1)), smoothing=4, reach=32)
    np.testing.assert_allclose(found[0, 0], [7, -4], atol=0.1)


def test_pixel_shift_goes_no_farther_than_its_reach():
    moving, _ = pair(shifted())
    found = pixel_shift(moving, np.roll(moving, (-20, 0), (0, 1)), smoothing=4, reach=8)
    assert np.abs(found).max() <= 9


def test_level_between_frames_is_taken_out_whatever_the_iodine():
    rng = np.random.default_rng(0)
    moving = rng.uniform(0.2, 0.8, (64, 64)).astype(np.float32)
    fixed = moving + np.float32(0.05)
    fixed[:20] -= np.float32(0.3)  # less than half the pixels
    np.testing.assert_allclose(level_frame(moving, fixed), moving + 0.05, atol=1e-6)


def test_blades_are_not_lit_but_a_dark_filling_is():
    frame = np.full((64, 64), 0.5, np.float32)
    frame[:, :12] = 0
    frame[30:34, 40:44] = 0  # smaller than any blade
    found = lit(frame)
    assert not found[:, :12].any()
    assert found[:, 24:].all()


def test_frame_without_light_is_looked_at_as_a_whole():
    assert lit(np.zeros((32, 32), np.float32)).all()
