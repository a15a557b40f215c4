"""Adam that takes no step where the loss or its gradient is not finite, beside Keras's own; its loss scale for float16."""

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.training import optimizer
from angiomorph.training.optimizer import GuardedAdam

START = (np.array([[0.5, -2.0], [3.0, 0.1]], np.float32), np.array([1.0, -1.0, 0.0], np.float32))
OPTIONS = {"learning_rate": 0.03, "beta_1": 0.8, "beta_2": 0.97, "epsilon": 1e-5}


def variables():
    return [tf.Variable(value) for value in START]


def targets(step):
    rng = np.random.default_rng(step)
    return [tf.constant(rng.normal(size=value.shape), tf.float32) for value in START]


def distance(weights, wanted):
    return tf.add_n([tf.reduce_sum((weight - goal) ** 2) for weight, goal in zip(weights, wanted, strict=True)])


def step(optimizer, weights, wanted, factor=1.0):
    with tf.GradientTape() as tape:
        loss = factor * distance(weights, wanted)
    optimizer.minimize(loss, weights, tape)
    return loss


def state(optimizer, weights):
    return [variable.numpy() for variable in [*weights, *optimizer.variables]]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_finite_step_is_that_of_keras(compiled):
    found, expected = variables(), variables()
    guarded, stock = GuardedAdam(**OPTIONS), tf.keras.optimizers.Adam(**OPTIONS)
    taken = tf.function(step) if compiled else step
    for number in range(5):
        loss = taken(guarded, found, targets(number))
        gradients = [2 * (weight - goal) for weight, goal in zip(expected, targets(number), strict=True)]
        norm = np.sqrt(sum(float(tf.reduce_sum(gradient**2)) for gradient in gradients))
        step(stock, expected, targets(number))
        assert float(guarded.last_loss) == float(loss)
        assert float(guarded.last_norm) == pytest.approx(norm, rel=1e-5)
    assert [variable.name for variable in guarded.variables] == [variable.name for variable in stock.variables]
    for one, other in zip(state(guarded, found), state(stock, expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5)


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_no_bit(factor):
    found, undisturbed = variables(), variables()
    guarded, other = GuardedAdam(**OPTIONS), GuardedAdam(**OPTIONS)
    for number in range(3):
        step(guarded, found, targets(number))
        step(other, undisturbed, targets(number))
        step(guarded, found, targets(9), factor)
        assert not np.isfinite(float(guarded.last_loss))
        assert not np.isfinite(float(guarded.last_norm))
        for one, two in zip(state(guarded, found), state(other, undisturbed), strict=True):
            np.testing.assert_array_equal(one, two)


def test_a_gradient_that_is_not_finite_is_enough():
    weight, guarded = tf.Variable([0.0, 4.0]), GuardedAdam(**OPTIONS)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sqrt(weight))
    guarded.minimize(loss, [weight], tape)
    np.testing.assert_array_equal(weight, [0, 4])
    assert (float(guarded.last_loss), float(guarded.last_norm), int(guarded.iterations)) == (2, np.inf, 0)


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="`amsgrad`: expected False, got True"):
        GuardedAdam(amsgrad=True)


def half_step(optimizer, weight, factor):
    """Take a step for `factor` times a weight that is seen in float16, so that its scaled gradient can overflow and vanish."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(factor * tf.cast(tf.cast(weight, tf.float16), tf.float32))
    optimizer.minimize(loss, [weight], tape)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [True, False])
def test_a_loss_scale_changes_no_bit_of_finite_steps(compiled):
    scaled, plain = variables(), variables()
    with_scale, without = GuardedAdam(**OPTIONS, initial_scale=2.0**10), GuardedAdam(**OPTIONS)
    for number in range(5):
        for guarded, weights in ((with_scale, scaled), (without, plain)):
            (tf.function(step) if compiled else step)(guarded, weights, targets(number))
        assert float(with_scale.last_loss) == float(without.last_loss)
        assert float(with_scale.last_norm) == float(without.last_norm)
    for one, other in zip(scaled, plain, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("compiled", [True, False])
def test_an_overflow_halves_the_scale_and_takes_no_step(compiled):
    weight, guarded = tf.Variable([2.0]), GuardedAdam(**OPTIONS, initial_scale=2.0**15)
    taken = tf.function(half_step) if compiled else half_step
    taken(guarded, weight, 3.0)  # 3 * 2**15 is beyond float16's 65504; 3 * 2**14 is not
    assert (float(guarded.last_loss), float(guarded.last_norm), bool(guarded.last_overflow)) == (6, np.inf, True)
    assert (float(guarded.loss_scale), int(guarded.finite_steps), int(guarded.iterations)) == (2**14, 0, 0)
    assert [float(value) for value in (weight[0], guarded._momentums[0][0], guarded._velocities[0][0])] == [2, 0, 0]
    taken(guarded, weight, 3.0)
    assert (float(guarded.last_norm), bool(guarded.last_overflow)) == (3, False)
    assert (float(guarded.loss_scale), int(guarded.finite_steps), int(guarded.iterations)) == (2**14, 1, 1)
    assert float(guarded._momentums[0][0]) == pytest.approx(0.2 * 3)


def test_a_gradient_that_would_vanish_in_float16_does_not():
    norms = []
    for scale in (None, 2.0**15):
        weight, guarded = tf.Variable([2.0]), GuardedAdam(**OPTIONS, initial_scale=scale)
        half_step(guarded, weight, 2.0**-30)
        norms.append(float(guarded.last_norm))
    assert norms == [0, 2**-30]


def test_the_scale_doubles_after_enough_finite_steps(monkeypatch):
    monkeypatch.setattr(optimizer, "GROWTH_STEPS", 3)
    weight, guarded = tf.Variable([2.0]), GuardedAdam(**OPTIONS, initial_scale=4.0)
    found = []
    for _ in range(7):
        half_step(guarded, weight, 1.0)
        found.append((float(guarded.loss_scale), int(guarded.finite_steps)))
    assert found == [(4, 1), (4, 2), (8, 0), (8, 1), (8, 2), (16, 0), (16, 1)]


def test_what_no_scale_can_mend_is_no_overflow():
    weight, guarded = tf.Variable([2.0]), GuardedAdam(**OPTIONS, initial_scale=4.0)
    half_step(guarded, weight, 1.0)
    half_step(guarded, weight, np.nan)
    assert not np.isfinite(float(guarded.last_loss))
    assert (bool(guarded.last_overflow), float(guarded.loss_scale), int(guarded.finite_steps)) == (False, 4, 1)
    overflows = []
    for _ in range(4):
        half_step(guarded, weight, 1e6)  # beyond float16 by itself
        overflows.append((bool(guarded.last_overflow), float(guarded.loss_scale)))
    assert overflows == [(True, 2), (True, 1), (False, 1), (False, 1)]
    assert float(guarded.last_loss) == pytest.approx(1e6 * float(weight[0]), rel=1e-3)


def test_the_scale_is_part_of_what_is_stored():
    weight, guarded = tf.Variable([2.0]), GuardedAdam(**OPTIONS, initial_scale=2.0**15)
    for _ in range(3):
        half_step(guarded, weight, 3.0)
    other = GuardedAdam.from_config(guarded.get_config())
    other.build([weight])
    other.set_weights([variable.numpy() for variable in guarded.variables])
    assert (float(other.loss_scale), int(other.finite_steps)) == (2**14, 2)
    names = [variable.name for variable in guarded.variables]
    assert len(set(names)) == len(names)  # HDF5 has one place for each


def test_the_scale_adapts_in_a_replica():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        weight, guarded = tf.Variable([2.0]), GuardedAdam(**OPTIONS, initial_scale=2.0**15)
        guarded.build([weight])
    taken = tf.function(lambda: strategy.run(half_step, (guarded, weight, 3.0)))
    for _ in range(2):
        taken()
    state = (guarded.loss_scale, guarded.finite_steps, guarded.iterations, guarded.last_norm, guarded.last_overflow)
    assert [float(variable.read_value()) for variable in state] == [2**14, 1, 1, 3, False]
