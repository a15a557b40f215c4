"""A registered run is what the equations say, restated with SciPy and the bare network."""

import h5py
import numpy as np
import pytest
from scipy import ndimage

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.background import Background
from angiomorph.errors import InputError
from angiomorph.intensity import Normalisation, normalise
from angiomorph.layers import resize_frames, resize_warp
from angiomorph.registration import Model, Predictor, Registration, _worthwhile, register_series
from tests.runs import SIZE, TINY, phantom, save_tiny_model, series


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5")


@pytest.fixture(scope="module")
def model(model_path):
    return Model(model_path)


def warped(image, warp):
    """Return image(x + warp(x)), bilinear, edges replicated."""
    at = np.indices(image.shape) + np.moveaxis(warp.astype(np.float64), -1, 0)
    return ndimage.map_coordinates(image.astype(np.float64), at, order=1, mode="nearest")


def averaged(values, numbers):
    return np.mean([values[number - 1] for number in numbers], axis=0, dtype=np.float64)


def test_the_tiny_models_warps_are_worth_testing_with(model):
    result = register_series(series(phantom()), model, background="1-2")
    assert 1 < np.abs(result.warp).max() < 30
    assert np.abs(result.warp).std(axis=(0, 1, 2)).min() > 0.1


@pytest.mark.parametrize("shape", [(3, 50, 37), (2, 100, 130)])
def test_bsa_is_frame_minus_warped_background(model, shape):
    run = series(phantom(shape, filled=2))
    result = register_series(run, model, background="1-2")
    values = np.log(run.frames.astype(np.float32))
    reference = averaged(values, (1, 2))
    assert result.bsa.shape == result.dsa.shape == result.moved.shape == run.frames.shape
    assert result.warp.shape == (*run.frames.shape, 2)
    assert {array.dtype.name for array in (result.bsa, result.dsa, result.moved, result.warp)} == {"float32"}
    np.testing.assert_array_equal(result.bsa, values - result.moved)
    np.testing.assert_allclose(result.dsa, values - reference, atol=1e-5)
    for moved, warp in zip(result.moved, result.warp, strict=True):
        np.testing.assert_allclose(moved, warped(reference, warp), atol=2e-5)
    assert (result.background.numbers, result.background.choice) == ((1, 2), "number")
    assert (result.units, result.intensity, result.hyper) == ("ln(intensity)", "log", 0.6)


def bare_flow(model_path, moving, fixed, hyper):
    """Return the flow of the bare Keras model, inputs `(H, W)` of the model's size."""
    network = tf.keras.models.load_model(model_path, compile=False)
    given = [np.float32(image)[None, ..., None] for image in (moving, fixed)]
    return network([*given, np.full((1, 1), hyper, np.float32)])[1].numpy()[0]


def test_the_warp_is_the_networks_flow_at_the_models_size(model, model_path):
    run = series(phantom((3, SIZE, SIZE)), relation="DISP")
    seen = normalise(run.frames.astype(np.float32), Normalisation(float(run.frames.min()), float(run.frames.max())))
    result = register_series(run, model, hyper=0.2, background="1")
    for t in range(3):
        np.testing.assert_allclose(result.warp[t], bare_flow(model_path, seen[0], seen[t], 0.2), atol=1e-4)


def test_larger_frames_shrink_to_the_models_size_and_the_warp_grows_with_them(model, model_path):
    run = series(phantom((3, 2 * SIZE, 2 * SIZE)), relation="DISP")
    seen = normalise(run.frames.astype(np.float32), Normalisation(float(run.frames.min()), float(run.frames.max())))
    small = seen.reshape(3, SIZE, 2, SIZE, 2).mean((2, 4))
    np.testing.assert_allclose(resize_frames(tf.constant(seen), (SIZE, SIZE)), small, atol=1e-6)
    result = register_series(run, model, background="1")
    flow = bare_flow(model_path, small[0], small[2], 0.6)
    # Bilinear growth by two: each large pixel lies a quarter between small ones.
    at = np.indices((2 * SIZE, 2 * SIZE)) / 2 - 0.25
    for axis in (0, 1):
        grown = 2 * ndimage.map_coordinates(flow[..., axis].astype(np.float64), at, order=1, mode="nearest")
        np.testing.assert_allclose(result.warp[2, ..., axis], grown, atol=2e-3)


def test_frames_smaller_than_the_model_keep_their_pixels(model, model_path):
    run = series(phantom((2, 48, 32)), relation="DISP")
    seen = normalise(run.frames.astype(np.float32), Normalisation(float(run.frames.min()), float(run.frames.max())))
    network = networks.AngioMorph.load(model_path, inshape=(48, 32))
    given = [seen[:1, ..., None], seen[1:, ..., None], np.full((1, 1), 0.6, np.float32)]
    result = register_series(run, model, background="1")
    np.testing.assert_allclose(result.warp[1], network(given)[1].numpy()[0], atol=1e-4)


def test_padding_does_not_reach_the_result(model):
    """The padded part repeats the edge, so a frame given with that edge already on it has the same warp."""
    frames = phantom((3, 60, 60))
    wide = np.pad(frames, [(0, 0), (0, 4), (0, 4)], mode="edge")
    one, other = (register_series(series(run, "DISP"), model, background="1") for run in (frames, wide))
    np.testing.assert_allclose(one.warp, other.warp[:, :60, :60], atol=1e-5)


@pytest.mark.parametrize(("relation", "units", "mode"), [("LIN", "ln(intensity)", "log"), ("LOG", "stored value", "linear")])
def test_logarithmic_runs_are_subtracted_as_stored(model, relation, units, mode):
    run = series(phantom((3, 32, 32)), relation)
    result = register_series(run, model, background="2")
    values = run.frames.astype(np.float32)
    values = np.log(values) if relation == "LIN" else values
    np.testing.assert_array_equal(result.bsa, values - result.moved)
    np.testing.assert_array_equal(result.dsa, values - values[1])
    assert (result.units, result.intensity) == (units, mode)
    np.testing.assert_array_equal(result.dsa[1], 0)


def test_a_model_of_linear_intensity_sees_linear_frames_and_still_subtracts_logarithms(tmp_path, model):
    path = save_tiny_model(tmp_path / "linear.h5", intensity="linear")
    run = series(phantom((3, 32, 32)))
    result = register_series(run, Model(path), background="1")
    assert (result.intensity, result.units) == ("linear", "ln(intensity)")
    np.testing.assert_array_equal(result.dsa, np.log(run.frames.astype(np.float32)) - np.log(run.frames[0].astype(np.float32)))
    asked = register_series(run, model, background="1", intensity="linear")
    np.testing.assert_array_equal(result.warp, asked.warp)
    assert not np.array_equal(result.warp, register_series(run, model, background="1").warp)


def test_a_model_of_logarithmic_intensity_takes_runs_that_are_logarithmic_already(tmp_path):
    logarithmic = Model(save_tiny_model(tmp_path / "log.h5", intensity="log"))
    assert register_series(series(phantom((2, 32, 32)), "LOG"), logarithmic, background="1").intensity == "linear"
    assert register_series(series(phantom((2, 32, 32)), "DISP"), logarithmic, background="1").intensity == "log"
    with pytest.raises(InputError, match="logarithmic already"):
        register_series(series(phantom((2, 32, 32)), "LOG"), logarithmic, background="1", intensity="log")


def test_eight_bits_and_zeros(model):
    frames = phantom((3, 32, 32), bits=8)
    frames[:, :4] = 0
    result = register_series(series(frames), model, background="1")
    assert np.isfinite(result.bsa).all()
    np.testing.assert_array_equal(result.dsa[:, :4], 0)


def test_a_constant_run_is_subtracted_to_nothing(model):
    result = register_series(series(np.full((3, 32, 32), 700, np.uint16)), model, background="1")
    np.testing.assert_allclose(result.bsa, 0, atol=1e-5)
    assert np.isfinite(result.warp).all()


def test_the_batch_size_changes_nothing(model):
    run = series(phantom((5, 48, 48)))
    one = register_series(run, model, background="1", batch_size=1)
    for batch_size in (2, 100):
        many = register_series(run, model, background="1", batch_size=batch_size)
        np.testing.assert_allclose(many.warp, one.warp, atol=1e-4)
        np.testing.assert_allclose(many.bsa, one.bsa, atol=1e-4)


def test_lambda_reaches_the_network(model):
    run = series(phantom((2, 32, 32)))
    low, high = (register_series(run, model, background="1", hyper=hyper) for hyper in (0.0, 1.0))
    assert (low.hyper, high.hyper) == (0.0, 1.0)
    assert np.abs(low.warp - high.warp).max() > 1e-4


@pytest.mark.parametrize("hyper", [-0.1, 1.1, float("nan")])
def test_lambda_outside_its_range_is_refused(model, hyper):
    with pytest.raises(InputError, match="--lambda: expected a number from 0 to 1"):
        register_series(series(phantom((2, 32, 32))), model, hyper=hyper)


def test_a_network_of_more_levels_gets_frames_that_it_can_halve(tmp_path):
    deep = networks.AngioMorph((64, 64), nb_unet_features=[[2] * 6, [2] * 6], hyp_units=[4])
    deep.metadata.update(size=64)
    networks.save(deep, tmp_path / "deep.h5")
    result = register_series(series(phantom((2, 40, 48))), Model(tmp_path / "deep.h5"), background="1")
    assert result.warp.shape == (2, 40, 48, 2)


def test_the_models_own_words(model, model_path):
    assert (model.size, model.intensity, model.hyper) == (SIZE, "auto", 0.6)
    assert model.sha256 == networks.sha256(model_path)


def test_a_model_that_is_not_whole_is_refused_when_it_is_opened(tmp_path, model_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(model_path.read_bytes())
    with h5py.File(damaged, "a") as file:
        del file["model_weights/angiomorph_flow"]
    with pytest.raises(InputError, match=r"damaged\.h5: expected a whole model \(\.h5\), but it cannot be rebuilt"):
        Model(damaged)
    whole = model_path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.h5: expected a model"):
        Model(tmp_path / "cut.h5")


def test_the_guard_leaves_still_frames_as_they_are_and_lets_a_gain_pass(tmp_path):
    # As constructed the network's flow is all but zero: refinement alone finds the shift.
    networks.save(networks.AngioMorph((48, 48), [[4, 4], [4, 4, 4]], [4, 8]), tmp_path / "new.h5")
    model = Model(tmp_path / "new.h5")
    rng = np.random.default_rng(5)
    texture = ndimage.gaussian_filter(rng.random((48, 48)), 2)
    base = 1000 + 2000 * (texture - texture.min()) / np.ptp(texture)
    moving = np.stack([base, base, ndimage.shift(base, (0, 2), mode="nearest")])
    run = series((moving + rng.normal(0, 5, moving.shape)).astype(np.uint16))
    free = register_series(run, model, background="1", hyper=0.3, refine_steps=60)
    guarded = register_series(run, model, background="1", hyper=0.3, refine_steps=60, guard=True)
    assert free.warp[1].any()
    assert not guarded.warp[1].any()
    np.testing.assert_array_equal(guarded.bsa[1], guarded.dsa[1])
    np.testing.assert_array_equal(guarded.warp[2], free.warp[2])
    assert np.std(guarded.bsa[2][8:-8, 8:-8]) < 0.5 * np.std(guarded.dsa[2][8:-8, 8:-8])


def test_the_guard_does_not_count_what_is_saturated_in_frame_or_background():
    """Air that is saturated in one exposure and not in the other is lighter than the level, though nothing moves."""
    rng = np.random.default_rng(6)
    noise = rng.normal(0, 0.01, (3, 48, 48)).astype(np.float32)
    gain = np.zeros((3, 48, 48), np.float32)
    gain[1:, :, 36:] = 0.5  # what a warp takes away
    zero = np.zeros_like(noise)
    background, field = Background((1,), "number"), np.ones((48, 48), bool)
    warped = Registration(noise, noise + gain, zero, np.zeros((3, 48, 48, 2)), background, "", "log", 0.5, 1, 0, field)
    seen = np.full((3, 48, 48), 0.5)
    frames = np.full((3, 48, 48), 2000, np.uint16)
    assert _worthwhile(warped, seen, series(frames)).tolist() == [False, True, True]
    frames[1, :, 36:] = 4095
    assert _worthwhile(warped, seen, series(frames)).tolist() == [False, False, True]
    frames[0, :, 36:] = 4095
    assert not _worthwhile(warped, seen, series(frames)).any()
    frames[:] = 4095
    assert not _worthwhile(warped, seen, series(frames)).any()


def test_the_guard_does_not_count_what_the_warp_brings_from_behind_a_collimator_or_beyond_the_frame():
    """A shift by 9 columns takes a motion away; at the right it brings the blade, and repeats the frame's edge at the left."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 0.01, (3, 64, 64)).astype(np.float32)
    gain, rim = np.zeros_like(noise), np.zeros_like(noise)
    gain[:, :, 20:30] = 0.1
    rim[1, :, 43:52] = 5  # within 9 columns of the blade
    rim[2, :, :9] = 5
    warp = np.zeros((3, 64, 64, 2), np.float32)
    warp[1, ..., 1], warp[2, ..., 1] = 9, -9
    seen = np.full((3, 64, 64), 0.5)
    seen[:, :, 52:] = 0
    background, zero = Background((1,), "number"), np.zeros_like(noise)

    def worthwhile(warp):
        moved = Registration(noise + rim, noise + gain, zero, warp, background, "", "log", 0.5, 1, 0, np.ones((64, 64), bool))
        return _worthwhile(moved, seen, series(np.full((3, 64, 64), 2000, np.uint16))).tolist()

    assert worthwhile(warp) == [True, True, True]
    assert worthwhile(np.zeros_like(warp)) == [True, False, False]
    assert worthwhile(4 * warp) == [True, False, False]  # of which too little is known


def test_a_finer_level_sees_the_background_as_the_coarser_moved_it(model_path):
    coarse = networks.AngioMorph.load(model_path)
    fine = networks.AngioMorph((2 * SIZE, 2 * SIZE), **TINY)
    fine.set_weights(coarse.get_weights())
    rng = np.random.default_rng(0)
    moving, fixed = ndimage.gaussian_filter(rng.random((2, 2 * SIZE, 2 * SIZE)), (0, 3, 3)).astype(np.float32)
    moving, fixed = (moving - moving.min()) / np.ptp(moving), (fixed - fixed.min()) / np.ptp(fixed)
    hyper = np.full((1, 1), 0.5, np.float32)

    def small(image):
        return image.reshape(SIZE, 2, SIZE, 2).mean((1, 3))[None, ..., None]

    first = resize_warp(coarse([small(moving), small(fixed), hyper])[1], moving.shape)[0].numpy()
    moved = warped(moving, first).astype(np.float32)
    second = fine([moved[None, ..., None], fixed[None, ..., None], hyper])[1][0].numpy()
    expected = second + np.stack([warped(part, second) for part in np.moveaxis(first, -1, 0)], axis=-1)
    (found,) = Predictor(coarse).warps(moving, fixed[None], 0.5, 4, levels=2)
    np.testing.assert_allclose(found[0], expected, atol=2e-3)
    assert np.abs(second).max() > 1


def test_levels_are_the_models_unless_said_and_no_more_than_the_frames_have(tmp_path):
    model = Model(save_tiny_model(tmp_path / "m.h5", levels=2))
    run = series(phantom((3, 128, 128)))
    own, one, two, three = (register_series(run, model, levels=levels) for levels in (None, 1, 2, 3))
    assert [result.levels for result in (own, one, two, three)] == [2, 1, 2, 3]
    np.testing.assert_array_equal(own.warp, two.warp)
    np.testing.assert_array_equal(own.warp, three.warp)
    assert np.abs(own.warp - one.warp).max() > 0.5
    with pytest.raises(InputError, match="--levels: expected a number of levels from 1, got 0"):
        register_series(run, model, levels=0)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_model_of_truth_is_refined_by_further_rounds_of_its_finer_levels(tmp_path, levels):
    model = Model(save_tiny_model(tmp_path / "m.h5", image_loss="truth", image_sigma=0.1, levels=levels))
    run = series(phantom((3, levels * SIZE, levels * SIZE)), relation="DISP")
    seen = normalise(run.frames.astype(np.float32), Normalisation(float(run.frames.min()), float(run.frames.max())))
    once, again = (register_series(run, model, background="1", refine_steps=steps) for steps in (0, 1))
    assert (once.refine, again.refine) == (0, 1)
    network = networks.AngioMorph(seen.shape[1:], **TINY)
    network.set_weights(networks.AngioMorph.load(tmp_path / "m.h5").get_weights())
    for t in range(3):
        moved = warped(seen[0], once.warp[t]).astype(np.float32)
        own = network([moved[None, ..., None], seen[t][None, ..., None], np.full((1, 1), 0.6, np.float32)])[1][0].numpy()
        expected = own + np.stack([warped(part, own) for part in np.moveaxis(once.warp[t], -1, 0)], axis=-1)
        np.testing.assert_allclose(again.warp[t], expected, atol=5e-3)
    assert np.abs(again.warp - once.warp).max() > 0.5


def test_refinement_is_the_models_own_where_none_is_named(tmp_path):
    run = series(phantom((3, 64, 64)))
    for image_loss, steps in (("truth", 0), ("vle", 40)):
        model = Model(save_tiny_model(tmp_path / "m.h5", image_loss=image_loss))
        own, named = (register_series(run, model, refine_steps=given) for given in (None, steps))
        assert own.refine == steps
        np.testing.assert_array_equal(own.warp, named.warp)


def test_a_warp_that_is_not_a_number_comes_back_from_every_level():
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    frames = np.random.default_rng(0).random((2, 2 * SIZE, 2 * SIZE), np.float32)
    for levels in (1, 2):
        (found,) = Predictor(network).warps(frames[0], frames[1:], 0.5, 4, levels=levels)
        assert np.isnan(found).all()
