"""The paper's network: its size, its files, and parity with VoxelMorph's own."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from angiomorph import networks
from angiomorph.backend import tf, vxm
from angiomorph.errors import InputError
from angiomorph.networks import warp
from angiomorph.networks.losses import VLE, GradientPenalty
from angiomorph.networks.model import AngioMorph
from angiomorph.paper import DECODER, ENCODER

SMALL = {"nb_unet_features": [[4, 4], [4, 4, 4]], "hyp_units": [4, 8]}


def inputs(shape=(32, 32), batch=2, hyper=None, seed=0):
    rng = np.random.default_rng(seed)
    moving, fixed = rng.random((2, batch, *shape, 1)).astype(np.float32)
    hypers = rng.random((batch, 1)) if hyper is None else np.full((batch, 1), hyper)
    return moving, fixed, hypers.astype(np.float32)


def with_visible_flow(model):
    """Give the flow layer weights of ordinary size, so that equal outputs are no accident of a near-zero flow."""
    layer = model.get_layer(f"{model.name}_flow")
    rng = np.random.default_rng(9)
    layer.set_weights([rng.normal(scale=0.3, size=weight.shape) for weight in layer.get_weights()])
    return model


@pytest.fixture
def small():
    tf.keras.utils.set_random_seed(0)
    return with_visible_flow(AngioMorph((32, 32), **SMALL))


@pytest.fixture(scope="module")
def paper():
    tf.keras.utils.set_random_seed(1)
    return with_visible_flow(AngioMorph((32, 32)))


def test_the_papers_parameters(paper):
    assert sum(int(np.prod(weight.shape)) for weight in paper.trainable_weights) == 14_072_818
    assert networks.hypernetwork().count_params() == 27_008


def paper_topology(name="vxm_dense"):
    """Build VoxelMorph's own network the way the paper's authors did."""
    hyper = last = tf.keras.Input((1,))
    for units in (32, 64, 128, 128):
        last = tf.keras.layers.Dense(units, activation="relu")(last)
    hyp_model = tf.keras.Model(hyper, last)
    features = [list(ENCODER), list(DECODER)]
    return with_visible_flow(vxm.networks.VxmDense((32, 32), features, int_steps=0, hyp_model=hyp_model, name=name))


@pytest.mark.slow
@pytest.mark.parametrize("hyper", [None, 0.3])
def test_weights_of_voxelmorphs_network_give_the_same_output(tmp_path, hyper):
    tf.keras.utils.set_random_seed(2)
    theirs = paper_topology()
    theirs.save_weights(tmp_path / "weights.h5")
    ours = networks.import_weights(tmp_path / "weights.h5", (32, 32), size=512)
    given = list(inputs(hyper=hyper))
    for expected, found in zip(theirs(given), ours(given), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert ours.metadata["size"] == 512


@pytest.mark.slow
def test_load_model_without_compile(tmp_path, small):
    small.metadata["lambda"] = 0.7
    networks.save(small, tmp_path / "m.h5")
    again = tf.keras.models.load_model(tmp_path / "m.h5", compile=False)
    assert isinstance(again, AngioMorph)
    assert again.metadata == {"lambda": 0.7}
    given = list(inputs())
    np.testing.assert_array_equal(again(given)[1], small(given)[1])


@pytest.mark.slow
def test_load_model_with_compile_keeps_losses_and_optimizer(tmp_path, small):
    small.compile(tf.keras.optimizers.Adam(1e-3), [VLE(image_sigma=0.2, kernel_size=5), GradientPenalty()])
    moving, fixed, hyper = inputs()
    target = (fixed, np.zeros((2, 32, 32, 2), np.float32))
    small.train_on_batch([moving, fixed, hyper], target)
    with pytest.warns(UserWarning, match="HDF5"):
        small.save(tmp_path / "m.h5", save_format="h5")
    again = tf.keras.models.load_model(tmp_path / "m.h5")
    assert again.loss[0].get_config() == small.loss[0].get_config()
    for model in (small, again):
        model.train_on_batch([moving, fixed, hyper], target)
    for one, other in zip(small.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_another_size_has_the_same_weights(tmp_path, small):
    networks.save(small, tmp_path / "m.h5")
    wide = AngioMorph.load(tmp_path / "m.h5", inshape=(32, 64))
    assert wide.output_shape[0] == (None, 32, 64, 1)
    for one, other in zip(small.get_weights(), wide.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_fresh_process_predicts_bit_for_bit_the_same(tmp_path, small):
    networks.save(small, tmp_path / "m.h5")
    moving, fixed, hyper = inputs()
    np.savez(tmp_path / "in.npz", moving=moving, fixed=fixed, hyper=hyper)
    program = (
        "import sys, numpy as np, angiomorph.networks\n"
        "from angiomorph.backend import tf\n"
        "folder = sys.argv[1]; given = np.load(folder + '/in.npz')\n"
        "model = tf.keras.models.load_model(folder + '/m.h5', compile=False)\n"
        "moved, flow = model.predict([given['moving'], given['fixed'], given['hyper']], verbose=0)\n"
        "np.savez(folder + '/out.npz', moved=moved, flow=flow)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True)
    there = np.load(tmp_path / "out.npz")
    moved, flow = small.predict([moving, fixed, hyper], verbose=0)
    np.testing.assert_array_equal(there["moved"], moved)
    np.testing.assert_array_equal(there["flow"], flow)


@pytest.mark.parametrize("hyper", [0.0, 0.7, 1.0])
def test_baked_model_is_voxelmorphs_own_and_gives_the_same_warp(tmp_path, small, hyper):
    networks.save(networks.bake(small, hyper), tmp_path / "plain.h5")
    plain = vxm.networks.VxmDense.load(str(tmp_path / "plain.h5"))
    moving, fixed, hypers = inputs(hyper=hyper)
    expected = small.get_registration_model()([moving, fixed, hypers])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(plain.register(moving, fixed), expected, atol=1e-5)


@pytest.mark.slow
def test_compact_of_full_rank_changes_nothing(tmp_path, small):
    given = list(inputs())
    full = networks.compact(small, rank=8)
    np.testing.assert_allclose(full(given)[1], small(given)[1], atol=1e-4)
    low = networks.compact(small, rank=2)
    networks.save(low, tmp_path / "low.h5")
    again = tf.keras.models.load_model(tmp_path / "low.h5", compile=False)
    np.testing.assert_array_equal(again(given)[1], low(given)[1])
    with pytest.raises(InputError, match="expected full rank, found hyp_rank 2"):
        networks.compact(again, rank=1)


@pytest.mark.slow
def test_the_papers_network_fits_in_ten_megabytes_at_rank_eight(tmp_path, paper):
    networks.save(networks.compact(paper, rank=8), tmp_path / "compact.h5")
    assert (tmp_path / "compact.h5").stat().st_size < 5e6


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"int_steps": 3}, {"int_steps": 3, "int_resolution": 1}, {"int_steps": 3, "svf_resolution": 2}]
)
def test_voxelmorphs_options_of_the_flow(tmp_path, options):
    model = with_visible_flow(AngioMorph((32, 32), **SMALL, **options))
    networks.save(model, tmp_path / "m.h5")
    again = AngioMorph.load(tmp_path / "m.h5")
    given = list(inputs())
    np.testing.assert_array_equal(again(given)[0], model(given)[0])
    side = 16 if options != {"int_steps": 3, "int_resolution": 1} else 32
    assert model.output_shape[1] == (None, side, side, 2)
    assert model.get_registration_model().output_shape == (None, 32, 32, 2)


def test_a_coarse_flow_without_integration_is_refused():
    with pytest.raises(InputError, match="`svf_resolution` 2: expected `int_steps` > 0 and `int_resolution` > 1"):
        AngioMorph((32, 32), **SMALL, svf_resolution=2)


@pytest.mark.parametrize("inshape", [(30, 32), (32,), (2, 32)])
def test_a_size_that_the_levels_cannot_halve_is_refused(inshape):
    with pytest.raises(InputError, match="each a multiple of 4, got"):
        AngioMorph(inshape, **SMALL)


@pytest.mark.slow
def test_files_that_are_no_model(tmp_path, small):
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match="cannot be opened as HDF5"):
        AngioMorph.load(tmp_path / "text.h5")
    small.save_weights(tmp_path / "weights.h5")
    with pytest.raises(InputError, match="import-weights"):
        AngioMorph.load(tmp_path / "weights.h5")
    tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,))]).save(tmp_path / "other.h5")
    with pytest.raises(InputError, match=r"expected a model \(.h5\) of class AngioMorph, found 'Sequential'"):
        AngioMorph.load(tmp_path / "other.h5")
    with pytest.raises(InputError, match="do not fit"):
        networks.import_weights(tmp_path / "weights.h5", (32, 32))
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(InputError, match="found neither an architecture nor layers with names in it; give a model"):
        AngioMorph.load(tmp_path / "empty.h5")


def test_lambda_outside_its_range_is_refused(small):
    with pytest.raises(InputError, match=r"`hyper` 1.5: expected a number from 0 to 1, got 1\.5"):
        networks.bake(small, 1.5)


def test_a_failed_save_leaves_nothing(tmp_path, small):
    (tmp_path / "m.h5").mkdir()
    with pytest.raises(IsADirectoryError, match="a folder has that name"):
        networks.save(small, tmp_path / "m.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]


def test_the_config_in_the_file_is_plain_json(tmp_path, small):
    networks.save(small, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        config = json.loads(file.attrs["model_config"])
    assert config["class_name"] == "AngioMorph"
    assert config["config"]["inshape"] == [32, 32]


def test_a_promise_of_one_lambda_changes_no_value(small):
    given = inputs(hyper=0.3)
    expected = [output.numpy() for output in small(given)]
    networks.promise_one_hyper(small)
    for found, wanted in zip(small(given), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    graph = tf.function(small).get_concrete_function([tf.TensorSpec(each.shape) for each in given]).graph
    assert not {"If", "StatelessIf"} & {op.type for op in graph.get_operations()}


@pytest.mark.slow
@pytest.mark.parametrize(("compute", "digits"), [("float16", 5e-3), ("bfloat16", 5e-2)])
def test_mixed_precision_leaves_no_trace_in_the_file(tmp_path, small, compute, digits):
    given = inputs(hyper=0.3)
    networks.promise_one_hyper(small)  # of the other way, for each its λ, TensorFlow has no float16 on a CPU
    expected = [output.numpy() for output in small(given)]
    networks.save(small, tmp_path / "plain.h5")
    networks.mix_precision(small, compute)
    assert tf.keras.mixed_precision.global_policy().name == "float32"
    for found, wanted in zip(small(given), expected, strict=True):
        assert found.dtype == tf.float32
        assert 1e-6 < np.abs(found - wanted).max() < digits * np.abs(wanted).max()
    types = {layer.name: layer.compute_dtype for layer in small.layers}
    assert {types[name] for name in types if "_unet_" in name} == {compute}
    assert {types[name] for name in types if "_unet_" not in name} == {"float32"}
    assert {"angiomorph_flow", "angiomorph_transformer", "hyp_dense_1"} < types.keys()
    assert {weight.dtype for weight in small.weights} == {tf.float32}
    networks.save(small, tmp_path / "mixed.h5")
    assert networks.sha256(tmp_path / "mixed.h5") == networks.sha256(tmp_path / "plain.h5")
    loaded = tf.keras.models.load_model(tmp_path / "mixed.h5", compile=False)
    for found, wanted in zip(loaded(given), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("compute", ["float16", "bfloat16"])
def test_gradients_of_mixed_precision_are_those_of_float32(small, compute):
    (moving, fixed, hyper), gradients = inputs(hyper=0.3), []
    networks.promise_one_hyper(small)
    for mixed in (False, True):
        if mixed:
            networks.mix_precision(small, compute)
        with tf.GradientTape() as tape:
            moved, flow = small([moving, fixed, hyper])
            loss = tf.reduce_mean((moved - fixed) ** 2) + tf.reduce_mean(flow**2)
            scaled = 1024 * loss
        gradients.append([gradient / 1024 for gradient in tape.gradient(scaled, small.trainable_weights)])
    for plain, mixed, weight in zip(*gradients, small.trainable_weights, strict=True):
        assert mixed.dtype == tf.float32
        distance = np.linalg.norm(mixed - plain) / np.linalg.norm(plain)
        assert distance < 0.03, f"{weight.name}: {distance}"  # sums over pixels in the features' type are off by half


@pytest.mark.slow
def test_a_clean_image_is_moved_by_the_networks_own_warp():
    model = networks.AngioMorph((64, 64), **SMALL)
    networks.initialise(model, flow_sigma=2.0)
    around = networks.warping_clean(model)
    moving, fixed, clean = np.random.default_rng(0).random((3, 2, 64, 64, 1), np.float32)
    hyper = np.full((2, 1), 0.3, np.float32)
    moved, flow = around([moving, fixed, hyper, clean])
    np.testing.assert_allclose(flow, model([moving, fixed, hyper])[1], atol=1e-5)
    np.testing.assert_allclose(moved[..., 0], warp.warp_frames(clean[..., 0], flow), atol=1e-6)
    assert [id(weight) for weight in around.trainable_weights] == [id(weight) for weight in model.trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize("clean", [False, True])
def test_two_sizes_are_frames_shrunk_and_a_moved_window(clean):
    model = networks.AngioMorph((32, 32), **SMALL)
    networks.initialise(model, flow_sigma=2.0)
    around = networks.with_finer(model, clean)
    moving, fixed, other = np.random.default_rng(0).random((3, 1, 64, 64, 1), np.float32)
    hyper = np.full((1, 1), 0.3, np.float32)
    judged = other if clean else moving
    moved, flow, finer_moved, finer_flow = around([moving, fixed, hyper, *([other] if clean else []), np.int32([[5, 17]])])

    def half(frames):
        return frames.reshape(1, 32, 2, 32, 2, 1).mean((2, 4))

    expected = model([half(moving), half(fixed), hyper])[1]
    np.testing.assert_allclose(flow, expected, atol=1e-4)
    np.testing.assert_allclose(moved[..., 0], warp.warp_frames(half(judged)[..., 0], expected), atol=1e-4)
    larger = warp.resize_warp(expected, (64, 64))
    windows = [warp.warp_frames(each[..., 0], larger)[:, 5:37, 17:49, None] for each in (moving, judged)]
    finer = model([windows[0], fixed[:, 5:37, 17:49], hyper])[1]
    np.testing.assert_allclose(finer_flow, finer, atol=1e-3)
    np.testing.assert_allclose(finer_moved[..., 0], warp.warp_frames(windows[1][..., 0], finer), atol=1e-3)
    assert [id(weight) for weight in around.trainable_weights] == [id(weight) for weight in model.trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "inputs"), [("enc_conv_1_0", 16), ("dec_conv_0_0", 64)])
def test_initialised_kernels_have_an_ordinary_scale(name, inputs):
    tf.keras.utils.set_random_seed(0)
    model = AngioMorph((32, 32))
    networks.initialise(model)
    plain = networks.bake(model, 0.5)
    kernel = plain.get_layer(f"angiomorph_unet_{name}").get_weights()[0]
    assert kernel.shape[2] == inputs
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * inputs)), rel=0.15)
