"""What Keras is given of each step, on which device, and how the pipeline ends."""

import subprocess
import sys

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.training.config import Sampling
from angiomorph.training.pipeline import make_dataset
from angiomorph.training.source import Source
from tests.tools import REPOSITORY
from tests.training.stores import FINER, SMALL


def test_a_closed_source_ends_its_pipeline_without_a_word(archive, caplog):
    with Source([archive], Sampling(frames_per_series=50, batch_size=1, size=16)) as source:
        batches = iter(make_dataset(source, (8, 8, 2)))
        next(batches)
    with pytest.raises(tf.errors.OpError):
        list(batches)
    with pytest.raises(InputError, match="expected open stores to read from, found them closed"):
        source.batch(0)
    assert not caplog.records
    assert not source.left_out


@pytest.mark.slow
def test_fit_takes_batches_prefetched_to_another_device(archive):
    # Two CPUs in place of CPU and GPU, which needs a process of its own.
    program = f"""
from pathlib import Path
from angiomorph.backend import tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
from angiomorph.networks import AngioMorph
from angiomorph.training.config import Sampling, TrainingConfig
from angiomorph.training.objective import compile_model
from angiomorph.training.pipeline import make_dataset, prefetch
from angiomorph.training.source import Source
from tests.runs import TINY
model = AngioMorph((16, 16), **TINY)
compile_model(model, TrainingConfig())
with Source([Path({str(archive)!r})], Sampling(frames_per_series=4, batch_size=2, size=16)) as source:
    batches = prefetch(make_dataset(source, model.output_shape[1][1:]), "/cpu:1")
    (moving, fixed, hyper), _, _ = next(iter(batches))
    assert moving.device.endswith("CPU:1"), moving.device
    assert (fixed.numpy()[..., 0] == source.batch(0).fixed).all()
    losses = model.fit(batches, steps_per_epoch=6, epochs=2, verbose=0).history["loss"]
print(len(losses))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY)
    assert found.stdout.split() == ["2"], found.stderr


def test_keras_is_given_inputs_targets_and_sample_weights(archive):
    with Source([archive], SMALL) as source:
        (moving, fixed, hyper), (target, zero_flow), weights = next(iter(make_dataset(source, (8, 8, 2), 3)))
        np.testing.assert_array_equal(fixed[..., 0], source.batch(3).fixed)
    assert moving.shape == fixed.shape == target.shape == (2, 16, 16, 1)
    np.testing.assert_array_equal(fixed, target)
    assert hyper.shape == (2, 1)
    assert hyper[0, 0] == hyper[1, 0]
    assert zero_flow.shape == (2, 8, 8, 2)
    assert not zero_flow.numpy().any()
    np.testing.assert_allclose(weights[0], 1 - hyper[:, 0])
    np.testing.assert_allclose(weights[1], hyper[:, 0])


def test_slices_of_a_pipeline_are_those_of_its_batches_in_turn(archive):
    with Source([archive], SMALL) as source:
        batches = list(make_dataset(source, (8, 8, 2), 1).take(3))
        slices = list(make_dataset(source, (8, 8, 2), 1, slices=2).take(6))
    for number, batch in enumerate(batches):
        for one, two, whole in zip(
            *(tf.nest.flatten(part) for part in (*slices[2 * number : 2 * number + 2], batch)), strict=True
        ):
            np.testing.assert_array_equal(np.concatenate([one, two]), whole)


def test_what_keras_is_given_of_clean_frames(simulated):
    with Source([simulated], SMALL, clean=True) as source, Source([simulated], SMALL) as plain:
        inputs, targets, weights = next(iter(make_dataset(source, (16, 16, 2))))
        pairs = source.batch(0)
        usual = next(iter(make_dataset(plain, (16, 16, 2))))
    assert len(usual[0]) == 3
    for one, other in zip([*inputs[:3], targets[1], *weights], [*usual[0], usual[1][1], *usual[2]], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(inputs[3][..., 0], pairs.clean[0])
    np.testing.assert_array_equal(targets[0][..., 0], pairs.clean[1])
    np.testing.assert_array_equal(targets[0][..., 1], pairs.fixed)


@pytest.mark.parametrize("clean", [False, True])
def test_what_keras_is_given_at_two_sizes(simulated, clean):
    with Source([simulated], FINER, clean=clean) as source, Source([simulated], SMALL, clean=clean) as whole:
        corners = []
        for step, (inputs, targets, weights) in zip(range(8), make_dataset(source, (8, 8, 2)), strict=False):
            pairs = whole.batch(step)
            target = np.stack([pairs.clean[1], pairs.fixed], axis=-1) if clean else pairs.fixed[..., None]
            np.testing.assert_array_equal(inputs[0][..., 0], pairs.moving)
            np.testing.assert_array_equal(inputs[1][..., 0], pairs.fixed)
            assert len(inputs) == (5 if clean else 4)
            np.testing.assert_allclose(targets[0], target.reshape(2, 8, 2, 8, 2, -1).mean((2, 4)), atol=1e-6)
            for each, (row, column), cut in zip(target, inputs[-1].numpy(), targets[2].numpy(), strict=True):
                np.testing.assert_array_equal(cut, each[row : row + 8, column : column + 8])
                corners.append((int(row), int(column)))
            np.testing.assert_array_equal(targets[1], np.zeros((2, 8, 8, 2)))
            np.testing.assert_array_equal(targets[3], targets[1])
            expected = np.float32([1 - pairs.hyper, pairs.hyper] * 2)[:, None].repeat(2, 1)
            np.testing.assert_allclose(np.stack(weights), expected, atol=1e-6)
        np.testing.assert_array_equal(source.batch(3).corner, np.int32(corners[6:8]))
    assert len(set(corners)) > 10
    assert 0 <= min(map(min, corners)) <= max(map(max, corners)) <= 8
