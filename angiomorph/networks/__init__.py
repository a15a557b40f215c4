"""What has weights: the network, its layers and losses.

Importing this package is all that `tf.keras.models.load_model` needs to open a model `.h5`, compiled or not.
"""

from angiomorph.networks.conversion import bake, compact, hyper_features, import_weights
from angiomorph.networks.model import (
    CUSTOM_OBJECTS,
    MULTIPLE,
    AngioMorph,
    hypernetwork,
    initialise,
    kernel_shape,
    mix_precision,
    promise_one_hyper,
    save,
)
from angiomorph.networks.training_graphs import warping_clean, with_finer
from angiomorph.paper import DECODER, ENCODER, HYP_UNITS
from angiomorph.storage.digest import sha256

__all__ = [
    "CUSTOM_OBJECTS",
    "DECODER",
    "ENCODER",
    "HYP_UNITS",
    "MULTIPLE",
    "AngioMorph",
    "bake",
    "compact",
    "hyper_features",
    "hypernetwork",
    "import_weights",
    "initialise",
    "kernel_shape",
    "mix_precision",
    "promise_one_hyper",
    "save",
    "sha256",
    "warping_clean",
    "with_finer",
]
