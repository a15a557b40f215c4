"""Training: the paper's objective through stock Keras compile and fit, with what a long run needs around it."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from angiomorph import __version__, networks
from angiomorph.backend import configure_gpu, tf, vxm
from angiomorph.dataset import Sampling, count_series, dataset, steps_per_epoch
from angiomorph.errors import InputError
from angiomorph.losses import SIMILARITIES, GradientPenalty
from angiomorph.store import replacing
from angiomorph.view.pictures import learning_curve

DEFAULT_LAMBDA = {"mse": 0.7, "minmax": 0.5, "vle": 0.7}  # what the paper evaluated each loss with
KEPT_CHECKPOINTS = 3


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a training; the defaults are the paper's but for `intensity`.

    Args:
        image_loss: "mse", "minmax" or "vle".
        image_sigma: alpha_sim of Eq. 1.
        sampling: which pairs and λ are drawn.
        epochs: visits of every run.
        steps_per_epoch: batches an epoch; None for one visit of every run.
        lr: Adam's learning rate.
        enc: encoder features.
        dec: decoder features.
        int_steps: see `networks.AngioMorph`.
        int_downsize: relative pixel size of the flow during integration.
        hyp_units: units of the hypernetwork.
        hyp_rank: rank of the generated weights, see `networks.AngioMorph`; None for full, as in the paper.
        init: "he" or "voxelmorph", see `networks.initialise`.
        hyper: λ that the model registers with where the user names none; None for the paper's choice for the loss.
        load_weights: a model `.h5` to begin with; None for random weights.
        initial_epoch: number of epochs counted as done.
    """

    image_loss: str = "vle"
    image_sigma: float = 0.3
    sampling: Sampling = dataclasses.field(default_factory=Sampling)
    epochs: int = 10
    steps_per_epoch: int | None = None
    lr: float = 1e-4
    enc: Sequence[int] = networks.ENCODER
    dec: Sequence[int] = networks.DECODER
    int_steps: int = 0
    int_downsize: int = 2
    hyp_units: Sequence[int] = networks.HYP_UNITS
    hyp_rank: int | None = None
    init: str = "voxelmorph"
    hyper: float | None = None
    load_weights: str | None = None
    initial_epoch: int = 0


RESUMABLE = ("epochs", "lr", "hyper", "load_weights", "initial_epoch")


class Checkpoint(tf.keras.callbacks.Callback):
    """After every epoch, write model, optimizer and epoch count (`checkpoints/NNNN.h5`), the plain model and the picture.

    Args:
        model_dir: the model directory.
    """

    def __init__(self, model_dir: Path) -> None:
        super().__init__()
        self.model_dir = model_dir

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write what Keras has reached; older checkpoints than the last three go."""
        self.model.metadata["epochs"] = epoch + 1
        folder = self.model_dir / "checkpoints"
        networks.save(self.model, folder / f"{epoch + 1:04d}.h5", include_optimizer=True)
        networks.save(self.model, self.model_dir / "model.h5")
        for old in sorted(folder.glob("[0-9]*.h5"))[:-KEPT_CHECKPOINTS]:
            old.unlink()
        learning_curve(self.model_dir / "history.csv", self.model_dir / "learning_curve.png")


def build(config: TrainingConfig) -> networks.AngioMorph:
    """Return the network of a configuration, with random or loaded weights, not compiled.

    Raises:
        InputError: `load_weights` is no model, or its weights do not fit.
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
        **{"lambda": _default_lambda(config)},
    )
    if config.init == "he":
        networks.initialise(model)
    if config.load_weights:
        _load_weights(model, config.load_weights)
    return model


def _default_lambda(config: TrainingConfig) -> float:
    return DEFAULT_LAMBDA[config.image_loss] if config.hyper is None else config.hyper


def _load_weights(model: networks.AngioMorph, path: str) -> None:
    source = networks.AngioMorph.load(path)
    try:
        model.set_weights(source.get_weights())
    except ValueError as error:
        raise InputError(
            f"{path}: expected weights for enc, dec and hyp-units as given, but they do not fit: {str(error).splitlines()[0]}"
        ) from error


def compile_model(model: networks.AngioMorph, config: TrainingConfig) -> None:
    """Compile with Adam and the losses of Eq. 1; λ comes as the dataset's sample weights."""
    similarity = SIMILARITIES[config.image_loss](image_sigma=config.image_sigma)
    model.compile(tf.keras.optimizers.Adam(config.lr), [similarity, GradientPenalty()])


def train(
    stores: Sequence[Path], model_dir: Path, config: TrainingConfig, *, resume: bool = False, gpu: str | None = None
) -> Path:
    """Train a network and leave a model directory: model.h5, checkpoints, config.json, history.csv, curve, TensorBoard.

    Args:
        stores: training stores.
        model_dir: the directory, made if missing.
        config: the training.
        resume: go on from the directory's last checkpoint.
        gpu: see `backend.configure_gpu`.

    Returns:
        the path of model.h5.

    Raises:
        InputError: nothing to train on, nothing to resume, or a resumed training that differs from the one begun.
    """
    configure_gpu(gpu)
    tf.keras.utils.set_random_seed(config.sampling.seed)
    series = count_series(stores)
    model, done = _resumed(model_dir, config) if resume else _begun(model_dir, config)
    if done >= config.epochs:
        raise InputError(f"{model_dir}: expected fewer than --epochs {config.epochs} done, found {done}; give more --epochs")
    steps = config.steps_per_epoch or steps_per_epoch(series, config.sampling)
    _write_config(model_dir, config, stores, series)
    model.fit(
        dataset(stores, config.sampling, model.output_shape[1][1:], first_epoch=done),
        steps_per_epoch=steps,
        initial_epoch=done,
        epochs=config.epochs,
        verbose=1 if sys.stdout.isatty() else 2,
        callbacks=_callbacks(model_dir, append=done > 0),
    )
    return model_dir / "model.h5"


def _callbacks(model_dir: Path, append: bool) -> list[tf.keras.callbacks.Callback]:
    return [
        tf.keras.callbacks.TerminateOnNaN(),
        tf.keras.callbacks.CSVLogger(model_dir / "history.csv", append=append),
        tf.keras.callbacks.TensorBoard(model_dir / "tensorboard", write_graph=False),
        Checkpoint(model_dir),
    ]


def _begun(model_dir: Path, config: TrainingConfig) -> tuple[networks.AngioMorph, int]:
    if (model_dir / "checkpoints").is_dir() and any((model_dir / "checkpoints").glob("[0-9]*.h5")):
        raise InputError(f"{model_dir}: expected a new model directory, found a training in it; add --resume or name another")
    model = build(config)
    compile_model(model, config)
    return model, config.initial_epoch


def _resumed(model_dir: Path, config: TrainingConfig) -> tuple[networks.AngioMorph, int]:
    checkpoints = sorted((model_dir / "checkpoints").glob("[0-9]*.h5"))
    if not checkpoints:
        raise InputError(f"{model_dir}: expected checkpoints/NNNN.h5 to resume from, found none; train without --resume")
    _check_same_training(model_dir / "config.json", config)
    model = tf.keras.models.load_model(checkpoints[-1])
    model.optimizer.learning_rate.assign(config.lr)
    model.metadata["lambda"] = _default_lambda(config)
    return model, int(model.metadata["epochs"])


def _check_same_training(path: Path, config: TrainingConfig) -> None:
    begun, now = json.loads(path.read_text())["training"], json.loads(json.dumps(dataclasses.asdict(config)))
    differing = [name for name in now if name not in RESUMABLE and now[name] != begun[name]]
    if differing:
        found = "; ".join(f"{name}: {begun[name]} then, {now[name]} now" for name in differing)
        raise InputError(f"{path}: expected the same training to resume (but for {', '.join(RESUMABLE)}), found {found}")


def _write_config(model_dir: Path, config: TrainingConfig, stores: Sequence[Path], series: int) -> None:
    versions = {"angiomorph": __version__, "tensorflow": tf.__version__, "voxelmorph": vxm.__version__}
    resolved: dict[str, Any] = {
        "training": dataclasses.asdict(config),
        "stores": [path.name for path in stores],
        "series": series,
        "versions": {**versions, "python": platform.python_version()},
    }
    with replacing(model_dir / "config.json") as partial:
        partial.write_text(json.dumps(resolved, indent=2) + "\n")
