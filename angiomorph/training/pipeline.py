"""The `tf.data` pipeline that `fit` trains on: endless, prefetched, and the same from any step on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from angiomorph.backend import tf
from angiomorph.networks.warp import window
from angiomorph.training.source import Source

PREFETCHED = 4  # batches


def make_dataset(source: Source, flow_shape: Sequence[int], first_step: int = 0, slices: int = 1) -> tf.data.Dataset:
    """Return the pipeline that `model.fit` trains on, endless and prefetched, to the GPU where there is one.

    Each element is ((moving, fixed, hyper), (fixed, zero_flow), (1 - hyper, hyper)): Keras's inputs, targets and sample
    weights, so that the loss is Eq. 1 of Zhou et al. 2024 for each sample. Of a source with clean frames it is ((moving, fixed,
    hyper, clean moving), (clean fixed beside fixed, zero_flow), (1 - hyper, hyper)), for `networks.warping_clean` and
    `losses.Truth`. With `Sampling.finer` the corners of the windows are the last input, and targets and weights are there
    twice, for `networks.with_finer`.

    Args:
        source: runs to draw from, open as long as the pipeline is used.
        flow_shape: (h, w, 2) of the network's flow.
        first_step: step to begin with, from 0.
        slices: number of equal elements, one a replica, into which each batch is cut.
    """
    sampling = source.sampling
    shape = [None, sampling.frame_size, sampling.frame_size, 1]
    types = [tf.float32] * (5 if source.clean else 3) + [tf.int32] * sampling.finer

    def read(step: np.int64) -> tuple[np.ndarray | np.float32, ...]:
        batch = source.batch(int(step))
        frames = batch.moving, batch.fixed, *batch.clean
        corner = () if batch.corner is None else (batch.corner,)
        return np.float32(batch.hyper), *(each[..., None] for each in frames), *corner

    def make_element(step: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], ...]:
        # Not Dataset.from_generator: what that has to call in the end may hang an interpreter that is about to exit.
        hyper, *frames = tf.numpy_function(read, [step], types)
        corner = [tf.ensure_shape(frames.pop(), [None, 2])] if sampling.finer else []
        moving, fixed, *clean = (tf.ensure_shape(each, shape) for each in frames)
        count = tf.shape(moving)[0]
        hypers = tf.fill([count, 1], tf.ensure_shape(hyper, []))
        zero_flow = tf.zeros([count, *flow_shape])
        target, weights = tf.concat([clean[1], fixed], -1) if clean else fixed, (1 - hypers[:, 0], hypers[:, 0])
        inputs = (moving, fixed, hypers, *clean[:1], *corner)
        if not sampling.finer:
            return inputs, (target, zero_flow), weights
        side = sampling.size, sampling.size
        shrunk = tf.nn.avg_pool2d(target, 2, 2, "VALID")
        return inputs, (shrunk, zero_flow, window(target, corner[0], side), zero_flow), (*weights, *weights)

    batches = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max).map(make_element)
    return prefetch(batches if slices == 1 else batches.map(partial(_cut_batch, slices)).unbatch(), _find_device())


def _cut_batch(slices: int, *element: Any) -> Any:
    """Return a batch's arrays `(B, ...)` as `(slices, B / slices, ...)`."""
    return tf.nest.map_structure(lambda part: tf.reshape(part, [slices, -1, *part.shape[1:]]), element)


def prefetch(batches: tf.data.Dataset, device: str | None) -> tf.data.Dataset:
    """Return the dataset with a few batches ready, and the next ones on `device` where one is named."""
    batches = batches.prefetch(PREFETCHED)
    if device is None:
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(device, PREFETCHED // 2))


def _find_device() -> str | None:
    """Return the only GPU; none where there are several or a distribution strategy, which spreads the batches itself."""
    found = [] if tf.distribute.has_strategy() else tf.config.list_logical_devices("GPU")
    return found[0].name if len(found) == 1 else None
