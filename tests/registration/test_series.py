"""A registered run is what the equations say, restated with SciPy and the bare network."""

import h5py
import numpy as np
import pytest
from scipy import ndimage

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.losses import VLE
from angiomorph.networks.warp import resize_frames, resize_warp
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.intensity import Normalisation, level, normalise
from angiomorph.registration import tensorflow_engine
from angiomorph.registration.model import Model
from angiomorph.registration.model_defaults import MODELS, SHIPPED
from angiomorph.registration.options import RegistrationOptions
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.refinement import refine
from angiomorph.registration.tensorflow_engine import TensorFlowEngine
from tests.runs import SIZE, TINY, phantom, save_tiny_model, series


def network_alone(run, model, **options):
    return model.register(run, RegistrationOptions(**{"refine": 0, "guard": False} | options))


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


def network_input(run):
    """Return the frames of a DISP run as the network is given them: normalised, and levelled to the first."""
    seen = normalise(run.frames.astype(np.float32), Normalisation(float(run.frames.min()), float(run.frames.max())))
    return level(seen, seen[0], np.ones(seen.shape[1:], bool), gain=True)


def averaged(values, numbers):
    return np.mean([values[number - 1] for number in numbers], axis=0, dtype=np.float64)


@pytest.mark.slow
def test_a_shipped_model_is_found_by_its_name():
    assert Model("truth").path == MODELS["truth"] == SHIPPED
    assert all(Model(name).defaults.image_loss == name for name in MODELS)
    with pytest.raises(InputError, match=r"reg-truth: expected a model"):
        Model("reg-truth")


@pytest.mark.slow
def test_the_tiny_models_warps_are_worth_testing_with(model):
    result = network_alone(series(phantom()), model, background="1-2")
    assert 1 < np.abs(result.warp).max() < 30
    assert np.abs(result.warp).std(axis=(0, 1, 2)).min() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 50, 37), (2, 100, 130)])
def test_bsa_is_frame_minus_warped_background(model, shape):
    run = series(phantom(shape, filled=2))
    result = network_alone(run, model, background="1-2")
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


@pytest.mark.slow
@pytest.mark.parametrize("background", ["auto", "tag"])
def test_frames_of_several_masks_are_registered_from_their_own(model, background):
    steps = (Step((1, 2), (1, 2, 3)), Step((5,), (4, 6)), Step((4,), (5,)))
    run = series(phantom((6, 48, 40), filled=3), background_numbers=(1, 2), steps=steps)
    assert model.register(run).weights.shape == (6,)
    result = network_alone(run, model, background=background)
    assert result.background.choice == "tag"
    for step in result.background.steps:
        alone = network_alone(run, model, background=f"{step.numbers[0]}-{step.numbers[-1]}")
        own = [number - 1 for number in step.frames]
        for name in ("bsa", "dsa", "moved", "warp"):
            np.testing.assert_allclose(getattr(result, name)[own], getattr(alone, name)[own], atol=1e-4)
    assert [step.frames for step in result.background.steps] == [step.frames for step in steps]
    if background == "tag":
        assert result.background.steps == steps
        assert result.background.numbers == (1, 2, 4, 5)
    assert network_alone(run, model, background="6").background.steps == ()


def bare_flow(model_path, moving, fixed, hyper):
    """Return the flow of the bare Keras model, inputs `(H, W)` of the model's size."""
    network = tf.keras.models.load_model(model_path, compile=False)
    given = [np.float32(image)[None, ..., None] for image in (moving, fixed)]
    return network([*given, np.full((1, 1), hyper, np.float32)])[1].numpy()[0]


@pytest.mark.slow
def test_the_warp_is_the_networks_flow_at_the_models_size(model, model_path):
    run = series(phantom((3, SIZE, SIZE)), relation="DISP")
    seen = network_input(run)
    result = network_alone(run, model, hyper=0.2, background="1")
    for t in range(3):
        np.testing.assert_allclose(result.warp[t], bare_flow(model_path, seen[0], seen[t], 0.2), atol=1e-4)


@pytest.mark.slow
def test_larger_frames_shrink_and_their_warp_grows_back(model, model_path):
    run = series(phantom((3, 2 * SIZE, 2 * SIZE)), relation="DISP")
    seen = network_input(run)
    small = seen.reshape(3, SIZE, 2, SIZE, 2).mean((2, 4))
    np.testing.assert_allclose(resize_frames(tf.constant(seen), (SIZE, SIZE)), small, atol=1e-6)
    result = network_alone(run, model, background="1")
    flow = bare_flow(model_path, small[0], small[2], 0.6)
    # Bilinear growth by two: each large pixel lies a quarter between small ones.
    at = np.indices((2 * SIZE, 2 * SIZE)) / 2 - 0.25
    for axis in (0, 1):
        grown = 2 * ndimage.map_coordinates(flow[..., axis].astype(np.float64), at, order=1, mode="nearest")
        np.testing.assert_allclose(result.warp[2, ..., axis], grown, atol=2e-3)


@pytest.mark.slow
def test_frames_smaller_than_the_model_keep_their_pixels(model, model_path):
    run = series(phantom((2, 48, 32)), relation="DISP")
    seen = network_input(run)
    network = networks.AngioMorph.load(model_path, inshape=(48, 32))
    given = [seen[:1, ..., None], seen[1:, ..., None], np.full((1, 1), 0.6, np.float32)]
    result = network_alone(run, model, background="1")
    np.testing.assert_allclose(result.warp[1], network(given)[1].numpy()[0], atol=1e-4)


def test_padding_does_not_reach_the_result(model):
    """The padded part repeats the edge, so a frame given with that edge already on it has the same warp."""
    frames = network_input(series(phantom((3, 60, 60)), "DISP"))
    wide = np.pad(frames, [(0, 0), (0, 4), (0, 4)], mode="edge")
    one, other = (np.concatenate(list(model.predictor.warps(given[0], given, 0.6, 4))) for given in (frames, wide))
    np.testing.assert_allclose(one, other[:, :60, :60], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("relation", "units", "mode"), [("LIN", "ln(intensity)", "log"), ("LOG", "stored value", "linear")])
def test_logarithmic_runs_are_subtracted_as_stored(model, relation, units, mode):
    run = series(phantom((3, 32, 32)), relation)
    result = network_alone(run, model, background="2")
    values = run.frames.astype(np.float32)
    values = np.log(values) if relation == "LIN" else values
    np.testing.assert_array_equal(result.bsa, values - result.moved)
    np.testing.assert_array_equal(result.dsa, values - values[1])
    assert (result.units, result.intensity) == (units, mode)
    np.testing.assert_array_equal(result.dsa[1], 0)


@pytest.mark.slow
def test_a_linear_model_still_subtracts_logarithms(tmp_path, model):
    path = save_tiny_model(tmp_path / "linear.h5", intensity="linear")
    run = series(phantom((3, 32, 32)))
    result = network_alone(run, Model(path), background="1")
    assert (result.intensity, result.units) == ("linear", "ln(intensity)")
    np.testing.assert_array_equal(result.dsa, np.log(run.frames.astype(np.float32)) - np.log(run.frames[0].astype(np.float32)))
    asked = network_alone(run, model, background="1", intensity="linear")
    np.testing.assert_array_equal(result.warp, asked.warp)
    assert not np.array_equal(result.warp, network_alone(run, model, background="1").warp)


@pytest.mark.slow
def test_a_logarithmic_model_takes_logarithmic_runs(tmp_path):
    logarithmic = Model(save_tiny_model(tmp_path / "log.h5", intensity="log"))
    assert network_alone(series(phantom((2, 32, 32)), "LOG"), logarithmic, background="1").intensity == "linear"
    assert network_alone(series(phantom((2, 32, 32)), "DISP"), logarithmic, background="1").intensity == "log"
    with pytest.raises(InputError, match="logarithmic already"):
        network_alone(series(phantom((2, 32, 32)), "LOG"), logarithmic, background="1", intensity="log")


def test_eight_bits_and_zeros(model):
    frames = phantom((3, 32, 32), bits=8)
    frames[:, :4] = 0
    result = network_alone(series(frames), model, background="1")
    assert np.isfinite(result.bsa).all()
    np.testing.assert_array_equal(result.dsa[:, :4], 0)


def test_a_constant_run_is_subtracted_to_nothing(model):
    result = network_alone(series(np.full((3, 32, 32), 700, np.uint16)), model, background="1")
    np.testing.assert_allclose(result.bsa, 0, atol=1e-5)
    assert np.isfinite(result.warp).all()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 100])
def test_the_batch_size_changes_nothing(model, batch_size):
    run = series(phantom((5, 48, 48)))
    one = network_alone(run, model, background="1", batch_size=1)
    many = network_alone(run, model, background="1", batch_size=batch_size)
    np.testing.assert_allclose(many.warp, one.warp, atol=1e-4)
    np.testing.assert_allclose(many.bsa, one.bsa, atol=1e-4)


def test_lambda_reaches_the_network(model):
    run = series(phantom((2, 32, 32)))
    low, high = (network_alone(run, model, background="1", hyper=hyper) for hyper in (0.0, 1.0))
    assert (low.hyper, high.hyper) == (0.0, 1.0)
    assert np.abs(low.warp - high.warp).max() > 1e-4


@pytest.mark.slow
def test_a_network_of_more_levels_gets_frames_that_it_can_halve(tmp_path):
    deep = networks.AngioMorph((64, 64), nb_unet_features=[[2] * 6, [2] * 6], hyp_units=[4])
    deep.metadata.update(size=64)
    networks.save(deep, tmp_path / "deep.h5")
    result = network_alone(series(phantom((2, 40, 48))), Model(tmp_path / "deep.h5"), background="1")
    assert result.warp.shape == (2, 40, 48, 2)


def test_the_models_own_words(model, model_path):
    assert (model.defaults.size, model.defaults.intensity, model.defaults.hyper) == (SIZE, "auto", 0.6)
    assert model.sha256 == networks.sha256(model_path)


def test_a_model_that_is_not_whole_is_refused_when_it_is_opened(tmp_path, model_path):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(model_path.read_bytes())
    with h5py.File(damaged, "a") as file:
        del file["model_weights/angiomorph_flow"]
    with pytest.raises(InputError, match=r"damaged\.h5: expected a model \(\.h5\), but it cannot be read"):
        Model(damaged)
    whole = model_path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.h5: expected a model"):
        Model(tmp_path / "cut.h5")


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "weight"), [(0, 0), (2, 1)])
def test_the_guard_keeps_still_runs_and_passes_moving_ones(tmp_path, shift, weight):
    # As constructed the network's flow is all but zero: refinement alone finds the shift.
    networks.save(networks.AngioMorph((96, 96), [[4, 4], [4, 4, 4]], [4, 8]), tmp_path / "new.h5")
    model = Model(tmp_path / "new.h5")
    rng = np.random.default_rng(5)
    texture = ndimage.gaussian_filter(rng.random((96, 96)), 2)
    base = 1000 + 2000 * (texture - texture.min()) / np.ptp(texture)
    frames = np.stack([base, base, ndimage.shift(base, (0, shift), mode="nearest")])
    run = series((frames + rng.normal(0, 5, frames.shape)).astype(np.uint16))
    free = network_alone(run, model, background="1", hyper=0.3, refine=60)
    guarded = network_alone(run, model, background="1", hyper=0.3, refine=60, guard=True)
    assert free.warp[1].any()
    np.testing.assert_array_equal(free.weights, [1, 1, 1])
    np.testing.assert_array_equal(guarded.weights, [weight] * 3)
    if shift:
        np.testing.assert_array_equal(guarded.warp, free.warp)
        assert np.std(guarded.bsa[2][8:-8, 8:-8]) < 0.5 * np.std(guarded.dsa[2][8:-8, 8:-8])
    else:
        assert not guarded.warp.any()
        np.testing.assert_array_equal(guarded.bsa, guarded.dsa)


def test_a_warp_that_is_half_sure_goes_half_of_the_way(model, monkeypatch):
    run = series(phantom((3, 64, 64)))
    whole = network_alone(run, model, background="1")
    monkeypatch.setattr("angiomorph.registration.streaming.weigh_warps", lambda evidence: np.array([1.0, 0.5, 0.0]))
    held = network_alone(run, model, background="1", guard=True)
    reference = np.log(run.frames[0].astype(np.float32))
    np.testing.assert_array_equal(held.warp[0], whole.warp[0])
    np.testing.assert_array_equal(held.warp[1], whole.warp[1] / 2)
    assert not held.warp[2].any()
    for moved, warp in zip(held.moved, held.warp, strict=True):
        np.testing.assert_allclose(moved, warped(reference, warp), atol=2e-5)
    np.testing.assert_array_equal(held.bsa, np.log(run.frames.astype(np.float32)) - held.moved)


@pytest.mark.slow
def test_a_finer_level_sees_what_the_coarser_has_moved(model_path):
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
    (found,) = Predictor(TensorFlowEngine(coarse)).warps(moving, fixed[None], 0.5, 4, levels=2)
    np.testing.assert_allclose(found[0], expected, atol=2e-3)
    assert np.abs(second).max() > 1


@pytest.mark.slow
def test_levels_are_the_models_own_and_fit_the_frames(tmp_path):
    model = Model(save_tiny_model(tmp_path / "m.h5", levels=2))
    run = series(phantom((3, 128, 128)))
    own, one, two, three = (network_alone(run, model, levels=levels) for levels in (None, 1, 2, 3))
    assert [result.levels for result in (own, one, two, three)] == [
        2,
        1,
        2,
        2,
    ]  # those that were used: the third would be larger than the frames
    np.testing.assert_array_equal(own.warp, two.warp)
    np.testing.assert_array_equal(own.warp, three.warp)
    assert np.abs(own.warp - one.warp).max() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("image_loss", ["truth", "vle"])
@pytest.mark.parametrize("levels", [1, 2])
def test_a_round_sees_what_the_finer_levels_have_moved(tmp_path, levels, image_loss):
    model = Model(save_tiny_model(tmp_path / "m.h5", image_loss=image_loss, image_sigma=0.1, levels=levels))
    run = series(phantom((3, levels * SIZE, levels * SIZE)), relation="DISP")
    seen = network_input(run)
    once, again = (network_alone(run, model, background="1", rounds=rounds) for rounds in (0, 1))
    assert (once.rounds, again.rounds, again.refine) == (0, 1, 0)
    network = networks.AngioMorph(seen.shape[1:], **TINY)
    network.set_weights(networks.AngioMorph.load(tmp_path / "m.h5").get_weights())
    for t in range(3):
        moved = warped(seen[0], once.warp[t]).astype(np.float32)
        own = network([moved[None, ..., None], seen[t][None, ..., None], np.full((1, 1), 0.6, np.float32)])[1][0].numpy()
        expected = own + np.stack([warped(part, own) for part in np.moveaxis(once.warp[t], -1, 0)], axis=-1)
        np.testing.assert_allclose(again.warp[t], expected, atol=5e-3)
    assert np.abs(again.warp - once.warp).max() > 0.5


@pytest.mark.slow
def test_refinement_begins_where_the_rounds_have_ended(model):
    run = series(phantom((2, 64, 64)), relation="DISP")
    seen = network_input(run)
    rounds = network_alone(run, model, background="1", rounds=2)
    both = network_alone(run, model, background="1", rounds=2, refine=3)
    assert (both.rounds, both.refine) == (2, 3)
    moving, fixed = (tf.constant(part)[..., None] for part in (np.repeat(seen[:1], 2, 0), seen))
    expected = refine(moving, fixed, tf.constant(rounds.warp), 0.6, 3, VLE(image_sigma=model.defaults.image_sigma))
    np.testing.assert_allclose(both.warp, expected, atol=1e-4)
    assert np.abs(both.warp - rounds.warp).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("image_loss", "steps"), [("truth", 0), ("vle", 40)])
def test_refinement_is_the_models_own_where_none_is_named(tmp_path, image_loss, steps):
    run = series(phantom((3, 64, 64)))
    model = Model(save_tiny_model(tmp_path / "m.h5", image_loss=image_loss))
    own, named = (network_alone(run, model, refine=given) for given in (None, steps))
    assert (own.refine, own.rounds) == (steps, 0)
    np.testing.assert_array_equal(own.warp, named.warp)


@pytest.mark.slow
def test_refinement_by_a_model_of_truth_is_refused(tmp_path):
    run = series(phantom((2, 32, 32)))
    truth = Model(save_tiny_model(tmp_path / "m.h5", image_loss="truth"))
    with pytest.raises(
        InputError, match=r"`refine` 3: expected 0 for .*m\.h5, a model of image loss truth\. .* use `rounds` N"
    ):
        truth.register(run, RegistrationOptions(refine=3))
    assert truth.register(run, RegistrationOptions(background="1", refine=0)).refine == 0


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2])
def test_a_warp_that_is_not_a_number_comes_back_from_every_level(levels):
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    frames = np.random.default_rng(0).random((2, 2 * SIZE, 2 * SIZE), np.float32)
    (found,) = Predictor(TensorFlowEngine(network)).warps(frames[0], frames[1:], 0.5, 4, levels=levels)
    assert np.isnan(found).all()


def untrained(size, **metadata):
    """Return a network whose warp is 0 everywhere."""
    network = networks.AngioMorph((size, size), **TINY)
    network.set_weights([np.zeros_like(weights) for weights in network.get_weights()])
    network.metadata.update(size=size, **metadata)
    return network


@pytest.mark.slow
def test_the_start_alone_finds_a_shift_of_30_pixels():
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((256, 256)), 4)
    image = np.float32(0.1 + 0.8 * (image - image.min()) / np.ptp(image))
    shifted = ndimage.shift(image, (30, -22), mode="nearest", order=0)
    frames = np.stack([image, shifted, shifted, image, image])
    (first, second) = Predictor(TensorFlowEngine(untrained(SIZE))).warps(image, frames, 0.5, 3, levels=2)
    np.testing.assert_array_equal(first[0], 0)
    np.testing.assert_allclose(first[1:], np.broadcast_to(np.float32([-30, 22]), first[1:].shape), atol=1e-4)
    np.testing.assert_array_equal(second, 0)


@pytest.mark.slow
def test_a_network_goes_on_from_the_start(model_path):
    """The first level sees the background as the start moved it, and the warps are composed."""
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.random((SIZE, SIZE)), 2)
    image = np.float32(0.1 + 0.8 * (image - image.min()) / np.ptp(image))
    fixed = ndimage.shift(image, (5, 6), mode="nearest", order=0)
    start = np.tile(np.float32([-5, -6]), (SIZE, SIZE, 1))
    (found,) = Predictor(TensorFlowEngine(networks.AngioMorph.load(model_path))).warps(image, fixed[None], 0.5, 4)
    own = bare_flow(model_path, warped(image, start), fixed, 0.5)
    np.testing.assert_allclose(found[0], own + start, atol=1e-4)


@pytest.mark.slow
def test_small_frames_are_enlarged_for_the_learned_levels(model_path):
    network = networks.AngioMorph.load(model_path)
    network.metadata.update(levels=2)
    rng = np.random.default_rng(2)
    side, large = 96, 2 * SIZE
    frames = ndimage.gaussian_filter(rng.random((2, side, side)), (0, 3, 3))
    frames = np.float32((frames - frames.min()) / np.ptp(frames))
    (found,) = Predictor(TensorFlowEngine(network)).warps(frames[0], frames[1:], 0.5, 4)

    def shrunk(image):  # each of 64 pixels covers one and a half
        return image.repeat(2, 0).repeat(2, 1).reshape(SIZE, 3, SIZE, 3).mean((1, 3))

    def resized(image, before, after):
        at = (np.indices((after, after)) + 0.5) * before / after - 0.5
        return ndimage.map_coordinates(image.astype(np.float64), at, order=1, mode="nearest").astype(np.float32)

    def each(flow, before, after):
        return after / before * np.stack([resized(part, before, after) for part in np.moveaxis(flow, -1, 0)], axis=-1)

    first = each(bare_flow(model_path, shrunk(frames[0]), shrunk(frames[1]), 0.5), SIZE, large)
    fine = networks.AngioMorph((large, large), **TINY)
    fine.set_weights(network.get_weights())
    moving, fixed = (resized(image, side, large) for image in frames)
    moved = warped(moving, first).astype(np.float32)
    second = fine([moved[None, ..., None], fixed[None, ..., None], np.full((1, 1), 0.5, np.float32)])[1][0].numpy()
    composed = second + np.stack([warped(part, second) for part in np.moveaxis(first, -1, 0)], axis=-1)
    assert found.shape == (1, side, side, 2)
    np.testing.assert_allclose(found[0], each(composed, large, side), atol=3e-3)
    assert np.abs(found).max() > 1


@pytest.mark.slow
def test_the_graph_is_traced_once_and_takes_new_weights(monkeypatch):
    traced = []
    compose = tensorflow_engine.compose_warps
    monkeypatch.setattr(tensorflow_engine, "compose_warps", lambda *warps: traced.append(warps) or compose(*warps))
    network = untrained(SIZE)
    predictor = Predictor(TensorFlowEngine(network))
    frames = np.random.default_rng(0).random((5, 2 * SIZE, 2 * SIZE), np.float32)
    for batch_size in (1, 2, 3):
        assert not np.concatenate(list(predictor.warps(frames[0], frames, 0.5, batch_size, levels=2))).any()
    networks.initialise(network, flow_sigma=2.0)
    both = np.concatenate(list(predictor.warps(frames[0], frames, 0.5, 2, levels=2)))
    assert len(traced) == 2  # one a level
    again = np.concatenate(list(Predictor(TensorFlowEngine(network)).warps(frames[0], frames, 0.5, 2, levels=2)))
    assert both.any()
    np.testing.assert_allclose(both, again, atol=1e-5)
