"""The fast hyper-convolution and the warp against neurite, VoxelMorph and SciPy; resampling by hand."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.backend import ne, tf, vxm
from angiomorph.networks.layers import HyperConv2DFromDense, UpsampledHyperConv2DFromDense, add_bias
from angiomorph.networks.warp import FinerWindow, compose_warps, resize_frames, resize_warp, warp_frames, window


def pair_of_layers():
    rng = np.random.default_rng(0)
    inputs = tf.keras.Input((8, 8, 3)), tf.keras.Input((5,))
    layers = [kind(4, kernel_size=3, padding="same") for kind in (HyperConv2DFromDense, ne.layers.HyperConv2DFromDense)]
    models = [tf.keras.Model(inputs, layer(inputs)) for layer in layers]
    layers[0].set_weights([rng.normal(size=weight.shape) for weight in layers[0].get_weights()])
    layers[1].set_weights(layers[0].get_weights())
    features = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    return models, layers, features


@pytest.mark.parametrize("shared", [True, False])
def test_hyper_convolution_equals_neurite(shared):
    models, _, features = pair_of_layers()
    hyper = np.random.default_rng(1).normal(size=(1 if shared else 4, 5)).astype(np.float32)
    hyper = np.broadcast_to(hyper, (4, 5))
    fast, stock = (model([features, hyper]) for model in models)
    np.testing.assert_allclose(fast, stock, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_hyper_convolution_has_neurite_gradients(shared):
    models, layers, features = pair_of_layers()
    hyper = np.random.default_rng(1).normal(size=(1 if shared else 4, 5)).astype(np.float32)
    hyper = tf.constant(np.broadcast_to(hyper, (4, 5)))
    gradients = []
    for model, layer in zip(models, layers, strict=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model([features, hyper]) ** 2)
        gradients.append(tape.gradient(loss, layer.trainable_weights))
    for fast, stock in zip(*gradients, strict=True):
        np.testing.assert_allclose(fast, stock, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_upsampled_hyper_convolution_equals_joining(shared):
    rng = np.random.default_rng(4)
    given = tf.keras.Input((4, 6, 3)), tf.keras.Input((8, 12, 2)), tf.keras.Input((5,))
    fast, stock = (
        UpsampledHyperConv2DFromDense(4, kernel_size=3, padding="same"),
        ne.layers.HyperConv2DFromDense(4, kernel_size=3, padding="same"),
    )
    joined = tf.keras.layers.concatenate([tf.keras.layers.UpSampling2D(2)(given[0]), given[1]])
    models = tf.keras.Model(given, fast(given)), tf.keras.Model(given, stock([joined, given[2]]))
    fast.set_weights([rng.normal(size=weight.shape) for weight in fast.get_weights()])
    stock.set_weights(fast.get_weights())
    hyper = np.broadcast_to(rng.normal(size=(1 if shared else 3, 5)), (3, 5))
    inputs = [tf.constant(each, tf.float32) for each in (rng.normal(size=(3, 4, 6, 3)), rng.normal(size=(3, 8, 12, 2)), hyper)]
    results = []
    for model, layer in zip(models, (fast, stock), strict=True):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = model(inputs)
            loss = tf.reduce_mean(output**2)
        # By λ's features the shared form gives the whole gradient to the first row; their sum is the same.
        *by_features, by_hyper = tape.gradient(loss, [*layer.trainable_weights, *inputs])
        results.append([output, *by_features, tf.reduce_sum(by_hyper, axis=0)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def random_warp(seed: int, shape=(2, 20, 15), size=6.0):
    rng = np.random.default_rng(seed)
    return rng.random(shape).astype(np.float32), (size * rng.normal(size=(*shape, 2))).astype(np.float32)


def test_warp_equals_voxelmorph_inside_and_beyond_the_edges():
    frames, warp = random_warp(0)
    expected = vxm.layers.SpatialTransformer()([frames[..., None], warp])[..., 0]
    np.testing.assert_allclose(warp_frames(frames, warp), expected, atol=1e-5)


def test_warp_equals_scipy():
    frames, warp = random_warp(1)
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(15), indexing="ij"))
    for frame, displacement, moved in zip(frames, warp, warp_frames(frames, warp), strict=True):
        location = grid + np.moveaxis(displacement, -1, 0)
        np.testing.assert_allclose(moved, ndimage.map_coordinates(frame, location, order=1, mode="nearest"), atol=1e-5)


def test_warp_points_from_the_moved_frame_into_the_background():
    frames = np.zeros((1, 16, 16), np.float32)
    frames[0, 10, 8] = 1
    warp = np.zeros((1, 16, 16, 2), np.float32)
    warp[..., 0] = 3
    assert np.argwhere(warp_frames(frames, warp).numpy()[0]).tolist() == [[7, 8]]


def test_gradients_of_the_warp_equal_finite_differences():
    frames, warp = random_warp(2, (1, 6, 5), 0.8)
    weights = tf.constant(np.random.default_rng(3).normal(size=(1, 6, 5)), tf.float32)
    variable = tf.Variable(warp)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * warp_frames(frames, variable))
    gradient = tape.gradient(loss, variable).numpy()
    index, step = (0, 3, 2, 1), 1e-3
    ahead, behind = warp.copy(), warp.copy()
    ahead[index] += step
    behind[index] -= step
    numeric = tf.reduce_sum(weights * (warp_frames(frames, ahead) - warp_frames(frames, behind))) / (2 * step)
    np.testing.assert_allclose(gradient[index], numeric, rtol=2e-2, atol=1e-3)


def test_shrinking_takes_the_mean_of_each_area():
    frames = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    np.testing.assert_allclose(resize_frames(tf.constant(frames), (2, 2))[0], [[2.5, 4.5], [10.5, 12.5]])


def test_a_constant_shift_scales_with_the_frame():
    warp = tf.fill([1, 4, 8, 2], 1.5)
    resized = resize_warp(warp, (8, 24)).numpy()
    np.testing.assert_allclose(resized[..., 0], 3.0)
    np.testing.assert_allclose(resized[..., 1], 4.5)


def test_a_linear_warp_stays_the_same_map_at_another_size():
    rows = np.arange(16, dtype=np.float32)
    warp = np.zeros((1, 16, 16, 2), np.float32)
    warp[..., 0] = 0.1 * (rows[:, None] + 0.5)
    fine = resize_warp(tf.constant(warp), (32, 32)).numpy()
    expected = 0.1 * (np.arange(32) + 0.5)
    np.testing.assert_allclose(fine[0, 2:-2, 5, 0], expected[2:-2], rtol=1e-4)


@pytest.mark.parametrize("kind", [tf.float32, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("each", [True, False])
def test_the_gradient_of_a_bias_is_the_sum_over_pixels(kind, each):
    rng = np.random.default_rng(0)
    features = tf.cast(rng.normal(size=(2, 128, 128, 3)), kind)
    weight = tf.cast(1 + rng.random((2, 128, 128, 3)), kind)
    bias = tf.constant(rng.normal(size=(2, 3) if each else 3), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([features, bias])
        added = add_bias(features, bias)
        loss = tf.reduce_sum(tf.cast(added, tf.float32) * tf.cast(weight, tf.float32))
    of_features, of_bias = tape.gradient(loss, [features, bias])
    rounded = tf.cast(bias, kind).numpy().astype(float)
    expected = features.numpy().astype(float) + (rounded[:, None, None] if each else rounded)
    np.testing.assert_allclose(added.numpy().astype(float), expected, rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(of_features, weight)
    np.testing.assert_allclose(of_bias, weight.numpy().astype(float).sum((1, 2) if each else (0, 1, 2)), rtol=1e-5)


def test_a_composed_warp_moves_as_the_one_and_then_the_other():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 2, 40, 48, 2)), (0, 0, 4, 4, 0)).astype(np.float32) * 20
    slope = np.stack([np.indices((40, 48)).sum(0)] * 2).astype(np.float32)  # which bilinear interpolation changes nothing of
    composed = compose_warps(smooth[0], smooth[1])
    one_by_one = warp_frames(warp_frames(slope, smooth[0]), smooth[1])
    inner = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_allclose(warp_frames(slope, composed)[inner], one_by_one[inner], atol=1e-3)
    assert np.abs(composed - smooth[0] - smooth[1]).max() > 0.1


def test_whole_pixels_compose_by_hand():
    first = np.zeros((1, 1, 4, 2), np.float32)
    first[0, 0, :, 1] = [0, 1, 2, 3]
    second = np.broadcast_to(np.array([0, 1], np.float32), first.shape)
    np.testing.assert_array_equal(compose_warps(first, second)[0, 0, :, 1], [2, 3, 4, 4])


def test_a_window_has_its_own_corner_in_each_frame():
    frames = np.arange(2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6, 1)
    found = window(tf.constant(frames), tf.constant([[0, 3], [2, 1]]), (2, 3))
    np.testing.assert_array_equal(found[0], frames[0, 0:2, 3:6])
    np.testing.assert_array_equal(found[1], frames[1, 2:4, 1:4])


def test_a_finer_window_is_cut_from_moved_backgrounds():
    rng = np.random.default_rng(0)
    fixed, moving, clean = rng.random((3, 1, 16, 16, 1)).astype(np.float32)
    warp = tf.constant(np.broadcast_to(np.float32([0.5, 1]), (1, 8, 8, 2)))  # a row and two columns at twice the size
    with tf.GradientTape() as tape:
        tape.watch(warp)
        found = FinerWindow()([warp, tf.constant([[2, 5]]), fixed, moving, clean])
        total = tf.add_n([tf.reduce_sum(each) for each in found])
    assert tape.gradient(total, warp) is None
    np.testing.assert_array_equal(found[0], fixed[:, 2:10, 5:13])
    for image, cut in zip((moving, clean), found[1:], strict=True):
        np.testing.assert_allclose(cut, image[:, 3:11, np.minimum(np.arange(7, 15), 15)], atol=1e-6)
