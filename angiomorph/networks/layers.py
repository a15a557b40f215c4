"""The hyper-convolutions: neurite's, of the whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from angiomorph.backend import ne, tf


class HyperConv2DFromDense(ne.layers.HyperConv2DFromDense):
    """A 3x3 hyper-convolution of the whole batch at once, where neurite convolves sample by sample.

    Where all rows of the hypernetwork's output agree, the kernel is generated once and the batch convolved with it. Otherwise
    each sample is one group of a grouped convolution. Weights, names and values are neurite's.

    `one_hyper`, set before the first call, promises a batch of one λ always: a GPU need not wait for the host to look.
    Kernels and biases are made in float32 whatever the Keras policy; features are convolved, with the kernels, in its type.
    """

    one_hyper = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "autocast": False})  # λ's features keep their digits
        self.one_hyper = type(self).one_hyper

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Convolve.

        Args:
            inputs: features `(B, H, W, C)` and the hypernetwork's last output `(B, U)`.

        Returns:
            `(B, H, W, filters)`.
        """
        *features, hyper = inputs
        features = [tf.cast(each, self.compute_dtype) for each in features]
        if self.one_hyper:
            return self._convolve_shared(features, hyper)
        # Equal λ may differ in the last bit across the rows of one matrix product.
        apart = tf.reduce_max(tf.abs(hyper - hyper[:1]))
        shared = apart <= 1e-6 * tf.reduce_max(tf.abs(hyper))
        return tf.cond(shared, lambda: self._convolve_shared(features, hyper), lambda: self._convolve_grouped(features, hyper))

    def _generate(self, hyper: tf.Tensor, head: tuple[Any, ...]) -> tf.Tensor:
        weights, bias, _, shape = head
        generated = tf.nn.bias_add(tf.matmul(hyper, weights), bias)
        return tf.reshape(generated, [-1, *shape])

    def _convolve(self, features: Sequence[tf.Tensor], kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(features[0], tf.cast(kernel, self.compute_dtype), strides=1, padding="SAME")

    def _convolve_shared(self, features: Sequence[tf.Tensor], hyper: tf.Tensor) -> tf.Tensor:
        kernel, bias = (self._generate(hyper[:1], head)[0] for head in (self.hyperkernel, self.hyperbias))
        return add_bias(self._convolve(features, kernel), bias)

    def _convolve_grouped(self, features: Sequence[tf.Tensor], hyper: tf.Tensor) -> tf.Tensor:
        kernels, biases = (self._generate(hyper, head) for head in (self.hyperkernel, self.hyperbias))
        rows, columns, channels, filters = kernels.shape[1:]
        kernel = tf.reshape(tf.transpose(kernels, [1, 2, 3, 0, 4]), [rows, columns, channels, -1])
        convolved = self._convolve([_side_by_side(each) for each in features], kernel)
        shape = tf.shape(features[-1])
        apart = tf.transpose(tf.reshape(convolved, [shape[1], shape[2], shape[0], filters]), [2, 0, 1, 3])
        return tf.ensure_shape(add_bias(apart, biases), [*features[-1].shape[:3], filters])


@contextmanager
def expect_one_hyper() -> Iterator[None]:
    """Build hyper-convolutions for batches of one λ each; those of several λ are not traced, which takes half as long."""
    HyperConv2DFromDense.one_hyper = True
    try:
        yield
    finally:
        HyperConv2DFromDense.one_hyper = False


def _side_by_side(features: tf.Tensor) -> tf.Tensor:
    """Return the samples of a batch as the channels of one: `(1, H, W, B * C)`."""
    shape = tf.shape(features)
    return tf.reshape(tf.transpose(features, [1, 2, 0, 3]), [1, shape[1], shape[2], shape[0] * shape[3]])


class UpsampledHyperConv2DFromDense(HyperConv2DFromDense):
    """The hyper-convolution of coarse features, doubled in size, beside fine ones, without making either.

        convolve(concat(upsample(coarse), fine)) = convolve_transposed(coarse, widen(kernel)) + convolve(fine, kernel)

    A 3x3 convolution of features that are doubled by repetition is a transposed one of stride 2 with a 4x4 kernel. It takes 4
    products a pixel and pair of channels instead of 9. It keeps no doubled or joined features for the gradient.
    """

    def build(self, input_shape: Sequence[tf.TensorShape]) -> None:
        """Make the weights that neurite would make for the joined features."""
        coarse, fine, hyper = (tf.TensorShape(shape) for shape in input_shape)
        self.coarse_channels = coarse[-1]
        super().build([tf.TensorShape([*fine[:-1], coarse[-1] + fine[-1]]), hyper])

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Convolve.

        Args:
            inputs: coarse features `(B, H / 2, W / 2, C)`, fine ones `(B, H, W, D)`, the hypernetwork's last output `(B, U)`.

        Returns:
            `(B, H, W, filters)`.
        """
        return super().call(inputs)

    def _convolve(self, features: Sequence[tf.Tensor], kernel: tf.Tensor) -> tf.Tensor:
        coarse, fine = features
        of_coarse, of_fine = kernel[:, :, : self.coarse_channels], kernel[:, :, self.coarse_channels :]
        grouped = tf.reshape(widen(of_coarse), [4, 4, self.coarse_channels, -1, self.filters])
        transposed = tf.reshape(tf.transpose(grouped, [0, 1, 4, 3, 2]), [4, 4, self.filters, -1])
        shape = tf.concat([tf.shape(fine)[:3], tf.shape(kernel)[3:]], axis=0)
        transposed, of_fine = tf.cast(transposed, self.compute_dtype), tf.cast(of_fine, self.compute_dtype)
        upsampled = tf.nn.conv2d_transpose(coarse, transposed, shape, strides=2, padding="SAME")
        return upsampled + tf.nn.conv2d(fine, of_fine, strides=1, padding="SAME")


@tf.custom_gradient
def add_bias(features: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Add a bias to features of any float type, its gradient summed in float32.

    TensorFlow's own sums over the pixels in the features' type, in which half a million small numbers do not add up.

    Args:
        features: `(B, H, W, C)`.
        bias: one bias for all samples `(C,)`, or one each `(B, C)`, float32.

    Returns:
        `(B, H, W, C)`, the features' type.
    """
    typed = tf.cast(bias, features.dtype)
    if bias.shape.rank == 1:
        added, pixels = tf.nn.bias_add(features, typed), [0, 1, 2]
    else:
        added, pixels = features + typed[:, None, None, :], [1, 2]
    return added, lambda upstream: (upstream, tf.reduce_sum(tf.cast(upstream, tf.float32), axis=pixels))


def widen(kernel: tf.Tensor) -> tf.Tensor:
    """Return the kernel of the transposed convolution of stride 2 that equals upsampling and convolving.

        widen(kernel)[i, j] = sum of kernel[2 - i + a, 2 - j + b] over a, b in {0, 1}, of those that exist

    Args:
        kernel: weights of a convolution with SAME padding, `(3, 3, C, filters)`.

    Returns:
        `(4, 4, C, filters)`.
    """
    turned = tf.reverse(kernel, axis=[0, 1])
    one, none = [0, 1], [0, 0]
    rows = tf.pad(turned, [one, none, none, none]) + tf.pad(turned, [one[::-1], none, none, none])
    return tf.pad(rows, [none, one, none, none]) + tf.pad(rows, [none, one[::-1], none, none])
