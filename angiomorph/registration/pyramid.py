"""The network seen as a pyramid: warps of frames of any size, from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.networks.warp import compose_warps, resize_frames, resize_warp, warp_frames
from angiomorph.preprocessing.resizing import fitted_shape, level_shapes, pad, unpad
from angiomorph.registration import coarse
from angiomorph.registration.options import RegistrationOptions

Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], tf.Tensor]  # (moving, fixed, hyper) to the warp


class Predictor:
    """The warps of a network in memory for frames of any size, built once for each size.

    Args:
        network: of which `metadata` says what it was trained on; it may be trained on, see `refresh`.
    """

    def __init__(self, network: networks.AngioMorph) -> None:
        self._network = network
        self.size = int(network.metadata.get("size", 512))
        self.levels = int(network.metadata.get("levels", 1))
        self.intensity = str(network.metadata.get("intensity", "auto"))
        self._multiple = max(networks.MULTIPLE, 2 ** len(network.get_config()["nb_unet_features"][0]))
        self._others: list[networks.AngioMorph] = []
        self._predictors: dict[tuple[int, int], Predict] = {}

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
        searched = fitted_shape(fixed.shape[1:], coarse.SIZE)
        search = coarse.RigidSearch(resize(moving[None], searched)[0])
        steps = [(shape, resize(moving[None], shape)) for shape in shapes]
        steps += rounds * (steps[1:] or steps)
        for start in range(0, len(fixed), batch_size):
            batch = fixed[start : start + batch_size]
            warp = search.warps(resize(batch, searched))
            for shape, background in steps:
                warp = self._finer(warp, np.repeat(background, len(batch), 0), resize(batch, shape), hyper)
            yield resize_warp(warp, fixed.shape[1:]).numpy()

    def _finer(self, warp: np.ndarray, moving: np.ndarray, fixed: np.ndarray, hyper: float) -> np.ndarray:
        """Return the warp of a level from the warp before it; one that is not finite comes back for others to tell of."""
        if not warp.any():
            return self._warp(moving, fixed, hyper)
        before = resize_warp(tf.constant(warp), fixed.shape[1:]).numpy()
        if not np.isfinite(before).all():
            return before
        own = self._warp(warp_frames(moving, before).numpy(), fixed, hyper)
        return compose_warps(before, own).numpy() if np.isfinite(own).all() else own

    def _warp(self, moving: np.ndarray, fixed: np.ndarray, hyper: float) -> np.ndarray:
        """Return the network's own warp of frames of any one size, `(B, H, W, 2)`."""
        padded, onto = (pad(each, self._multiple)[..., None] for each in (moving, fixed))
        predict = self._predictor(padded.shape[1:3])
        return unpad(predict(padded, onto, np.full((len(fixed), 1), hyper, np.float32)).numpy(), fixed.shape[1:])

    def refresh(self) -> None:
        """Take the network's weights as they are now, for frames of other sizes than its own too."""
        for other in self._others:
            other.set_weights(self._network.get_weights())

    def _predictor(self, shape: tuple[int, int]) -> Predict:
        if shape not in self._predictors:
            self._predictors[shape] = _compiled(self._sized(shape).get_registration_model())
        return self._predictors[shape]

    def _sized(self, shape: tuple[int, int]) -> networks.AngioMorph:
        if self._network.output_shape[0][1:3] == shape:
            return self._network
        config = {key: value for key, value in self._network.get_config().items() if key != "metadata"}
        network = networks.AngioMorph(**{**config, "inshape": shape})
        network.set_weights(self._network.get_weights())
        self._others.append(network)
        return network


def _compiled(model: tf.keras.Model) -> Predict:
    """Return the model as a graph for batches of any number of frames, traced once."""

    @tf.function(input_signature=[tf.TensorSpec(given.shape) for given in model.inputs])
    def predict(moving: tf.Tensor, fixed: tf.Tensor, hyper: tf.Tensor) -> tf.Tensor:
        return model([moving, fixed, hyper], training=False)

    # One graph each for several sizes is meant; TensorFlow takes it for one function traced again and again, and warns.
    graph = predict.get_concrete_function()
    return lambda *frames: graph(*map(tf.constant, frames))


def resize(frames: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return frames `(T, H, W)` at another size, see `layers.resize_frames`; the same array where they have it."""
    return frames if frames.shape[1:] == shape else resize_frames(tf.constant(frames), shape).numpy()
