"""A pair is registered as a run of two frames is, and warped as VoxelMorph warps."""

from pathlib import Path

import numpy as np
import pytest

from angiomorph.backend import vxm
from angiomorph.images.pairs import Image
from angiomorph.registration.model import Model
from angiomorph.registration.options import RegistrationOptions
from angiomorph.registration.pairs import register_pair
from tests.runs import phantom, save_tiny_model, series

BARE = RegistrationOptions(guard=False, refine=0)
MOVING, FIXED = phantom((2, 50, 70), filled=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Model(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


@pytest.mark.slow
def test_a_pair_is_a_run_of_two_frames(model):
    pair = Image(Path("a"), MOVING), Image(Path("b"), FIXED)
    found = register_pair(*pair, model, "LIN", RegistrationOptions(refine=0))
    run = model.register(series(np.stack([MOVING, FIXED])), RegistrationOptions(background="1", refine=0))
    np.testing.assert_array_equal(found.warp, run.warp[1])
    assert (found.hyper, found.weight) == (run.hyper, run.weights[1])


def test_moved_is_what_voxelmorphs_transform_makes(model):
    """`vxm.networks.Transform` is what VoxelMorph's register.py warps with."""
    moving, fixed = (image / np.float32(4095) for image in (MOVING, FIXED))
    found = register_pair(
        Image(Path("a"), moving), Image(Path("b"), fixed), model, options=RegistrationOptions(guard=False, refine=0)
    )
    assert np.abs(found.warp).max() > 0.5
    transform = vxm.networks.Transform(moving.shape, nb_feats=1)
    expected = transform.predict([moving[None, ..., None], found.warp[None]], verbose=0).squeeze()
    assert (found.moved.shape, found.moved.dtype, found.warp.shape) == (expected.shape, expected.dtype, (50, 70, 2))
    np.testing.assert_allclose(found.moved, expected, atol=1e-6)


def test_figures_of_a_pair(model):
    found = register_pair(
        Image(Path("a"), MOVING), Image(Path("b"), FIXED), model, options=RegistrationOptions(guard=False, refine=0)
    )
    summary = found.summary()
    assert (summary["lambda"], summary["weight"]) == (0.6, 1.0)
    assert summary["largest_shift"] == pytest.approx(np.linalg.norm(found.warp, axis=-1).max())
    assert 0 <= summary["folding"] < 1
