"""The network of a configuration, and the objective that it is compiled with: Eq. 1 of Zhou et al. 2024."""

from __future__ import annotations

from collections.abc import Callable

from angiomorph import __version__, networks
from angiomorph.backend import tf
from angiomorph.networks import initial_weights
from angiomorph.networks.losses import SIMILARITIES, GradientPenalty, Similarity, Truth
from angiomorph.training.config import TrainingConfig
from angiomorph.training.optimizer import INITIAL_SCALE, GuardedAdam


def build_network(config: TrainingConfig, say: Callable[[str], None] | None = None) -> networks.AngioMorph:
    """Return the network of a configuration, with random or loaded weights, not compiled.

    Args:
        config: the training.
        say: takes a line on which weights were loaded; None for none.

    Raises:
        InputError: `load_weights` cannot be read, or none of its weights fits.
    """
    size = config.sampling.size
    model = networks.AngioMorph(
        (size, size),
        [list(config.enc), list(config.dec)],
        list(config.hyp_units),
        config.hyp_rank,
        int_steps=config.int_steps,
        int_resolution=config.int_downsize,
    )
    model.metadata.update(
        version=__version__,
        size=size,
        intensity=config.sampling.intensity,
        image_loss=config.image_loss,
        image_sigma=config.image_sigma,
        levels=config.levels,
        **{"lambda": config.default_hyper},
    )
    if config.init == "he":
        networks.initialise(model)
    if config.load_weights:
        loaded = initial_weights.load(model, config.load_weights)
        if say is not None:
            say(loaded)
    return model


def prepare_network(model: networks.AngioMorph, config: TrainingConfig) -> None:
    """Set what belongs to the training, and not to the model's files; before the model is called."""
    networks.promise_one_hyper(model)  # as a step has it
    if config.mixed_precision:
        networks.mix_precision(model, config.mixed_precision)


def build_similarity(config: TrainingConfig) -> Similarity:
    """Return L_sim of a configuration."""
    if config.needs_truth:
        return Truth(config.image_sigma, config.contrast_weight)
    similarity: Similarity = SIMILARITIES[config.image_loss](image_sigma=config.image_sigma)
    return similarity


def compile_model(model: networks.AngioMorph, config: TrainingConfig) -> None:
    """Compile with Adam and the losses of Eq. 1; λ comes as the dataset's sample weights."""
    scale = INITIAL_SCALE if config.mixed_precision == "float16" else None
    model.compile(GuardedAdam(config.lr, initial_scale=scale), [build_similarity(config), GradientPenalty()])


def wrap_network(model: networks.AngioMorph, config: TrainingConfig) -> tf.keras.Model:
    """Return what `fit` is called on: the compiled network, or one around it, of "truth" or of two sizes.

    Both have the network's optimizer, so that a checkpoint of the network is one of the training.
    """
    clean, finer = config.needs_truth, config.sampling.finer
    if not (clean or finer):
        return model
    model.optimizer.build(model.trainable_variables)  # in the order in which a checkpoint's reader finds them
    around = networks.with_finer(model, clean) if finer else networks.warping_clean(model)
    around.compile(model.optimizer, [build_similarity(config), GradientPenalty()] * (2 if finer else 1))
    return around
