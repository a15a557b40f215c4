"""The fast hyper-convolution, the batched warp, and the resampling between a frame's size and the network's."""

from __future__ import annotations

from angiomorph.backend import ne, tf


class HyperConv2DFromDense(ne.layers.HyperConv2DFromDense):
    """A hyper-convolution that is one ordinary convolution when all samples of the batch share λ.

    neurite convolves sample by sample, each with its own generated kernel. Where all rows of the hypernetwork's output
    agree, the kernel is generated once and the batch convolved at once; otherwise neurite's way gives the result.
    Weights, names and values are neurite's.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Convolve.

        Args:
            inputs: features `(B, H, W, C)` and the hypernetwork's last output `(B, U)`.

        Returns:
            `(B, H, W, filters)`.
        """
        hyper = inputs[1]
        # Equal λ may differ in the last bit across the rows of one matrix product.
        apart = tf.reduce_max(tf.abs(hyper - hyper[:1]))
        shared = apart <= 1e-6 * tf.reduce_max(tf.abs(hyper))
        return tf.cond(shared, lambda: self._convolve_shared(*inputs), lambda: super(HyperConv2DFromDense, self).call(inputs))

    def _convolve_shared(self, features: tf.Tensor, hyper: tf.Tensor) -> tf.Tensor:
        kernel = self._call_dense_pseudo_layer(hyper[:1], self.hyperkernel)[0]
        bias = self._call_dense_pseudo_layer(hyper[:1], self.hyperbias)[0]
        return tf.nn.bias_add(self._convolution_op(features, kernel), bias)


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
