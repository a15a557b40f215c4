"""A network's pyramid computed by TensorFlow: one graph for each size of frames, traced once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.networks.warp import compose_warps, resize_frames, resize_warp, warp_arrays, warp_frames
from angiomorph.paper import FRAME_SIZE
from angiomorph.registration.pyramid import Predict, Shape


class TensorFlowEngine:
    """Computes the warps of a network, see `pyramid.Engine`.

    Args:
        network: Keras model whose `metadata` tells its training; it may be trained further, and is used as it is then.
    """

    def __init__(self, network: networks.AngioMorph) -> None:
        self._model = network.get_registration_model()
        self.size = int(network.metadata.get("size", FRAME_SIZE))
        self.levels = int(network.metadata.get("levels", 1))
        self.intensity = str(network.metadata.get("intensity", "auto"))
        self._multiple = max(networks.MULTIPLE, 2 ** len(network.get_config()["nb_unet_features"][0]))

    def trace(self, shape: Shape, searched: Shape, steps: Sequence[Shape]) -> Predict:
        """Return what finds warps of frames of one size, in batches of any number; see `pyramid.Engine.trace`."""
        given = [shape, [None, *shape], [None, *searched, 2], []]

        @tf.function(input_signature=[tf.TensorSpec(each) for each in given], autograph=False)
        def predict(moving: tf.Tensor, fixed: tf.Tensor, start: tf.Tensor, hyper: tf.Tensor) -> tf.Tensor:
            warp, count = start, tf.shape(fixed)[0]
            broken = tf.zeros(count, tf.bool)
            for step in steps:
                background = tf.repeat(resize_frames(moving[None], step), count, axis=0)
                before = resize_warp(warp, step)
                own = self._warp(warp_frames(background, before), resize_frames(fixed, step), hyper)
                finite = tf.reduce_all(tf.math.is_finite(own), axis=[1, 2, 3])
                # A warp that is not finite leads nowhere; it comes back at the end, for others to tell of.
                warp = compose_warps(before, tf.where(finite[:, None, None, None], own, 0))
                broken |= ~finite
            return tf.where(broken[:, None, None, None], np.nan, resize_warp(warp, shape))

        # One graph each for several sizes is meant; TensorFlow takes it for one function traced again and again, and warns.
        graph = predict.get_concrete_function()
        return lambda *given: graph(*(tf.constant(each, tf.float32) for each in given)).numpy()

    def move(self, image: np.ndarray, warp: np.ndarray) -> np.ndarray:
        """Return an image as a warp moves it, see `pyramid.Engine.move`."""
        return np.asarray(warp_arrays(image[None], warp[None])[0])

    def _warp(self, moving: tf.Tensor, fixed: tf.Tensor, hyper: tf.Tensor) -> tf.Tensor:
        """Return the network's own warp of frames `(B, h, w)` of any one size, `(B, h, w, 2)`."""
        shape = moving.shape[1:]
        frames = [self._pad(each)[..., None] for each in (moving, fixed)]
        # Called without Keras' check of sizes: the layers take any that is a multiple of what the levels need.
        warp = self._model.call([*frames, tf.fill([tf.shape(fixed)[0], 1], hyper)], training=False)
        return warp[:, : shape[0], : shape[1]]

    def _pad(self, frames: tf.Tensor) -> tf.Tensor:
        """Return frames whose sides are multiples of what the network needs, edges repeated; see `resizing.pad`."""
        for axis, side in enumerate(frames.shape[1:], start=1):
            places = np.minimum(np.arange(side + -side % self._multiple), side - 1)
            frames = frames if len(places) == side else tf.gather(frames, places, axis=axis)
        return frames
