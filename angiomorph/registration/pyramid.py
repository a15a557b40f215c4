"""The network seen as a pyramid: warps of frames of any size, from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.networks.warp import compose_warps, resize_frames, resize_warp, warp_frames
from angiomorph.preprocessing.resizing import fitted_shape, level_shapes
from angiomorph.registration import coarse
from angiomorph.registration.options import RegistrationOptions

Shape = tuple[int, int]
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]  # (moving, fixed, start, hyper) to warps


class Predictor:
    """The warps of a network in memory for frames of any size; one graph for each size, traced once.

    Args:
        network: of which `metadata` says what it was trained on; it may be trained on, and is seen as it is then.
    """

    def __init__(self, network: networks.AngioMorph) -> None:
        self._model = network.get_registration_model()
        self.size = int(network.metadata.get("size", 512))
        self.levels = int(network.metadata.get("levels", 1))
        self.intensity = str(network.metadata.get("intensity", "auto"))
        self._multiple = max(networks.MULTIPLE, 2 ** len(network.get_config()["nb_unet_features"][0]))
        self._graphs: dict[tuple[Shape, ...], Predict] = {}

    def warps(
        self,
        moving: np.ndarray,
        fixed: np.ndarray,
        hyper: float,
        batch_size: int = RegistrationOptions.batch_size,
        levels: int | None = None,
        rounds: int = 0,
    ) -> Iterator[np.ndarray]:
        """Yield the warps of `fixed`, a batch at a time.

        Frames that are displaced by more than the network finds start from a rigid warp, see `coarse.RigidSearch`. The network
        sees the frames first at the size that it was trained on; at each further level at twice that, see `level_shapes`, and
        the background as start and levels before have moved it. The warps are composed. A further round goes through all
        levels but the first once more; of one level, through that.

        Args:
            moving: background `(H, W)` float32 in [0, 1], any size.
            fixed: `(T, H, W)` float32 in [0, 1].
            hyper: λ, [0, 1].
            batch_size: frames at a time.
            levels: at least 1; None for the model's own.
            rounds: further ones, from 0.

        Yields:
            `(B, H, W, 2)` float32, pixels of the given frames.
        """
        shapes = level_shapes(fixed.shape[1:], self.size, self.levels if levels is None else levels, self.levels)
        steps = (*shapes, *rounds * (shapes[1:] or shapes))
        searched = fitted_shape(fixed.shape[1:], coarse.SIZE)
        search = coarse.RigidSearch(resize(moving[None], searched)[0])
        predict = self._graph(fixed.shape[1:], searched, steps)
        for start in range(0, len(fixed), batch_size):
            batch = fixed[start : start + batch_size]
            yield predict(moving, batch, search.warps(resize(batch, searched)), hyper)

    def _graph(self, shape: Shape, searched: Shape, steps: tuple[Shape, ...]) -> Predict:
        """Return all levels of frames of one size as one graph, for batches of any number of frames."""
        key = (shape, searched, *steps)
        if key not in self._graphs:
            self._graphs[key] = self._trace(shape, searched, steps)
        return self._graphs[key]

    def _trace(self, shape: Shape, searched: Shape, steps: tuple[Shape, ...]) -> Predict:
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


def resize(frames: np.ndarray, shape: Shape) -> np.ndarray:
    """Return frames `(T, H, W)` at another size, see `layers.resize_frames`; the same array where they have it."""
    return frames if frames.shape[1:] == shape else resize_frames(tf.constant(frames), shape).numpy()
