"""The losses against hand-computed values, NumPy restatements of the equations, and what they exist for."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.backend import tf, vxm
from angiomorph.networks.losses import (
    BESIDE,
    MSE,
    NOISE,
    PART,
    SIMILARITIES,
    VLE,
    GradientPenalty,
    MinMax,
    Truth,
    contrast_error,
    iodine,
    local_contrast_error,
    min_pool2d,
    vessel_layer,
)

ALL = [MSE, MinMax, VLE, Truth]
SIGMA = 0.3


def frames(seed: int = 0, shape: tuple[int, ...] = (3, 9, 7, 1)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fixed, moved = rng.random((2, *shape)).astype(np.float32)
    return fixed, moved


def numpy_mse(fixed, moved):
    return np.mean((moved - fixed) ** 2, axis=(1, 2, 3))


def numpy_minmax(fixed, moved):
    low, high = np.minimum(moved, fixed), np.maximum(moved, fixed)
    return (numpy_mse(fixed, low) + numpy_mse(moved, high)) / 2


def numpy_vle(fixed, moved, kernel_size=3):
    size = (1, kernel_size, kernel_size, 1)
    low = ndimage.minimum_filter(moved, size=size, mode="constant", cval=np.inf)
    layer = (fixed - moved) * (fixed < low)
    return numpy_mse(fixed - layer, moved)


def numpy_truth(fixed, moved):
    return (moved - fixed).var(axis=(1, 2, 3))


RESTATED = {MSE: numpy_mse, MinMax: numpy_minmax, VLE: numpy_vle, Truth: numpy_truth}

# One row of three pixels: the second is 0.6 darker than its background (iodine), the third 0.3 lighter (motion).
BACKGROUND = np.array([0.8, 0.8, 0.5], np.float32).reshape(1, 1, 3, 1)
CONTRAST = np.array([0.8, 0.2, 0.8], np.float32).reshape(1, 1, 3, 1)
BY_HAND = {
    MSE: (0.6**2 + 0.3**2) / 3,
    MinMax: 0.3**2 / 3,
    VLE: 0.3**2 / 3,
    Truth: (0.1**2 + 0.5**2 + 0.4**2) / 3,  # about the mean error 0.1
}


@pytest.mark.parametrize("loss", ALL)
def test_hand_computed_value(loss):
    value = loss(image_sigma=SIGMA).call(CONTRAST, BACKGROUND)
    np.testing.assert_allclose(value, [BY_HAND[loss] / SIGMA**2], rtol=1e-6)


def test_vle_does_not_forgive_what_a_neighbour_could_explain():
    # 0.6 lies below its own background pixel 0.8 but not below the neighbour 0.5: motion could have brought it here.
    fixed = np.array([0.8, 0.6, 0.5], np.float32).reshape(1, 1, 3, 1)
    moved = np.array([0.8, 0.8, 0.5], np.float32).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(VLE(image_sigma=1.0).call(fixed, moved), [0.2**2 / 3], rtol=1e-5)
    np.testing.assert_allclose(MinMax(image_sigma=1.0).call(fixed, moved), [0.0], atol=1e-8)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("seed", range(3))
def test_equals_numpy_restatement(loss, seed):
    fixed, moved = frames(seed)
    np.testing.assert_allclose(loss(image_sigma=SIGMA).call(fixed, moved), RESTATED[loss](fixed, moved) / SIGMA**2, rtol=1e-5)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_vle_equals_restatement_at_any_kernel_size(kernel_size):
    fixed, moved = frames(4)
    expected = numpy_vle(fixed, moved, kernel_size)
    np.testing.assert_allclose(VLE(image_sigma=1.0, kernel_size=kernel_size).call(fixed, moved), expected, rtol=1e-5)


def test_minmax_is_the_mean_square_of_lightening_alone():
    fixed, moved = frames(1)
    expected = np.mean(np.maximum(fixed - moved, 0) ** 2, axis=(1, 2, 3)) / SIGMA**2
    np.testing.assert_allclose(MinMax().call(fixed, moved), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ALL)
def test_zero_at_perfect_registration(loss):
    fixed, _ = frames()
    np.testing.assert_array_equal(loss().call(fixed, fixed), np.zeros(3))


@pytest.mark.parametrize("loss", ALL)
def test_one_value_a_sample_and_batch_equals_one_by_one(loss):
    fixed, moved = frames()
    together = loss().call(fixed, moved)
    assert together.shape == (3,)
    alone = [loss().call(fixed[i : i + 1], moved[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize("loss", [*ALL, GradientPenalty])
def test_sample_weights_pair_with_their_sample(loss):
    fixed, moved = frames(2, (4, 8, 8, 2 if loss is GradientPenalty else 1))
    weights = np.array([0.0, 0.25, 0.5, 1.0], np.float32)
    expected = np.mean(weights * loss().call(fixed, moved))
    np.testing.assert_allclose(loss()(fixed, moved, sample_weight=weights), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [*ALL, GradientPenalty])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_gradient_is_finite_on_constant_frames(loss, value):
    fixed = tf.fill([2, 8, 8, 1], value)
    moved = tf.Variable(tf.fill([2, 8, 8, 1], value))
    with tf.GradientTape() as tape:
        result = loss()(fixed, moved)
    assert np.isfinite(tape.gradient(result, moved)).all()


@pytest.mark.parametrize("loss", [*ALL, GradientPenalty])
def test_float16_frames_give_float32_values(loss):
    fixed, moved = (array.astype(np.float16) for array in frames(3, (2, 8, 8, 1)))
    value = loss().call(fixed, moved)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, loss().call(fixed.astype(np.float32), moved.astype(np.float32)), rtol=1e-5)


def test_float16_does_not_lose_small_differences():
    fixed = np.full((1, 8, 8, 1), 0.5, np.float16)
    moved = fixed + np.float16(2**-11)
    assert float(MSE().call(fixed, moved)[0]) > 0


@pytest.mark.parametrize(
    "loss", [MSE(0.2), MinMax(0.2), VLE(0.2, kernel_size=5), Truth(0.2, 20.0), GradientPenalty(loss_mult=2.0)]
)
def test_config_round_trip(loss):
    again = tf.keras.losses.deserialize(tf.keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_added_contrast_costs_nothing_but_under_mse():
    rng = np.random.default_rng(5)
    background = ndimage.gaussian_filter(rng.random((1, 40, 40, 1)).astype(np.float32), (0, 3, 3, 0)) + 0.3
    contrast = background.copy()
    contrast[:, 18:22] -= 0.25
    cost = {loss: float(loss().call(contrast, background)[0]) for loss in ALL}
    assert cost[MSE] > 0.05
    assert cost[MinMax] == 0
    assert cost[VLE] == 0


def test_min_pool_equals_scipy_and_ignores_what_lies_outside():
    images, _ = frames(6)
    expected = ndimage.minimum_filter(images, size=(1, 5, 5, 1), mode="constant", cval=np.inf)
    np.testing.assert_array_equal(min_pool2d(images, 5), expected)


def test_vessel_layer_is_darker_than_all_neighbours():
    layer = vessel_layer(CONTRAST, BACKGROUND).numpy().ravel()
    np.testing.assert_allclose(layer, [0, -0.6, 0], atol=1e-7)


def test_gradient_penalty_by_hand_and_as_voxelmorph():
    flow = np.zeros((1, 3, 3, 2), np.float32)
    flow[0, 1, 1, 0] = 3.0
    # Along each axis: 2 of 6 differences of one component are +-3, over 12 differences of both.
    np.testing.assert_allclose(GradientPenalty().call(None, flow), [(2 * 9 / 12 + 2 * 9 / 12) / 2], rtol=1e-6)
    random = np.random.default_rng(7).normal(size=(2, 6, 5, 2)).astype(np.float32)
    theirs = vxm.losses.Grad("l2", 2.0).loss(None, tf.constant(random))
    np.testing.assert_allclose(GradientPenalty(loss_mult=2.0).call(None, random), theirs)


def test_gradient_penalty_of_a_linear_flow():
    row, column = np.meshgrid(np.arange(8), np.arange(6), indexing="ij")
    flow = np.stack([0.2 * row, 0.4 * column], -1)[None].astype(np.float32)
    # mean over both components of the squared slopes: (0.2**2 + 0)/2 down, (0 + 0.4**2)/2 across
    np.testing.assert_allclose(GradientPenalty().call(None, flow), [(0.04 / 2 + 0.16 / 2) / 2], rtol=1e-5)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="`image_sigma`: expected a positive number"):
        MSE(image_sigma=0)
    with pytest.raises(ValueError, match="`kernel_size`: expected an odd number"):
        VLE(kernel_size=4)
    with pytest.raises(ValueError, match="`contrast_weight`: expected a number from 0"):
        Truth(contrast_weight=-1.0)


def test_every_similarity_has_its_name():
    assert {"mse": MSE, "minmax": MinMax, "vle": VLE, "truth": Truth} == SIMILARITIES


def test_truth_takes_no_exposure_for_motion():
    fixed, moved = frames()
    np.testing.assert_allclose(Truth().call(fixed + 0.2, moved), Truth().call(fixed, moved), rtol=1e-4)
    np.testing.assert_allclose(Truth().call(moved - 0.1, moved), np.zeros(3), atol=1e-8)


def numpy_truth_of_contrast(clean, frame, moved, weight):
    error = moved - clean - np.mean(moved - clean, axis=(1, 2, 3), keepdims=True)
    # Beyond the frame counts for nothing: the mean is over what is inside.
    size, ones = (1, 3, 3, 1), np.ones_like(clean)
    pooled = [ndimage.uniform_filter(each, size, mode="constant") for each in (frame - clean, ones)]
    vessel = np.minimum(pooled[0] / pooled[1] + NOISE, 0)
    along = np.sum(error * vessel, axis=(1, 2, 3)) ** 2 / np.sum(vessel**2, axis=(1, 2, 3))
    local = numpy_local_contrast_error(error, vessel)
    return np.mean(error**2, axis=(1, 2, 3)) + weight * (along / error[0].size + local)


def numpy_local_contrast_error(error, vessel):
    """Loop over the parts: each as far as it lies in the frame, the first beginning half of what is too much before it."""
    size, ones = (1, BESIDE, BESIDE, 1), np.ones_like(vessel)
    share = ndimage.uniform_filter(ones, size, mode="constant")
    error, vessel = (each - ndimage.uniform_filter(each, size, mode="constant") / share for each in (error, vessel))
    stride, ends = PART // 4, []
    for side in vessel.shape[1:3]:
        count = -(-side // stride)
        before = max((count - 1) * stride + PART - side, 0) // 2
        ends.append([slice(max(first, 0), first + PART) for first in np.arange(count) * stride - before])
    energies = []
    for rows in ends[0]:
        for columns in ends[1]:
            e, v = error[:, rows, columns], vessel[:, rows, columns]
            along, length = ((each * v).mean((1, 2, 3)) for each in (e, v))
            energies.append(np.divide(along**2, length, out=np.zeros_like(along), where=length > 0))
    return np.mean(energies, axis=0)


@pytest.mark.parametrize("weight", [0.5, 20.0])
@pytest.mark.parametrize("shape", [(3, 9, 7, 1), (2, 48, 40, 1)])
def test_contrast_weight_equals_numpy_restatement(weight, shape):
    clean, moved = frames(5, shape)
    frame, _ = frames(6, shape)
    value = Truth(SIGMA, contrast_weight=weight).call(np.concatenate([clean, frame], -1), moved)
    np.testing.assert_allclose(value, numpy_truth_of_contrast(clean, frame, moved, weight) / SIGMA**2, rtol=1e-4)


def test_contrast_error_by_hand():
    # Of the error (0.3, 0.1) the vessel (-0.2, 0) is along the first pixel: 0.3² over 2 pixels.
    error, vessel = (np.array(values, np.float32).reshape(1, 1, 2, 1) for values in ([0.3, 0.1], [-0.2, 0]))
    np.testing.assert_allclose(contrast_error(error, vessel), [0.3**2 / 2], rtol=1e-6)


@pytest.mark.parametrize("kept", [0.7, 1.0, 1.2])
def test_contrast_error_is_the_contrast_lost_or_invented(kept):
    vessel = -np.abs(np.random.default_rng(0).normal(size=(2, 6, 6, 1))).astype(np.float32)
    bsa = kept * vessel  # frame - moved = vessel + clean - moved
    error = vessel - bsa
    np.testing.assert_allclose(contrast_error(error, vessel), (1 - kept) ** 2 * np.mean(vessel**2, (1, 2, 3)), atol=1e-6)


def test_darkness_beside_a_vessel_costs_local_contrast():
    vessel = np.zeros((1, 64, 64, 1), np.float32)
    vessel[:, :, 30:33] = -0.3
    ring = np.zeros_like(vessel)
    ring[:, :, 27:36] = -0.1
    ring[:, :, 30:33] = 0
    shade = np.broadcast_to(np.linspace(-0.1, 0.1, 64, dtype=np.float32)[None, :, None, None], vessel.shape)
    dark, broad = (float(local_contrast_error(error, vessel)[0]) for error in (ring, shade))
    assert dark > 1e-4
    assert broad < dark / 1000


@pytest.mark.parametrize("kept", [0.8, 1.0, 1.1])
def test_local_contrast_error_of_a_share_lost_everywhere(kept):
    vessel = -np.abs(np.random.default_rng(1).normal(size=(1, 64, 64, 1))).astype(np.float32)
    beside = vessel - ndimage.uniform_filter(vessel, (1, BESIDE, BESIDE, 1), mode="constant") / ndimage.uniform_filter(
        np.ones_like(vessel), (1, BESIDE, BESIDE, 1), mode="constant"
    )
    found = float(local_contrast_error((1 - kept) * vessel, vessel)[0])
    # Of random vessels every part has the same energy, but for its last few percent.
    np.testing.assert_allclose(found, (1 - kept) ** 2 * np.mean(beside**2), rtol=0.1, atol=1e-8)


def test_contrast_weight_counts_only_where_iodine_is():
    clean, moved = frames(7)
    noisy = clean + np.random.default_rng(0).uniform(-NOISE, NOISE, clean.shape).astype(np.float32)
    np.testing.assert_array_equal(iodine(clean, noisy), np.zeros_like(clean))
    weighted = Truth(SIGMA, contrast_weight=20.0).call(np.concatenate([clean, noisy], -1), moved)
    np.testing.assert_array_equal(weighted, Truth(SIGMA).call(clean, moved))


def test_contrast_weight_has_a_finite_gradient_without_iodine():
    clean = tf.fill([2, 8, 8, 1], 0.5)
    moved = tf.Variable(clean + tf.random.stateless_normal(clean.shape, [1, 2]))
    with tf.GradientTape() as tape:
        result = Truth(contrast_weight=20.0)(tf.concat([clean, clean], -1), moved)
    assert np.isfinite(tape.gradient(result, moved)).all()


def test_a_warp_that_eats_contrast_costs_more():
    clean = np.full((1, 16, 16, 1), 0.8, np.float32)
    frame = clean.copy()
    frame[:, 4:8, 4:8] -= 0.3
    eaten, elsewhere = clean.copy(), clean.copy()
    eaten[:, 4:8, 4:8] -= 0.1
    elsewhere[:, 10:14, 10:14] -= 0.1
    target = np.concatenate([clean, frame], -1)
    np.testing.assert_allclose(Truth().call(target, eaten), Truth().call(target, elsewhere), rtol=1e-5)
    loss = Truth(contrast_weight=20.0)
    assert loss.call(target, eaten)[0] > 5 * loss.call(target, elsewhere)[0]
