"""Adam that takes no step where the loss or its gradient is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from angiomorph.backend import tf


class GuardedAdam(tf.keras.optimizers.Adam):
    """Adam that leaves the weights and its own state alone where loss or gradient is not finite, and remembers both.

    Here, not in the training step, because Keras's stock `train_step` gives the optimizer the batch's own loss, which
    its logs show as a running mean only. The choice is made within the graph; what a callback reads is two scalars.

    Args:
        *args: of Keras's Adam.
        **kwargs: of Keras's Adam.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.last_loss = tf.Variable(0.0, trainable=False, name="last_loss")
        self.last_norm = tf.Variable(0.0, trainable=False, name="last_norm")

    def minimize(self, loss: tf.Tensor, var_list: Sequence[tf.Variable], tape: tf.GradientTape | None = None) -> None:
        """Take a step if it is finite; `last_loss` and `last_norm` (Euclidean, of the whole gradient) say what was found."""
        pairs = list(self.compute_gradients(loss, var_list, tape))
        norm = tf.linalg.global_norm([gradient for gradient, _ in pairs])
        self.last_loss.assign(loss)
        self.last_norm.assign(norm)
        with tf.init_scope():
            self.build(var_list)  # a branch of a graph can make no variables

        def step() -> tf.Tensor:
            self.apply_gradients(pairs)
            return tf.constant(True)

        tf.cond(tf.math.is_finite(loss) & tf.math.is_finite(norm), step, lambda: tf.constant(False))
