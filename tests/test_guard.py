"""Adam that takes no step where the loss or its gradient is not finite, beside Keras's own."""

import numpy as np
import pytest

from angiomorph.backend import tf
from angiomorph.guard import GuardedAdam

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
    with pytest.raises(ValueError, match="amsgrad: expected False, got True"):
        GuardedAdam(amsgrad=True)
