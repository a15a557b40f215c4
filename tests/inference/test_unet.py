"""A network's weights at one λ are those that Keras generates."""

import shutil

import h5py
import numpy as np
import pytest

from angiomorph import networks
from angiomorph.errors import InputError
from angiomorph.inference.unet import read_weights
from angiomorph.networks.model import save
from tests.runs import TINY, save_tiny_model


@pytest.fixture(scope="module", params=[None, 3], ids=["full rank", "rank 3"])
def model(request, tmp_path_factory):
    path = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5", flow_sigma=0.2)
    if request.param is None:
        return path
    small = networks.compact(networks.AngioMorph.load(path), request.param)
    save(small, path)
    return path


@pytest.mark.parametrize("hyper", [0.0, 0.3, 1.0])
def test_weights_are_those_of_the_baked_model(model, hyper):
    unet = read_weights(model).at(hyper)
    baked = networks.bake(networks.AngioMorph.load(model), hyper).get_weights()
    found = [part for each in (*unet.encoder, *unet.decoder, *unet.last, unet.flow) for part in (each.kernel, each.bias)]
    assert len(found) == len(baked)
    for own, expected in zip(found, baked, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_network_that_integrates_its_flow_is_refused(tmp_path):
    path = tmp_path / "integrated.h5"
    save(networks.AngioMorph((32, 32), **TINY, int_steps=3), path)
    with pytest.raises(InputError, match="expected a model with int_steps 0, found 3; leave `engine` out"):
        read_weights(path)


def test_a_baked_model_is_refused(model, tmp_path):
    save(networks.bake(networks.AngioMorph.load(model), 0.3), tmp_path / "baked.h5")
    with pytest.raises(InputError, match=r"baked.h5: expected a model \(.h5\) for this engine .*; leave `engine` out"):
        read_weights(tmp_path / "baked.h5")


def test_weights_that_are_no_numbers_are_told_by_their_layer(model, tmp_path):
    path = shutil.copy(model, tmp_path / "broken.h5")
    with h5py.File(path, "a") as file:
        file["model_weights/angiomorph_flow/angiomorph_flow/kernel:0"][0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="expected finite weights, found others in angiomorph_flow"):
        read_weights(path).at(0.5)
