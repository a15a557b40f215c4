"""AngioMorph, the paper's network: VoxelMorph's HyperMorph with its own hypernetwork; load, import, compact and bake it.

Importing this module is all that `tf.keras.models.load_model` needs to open a model `.h5`, compiled or not.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from angiomorph.backend import ne, tf, vxm
from angiomorph.errors import InputError
from angiomorph.networks import layers, losses
from angiomorph.storage import model_file
from angiomorph.storage.atomic import replace_file

ENCODER = (16, 32, 32, 32)
DECODER = (32, 32, 32, 32, 32, 16, 16)
HYP_UNITS = (32, 64, 128, 128)
MULTIPLE = 16
OF_TRAINING = ("size", "levels", "intensity", "image_loss", "image_sigma")  # metadata that registering needs
CUSTOM_OBJECTS = {cls.__name__: cls for cls in (losses.MSE, losses.MinMax, losses.VLE, losses.GradientPenalty)}


@contextmanager
def _batched_layers() -> Iterator[None]:
    # VoxelMorph takes its hyper-convolution and its warp from these modules by name and offers no other way to choose them.
    stock = ne.layers.HyperConv2DFromDense, vxm.layers.SpatialTransformer
    ne.layers.HyperConv2DFromDense, vxm.layers.SpatialTransformer = _hyper_convolution, layers.SpatialTransformer
    try:
        yield
    finally:
        ne.layers.HyperConv2DFromDense, vxm.layers.SpatialTransformer = stock


def _hyper_convolution(filters: int, **options: Any) -> Callable[[Sequence[Any]], Any]:
    """Return what applies a new hyper-convolution to (features, hyper): to coarse and fine ones where these were joined."""

    def apply(inputs: Sequence[Any]) -> Any:
        features, hyper = inputs
        joined = _upsampled_and_joined(features)
        if joined is None:
            return layers.HyperConv2DFromDense(filters, **options)([features, hyper])
        return layers.UpsampledHyperConv2DFromDense(filters, **options)([*joined, hyper])

    return apply


def _upsampled_and_joined(features: Any) -> tuple[Any, Any] | None:
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

    VoxelMorph's `VxmDense` with generated weights; with the defaults 14,072,818 trainable parameters, 27,008 of them
    in the hypernetwork. Inputs are `(B, H, W, 1)` in [0, 1] with iodine dark and λ `(B, 1)` in [0, 1]; outputs are moved
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
                f"inshape: expected (rows, columns), each a multiple of {multiple}, got {tuple(inshape)}; "
                "pad the frames (angiomorph.preprocessing.resizing.pad)"
            )
        if svf_resolution > 1 and not (int_steps > 0 and int_resolution > 1):
            raise InputError(
                f"svf_resolution {svf_resolution}: expected int_steps > 0 and int_resolution > 1, got {int_steps} and "
                f"{int_resolution}; VoxelMorph brings a coarse flow to full size only after integration"
            )
        with _batched_layers():
            dense = vxm.networks.VxmDense(
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
                writes, see `modelfile.reading`.
        """
        with model_file.reading(path, model_file.OWN, "a model (.h5)", model_file.FOREIGN) as found:
            return dict(found.config or {})


# `VxmDense` is the class of baked models.
tf.keras.utils.get_custom_objects().update(AngioMorph=AngioMorph, VxmDense=vxm.networks.VxmDense, **CUSTOM_OBJECTS)


def save(model: tf.keras.Model, path: str | os.PathLike[str], include_optimizer: bool = False) -> None:
    """Write a model as one `.h5`, whole or not at all.

    Args:
        model: any Keras model; for `AngioMorph`, `model.metadata` is stored too.
        path: the file's final name.
        include_optimizer: keep the optimizer's state, to train on.
    """
    with replace_file(path) as partial, silence_keras_advice():
        model.save(partial, save_format="h5", include_optimizer=include_optimizer)


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


def import_weights(path: str | os.PathLike[str], inshape: Sequence[int], **metadata: Any) -> AngioMorph:
    """Return the paper's network with weights that `save_weights` of VoxelMorph's `VxmDense(hyp_model=...)` wrote.

    Args:
        path: weights-only `.h5` of the paper's topology (int_steps 0, hypernetwork 32-64-128-128).
        inshape: frame size that the weights were trained on.
        **metadata: what the training was, kept in the model: size, intensity, image_loss, lambda.

    Raises:
        InputError: the file is not HDF5, does not fit the paper's network, or holds more than VoxelMorph writes.
    """
    with model_file.reading(path, (model_file.WEIGHTS, *model_file.TAKEN), "weights (.h5)"):
        model = AngioMorph(inshape)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: expected the weights of VxmDense with int_steps=0 and a 32-64-128-128 hypernetwork "
            f"({model.count_params():,} parameters), but they do not fit: {str(error).splitlines()[0]}"
        ) from error
    model.metadata.update(metadata)
    return model


def hyper_features(model: AngioMorph, hyper: np.ndarray) -> np.ndarray:
    """Return the hypernetwork's last output for each λ.

    Args:
        model: the network.
        hyper: λ, `(N,)`, [0, 1].

    Returns:
        `(N, U)` float32.
    """
    dense = [layer for layer in model.layers if isinstance(layer, tf.keras.layers.Dense)]
    features = tf.constant(hyper, tf.float32)[:, None]
    for layer in dense:
        features = layer(features)
    return features.numpy()


def _hyper_convolutions(model: AngioMorph) -> list[layers.HyperConv2DFromDense]:
    return [layer for layer in model.layers if isinstance(layer, layers.HyperConv2DFromDense)]


def promise_one_hyper(model: AngioMorph) -> None:
    """Promise batches of one λ each, so that none is looked at; before the model is called or compiled, and for good."""
    for layer in _hyper_convolutions(model):
        layer.one_hyper = True


def kernel_shape(layer: layers.HyperConv2DFromDense) -> tuple[int, int, int, int]:
    """Return the shape of a generated kernel, `(3, 3, C, filters)`."""
    rows, columns, channels, filters = layer.hyperkernel[-1]
    return rows, columns, channels, filters


def warping_clean(model: AngioMorph) -> tf.keras.Model:
    """Return the same network, weights shared, that warps a second image: what it is trained as where the truth is known.

    Args:
        model: the network.

    Returns:
        a Keras model from (moving, fixed, hyper, clean), clean `(B, H, W, 1)` a noise-free `moving`, to (clean moved by the
        network's warp, flow).
    """
    clean = tf.keras.Input(model.input_shape[0][1:], name=f"{model.name}_clean_input")
    warp = layers.SpatialTransformer(name=f"{model.name}_clean_transformer")
    return tf.keras.Model([*model.inputs, clean], [warp([clean, model.references.pos_flow]), model.outputs[1]])


def with_finer(model: AngioMorph, clean: bool) -> tf.keras.Model:
    """Return the same network, weights shared, at two sizes: what it is trained as on frames of twice its own.

    First it sees the frames shrunk to its size, then a window of its size in the frames themselves, whose background its first
    warp has moved: what the levels of `pyramid.Predictor.warps` see. No gradient leads from the second to the first.

    Args:
        model: the network, for frames of (H, W).
        clean: take a second image to be warped, as `warping_clean` does.

    Returns:
        a Keras model from (moving, fixed, hyper, corner), or (moving, fixed, hyper, clean, corner), images `(B, 2H, 2W, 1)`,
        corner `(B, 2)` int32, see `layers.FinerWindow`, to (moved, flow, moved, flow), those of the first size and of the
        window, of `clean` where there is one.
    """
    shape, name = model.input_shape[0][1:], model.name
    frames = (2 * shape[0], 2 * shape[1], 1)
    moving, fixed = (tf.keras.Input(frames, name=f"{name}_{which}_at_twice_the_size") for which in ("moving", "fixed"))
    corner = tf.keras.Input((2,), dtype=tf.int32, name=f"{name}_corner")
    warped = [tf.keras.Input(frames, name=f"{name}_clean_at_twice_the_size")] if clean else []
    network = tf.keras.Model(model.inputs, [model.references.pos_flow, model.outputs[1]], name=f"{name}_network")
    shrink = tf.keras.layers.AveragePooling2D(2, name=f"{name}_shrunk", dtype="float32")
    hyper = tf.keras.Input((1,), name=f"{name}_hyper_at_two_sizes")
    warp, flow = network([shrink(moving), shrink(fixed), hyper])
    fixed_window, *windows = layers.FinerWindow(name=f"{name}_window")([warp, corner, fixed, moving, *warped])
    finer_warp, finer_flow = network([windows[0], fixed_window, hyper])
    judged = shrink([moving, *warped][-1]), windows[-1]
    moved = [
        layers.SpatialTransformer(name=f"{name}_{which}")([image, by])
        for which, image, by in zip(("shrunk_transformer", "window_transformer"), judged, (warp, finer_warp), strict=True)
    ]
    return tf.keras.Model([moving, fixed, hyper, *warped, corner], [moved[0], flow, moved[1], finer_flow])


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
    for layer in _hyper_convolutions(model):
        kernel, _, bias, bias_bias = layer.get_weights()
        layer.set_weights([kernel, tf.keras.initializers.HeNormal()(kernel_shape(layer)).numpy().ravel(), bias, bias_bias])
    flow = model.get_layer(f"{model.name}_flow")
    kernel, bias = flow.get_weights()
    flow.set_weights([tf.random.normal(kernel.shape, stddev=flow_sigma).numpy(), bias])


def _copy_plain_weights(source: tf.keras.Model, target: tf.keras.Model) -> None:
    for layer in source.layers:
        generated = isinstance(layer, layers.HyperConv2DFromDense)
        if layer.weights and not generated and layer.name in {other.name for other in target.layers}:
            target.get_layer(layer.name).set_weights(layer.get_weights())


def compact(model: AngioMorph, rank: int = 8, samples: int = 201) -> AngioMorph:
    """Return the same network with generated weights of low rank: a linear layer of `rank` units before the heads.

        features(λ) ≈ mean + basis @ units(λ), units(λ) = basis⁺ @ (features(λ) - mean)

    Over λ in [0, 1] the hypernetwork's output traces a curve; `basis` (U, rank) spans the directions in which the generated
    kernels, not the features, vary most, so that the heads need rank + 1 numbers a weight instead of U + 1.

    Args:
        model: a full-rank network.
        rank: units of the new layer.
        samples: number of λ on which the curve is sampled.

    Raises:
        InputError: the model has a `hyp_rank` already.
    """
    config = {key: value for key, value in model.get_config().items() if key != "metadata"}
    if config["hyp_rank"] is not None:
        raise InputError(f"model: expected full rank, found hyp_rank {config['hyp_rank']}; compact the model it was made from")
    features = hyper_features(model, np.linspace(0, 1, samples)).astype(np.float64)
    mean, heads = features.mean(0), _hyper_convolutions(model)
    gram = sum(layer.get_weights()[index] @ layer.get_weights()[index].T for layer in heads for index in (0, 2))
    basis, project = _principal(features - mean, np.asarray(gram, np.float64), rank)
    small = AngioMorph(**{**config, "hyp_rank": rank})
    _copy_plain_weights(model, small)
    small.get_layer("hyp_rank").set_weights([project, -mean @ project])
    for layer in heads:
        kernel, kernel_bias, bias, bias_bias = layer.get_weights()
        weights = [basis.T @ kernel, kernel_bias + mean @ kernel, basis.T @ bias, bias_bias + mean @ bias]
        small.get_layer(layer.name).set_weights(weights)
    small.metadata.update(model.metadata)
    return small


def _principal(centred: np.ndarray, gram: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `basis` and `project` (U, rank): centred ≈ centred @ project @ basis.T, best in the metric `gram`."""
    scale, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.clip(scale, 0, None))
    kept = root > root.max() * 1e-7
    to_metric, from_metric = vectors[:, kept] * root[kept], vectors[:, kept] / root[kept]
    right = np.linalg.svd(centred @ to_metric, full_matrices=False)[2][:rank].T
    return from_metric @ right, to_metric @ right


def bake(model: AngioMorph, hyper: float, size: int | None = None, **metadata: Any) -> tf.keras.Model:
    """Return VoxelMorph's plain `VxmDense` with the weights that the hypernetwork generates at one λ.

    Args:
        model: the network.
        hyper: λ, [0, 1].
        size: side of the square frames that the `VxmDense` takes, pixels; None for the network's own.
        **metadata: of the model's source, kept in its `metadata` beside "lambda" and what the network's says of its training.

    Returns:
        a `VxmDense` whose `.h5` VoxelMorph's own tools load.

    Raises:
        InputError: λ is outside [0, 1], or `size` is no multiple of what the levels need.
    """
    if not 0 <= hyper <= 1:
        raise InputError(f"lambda: expected a number from 0 to 1, got {hyper}")
    config = model.get_config()
    multiple = 2 ** len(config["nb_unet_features"][0])
    if size is not None and (size < multiple or size % multiple):
        raise InputError(f"size: expected a multiple of {multiple}, got {size}; pad the frames to one")
    names = ("inshape", "nb_unet_features", "int_steps", "int_resolution", "svf_resolution", "name")
    given = {name: config[name] for name in names}
    plain = vxm.networks.VxmDense(**given if size is None else {**given, "inshape": (size, size)})
    plain.metadata.update({name: model.metadata[name] for name in OF_TRAINING if name in model.metadata})
    plain.metadata.update(metadata, **{"lambda": hyper})
    _copy_plain_weights(model, plain)
    features = hyper_features(model, np.array([hyper]))
    for layer in _hyper_convolutions(model):
        kernel, kernel_bias, bias, bias_bias = layer.get_weights()
        shape = plain.get_layer(layer.name).kernel.shape
        generated = (features @ kernel + kernel_bias).reshape(shape)
        plain.get_layer(layer.name).set_weights([generated, (features @ bias + bias_bias)[0]])
    return plain
