"""The network as it is trained: weights shared, with more to warp or at two sizes."""

from __future__ import annotations

from angiomorph.backend import tf
from angiomorph.networks.model import AngioMorph
from angiomorph.networks.warp import FinerWindow, SpatialTransformer


def warping_clean(model: AngioMorph) -> tf.keras.Model:
    """Return the same network, weights shared, that warps a second image: what it is trained as where the truth is known.

    Args:
        model: the network.

    Returns:
        a Keras model from (moving, fixed, hyper, clean), clean `(B, H, W, 1)` a noise-free `moving`, to (clean moved by the
        network's warp, flow).
    """
    clean = tf.keras.Input(model.input_shape[0][1:], name=f"{model.name}_clean_input")
    warp = SpatialTransformer(name=f"{model.name}_clean_transformer")
    return tf.keras.Model([*model.inputs, clean], [warp([clean, model.references.pos_flow]), model.outputs[1]])


def with_finer(model: AngioMorph, clean: bool) -> tf.keras.Model:
    """Return the same network, weights shared, at two sizes: what it is trained as on frames of twice its own.

    First it sees the frames shrunk to its size. Then it sees a window of its size in the frames themselves, whose background
    its first warp has moved. The levels of `pyramid.Predictor.warps` see the same. No gradient leads from the second to the
    first.

    Args:
        model: the network, for frames of (H, W).
        clean: take a second image to be warped, as `warping_clean` does.

    Returns:
        a Keras model from (moving, fixed, hyper, corner), or (moving, fixed, hyper, clean, corner), images `(B, 2H, 2W, 1)`,
        corner `(B, 2)` int32, see `FinerWindow`, to (moved, flow, moved, flow), those of the first size and of the
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
    fixed_window, *windows = FinerWindow(name=f"{name}_window")([warp, corner, fixed, moving, *warped])
    finer_warp, finer_flow = network([windows[0], fixed_window, hyper])
    judged = shrink([moving, *warped][-1]), windows[-1]
    moved = [
        SpatialTransformer(name=f"{name}_{which}")([image, by])
        for which, image, by in zip(("shrunk_transformer", "window_transformer"), judged, (warp, finer_warp), strict=True)
    ]
    return tf.keras.Model([moving, fixed, hyper, *warped, corner], [moved[0], flow, moved[1], finer_flow])
