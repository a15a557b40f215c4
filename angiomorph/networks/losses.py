"""The similarity losses of the method and its smoothness penalty, as stock Keras losses that return one value a sample.

Keras multiplies the values by λ-dependent sample weights (see `angiomorph.training.pipeline`), which makes the objective of
Eq. 1: `(1 - lambda) * L_sim / image_sigma**2 + lambda * L_smooth`. Equations are those of Zhou et al., Radiology Advances
1(3), 2024, umae020, https://doi.org/10.1093/radadv/umae020, as restated in the README.

    >>> am.losses.VLE(image_sigma=0.2).get_config()["image_sigma"]
    0.2
    >>> sorted(am.losses.SIMILARITIES)
    ['minmax', 'mse', 'truth', 'vle']
"""

from __future__ import annotations

from typing import Any

from angiomorph.backend import tf
from angiomorph.paper import TRUTH

NOISE = 0.01  # of the normalised range: darkening of a 3 x 3 mean that noise makes without iodine
BESIDE = 15  # pixels, side of the neighbourhood that a vessel stands out from
PART = 32  # pixels, side of the parts of a frame that are each to keep their contrast

register = tf.keras.utils.register_keras_serializable(package="angiomorph")


def min_pool2d(images: tf.Tensor, kernel_size: int = 3) -> tf.Tensor:
    """Return the minimum over the `kernel_size` x `kernel_size` neighbourhood of every pixel.

        min_pool2d(x) = -max_pool2d(-x), stride 1, SAME padding (outside the frame counts for nothing)

    Args:
        images: `(B, H, W, C)`, float.
        kernel_size: side of the neighbourhood in pixels, odd.

    Returns:
        `(B, H, W, C)`, same type.

    Source: Zhou et al. 2024, Eq. 6.
    """
    return -tf.nn.max_pool2d(-images, ksize=kernel_size, strides=1, padding="SAME")


def vessel_layer(fixed: tf.Tensor, moved: tf.Tensor, kernel_size: int = 3) -> tf.Tensor:
    """Return the estimated vessel layer: where the contrast frame is darker than the whole background neighbourhood.

        L_vessel = (fixed - moved) * 1(fixed < min_pool2d(moved, kernel_size))

    Args:
        fixed: contrast frame I_C, `(B, H, W, 1)`, [0, 1], iodine dark.
        moved: morphed background I_BG', `(B, H, W, 1)`, [0, 1].
        kernel_size: side of the neighbourhood in pixels, odd.

    Returns:
        `(B, H, W, 1)`, [-1, 0]; zero outside vessels.

    Source: Zhou et al. 2024, Eq. 6.
    """
    darker = fixed < min_pool2d(moved, kernel_size)
    return tf.where(darker, fixed - moved, tf.zeros_like(fixed))


class Similarity(tf.keras.losses.Loss):
    """Mean over the pixels of a squared error between fixed and moved frames, in units of `image_sigma` squared.

        L(y_true, y_pred) = mean(squared_error(fixed=y_true, moved=y_pred)) / image_sigma**2

    Computed in float32 whatever the frames' type: squares of small float16 differences would vanish.

    Args:
        image_sigma: alpha_sim of Eq. 1, in the frames' normalised range; the paper's 0.3.
        reduction: Keras's; the default averages the weighted samples of a batch.
        name: Keras's name of the loss.

    Raises:
        ValueError: `image_sigma` is not positive.
    """

    def __init__(self, image_sigma: float = 0.3, reduction: str = "auto", name: str | None = None) -> None:
        if not image_sigma > 0:
            raise ValueError(f"`image_sigma`: expected a positive number, got {image_sigma!r}")
        super().__init__(reduction=reduction, name=name)
        self.image_sigma = image_sigma

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the loss of each sample.

        Args:
            y_true: fixed, the contrast frame, `(B, H, W, 1)`.
            y_pred: moved, the morphed background, `(B, H, W, 1)`.

        Returns:
            `(B,)` float32.
        """
        fixed, moved = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        return tf.reduce_mean(self.squared_error(fixed, moved), axis=[1, 2, 3]) / self.image_sigma**2

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make this loss again."""
        return {**super().get_config(), "image_sigma": self.image_sigma}


@register
class MSE(Similarity):
    """Mean squared error: the baseline that cannot tell iodine from motion.

        squared_error = (moved - fixed)**2

    Source: Zhou et al. 2024, Eq. 3.
    """

    def squared_error(self, fixed: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the error of each pixel, `(B, H, W, 1)`."""
        return tf.square(moved - fixed)


@register
class MinMax(Similarity):
    """Mean squared error after separating frames with (min) and without (max) iodine.

        squared_error = ((min(moved, fixed) - fixed)**2 + (max(moved, fixed) - moved)**2) / 2

    Both terms equal max(fixed - moved, 0)**2: a pixel that only became darker costs nothing.

    Source: Zhou et al. 2024, Eq. 4.
    """

    def squared_error(self, fixed: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the error of each pixel, `(B, H, W, 1)`."""
        with_iodine, without_iodine = tf.minimum(moved, fixed), tf.maximum(moved, fixed)
        return (tf.square(with_iodine - fixed) + tf.square(without_iodine - moved)) / 2


@register
class VLE(Similarity):
    """Vessel layer estimation (VLE): mean squared error after taking the estimated vessel layer out of the contrast frame.

        squared_error = (moved - (fixed - vessel_layer(fixed, moved, kernel_size)))**2

    Args:
        image_sigma: alpha_sim of Eq. 1, in the frames' normalised range; the paper's 0.3.
        kernel_size: side of the neighbourhood of Eq. 6 in pixels, odd; the paper's 3.
        reduction: Keras's.
        name: Keras's.

    Raises:
        ValueError: `kernel_size` is not odd and positive, or `image_sigma` is not positive.

    Source: Zhou et al. 2024, Eq. 5 and 6.
    """

    def __init__(
        self, image_sigma: float = 0.3, kernel_size: int = 3, reduction: str = "auto", name: str | None = None
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size`: expected an odd number of pixels, got {kernel_size!r}")
        super().__init__(image_sigma=image_sigma, reduction=reduction, name=name)
        self.kernel_size = kernel_size

    def squared_error(self, fixed: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the error of each pixel, `(B, H, W, 1)`."""
        return tf.square(moved - (fixed - vessel_layer(fixed, moved, self.kernel_size)))

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make this loss again."""
        return {**super().get_config(), "kernel_size": self.kernel_size}


@register
class Truth(Similarity):
    """Mean squared error of the noise-free background, warped, against the noise-free frame without iodine.

        squared_error = (moved - fixed - mean(moved - fixed))**2
    L = (mean(squared_error) + contrast_weight * (contrast_error(...) + local_contrast_error(...))) / image_sigma**2

    Only a simulator knows either. They hold no iodine that could be mistaken for motion, and no noise to fit. A frame's
    exposure, one number for all its pixels in the log domain, is left out. Where iodine is uncertain, the warp of the least
    squared error moves some bone under the vessels, as their mean. `contrast_weight` raises the price of that.

    Args:
        image_sigma: alpha_sim of Eq. 1, in the frames' normalised range.
        contrast_weight: extra weight of errors that change the vessels' contrast, >= 0; 0 counts them as any other.
        reduction: Keras's.
        name: Keras's.

    Raises:
        ValueError: `contrast_weight` is negative, or `image_sigma` is not positive.
    """

    def __init__(
        self, image_sigma: float = 0.3, contrast_weight: float = 0.0, reduction: str = "auto", name: str | None = None
    ) -> None:
        if not contrast_weight >= 0:
            raise ValueError(f"`contrast_weight`: expected a number from 0, got {contrast_weight!r}")
        super().__init__(image_sigma=image_sigma, reduction=reduction, name=name)
        self.contrast_weight = contrast_weight

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the loss of each sample.

        Args:
            y_true: the noise-free frame without iodine and the contrast frame itself, `(B, H, W, 2)`; the first alone will do
                where `contrast_weight` is 0.
            y_pred: moved, the noise-free background, warped, `(B, H, W, 1)`.

        Returns:
            `(B,)` float32.
        """
        clean, moved = tf.cast(y_true[..., :1], tf.float32), tf.cast(y_pred, tf.float32)
        loss = super().call(clean, moved)
        if not self.contrast_weight:
            return loss
        vessel = iodine(clean, tf.cast(y_true[..., 1:], tf.float32))
        error = _subtract_mean(moved - clean)
        lost = contrast_error(error, vessel) + local_contrast_error(error, vessel)
        return loss + self.contrast_weight * lost / self.image_sigma**2

    def squared_error(self, fixed: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the error of each pixel, `(B, H, W, 1)`."""
        return tf.square(_subtract_mean(moved - fixed))

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make this loss again."""
        return {**super().get_config(), "contrast_weight": self.contrast_weight}


def _subtract_mean(error: tf.Tensor) -> tf.Tensor:
    return error - tf.reduce_mean(error, axis=[1, 2, 3], keepdims=True)


def iodine(clean: tf.Tensor, frame: tf.Tensor) -> tf.Tensor:
    """Return the vessel layer that a noisy contrast frame shows over the same frame without noise and iodine.

        iodine = min(mean_pool(frame - clean) + NOISE, 0), 3 x 3

    Args:
        clean: `(B, H, W, 1)`, [0, 1].
        frame: `(B, H, W, 1)`, [0, 1], iodine dark.

    Returns:
        `(B, H, W, 1)`, [-1, 0].
    """
    return tf.minimum(tf.nn.avg_pool2d(frame - clean, 3, 1, "SAME") + NOISE, 0.0)


def contrast_error(error: tf.Tensor, vessel: tf.Tensor) -> tf.Tensor:
    """Return the energy of the part of an error that is a multiple of the vessel layer.

        contrast_error = <error, vessel>**2 / <vessel, vessel> / (H W) = (1 - contrast_kept)**2 * mean(vessel**2)

    Args:
        error: moved less true background, `(B, H, W, 1)`; what BSA takes from the vessel layer.
        vessel: the vessel layer, `(B, H, W, 1)`, <= 0.

    Returns:
        `(B,)`; 0 where there is no vessel.
    """
    along, length = (tf.reduce_mean(each * vessel, axis=[1, 2, 3]) for each in (error, vessel))
    return tf.math.divide_no_nan(tf.square(along), length)


def local_contrast_error(error: tf.Tensor, vessel: tf.Tensor) -> tf.Tensor:
    """Return the energy of the error by which vessels stand out less, or more, from their neighbourhood, part by part.

        beside(x) = x - mean_pool(x), BESIDE x BESIDE
        local_contrast_error = mean over parts of <beside(error), beside(vessel)>**2 / <beside(vessel), beside(vessel)>

    with scalar products per pixel over overlapping parts of PART x PART. A warp that darkens what lies beside a vessel costs
    much here, though the vessel stays as dark as it is. So does one that eats a vessel in one part and adds to one in another.

    Args:
        error: moved less true background, `(B, H, W, 1)`; what BSA takes from the vessel layer.
        vessel: the vessel layer, `(B, H, W, 1)`, <= 0.

    Returns:
        `(B,)`; 0 where there is no vessel.
    """
    error, vessel = (each - _mean_pool(each, BESIDE) for each in (error, vessel))
    parts = {"ksize": PART, "strides": PART // 4, "padding": "SAME"}
    along, length = (tf.nn.avg_pool2d(each * vessel, **parts) for each in (error, vessel))
    return tf.reduce_mean(tf.math.divide_no_nan(tf.square(along), length), axis=[1, 2, 3])


def _mean_pool(images: tf.Tensor, size: int) -> tf.Tensor:
    """Return the mean over the neighbourhood of every pixel; outside the frame counts for nothing."""
    for sides in ((size, 1), (1, size)):
        images = tf.nn.avg_pool2d(images, sides, 1, "SAME")
    return images


@register
class GradientPenalty(tf.keras.losses.Loss):
    """Smoothness of the flow: half the squared magnitude of its spatial gradient, VoxelMorph's `Grad('l2')`.

        L_smooth(flow) = loss_mult * (mean((d flow / d row)**2) + mean((d flow / d column)**2)) / 2

    Forward differences in pixels of the flow's own grid; means over pixels and both components.

    Args:
        loss_mult: VoxelMorph's factor for a flow at reduced resolution (its downsizing factor).
        reduction: Keras's.
        name: Keras's.

    Source: Zhou et al. 2024, Eq. 2; `voxelmorph.tf.losses.Grad` of version 0.2.
    """

    def __init__(self, loss_mult: float = 1.0, reduction: str = "auto", name: str | None = None) -> None:
        super().__init__(reduction=reduction, name=name)
        self.loss_mult = loss_mult

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the penalty of each sample.

        Args:
            y_true: ignored; Keras wants a target for every output.
            y_pred: flow, `(B, H, W, 2)`, pixels of its own grid.

        Returns:
            `(B,)` float32.
        """
        flow = tf.cast(y_pred, tf.float32)
        means = [tf.reduce_mean(tf.square(_differences(flow, axis)), axis=[1, 2, 3]) for axis in (1, 2)]
        return self.loss_mult * (means[0] + means[1]) / 2

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs to make this loss again."""
        return {**super().get_config(), "loss_mult": self.loss_mult}


def _differences(flow: tf.Tensor, axis: int) -> tf.Tensor:
    # The gradient of tf.slice is a padding; that of [1:] is an order of magnitude slower on a CPU.
    first = [int(axis == each) for each in range(4)]
    size = tf.shape(flow) - first
    return tf.slice(flow, first, size) - tf.slice(flow, [0, 0, 0, 0], size)


SIMILARITIES: dict[str, type[Similarity]] = {"mse": MSE, "minmax": MinMax, "vle": VLE, TRUTH: Truth}
