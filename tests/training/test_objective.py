"""The objective is Eq. 1 of the paper, λ paired with its sample."""

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.networks.losses import VLE, GradientPenalty
from angiomorph.training.config import Sampling, TrainingConfig
from angiomorph.training.objective import build_network, compile_model
from angiomorph.training.pipeline import make_dataset
from angiomorph.training.source import Source


@pytest.mark.slow
def test_the_objective_is_equation_one(moving_archive):
    config = TrainingConfig(sampling=Sampling(frames_per_series=4, batch_size=4, size=32), enc=(4,), dec=(4, 4), hyp_units=(4,))
    model = build_network(config)
    compile_model(model, config)
    with Source([moving_archive], config.sampling) as source:
        (moving, fixed, hyper), targets, weights = next(iter(make_dataset(source, (32, 32, 2))))
    # Unequal λ within the batch, so that a weight paired with the wrong sample would show.
    hyper = tf.constant([[0.1], [0.4], [0.7], [1.0]])
    weights = (1 - hyper[:, 0], hyper[:, 0])
    moved, flow = model([moving, fixed, hyper])
    similarity, smoothness = VLE(0.3).call(fixed, moved), GradientPenalty().call(None, flow)
    expected = np.mean((1 - hyper[:, 0]) * similarity + hyper[:, 0] * smoothness)
    total = model.test_on_batch([moving, fixed, hyper], targets, weights)[0]
    # Eager and traced convolutions differ in their last bits; a mispaired λ would differ by tens of percent.
    np.testing.assert_allclose(total, expected, rtol=1e-3)
