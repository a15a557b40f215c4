"""Warps: apply, compose and resample them, and the frames that they move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from angiomorph.backend import tf, vxm


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
    return _sample(frames[..., None], warp)[..., 0]


def _sample(values: tf.Tensor, warp: tf.Tensor) -> tf.Tensor:
    """Return values `(B, H, W, C)` at x + warp(x), bilinearly; all channels of a corner are gathered at once."""
    shape = tf.shape(values)
    rows, columns = shape[1], shape[2]
    grid = tf.stack(tf.meshgrid(tf.range(rows), tf.range(columns), indexing="ij"), axis=-1)
    last = tf.cast(tf.stack([rows - 1, columns - 1]), tf.float32)
    location = tf.clip_by_value(tf.cast(grid, tf.float32) + warp, 0.0, last)
    low = tf.floor(location)
    row, column = tf.unstack(tf.cast(low, tf.int32), axis=-1)
    next_row, next_column = tf.minimum(row + 1, rows - 1), tf.minimum(column + 1, columns - 1)
    flat = tf.reshape(values, [shape[0], rows * columns, values.shape[-1]])

    def corner(at_row: tf.Tensor, at_column: tf.Tensor) -> tf.Tensor:
        index = tf.reshape(at_row * columns + at_column, [shape[0], rows * columns])
        return tf.reshape(tf.gather(flat, index, batch_dims=1), shape)

    down, right = tf.split(location - low, 2, axis=-1)
    upper = corner(row, column) * (1 - right) + corner(row, next_column) * right
    lower = corner(next_row, column) * (1 - right) + corner(next_row, next_column) * right
    return upper * (1 - down) + lower * down


def warp_arrays(frames: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Return what `warp_frames` makes of arrays, by a graph that is compiled once for each size, to float32's rounding.

    Args:
        frames: `(B, H, W)` float32.
        warp: `(B, H, W, 2)` float32, pixels, ij order.

    Returns:
        `(B, H, W)` float32.
    """
    return np.asarray(_compiled_warp()(tf.constant(frames, tf.float32), tf.constant(warp, tf.float32)).numpy())


@lru_cache(maxsize=1)
def _compiled_warp() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    given = [tf.TensorSpec([None, None, None]), tf.TensorSpec([None, None, None, 2])]
    # XLA makes one pass of the many on a CPU; a GPU is fast without, and may lack what XLA needs there.
    compiled = not tf.config.list_logical_devices("GPU")
    return tf.function(warp_frames, input_signature=given, autograph=False, jit_compile=compiled)


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
    return _sample(first, second) + second


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
