"""Adam that takes no step where the loss or its gradient is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from angiomorph.backend import tf

INITIAL_SCALE = 2.0**15
LARGEST_SCALE = 2.0**60  # of gradients that are all zero nothing overflows
GROWTH_STEPS = 2000


class GuardedAdam(tf.keras.optimizers.Adam):
    """Adam that leaves the weights and its own state alone where loss or gradient is not finite, and remembers both.

        m = m + (gradient - m) * (1 - beta_1)
        v = v + (gradient**2 - v) * (1 - beta_2)
        variable = variable - learning_rate * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)

    This stands here because Keras's stock `train_step` gives the optimizer the batch's own loss. Its logs show only a running
    mean. The step not taken is one of rate 0, betas 1 and gradient 0, which changes no bit: a
    branch would make a GPU wait until the host has read the condition. TensorFlow's fused operation does in one pass over
    the weights what Keras's Adam does in ten.

    Gradients of float16 features vanish below 6e-8 and overflow above 65504. With `initial_scale`, what is differentiated is
    loss_scale * loss, and the gradient divided by it: after `GROWTH_STEPS` finite steps the scale doubles. Where the
    gradient of a finite loss overflows it halves, down to 1, and no step is taken. Gradient and loss below are the true ones.

    Args:
        *args: of Keras's Adam.
        initial_scale: power of two that the loss is multiplied by at first; None for float32 and bfloat16, which need none.
        **kwargs: of Keras's Adam; not `amsgrad`.

    Raises:
        ValueError: `amsgrad` is set.

    Source: Micikevicius et al., ICLR 2018 (loss scaling); Keras's `LossScaleOptimizer`, which branches.
    """

    def __init__(self, *args: Any, initial_scale: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "jit_compile": False})
        if self.amsgrad:
            raise ValueError("`amsgrad`: expected False, got True")
        # Each replica writes its own; all are equal, as loss and gradient are those of the joint batch.
        local = {
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.last_loss = tf.Variable(0.0, trainable=False, name="last_loss", **local)
        self.last_norm = tf.Variable(0.0, trainable=False, name="last_norm", **local)
        self.last_overflow = tf.Variable(False, trainable=False, name="last_overflow", **local)
        self.initial_scale = initial_scale
        if initial_scale is not None:
            self._add_loss_scale(initial_scale)

    def _add_loss_scale(self, initial_scale: float) -> None:
        first = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}  # as Keras's `iterations`
        self.loss_scale = tf.Variable(initial_scale, name="loss_scale", dtype=tf.float32, **first)
        self.finite_steps = tf.Variable(0, name="finite_steps", dtype=tf.int64, **first)
        self._variables += [self.loss_scale, self.finite_steps]  # what a checkpoint holds

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make this optimizer again."""
        return {**super().get_config(), "initial_scale": self.initial_scale}

    def minimize(self, loss: tf.Tensor, var_list: Sequence[tf.Variable], tape: tf.GradientTape | None = None) -> None:
        """Take a step if it is finite.

        `last_loss` and `last_norm` (Euclidean, of the whole gradient) say what was found, `last_overflow` whether a norm that
        is not finite is but the search for the loss scale.
        """
        pairs = list(self.aggregate_gradients(self.compute_gradients(loss, var_list, tape)))
        self.last_loss.assign(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, loss))
        norm = tf.linalg.global_norm([gradient for gradient, _ in pairs])
        self.last_norm.assign(norm)
        with tf.control_dependencies([norm]):  # on a CPU a warp that is not finite breaks the step off before there is one
            self.apply_gradients(pairs, skip_gradients_aggregation=True)
            self.iterations.assign_sub(1 - tf.cast(self._finite(), tf.int64))
            if self.initial_scale is not None:
                self._adapt_loss_scale()

    def compute_gradients(
        self, loss: tf.Tensor, var_list: Sequence[tf.Variable], tape: tf.GradientTape
    ) -> list[tuple[tf.Tensor, tf.Variable]]:
        """Return (gradient, variable) pairs, by way of the scaled loss where there is a scale."""
        if self.initial_scale is None:
            return list(super().compute_gradients(loss, var_list, tape))
        scale = tf.identity(self.loss_scale)
        with tape:
            scaled = loss * scale
        return [(gradient / scale, variable) for gradient, variable in super().compute_gradients(scaled, var_list, tape)]

    def _adapt_loss_scale(self) -> None:
        finite, scale = self._finite(), tf.identity(self.loss_scale)
        # No scale is to blame for a loss that is not finite, nor a scale of 1 for a gradient.
        overflow = tf.math.is_finite(self.last_loss) & ~finite & (scale > 1)
        steps = self.finite_steps + tf.cast(finite, tf.int64)
        grown = (steps >= GROWTH_STEPS) & (scale < LARGEST_SCALE)
        self.last_overflow.assign(overflow)
        self.loss_scale.assign(scale * tf.where(overflow, 0.5, 1.0) * tf.where(grown, 2.0, 1.0))
        self.finite_steps.assign(tf.where(overflow | grown, tf.zeros_like(steps), steps))

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Update a variable, and the moments m and v of its gradient, where the step is finite."""
        place, finite = self._index_dict[self._var_key(variable)], self._finite()
        time = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=tf.pow(self.beta_1, time),
            beta2_power=tf.pow(self.beta_2, time),
            lr=tf.where(finite, tf.cast(self.learning_rate, tf.float32), 0.0),
            beta1=tf.where(finite, self.beta_1, 1.0),
            beta2=tf.where(finite, self.beta_2, 1.0),
            epsilon=self.epsilon,
            grad=tf.math.multiply_no_nan(gradient, tf.cast(finite, tf.float32)),
        )

    def _finite(self) -> tf.Tensor:
        return tf.math.is_finite(self.last_loss) & tf.math.is_finite(self.last_norm)
