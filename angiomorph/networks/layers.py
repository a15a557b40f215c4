"""The batched hyper-convolutions, the batched warp, and the resampling between a frame's size and the network's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from angiomorph.backend import ne, tf, vxm


class HyperConv2DFromDense(ne.layers.HyperConv2DFromDense):
    """A 3x3 hyper-convolution of the whole batch at once, where neurite convolves sample by sample.

    Where all rows of the hypernetwork's output agree, the kernel is generated once and the batch convolved with it;
    otherwise each sample is one group of a grouped convolution. Weights, names and values are neurite's.

    `one_hyper`, set before the first call, promises a batch of one λ always: a GPU need not wait for the host to look.
    Kernels and biases are made in float32 whatever the Keras policy; features are convolved, with the kernels, in its type.
    """

    one_hyper = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "autocast": False})  # λ's features keep their digits

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


def _side_by_side(features: tf.Tensor) -> tf.Tensor:
    """Return the samples of a batch as the channels of one: `(1, H, W, B * C)`."""
    shape = tf.shape(features)
    return tf.reshape(tf.transpose(features, [1, 2, 0, 3]), [1, shape[1], shape[2], shape[0] * shape[3]])


class UpsampledHyperConv2DFromDense(HyperConv2DFromDense):
    """The hyper-convolution of coarse features, doubled in size, beside fine ones, without making either.

        convolve(concat(upsample(coarse), fine)) = convolve_transposed(coarse, widen(kernel)) + convolve(fine, kernel)

    A 3x3 convolution of features that are doubled by repetition is a transposed one of stride 2 with a 4x4 kernel: 4
    products a pixel and pair of channels instead of 9, and no doubled or joined features to keep for the gradient.
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
        bias: of all samples `(C,)`, or of each `(B, C)`, float32.

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
        kernel: of a convolution with SAME padding, `(3, 3, C, filters)`.

    Returns:
        `(4, 4, C, filters)`.
    """
    turned = tf.reverse(kernel, axis=[0, 1])
    one, none = [0, 1], [0, 0]
    rows = tf.pad(turned, [one, none, none, none]) + tf.pad(turned, [one[::-1], none, none, none])
    return tf.pad(rows, [none, one, none, none]) + tf.pad(rows, [none, one[::-1], none, none])


class SpatialTransformer(vxm.layers.SpatialTransformer):
    """VoxelMorph's linear warp of one-channel frames, the whole batch at once and in float32 whatever the Keras policy.

    Positions in a 512-pixel frame need more digits than half precision has.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Warp frames `(B, H, W, 1)` by a warp `(B, H, W, 2)`; see `warp_frames`."""
        frames, warp = inputs
        return tf.expand_dims(warp_frames(tf.squeeze(frames, axis=-1), warp), axis=-1)


class FinerWindow(tf.keras.layers.Layer):
    """Windows of frames twice the size of a warp that has moved the backgrounds; no gradient leads back to the warp."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Move the backgrounds and cut.

        Args:
            inputs: warp `(B, h, w, 2)`, pixels of its own grid; corner `(B, 2)` int32, the first row and column of each window,
                0 to h and 0 to w; contrast frames and any number of backgrounds, `(B, 2h, 2w, 1)` each.

        Returns:
            the windows of the contrast frames and of the moved backgrounds, `(B, h, w, 1)` each.
        """
        warp, corner, fixed, *backgrounds = inputs
        rows, columns = warp.shape[1:3]
        finer = tf.stop_gradient(resize_warp(warp, (2 * rows, 2 * columns)))
        moved = [warp_frames(each[..., 0], finer)[..., None] for each in backgrounds]
        return [tf.ensure_shape(window(each, corner, (rows, columns)), [None, rows, columns, 1]) for each in (fixed, *moved)]


def window(frames: tf.Tensor, corner: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Return a window of each frame.

    Args:
        frames: `(B, H, W, C)`.
        corner: `(B, 2)` int32, first row and column of each.
        shape: (rows, columns) of the windows.

    Returns:
        `(B, *shape, C)`.
    """
    # Gathered, as the corner of a slice has to be known to the host, which a GPU would wait for.
    rows, columns = (corner[:, axis, None] + tf.range(shape[axis])[None] for axis in (0, 1))
    return tf.gather(tf.gather(frames, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def warp_frames(frames: tf.Tensor, warp: tf.Tensor) -> tf.Tensor:
    """Warp frames bilinearly; beyond the border the edge pixels go on.

        moved(x) = frames(x + warp(x))

    Args:
        frames: `(B, H, W)`, float32.
        warp: `(B, H, W, 2)`, float32, pixels, ij order, on the moved frames' grid.

    Returns:
        `(B, H, W)`, float32.

    Source: VoxelMorph's `SpatialTransformer(interp_method="linear", indexing="ij")`, which it equals.
    """
    shape = tf.shape(frames)
    rows, columns = shape[1], shape[2]
    grid = tf.stack(tf.meshgrid(tf.range(rows), tf.range(columns), indexing="ij"), axis=-1)
    last = tf.cast(tf.stack([rows - 1, columns - 1]), tf.float32)
    location = tf.clip_by_value(tf.cast(grid, tf.float32) + warp, 0.0, last)
    low = tf.floor(location)
    fraction = location - low
    row, column = tf.unstack(tf.cast(low, tf.int32), axis=-1)
    next_row, next_column = tf.minimum(row + 1, rows - 1), tf.minimum(column + 1, columns - 1)
    flat = tf.reshape(frames, [shape[0], rows * columns])

    def sample(at_row: tf.Tensor, at_column: tf.Tensor) -> tf.Tensor:
        index = tf.reshape(at_row * columns + at_column, [shape[0], rows * columns])
        return tf.reshape(tf.gather(flat, index, batch_dims=1), shape)

    down, right = tf.unstack(fraction, axis=-1)
    upper = sample(row, column) * (1 - right) + sample(row, next_column) * right
    lower = sample(next_row, column) * (1 - right) + sample(next_row, next_column) * right
    return upper * (1 - down) + lower * down


def compose_warps(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the one warp that moves frames as `first` does and then `second`.

        composed(x) = second(x) + first(x + second(x))

    so that warp_frames(f, composed) = warp_frames(warp_frames(f, first), second), but for the second interpolation, and where
    `second` leads beyond the border.

    Args:
        first: `(B, H, W, 2)`, float32, pixels, ij order.
        second: `(B, H, W, 2)`, float32, pixels, ij order.

    Returns:
        `(B, H, W, 2)`, float32.
    """
    parts = [warp_frames(part, second) for part in tf.unstack(first, axis=-1)]
    return tf.stack(parts, axis=-1) + second


def resize_frames(frames: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Resample frames to another size: the mean over each new pixel's area when shrinking, bilinear when growing.

    Args:
        frames: `(B, H, W)`, float32.
        shape: new (rows, columns).

    Returns:
        `(B, *shape)`, float32.
    """
    shrinks = shape[0] * shape[1] < frames.shape[1] * frames.shape[2]
    method = tf.image.ResizeMethod.AREA if shrinks else tf.image.ResizeMethod.BILINEAR
    return tf.image.resize(frames[..., None], shape, method=method)[..., 0]


def resize_warp(warp: tf.Tensor, shape: tuple[int, int]) -> tf.Tensor:
    """Resample a warp to another frame size, bilinearly, and scale its displacements with it.

        warp'(x') = scale * warp(x), scale = shape / (H, W), x' = scale * (x + 1/2) - 1/2

    Args:
        warp: `(B, H, W, 2)`, float32, pixels of its own grid, ij order.
        shape: new (rows, columns).

    Returns:
        `(B, *shape, 2)`, float32, pixels of the new grid.
    """
    scale = tf.constant([shape[0] / warp.shape[1], shape[1] / warp.shape[2]], tf.float32)
    return tf.image.resize(warp, shape, method=tf.image.ResizeMethod.BILINEAR) * scale
