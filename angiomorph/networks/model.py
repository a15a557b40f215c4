"""AngioMorph, the paper's network: VoxelMorph's HyperMorph with its own hypernetwork.

Importing this module is all that `tf.keras.models.load_model` needs to open a model `.h5`, compiled or not.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from angiomorph.backend import ne, tf, vxm
from angiomorph.errors import InputError
from angiomorph.networks import layers, losses
from angiomorph.networks.warp import SpatialTransformer
from angiomorph.paper import DECODER, ENCODER, HYP_UNITS
from angiomorph.storage import model_file
from angiomorph.storage.atomic import replace_file

MULTIPLE = 16
CUSTOM_OBJECTS = {cls.__name__: cls for cls in (*losses.SIMILARITIES.values(), losses.GradientPenalty)}


@contextmanager
def _batch_layers() -> Iterator[None]:
    # VoxelMorph takes its hyper-convolution and its warp from these modules by name and offers no other way to choose them.
    stock = ne.layers.HyperConv2DFromDense, vxm.layers.SpatialTransformer
    ne.layers.HyperConv2DFromDense, vxm.layers.SpatialTransformer = _hyper_convolution, SpatialTransformer
    try:
        yield
    finally:
        ne.layers.HyperConv2DFromDense, vxm.layers.SpatialTransformer = stock


def _hyper_convolution(filters: int, **options: Any) -> Callable[[Sequence[Any]], Any]:
    """Return what applies a new hyper-convolution to (features, hyper): to coarse and fine ones where these were joined."""

    def apply(inputs: Sequence[Any]) -> Any:
        features, hyper = inputs
        joined = _find_parts(features)
        if joined is None:
            return layers.HyperConv2DFromDense(filters, **options)([features, hyper])
        return layers.UpsampledHyperConv2DFromDense(filters, **options)([*joined, hyper])

    return apply


def _find_parts(features: Any) -> tuple[Any, Any] | None:
    """Return (coarse, fine) of features that VoxelMorph's U-Net made by upsampling and concatenation; None for others."""
    if not isinstance(features.node.layer, tf.keras.layers.Concatenate):
        return None
    upsampled, fine = features.node.keras_inputs
    if not isinstance(upsampled.node.layer, tf.keras.layers.UpSampling2D):
        return None
    return upsampled.node.keras_inputs[0], fine


def hypernetwork(hyp_units: Sequence[int] = HYP_UNITS, hyp_rank: int | None = None) -> tf.keras.Model:
    """Return the multi-layer perceptron from λ to the features that generate the registration network's weights.

    Args:
        hyp_units: units of the ReLU layers; the paper's 32-64-128-128 (27,008 parameters).
        hyp_rank: units of a last linear layer that narrows the generated weights to that rank; None for no such layer.

    Returns:
        a Keras model from `(B, 1)` to `(B, hyp_units[-1])` or `(B, hyp_rank)`.

    Source: Zhou et al., Radiology Advances 1(3), 2024, umae020.
    """
    hyper = last = tf.keras.Input((1,), name="hyper")
    for number, units in enumerate(hyp_units, start=1):
        last = tf.keras.layers.Dense(units, activation="relu", name=f"hyp_dense_{number}")(last)
    if hyp_rank is not None:
        last = tf.keras.layers.Dense(hyp_rank, name="hyp_rank")(last)
    return tf.keras.Model(hyper, last, name="hypernetwork")


class AngioMorph(ne.modelio.LoadableModel):
    """The registration network: (moving, fixed, hyper) to (moved, flow).

        >>> network = am.AngioMorph((32, 32))
        >>> network.count_params()
        14072818

        moved(x) = moving(x + warp(x))

    VoxelMorph's `VxmDense` with generated weights; with the defaults 14,072,818 trainable parameters, 27,008 of them in the
    hypernetwork. Inputs are `(B, H, W, 1)` in [0, 1] with iodine dark, and λ `(B, 1)` in [0, 1]. Outputs are moved
    `(B, H, W, 1)` and the regularised flow `(B, h, w, 2)` in pixels of its own grid, ij order.

    Args:
        inshape: (rows, columns) of the frames, multiples of 16 (of 2 to the number of encoder levels).
        nb_unet_features: [encoder, decoder] features.
        hyp_units: units of the hypernetwork's ReLU layers.
        hyp_rank: rank of the generated weights (see `compact`); None for full.
        int_steps: integration steps; 0 as in the paper predicts the displacement itself.
        int_resolution: relative pixel size of the flow during integration (only with `int_steps` > 0).
        svf_resolution: relative pixel size of the predicted flow.
        name: Keras's name, also VoxelMorph's prefix of layer names.

    Raises:
        InputError: `inshape` is not two multiples of what the levels need, or `svf_resolution` > 1 without integration.

    Source: Zhou et al. 2024 (network); Hoopes et al., IPMI 2021 (HyperMorph); voxelmorph 0.2 `VxmDense(hyp_model=...)`.
    """

    @ne.modelio.store_config_args
    def __init__(
        self,
        inshape: Sequence[int],
        nb_unet_features: Sequence[Sequence[int]] = (ENCODER, DECODER),
        hyp_units: Sequence[int] = HYP_UNITS,
        hyp_rank: int | None = None,
        int_steps: int = 0,
        int_resolution: int = 2,
        svf_resolution: int = 1,
        name: str = "angiomorph",
    ) -> None:
        multiple = 2 ** len(nb_unet_features[0])
        if len(inshape) != 2 or any(int(side) < multiple or int(side) % multiple for side in inshape):
            raise InputError(
                f"`inshape`: expected (rows, columns), each a multiple of {multiple}, got {tuple(inshape)}; "
                "pad the frames (angiomorph.preprocessing.resizing.pad)"
            )
        if svf_resolution > 1 and not (int_steps > 0 and int_resolution > 1):
            raise InputError(
                f"`svf_resolution` {svf_resolution}: expected `int_steps` > 0 and `int_resolution` > 1, got {int_steps} and "
                f"{int_resolution}; VoxelMorph brings a coarse flow to full size only after integration"
            )
        # No layer has Python branches for AutoGraph to turn into a graph's; to look for them takes half of the building time.
        build = tf.autograph.experimental.do_not_convert(vxm.networks.VxmDense)
        with _batch_layers():
            dense = build(
                tuple(int(side) for side in inshape),
                [list(features) for features in nb_unet_features],
                int_steps=int_steps,
                int_resolution=int_resolution,
                svf_resolution=svf_resolution,
                hyp_model=hypernetwork(hyp_units, hyp_rank),
                name=name,
            )
        super().__init__(name=name, inputs=dense.inputs, outputs=dense.outputs)
        self.references = dense.references

    def get_registration_model(self) -> tf.keras.Model:
        """Return the model from (moving, fixed, hyper) to the full-size warp alone, `(B, H, W, 2)` in pixels."""
        return tf.keras.Model(self.inputs, self.references.pos_flow)

    @classmethod
    def load_config(cls, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Return the constructor's arguments and `metadata` from a model `.h5`.

        Raises:
            InputError: the file is absent, not HDF5, only weights, another kind of model, or holds more than AngioMorph
                writes, see `model_file.open_model_file`.
        """
        with model_file.open_model_file(path, *model_file.MODEL) as found:
            return dict(found.config or {})


# `VxmDense` is the class of baked models.
tf.keras.utils.get_custom_objects().update(AngioMorph=AngioMorph, VxmDense=vxm.networks.VxmDense, **CUSTOM_OBJECTS)


def save(model: tf.keras.Model, path: str | os.PathLike[str]) -> None:
    """Write a model as one `.h5`, whole or not at all.

    Args:
        model: any Keras model; for `AngioMorph`, `model.metadata` is stored too.
        path: the file's final name.
    """
    with replace_file(path) as partial, silence_keras_advice():
        model.save(partial, save_format="h5", include_optimizer=False)


@contextmanager
def silence_keras_advice() -> Iterator[None]:
    # Keras advises a newer format than the .h5 that is promised, and to compile models that are only stored.
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are saving your model as an HDF5 file", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def find_hyper_convolutions(model: AngioMorph) -> list[layers.HyperConv2DFromDense]:
    """Return the layers whose kernels are generated."""
    return [layer for layer in model.layers if isinstance(layer, layers.HyperConv2DFromDense)]


def promise_one_hyper(model: AngioMorph) -> None:
    """Promise batches of one λ each, so that none is looked at; before the model is called or compiled, and for good."""
    for layer in find_hyper_convolutions(model):
        layer.one_hyper = True


def kernel_shape(layer: layers.HyperConv2DFromDense) -> tuple[int, int, int, int]:
    """Return the shape of a generated kernel, `(3, 3, C, filters)`."""
    rows, columns, channels, filters = layer.hyperkernel[-1]
    return rows, columns, channels, filters


def mix_precision(model: AngioMorph, compute: str) -> None:
    """Convolve in another type than float32; before the model is called, and for good, but not in its files.

    The U-Net's features and generated kernels get that type. Weights, hypernetwork, flow and warp stay in float32, so that a
    `.h5` of the model is what it would be without, and loads as float32.

    Args:
        model: the network, compiled or not.
        compute: "float16" or "bfloat16".
    """
    for layer in model.layers:
        if layer.name.startswith(f"{model.name}_unet_"):
            layer._set_dtype_policy(f"mixed_{compute}")  # Keras 2 has no public way after construction


def initialise(model: AngioMorph, flow_sigma: float = 1e-3) -> None:
    """Give the generated kernels the scale of an ordinary network's at the start: He-normal, the same for every λ.

    VoxelMorph leaves the heads' biases at zero, so that its generated kernels begin an order of magnitude too small, layer
    after layer, and learning waits. Here each head's bias is a He-normal kernel, on which λ acts by small changes.

    Args:
        model: the network, as constructed.
        flow_sigma: standard deviation of the flow layer's first weights; VoxelMorph's is 1e-5.

    Source: Chang, Flokas, Lipson, ICLR 2020 (why hypernetworks need their own initial scale); He et al., ICCV 2015.
    """
    for layer in find_hyper_convolutions(model):
        kernel, _, bias, bias_bias = layer.get_weights()
        layer.set_weights([kernel, tf.keras.initializers.HeNormal()(kernel_shape(layer)).numpy().ravel(), bias, bias_bias])
    flow = model.get_layer(f"{model.name}_flow")
    kernel, bias = flow.get_weights()
    flow.set_weights([tf.random.normal(kernel.shape, stddev=flow_sigma).numpy(), bias])
