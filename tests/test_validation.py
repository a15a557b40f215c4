"""Validation: the objective on fixed pairs restated in NumPy, the examples shown, and what cannot be read or computed."""

import numpy as np
import pytest

from angiomorph import networks, store
from angiomorph.augmentation import Augmentation
from angiomorph.backend import tf
from angiomorph.dataset import Sampling, Source
from angiomorph.errors import InputError
from angiomorph.losses import MSE
from angiomorph.validation import LAMBDAS, PAIRS, Validation
from tests.runs import SIZE, TINY, phantom

SAMPLING = Sampling(batch_size=3, size=SIZE)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "held-out.h5"
    with store.create(path) as file:
        for run in range(4):
            store.append(file, f"run-{run}", store.StoredRun(phantom(seed=run), "LIN", 12))
    return path


@pytest.fixture(scope="module")
def model():
    tf.keras.utils.set_random_seed(4)
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    networks.initialise(network, flow_sigma=2.0)
    return network


def measured(archive, model, sampling):
    with Source([archive], sampling) as source:
        return Validation(source, {}, model, MSE(image_sigma=0.3), sampling).measure(7)


def test_the_losses_are_equation_one_at_each_lambda(archive, model):
    found = measured(archive, model, SAMPLING).history()
    with Source([archive], SAMPLING) as source:
        validation = Validation(source, {}, model, MSE(image_sigma=0.3), SAMPLING)
        pairs = [source.read(draw) for draw in validation.draws]
    moving, fixed = (np.concatenate([getattr(pair, name) for pair in pairs])[..., None] for name in ("moving", "fixed"))
    assert len(moving) == 4 * PAIRS
    expected = []
    for hyper in LAMBDAS:
        moved, flow = model.predict([moving, fixed, np.full((len(moving), 1), hyper)], verbose=0)
        similarity = ((moved - fixed) ** 2).mean() / 0.09
        # voxelmorph's Grad('l2'): mean over the two axes of the mean squared difference, half of their sum
        smoothness = ((np.diff(flow, axis=1) ** 2).mean() + (np.diff(flow, axis=2) ** 2).mean()) / 2
        expected.append((1 - hyper) * similarity + hyper * smoothness)
    np.testing.assert_allclose([found[f"val_loss_{hyper:g}"] for hyper in LAMBDAS], expected, rtol=1e-3)
    assert found["val_loss"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert len(set(found.values())) > len(LAMBDAS)


def test_the_pairs_depend_on_no_option_of_the_training(archive, model):
    first = measured(archive, model, SAMPLING).history()
    varied = Augmentation(flip=1.0, rotate=90.0, noise=0.1)
    other = measured(
        archive, model, Sampling(batch_size=2, size=SIZE, seed=9, frames_per_series=7, augmentation=varied)
    ).history()
    assert first == pytest.approx(other, rel=1e-4)


def test_examples_show_background_contrast_dsa_and_bsa(archive, model):
    with Source([archive], SAMPLING) as source:
        validation = Validation(source, {}, model, MSE(), SAMPLING)
        shown = validation.examples(0.5)
        pairs = source.read(validation.draws[0])
    assert shown.shape == (3, SIZE, 4 * SIZE, 1)
    assert (shown.min(), shown.max()) == (0, 1)
    background, contrast, dsa, bsa = np.split(shown[0, ..., 0], 4, axis=1)
    np.testing.assert_array_equal(background, pairs.moving[0])
    np.testing.assert_array_equal(contrast, pairs.fixed[0])
    inside = (dsa > 0) & (dsa < 1)
    slope, offset = np.polyfit((contrast - background)[inside], dsa[inside], 1)
    assert slope > 0
    moved = model.predict([background[None, ..., None], contrast[None, ..., None], np.array([[0.5]])], verbose=0)[0][0, ..., 0]
    np.testing.assert_allclose(bsa, np.clip(slope * (contrast - moved) + offset, 0, 1), atol=1e-3)


def test_unreadable_runs_are_left_out(archive, model, caplog):
    whole = measured(archive, model, SAMPLING).history()
    with Source([archive], SAMPLING) as source:
        source.runs[2].read = lambda indices: (_ for _ in ()).throw(OSError("filter returned failure"))
        found = Validation(source, {}, model, MSE(image_sigma=0.3), SAMPLING).measure(7).history()
        assert source.left_out == {2}
    assert caplog.text.count("is left out") == 1
    assert found["val_loss"] != whole["val_loss"]


def test_a_warp_that_is_not_a_number_is_told(archive):
    network = networks.AngioMorph((SIZE, SIZE), **TINY)
    network.set_weights([np.full_like(weights, np.nan) for weights in network.get_weights()])
    with pytest.raises(InputError, match="validation at λ 0: expected finite warps"):
        measured(archive, network, SAMPLING)
