"""A baked model registers as the model that it was baked from, at its λ, and is held to what `bake` writes."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from angiomorph import networks
from angiomorph.backend import tf, vxm
from angiomorph.errors import InputError
from angiomorph.networks.baked import load_any
from tests.runs import SIZE, TINY, save_tiny_model
from tests.tools import REPOSITORY

RNG = np.random.default_rng(2)
MOVING, FIXED = RNG.random((2, 1, SIZE, SIZE, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5", levels=2, image_loss="minmax", training={"lr": 1})
    return networks.AngioMorph.load(path)


@pytest.fixture
def baked(tmp_path, network):
    path = tmp_path / "baked.h5"
    networks.save(networks.bake(network, 0.25, source_sha256="ab"), path)
    return path


def change(path, **changed):
    """Change constructor arguments in a model file; None takes one away."""
    with h5py.File(path, "r+") as file:
        described = json.loads(file.attrs["model_config"])
        described["config"] |= changed
        file.attrs["model_config"] = json.dumps(described)


@pytest.mark.parametrize("hyper", [0.0, 0.9])
def test_it_gives_the_warp_of_its_lambda_whatever_is_asked(network, baked, hyper):
    expected = network.get_registration_model()([MOVING, FIXED, np.full((1, 1), 0.25, np.float32)])
    found = load_any(baked).get_registration_model()([MOVING, FIXED, np.full((1, 1), hyper, np.float32)])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_a_baked_model_says(network, baked):
    says = {"size": SIZE, "levels": 2, "intensity": "auto", "image_loss": "minmax", "lambda": 0.25}
    assert vxm.networks.VxmDense.load(str(baked)).metadata == says | {"source_sha256": "ab"}
    assert load_any(baked).metadata == says | {"source_sha256": "ab", "baked": True}


def test_another_size_keeps_the_weights(network, baked):
    larger, own = networks.bake(network, 0.25, size=128), networks.bake(network, 0.25)
    assert larger.input_shape[0] == (None, 128, 128, 1)
    for found, expected in zip(larger.get_weights(), own.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_wrong_size_is_refused(network):
    with pytest.raises(InputError, match="`size` 30: expected a multiple of 4, got 30"):
        networks.bake(network, 0.5, size=30)


@pytest.mark.slow
def test_keras_loads_it_after_importing_networks(tmp_path, baked):
    np.save(tmp_path / "in.npy", np.stack([MOVING, FIXED]))
    program = (
        "import sys, numpy, angiomorph.networks\nfrom angiomorph.backend import tf\n"
        "model = tf.keras.models.load_model(sys.argv[1] + '/baked.h5', compile=False)\n"
        "numpy.save(sys.argv[1] + '/out.npy', model(list(numpy.load(sys.argv[1] + '/in.npy')))[1])"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, cwd=REPOSITORY)
    expected = vxm.networks.VxmDense.load(str(baked))([MOVING, FIXED])[1]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_other_models_are_loaded_as_ever(tmp_path, network):
    networks.save(network, tmp_path / "model.h5")
    assert "baked" not in load_any(tmp_path / "model.h5").metadata


WRONG = {
    "no lambda": ({"metadata": {}}, "expected a baked model that says its lambda"),
    "probabilities": ({"use_probs": True}, "expected a baked model with use_probs False, found True"),
    "half resolution": ({"unet_half_res": True}, "expected a baked model with unet_half_res False"),
    "3D": ({"inshape": [16, 16, 16]}, "inshape of whole numbers"),
    "wider": ({"nb_unet_features": [[4, 5], [4, 4]]}, r"expected angiomorph_unet_enc_conv_1_0 with \[180, 5\] weights"),
    "huge": ({"nb_unet_features": [[65536, 65536], [65536, 65536]]}, "expected angiomorph_unet_enc_conv_0_0 with"),
    "other names": ({"name": "other"}, "expected other_unet_enc_conv_0_0 with"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_bake_does_not_write_is_refused(baked, name):
    changed, words = WRONG[name]
    change(baked, **changed)
    with pytest.raises(InputError, match=words):
        load_any(baked)


def test_a_plain_voxelmorph_model_is_refused(tmp_path):
    plain = vxm.networks.VxmDense((32, 32), TINY["nb_unet_features"], int_steps=0)
    networks.save(plain, tmp_path / "plain.h5")
    with pytest.raises(InputError, match=r"says its lambda, found a VxmDense without; .* --load-weights"):
        load_any(tmp_path / "plain.h5")
    tf.keras.backend.clear_session()
