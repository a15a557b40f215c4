"""Weights of VoxelMorph's and AngioMorph's models as a training's first: what is taken does what it did."""

import h5py
import numpy as np
import pytest

from angiomorph import networks
from angiomorph.backend import tf, vxm
from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.networks import initial_weights
from angiomorph.networks.model import AngioMorph
from angiomorph.storage import store

pytestmark = pytest.mark.slow

FEATURES = [[4, 4], [4, 4, 4]]
FEWEST = {"nb_unet_features": [[2], [2]]}
TINY = ["--size", "32", "--enc", "4", "4", "--dec", "4", "4", "4", "--hyp-units", "4", "8", "--lr", "0.01", "--gpu", "-1"]
LAMBDAS = (0.0, 0.3, 1.0)


@pytest.fixture(autouse=True)
def seed():
    tf.keras.utils.set_random_seed(0)


def plain(**options):
    return vxm.networks.VxmDense((32, 32), **{"nb_unet_features": FEATURES, "int_steps": 0, **options})


def hyper(**options):
    given = {"nb_unet_features": FEATURES, "int_steps": 0, "nb_hyp_layers": 2, "nb_hyp_units": 8, **options}
    return vxm.networks.HyperVxmDense((32, 32), **given)


def own(hyp_units=(4, 8), **options):
    model = AngioMorph(**{"inshape": (32, 32), "nb_unet_features": FEATURES, "hyp_units": list(hyp_units), **options})
    networks.initialise(model)
    return model


def trained(model):
    """Give a model weights with which λ bends its kernels and pixels move by up to about 5: equality is then no accident."""
    rng = np.random.default_rng(9)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([rng.normal(0.05, 0.3, weight.shape) for weight in layer.get_weights()])
    last = model.get_layer(f"{model.name}_flow")
    last.set_weights([5 / np.abs(flow(model, 0.5)).max() * weight for weight in last.get_weights()])
    return model


def saved(model, path, whole=True):
    if whole:
        networks.save(model, path)
    else:
        model.save_weights(path)
    return path


def flow(model, value):
    """Return the flow of two random pairs at one λ, which plain models are not told."""
    pair = list(np.random.default_rng(0).random((2, 2, 32, 32, 1)).astype(np.float32))
    given = [*pair, np.full((2, 1), value, np.float32)]
    return model(given[: len(model.inputs)])[1].numpy()


def assert_same_flow(model, source, values=LAMBDAS):
    for value in values:
        expected = flow(source, value)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(flow(model, value), expected, atol=1e-4)


@pytest.mark.parametrize("whole", [True, False])
def test_a_plain_model_registers_as_it_did_at_every_lambda(tmp_path, whole):
    source, model = trained(plain()), own()
    path = saved(source, tmp_path / "m.h5", whole)
    kind = "VxmDense" if whole else "weights"
    said = f"weights of {path} ({kind}): taken 6 of 6 convolutions, the same for every λ at first"
    assert initial_weights.load(model, path) == said
    assert_same_flow(model, source)


@pytest.mark.parametrize("whole", [True, False])
def test_a_hypernetwork_of_the_same_units_is_taken_too(tmp_path, whole):
    source, model = trained(hyper()), own([8, 8])
    said = initial_weights.load(model, saved(source, tmp_path / "m.h5", whole))
    assert said.endswith(": taken 6 of 6 convolutions, and the hypernetwork")
    assert_same_flow(model, source)
    assert np.abs(flow(model, 0.0) - flow(model, 1.0)).max() > 0.1


def test_a_hypernetwork_whose_layers_have_other_names(tmp_path):
    given = last = tf.keras.Input((1,))
    for units in (4, 8):
        last = tf.keras.layers.Dense(units, activation="relu")(last)
    source, model = trained(plain(hyp_model=tf.keras.Model(given, last), name="registration")), own()
    assert initial_weights.load(model, saved(source, tmp_path / "m.h5", whole=False)).endswith("and the hypernetwork")
    assert_same_flow(model, source)


def kernels(model, place, values):
    """Return a generated kernel at each λ, by neurite's own layer."""
    layer = next(layer for layer in model.layers if layer.name.endswith(place))
    features = networks.hyper_features(model, np.asarray(values))
    return np.stack([layer._call_dense_pseudo_layer(row[None], layer.hyperkernel)[0].numpy().ravel() for row in features])


def test_another_hypernetwork_gives_the_nearest_kernels(tmp_path):
    source, model = trained(hyper()), own([4, 16])
    said = initial_weights.load(model, saved(source, tmp_path / "m.h5"))
    # A new hypernetwork of ReLU layers without biases is linear in λ >= 0: the nearest that it generates is a straight line.
    values, places = np.linspace(0, 1, 201), ("enc_conv_0_0", "enc_conv_1_0", "dec_conv_1_0", "dec_conv_0_0", "final_conv_0")
    changed = whole = 0.0
    for place in places:
        given = kernels(source, place, values)
        slope, start = np.polyfit(values, given, 1)
        line = start + values[:, None] * slope
        np.testing.assert_allclose(kernels(model, place, values), line, atol=1e-5)
        assert np.abs(line - given).max() > 1e-3
        changed, whole = changed + np.sum((line - given) ** 2), whole + np.sum(given**2)
    deviation = f"fitted over λ to within {np.sqrt(changed / whole):.2g} of the kernels"
    assert said.endswith(f"{deviation}, as its hypernetwork has units 8 8, here 4 16")


def test_the_same_network_is_taken_at_any_frame_size(tmp_path):
    source, model = trained(own()), own(inshape=(64, 32))
    assert initial_weights.load(model, saved(source, tmp_path / "m.h5")).endswith(
        "taken 6 of 6 convolutions, and the hypernetwork"
    )
    for expected, found in zip(source.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("ranks", "deviation"), [((3, 3), 0.0), ((3, None), 1e-5), ((None, 7), 0.05)])
@pytest.mark.parametrize("place", ["enc_conv_0_0", "dec_conv_0_0"])
def test_compacted_models_and_full_ones_begin_with_each_other(tmp_path, ranks, deviation, place):
    made, wanted = ranks
    source = trained(own())
    source = source if made is None else networks.compact(source, made)
    model = own(hyp_rank=wanted)
    initial_weights.load(model, saved(source, tmp_path / "m.h5"))
    expected, found = (kernels(each, place, np.linspace(0, 1, 11)) for each in (source, model))
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) <= deviation


def test_what_does_not_fit_is_named_and_stays_as_it_was(tmp_path):
    source = trained(plain(nb_unet_features=[[4, 6], [4, 4, 4, 4]], use_probs=True))
    model = own()
    before = {layer.name: layer.get_weights() for layer in model.layers}
    said = initial_weights.load(model, saved(source, tmp_path / "m.h5", whole=False))
    assert said == (
        f"weights of {tmp_path / 'm.h5'} (weights): taken 3 of 6 convolutions, the same for every λ at first; "
        "not taken: enc_conv_1_0 (expected 3x3x4x4, found 3x3x4x6), dec_conv_1_0 (expected 3x3x4x4, found 3x3x6x4), "
        "dec_conv_0_0 (expected 3x3x8x4, found 3x3x10x4); without a place here: dec_final_conv_1, vxm_dense_log_sigma"
    )
    for layer in model.layers:
        kept = layer.name.endswith(("enc_conv_1_0", "dec_conv_1_0", "dec_conv_0_0")) or layer.name.startswith("hyp")
        if not layer.weights:
            continue
        same = all(np.array_equal(one, other) for one, other in zip(before[layer.name], layer.get_weights(), strict=True))
        assert same == kept, layer.name


def test_a_decoder_that_goes_further_has_no_weights_in_the_file(tmp_path):
    model = own(nb_unet_features=[[4, 4], [4, 4, 4, 4]])
    said = initial_weights.load(model, saved(trained(plain()), tmp_path / "m.h5"))
    assert said.endswith("; not taken: dec_final_conv_1 (expected 3x3x4x4, found none)")


@pytest.mark.parametrize("build", [vxm.networks.VxmDense, vxm.networks.HyperVxmDense])
def test_a_model_of_volumes_does_not_fit(tmp_path, build):
    source = build((16, 16, 16), nb_unet_features=FEATURES, int_steps=0)
    found = rf"found none of them \({build.__name__}: 3x3x3x2x4, 3x3x3x4x4, 3x3x3x8x4, .*\). Give a model of 2D frames"
    with pytest.raises(InputError, match=rf"m\.h5: expected convolutions of shapes 3x3x2x4, 3x3x4x4, .* {found}"):
        initial_weights.load(own(), saved(source, tmp_path / "m.h5"))


def test_a_hypernetwork_of_two_hyperparameters_is_refused(tmp_path):
    path = saved(hyper(nb_hyp_params=2), tmp_path / "m.h5")
    with pytest.raises(InputError, match=r"from one λ to \[8\] units, found \[2, 8\] to \[8, 8\]"):
        initial_weights.load(own(), path)


VELOCITY = "its flow was a velocity, integrated in 7 steps at 1/2 size and is a displacement now"


@pytest.mark.parametrize(
    ("options", "here", "said"),
    [
        ({"int_steps": 7}, {}, VELOCITY),
        ({"int_steps": 7}, {"int_steps": 7}, None),
        ({"int_steps": 0, "int_resolution": 1}, {}, None),
        ({"int_steps": 5}, {"int_steps": 7}, "in 5 steps at 1/2 size and is a velocity, integrated in 7 steps at 1/2 size now"),
        ({"int_steps": 7, "int_resolution": 1}, {"int_steps": 7}, "in 7 steps at 1/1 size and is a velocity"),
        ({"int_steps": 7, "svf_resolution": 2}, {"int_steps": 7}, "its flow was a velocity of 1/2 size, integrated in 7 steps"),
    ],
)
def test_a_flow_of_another_meaning_is_said(tmp_path, options, here, said):
    found = initial_weights.load(own(**FEWEST, **here), saved(plain(**FEWEST, **options), tmp_path / "m.h5"))
    assert ("its flow was" in found) == (said is not None)
    assert (said or "") in found


def test_voxelmorphs_unstated_and_older_options_of_the_flow(tmp_path):
    model, source = own(**FEWEST), vxm.networks.HyperVxmDense((32, 32), nb_hyp_layers=1, nb_hyp_units=8, **FEWEST)
    assert VELOCITY in initial_weights.load(model, saved(source, tmp_path / "a.h5"))
    with pytest.warns(UserWarning, match="int_downsize is deprecated"):
        source = plain(int_steps=7, int_downsize=4, **FEWEST)
    assert "in 7 steps at 1/4 size" in initial_weights.load(model, saved(source, tmp_path / "b.h5"))


def test_names_that_older_programs_wrote_as_bytes(tmp_path):
    source, model = trained(plain()), own()
    path = saved(source, tmp_path / "m.h5", whole=False)
    with h5py.File(path, "r+") as file:
        for group in (file, *file.values()):
            for name in {"layer_names", "weight_names"} & set(group.attrs):
                group.attrs[name] = np.array([str(text).encode() for text in group.attrs[name]], "S")
    initial_weights.load(model, path)
    assert_same_flow(model, source)


@pytest.fixture(scope="module")
def no_weights(tmp_path_factory):
    """Return a folder of files without such weights."""
    folder = tmp_path_factory.mktemp("no_weights")
    (folder / "text.h5").write_text("hello")
    h5py.File(folder / "empty.h5", "w").close()
    with h5py.File(folder / "nameless.h5", "w") as file:
        file.attrs["layer_names"] = np.array([], "S1")
    networks.save(tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(1,), name="only")]), folder / "other.h5")
    plain().save_weights(folder / "new.weights.h5")
    saved(plain(), folder / "damaged.h5", whole=False)
    with h5py.File(folder / "damaged.h5", "r+") as file:
        del file["vxm_dense_flow"]
    return folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.h5", "expected a model or weights .* found no such file"),
        ("text.h5", "expected a model or weights .* but it cannot be opened as HDF5"),
        ("damaged.h5", "expected a model or weights .* but it cannot be read"),
        ("", "expected a model or weights .* but it cannot be opened as HDF5"),
        ("empty.h5", "found neither an architecture nor layers with names in it"),
        ("nameless.h5", r"expected layers with names \(Keras 2, \.h5\), found none"),
        ("new.weights.h5", r"found neither an architecture nor layers with names in it; .* not in \.weights\.h5"),
        ("other.h5", "of class AngioMorph or VxmDense or HyperVxmDense or weights, found 'Sequential'"),
    ],
)
def test_files_without_such_weights(no_weights, name, reason):
    with pytest.raises(InputError, match=reason):
        initial_weights.load(own(), no_weights / name)


@pytest.fixture
def archive(tmp_path):
    frames = np.random.default_rng(0).integers(1000, 4000, (6, 32, 32)).astype(np.uint16)
    with store.create(tmp_path / "archive.h5") as file:
        store.append(file, "run-000001", store.StoredRun(frames, "LIN", 12))
    return tmp_path / "archive.h5"


def test_voxelmorphs_weights_begin_and_learn_lambda(tmp_path, archive, capsys):
    path = saved(trained(plain()), tmp_path / "theirs.h5")
    options = [archive, "--model-dir", tmp_path / "m", *TINY, "--epochs", 1, "--frames-per-series", 2, "--load-weights", path]
    assert main(["train", *map(str, options)]) == 0
    said = capsys.readouterr()
    assert f"weights of {path} (VxmDense): taken 6 of 6 convolutions, the same for every λ" in said.err
    assert "Traceback" not in said.err
    model = AngioMorph.load(tmp_path / "m" / "model.h5")
    ends = kernels(model, "enc_conv_0_0", [0.0, 1.0])
    start = vxm.networks.VxmDense.load(str(path)).get_layer("vxm_dense_unet_enc_conv_0_0").get_weights()[0].ravel()
    # Adam moves each weight by about its learning rate of 0.01 in each of the two steps; at λ = 0 all features are 0 at first.
    assert np.abs(ends[0] - start).max() < 0.05
    assert 1e-3 < np.abs(ends[1] - ends[0]).max() < 0.3


def test_a_training_refuses_weights_that_do_not_fit(tmp_path, archive, capsys):
    path = saved(vxm.networks.VxmDense((16, 16, 16), nb_unet_features=FEATURES, int_steps=0), tmp_path / "volumes.h5")
    options = [archive, "--model-dir", tmp_path / "m", *TINY, "--epochs", 1, "--load-weights", path]
    assert main(["train", *map(str, options)]) == 2
    error = capsys.readouterr().err
    assert f"{path}: expected convolutions of shapes" in error
    assert "Traceback" not in error
    assert not (tmp_path / "m" / "model.h5").exists()
