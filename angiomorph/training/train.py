"""Training: the paper's objective through stock Keras compile and fit, with what a long run needs around it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import platform
import sys
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph import __version__, networks
from angiomorph.backend import configure_gpu, tf, vxm, without_remapper
from angiomorph.errors import InputError
from angiomorph.networks import initial_weights
from angiomorph.networks.losses import SIMILARITIES, GradientPenalty, Similarity, Truth
from angiomorph.pictures import learning_curve
from angiomorph.training import checkpoints, precision
from angiomorph.training.checkpoints import Progress, Table
from angiomorph.training.config import TrainingConfig
from angiomorph.training.dataset import Source, dataset
from angiomorph.training.distribution import Distribution, cluster, join
from angiomorph.training.optimizer import INITIAL_SCALE, GuardedAdam
from angiomorph.training.validation import Measured, Validation, sort_out

MOST_SKIPPED = 100  # in a row: weights that give nothing finite any more do not recover

logger = logging.getLogger(__name__)


RESUMABLE = (
    "epochs",
    "lr",
    "final_lr",
    "hyper",
    "levels",
    "load_weights",
    "initial_epoch",
    "checkpoint_steps",
    "keep",
    "on_nan",
    "patience",
)


class Upkeep(tf.keras.callbacks.Callback):
    """Count steps, guard against what is not finite, write logs, checkpoints and the model, in an order that survives a kill.

    Args:
        model_dir: the model directory.
        config: the training.
        source: what the steps draw from.
        steps: batches an epoch.
        progress: where the training begins; kept up to date.
        validation: what the best model and early stopping are judged by; None for the epoch's loss.
        team: how the training is spread; of its workers only the chief writes, but all take the same decisions.
        network: what is written; the model that Keras trains, or, of "truth", its part.
    """

    def __init__(
        self,
        model_dir: Path,
        config: TrainingConfig,
        source: Source,
        steps: int,
        progress: Progress,
        validation: Validation | None,
        team: Distribution,
        network: networks.AngioMorph,
    ) -> None:
        super().__init__()
        self.network = network
        self.model_dir = model_dir
        self.config = config
        self.source = source
        self.steps = steps
        self.progress = progress
        self.validation = validation
        self.team = team
        self.stopped = False
        self.table = Table(model_dir / "steps.csv")
        self.history = Table(model_dir / "history.csv")
        self.validations = Table(model_dir / "validation.csv")
        self.board = (
            tf.summary.create_file_writer(str(model_dir / "tensorboard")) if team.chief else tf.summary.create_noop_writer()
        )
        self._skipped = 0
        self._means: list[float] = []
        self._validated: dict[str, float] = {}
        self._runs = 0  # checksum of the runs that the steps drew

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Write a first checkpoint, so that a training can be resumed from its first step on."""
        if self.team.chief and not checkpoints.found(self.model_dir):
            self._write_checkpoint([])

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Go on with the running means of an epoch that was left in its middle."""
        if self.progress.metrics:
            _set_means(self.model, self.progress.metrics)
        self._means = self.progress.metrics
        self.progress.metrics = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Set the learning rate of the step, where it falls."""
        if self.config.final_lr is not None:
            rate = learning_rate(self.progress.step, self.config.epochs * self.steps, self.config.lr, self.config.final_lr)
            self.model.optimizer.learning_rate.assign(rate)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Log the step and write a checkpoint when it is time.

        Raises:
            InputError: loss or gradient is not finite and the training stops there, or the disk is full.
        """
        optimizer = self.model.optimizer
        self._count(float(optimizer.last_loss.numpy()), float(optimizer.last_norm.numpy()))
        if not self.progress.step % self.steps:
            return  # the epoch's end does all this
        if self.config.validation_steps and not self.progress.step % self.config.validation_steps:
            self._validate()
        if not self.progress.step % self.config.checkpoint_steps:
            self._save_checkpoint()

    def lose_step(self) -> None:
        """Count a step whose warp was not finite, so that TensorFlow broke it and fit off.

        Raises:
            InputError: the training stops there, or the disk is full.
        """
        epoch = self.progress.step // self.steps
        self._count(math.nan, math.nan)
        if self.progress.step % self.steps:
            self.progress.metrics = _means(self.model)
        else:
            self.on_epoch_end(epoch, {metric.name: float(metric.result()) for metric in self.model.metrics})

    def _count(self, loss: float, norm: float) -> None:
        draws = self.source.draws(self.progress.step)
        for draw in draws:
            self._runs = zlib.crc32(draw.run.to_bytes(8, "little"), self._runs)
        self._guard(loss, norm)
        row = {"step": self.progress.step, "epoch": self.progress.step // self.steps, "lambda": draws[0].hyper}
        if self.team.chief:
            self.table.add({**row, "loss": loss, "gradient_norm": norm})
        self.progress.step += 1

    def _guard(self, loss: float, norm: float) -> None:
        """Stop at, or leave out of the running means, a batch that is not finite; its step was not taken."""
        if math.isfinite(loss) and (math.isfinite(norm) or bool(self.model.optimizer.last_overflow.numpy())):
            self._skipped = 0
            if self.config.on_nan == "skip":
                self._means = _means(self.model)
            return
        found = self.source.describe(self.progress.step)
        found = f"step {self.progress.step}: {found}: loss {loss}, norm of the gradient {norm}"
        self._skipped += 1
        if self.config.on_nan == "stop" or self._skipped == MOST_SKIPPED:
            raise InputError(
                f"{found}; expected finite numbers, and the last checkpoint has them; look at these frames, lower --lr, or "
                f"leave such batches out with --resume --on-nan skip ({self._skipped} in a row)"
            )
        logger.warning("%s; left out", found)
        _set_means(self.model, self._means)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the logs and the model, then the checkpoint that counts them as done."""
        row = dict(logs or {})
        self._scalars({f"epoch_{name}": value for name, value in row.items()})
        if self.validation is None:
            self._judge(row["loss"])
        elif not self.stopped:
            self._validate()
        if self.team.chief:
            self.history.add({"epoch": epoch, **row, **self._validated})
        self._write_model("model.h5")
        self._save_checkpoint()
        if not self.team.chief:
            return
        picture = self.model_dir / "learning_curve.png"
        with checkpoints.writing(picture):
            learning_curve(self.history.path, picture)

    def _validate(self) -> None:
        """Measure, show, and stop the training where no model has been better for `patience` validations."""
        if self.validation is None:
            return
        measured = self.validation.measure(self.progress.step)
        history, judged = measured.history(), measured.judged(self.config.best_by)
        *means, judged = self.team.mean([*history.values(), judged])  # for equal decisions
        self._validated = dict(zip(history, means, strict=True))
        if self.team.chief:
            self._show(measured, self.validation.examples(self.config.default_hyper))
        self._judge(judged)
        if self.config.patience and self.progress.since_best >= self.config.patience:
            if self.team.chief:
                without = f"{self.config.patience} validations without a lower {self.config.best_by}"
                print(f"stopped at step {self.progress.step}: {without}", flush=True)
            self.stopped = self.model.stop_training = True

    def _show(self, measured: Measured, examples: np.ndarray) -> None:
        for row in measured.rows():
            self.validations.add(row)
        self._scalars(measured.scalars())
        with checkpoints.writing(self.model_dir / "tensorboard"), self.board.as_default(self.progress.step):
            tf.summary.image("background, contrast, DSA, BSA", examples, max_outputs=len(examples))
            tf.summary.image(
                "figures of merit over λ", measured.picture(), description="means over the runs; bands: 95 % intervals"
            )

    def _judge(self, loss: float) -> None:
        """Keep the model of the lowest loss, or other cost, so far."""
        if not math.isfinite(loss) or (self.progress.best is not None and loss >= self.progress.best):
            self.progress.since_best += 1
            return
        self.progress.best, self.progress.since_best = loss, 0
        self._write_model("best.h5")

    def _write_model(self, name: str) -> None:
        if not self.team.chief:
            return
        self.network.metadata.update(epochs=self.progress.step // self.steps, steps=self.progress.step)
        checkpoints.write(self.model_dir / name, checkpoints.image(self.network))

    def _scalars(self, values: dict[str, float]) -> None:
        with checkpoints.writing(self.model_dir / "tensorboard"), self.board.as_default(self.progress.step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def _save_checkpoint(self) -> None:
        metrics = _means(self.model) if self.progress.step % self.steps else []
        if self.team.mean([self._runs]) != [self._runs]:
            raise InputError(
                f"worker {self.team.worker} of {self.team.workers} (from 0): expected all workers to read the same runs, found "
                "that some cannot read one that others can; see which run each left out, then start all again with --resume"
            )
        if self.team.chief:
            self._write_checkpoint(metrics)

    def _write_checkpoint(self, metrics: list[float]) -> None:
        self.table.flush()
        self.history.flush()
        self.validations.flush()
        with checkpoints.writing(self.model_dir / "tensorboard"):
            self.board.flush()
        checkpoints.save(self.network, self.model_dir, dataclasses.replace(self.progress, metrics=metrics), self.config.keep)


def learning_rate(step: int, steps: int, lr: float, final_lr: float) -> float:
    """Return the rate of a step on half a cosine.

        final_lr + (lr - final_lr) (1 + cos(pi step / steps)) / 2

    Args:
        step: from 0.
        steps: of the whole training.
        lr: at the first step.
        final_lr: after the last.

    Source: Loshchilov and Hutter, ICLR 2017, without restarts.
    """
    return final_lr + (lr - final_lr) * (1 + math.cos(math.pi * step / steps)) / 2


def _means(model: tf.keras.Model) -> list[float]:
    """Return the state of Keras's running means, exactly; of several workers all have to ask."""
    return [float(variable.numpy()) for metric in model.metrics for variable in metric.variables]


def _set_means(model: tf.keras.Model, values: Sequence[float]) -> None:
    variables = [variable for metric in model.metrics for variable in metric.variables]
    for variable, value in zip(variables, values or [0.0] * len(variables), strict=True):
        variable.assign(value)


def build(config: TrainingConfig) -> networks.AngioMorph:
    """Return the network of a configuration, with random or loaded weights, not compiled.

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
        print(initial_weights.load(model, config.load_weights), flush=True)
    return model


def compile_model(model: networks.AngioMorph, config: TrainingConfig) -> None:
    """Compile with Adam and the losses of Eq. 1; λ comes as the dataset's sample weights."""
    scale = INITIAL_SCALE if config.mixed_precision == "float16" else None
    model.compile(GuardedAdam(config.lr, initial_scale=scale), [_similarity(config), GradientPenalty()])


def trained(model: networks.AngioMorph, config: TrainingConfig) -> tf.keras.Model:
    """Return what `fit` is called on: the compiled network, or one around it, of "truth" or of two sizes.

    Both have the network's optimizer, so that a checkpoint of the network is one of the training.
    """
    clean, finer = config.image_loss == "truth", config.sampling.finer
    if not (clean or finer):
        return model
    model.optimizer.build(model.trainable_variables)  # in the order in which a checkpoint's reader finds them
    around = networks.with_finer(model, clean) if finer else networks.warping_clean(model)
    around.compile(model.optimizer, [_similarity(config), GradientPenalty()] * (2 if finer else 1))
    return around


def _similarity(config: TrainingConfig) -> Similarity:
    if config.image_loss == "truth":
        return Truth(config.image_sigma, config.contrast_weight)
    similarity: Similarity = SIMILARITIES[config.image_loss](image_sigma=config.image_sigma)
    return similarity


def train(
    stores: Sequence[Path],
    model_dir: Path,
    config: TrainingConfig,
    *,
    validation: Sequence[Path] = (),
    resume: bool = False,
    gpu: str | None = None,
) -> Path:
    """Train a network and leave a model directory: model.h5, best.h5, checkpoints, config.json, logs, curve, TensorBoard.

    Args:
        stores: training stores.
        model_dir: the directory, made if missing.
        config: the training.
        validation: stores, and DICOM runs or folders of them, that the best model and early stopping are judged by; none for
            the epoch's loss.
        resume: go on from the directory's last checkpoint.
        gpu: see `backend.configure_gpu`.

    Returns:
        the path of model.h5.

    Raises:
        InputError: nothing to train on, nothing to resume, a resumed training that differs from the one begun, a loss that
            is not finite, too many runs that cannot be read, one of the validation that cannot, a full disk, or a machine that
            gains nothing by mixed precision.
    """
    gpus, workers = configure_gpu(gpu), cluster()
    if config.mixed_precision == "auto":
        config = dataclasses.replace(config, mixed_precision=precision.of_machine())
    config.check_validation(validation)
    validation_stores, validation_runs = sort_out(validation)
    part = (workers.index, len(workers.workers)) if workers else (0, 1)
    with ExitStack() as stack:
        clean = config.image_loss == "truth"
        source = stack.enter_context(Source(stores, config.sampling, part, clean))
        whole = dataclasses.replace(config.sampling, finer=False)  # validation sees frames at the network's size alone
        held_out = stack.enter_context(Source(validation_stores, whole, clean=clean)) if validation_stores else None
        steps = config.steps_per_epoch or config.sampling.count_steps(len(source.runs))
        resolved = _resolved(config, stores, source, validation_stores, list(validation_runs))
        team = join(workers, gpus, config.sampling, _common(resolved, model_dir, resume))
        stack.enter_context(team.watching())
        tf.keras.utils.set_random_seed(config.sampling.seed)
        with team.scope():
            model, progress = (
                _resumed(model_dir, config, resolved, steps, team) if resume else _begun(model_dir, config, steps, team)
            )
            around = trained(model, config)
            around.distribute_reduction_method = "first"  # Keras would add up means that are the joint batch's already
            if team.strategy is not None:
                checkpoints.image(model, progress)  # Keras makes metrics at the first save, which has to be on all workers
        _check_unfinished(model_dir, config, progress, steps)
        _prepare_network(model, config)
        judge = Validation(held_out, validation_runs, model, _similarity(config), whole) if validation else None
        _check_judge(config, judge)
        model.metadata.update(_provenance(resolved))
        if team.chief:
            checkpoints.write(model_dir / "config.json", (json.dumps(resolved, indent=2) + "\n").encode())
        with without_remapper():
            _fit(around, source, Upkeep(model_dir, config, source, steps, progress, judge, team, model))
        team.mean([0.0])  # until the chief has written all, which it would not if it saw another end
    return model_dir / "model.h5"


def _check_judge(config: TrainingConfig, judge: Validation | None) -> None:
    if config.best_by == "artefact" and (judge is None or not judge.moving):
        raise InputError(
            "--best-by artefact: expected runs of `angiomorph simulate` with their truth, in which something moves, among "
            "--validation, found none"
        )


def _check_unfinished(model_dir: Path, config: TrainingConfig, progress: Progress, steps: int) -> None:
    if progress.step >= config.epochs * steps:
        raise InputError(
            f"{model_dir}: expected fewer than --epochs {config.epochs} done, found {progress.step // steps}; "
            "give more --epochs"
        )
    if config.patience and progress.since_best >= config.patience:
        raise InputError(
            f"{model_dir}: expected fewer than --patience {config.patience} validations without a lower {config.best_by}, "
            f"found {progress.since_best}; give more --patience"
        )


def _fit(model: tf.keras.Model, source: Source, upkeep: Upkeep) -> None:
    """Call fit, and again for the rest of an epoch in whose middle a training goes on."""
    team = upkeep.team
    epochs, steps = upkeep.config.epochs, upkeep.steps
    while upkeep.progress.step < epochs * steps and not upkeep.stopped:
        epoch, offset = divmod(upkeep.progress.step, steps)
        try:
            model.fit(
                team.pipeline(partial(dataset, source, model.output_shape[1][1:], upkeep.progress.step, team.local_replicas)),
                steps_per_epoch=steps - offset,
                initial_epoch=epoch,
                epochs=epoch + 1 if offset else epochs,
                verbose=(1 if sys.stdout.isatty() else 2) if team.chief else 0,
                callbacks=[upkeep],
            )
        except tf.errors.OpError as error:
            if source.error is not None:
                raise source.error from None
            # On a CPU, TensorFlow refuses to look up a pixel at a place that is not a number.
            if "is not in [0," not in error.message:
                raise
            if team.workers > 1:  # which cannot go on together after a step that broke off
                found = source.describe(upkeep.progress.step)
                raise InputError(
                    f"step {upkeep.progress.step}: {found}: expected finite warps, found one that is not a number, and the "
                    "last checkpoint is from before; look at these frames, lower --lr, or leave such batches out on one "
                    "machine with --resume --on-nan skip"
                ) from error
            upkeep.lose_step()


def _common(resolved: dict[str, Any], model_dir: Path, resume: bool) -> dict[str, Any]:
    """Return what the workers of a training must have in common."""
    training, last = resolved["training"], [path.name for path in checkpoints.found(model_dir)[-1:]]
    given = {**training, **training["sampling"], "--resume": resume, "last checkpoint": last or "none"}
    return {**given, **{name: resolved[name] for name in ("series", "frames", "validation", "validation_runs", "versions")}}


def _begun(model_dir: Path, config: TrainingConfig, steps: int, team: Distribution) -> tuple[networks.AngioMorph, Progress]:
    if checkpoints.found(model_dir):
        raise InputError(f"{model_dir}: expected a new model directory, found a training in it; add --resume or name another")
    progress = Progress(config.initial_epoch * steps)
    if team.chief:
        checkpoints.tidy(model_dir, Progress(), 0)
    model = build(config)
    compile_model(model, config)
    return model, progress


def _resumed(
    model_dir: Path, config: TrainingConfig, resolved: dict[str, Any], steps: int, team: Distribution
) -> tuple[networks.AngioMorph, Progress]:
    found = checkpoints.found(model_dir)
    if not found:
        raise InputError(f"{model_dir}: expected checkpoints/NNNNNNNN.h5 to resume from, found none; train without --resume")
    _check_same_training(model_dir / "config.json", resolved)
    model, progress = checkpoints.load(found[-1])
    if team.chief:
        checkpoints.tidy(model_dir, progress, progress.step // steps)
    model.optimizer.learning_rate.assign(config.lr)
    model.metadata.update({"lambda": config.default_hyper, "levels": config.levels})
    return model, progress


def _check_same_training(path: Path, resolved: dict[str, Any]) -> None:
    begun, now = json.loads(path.read_text()), json.loads(json.dumps(resolved))
    newer = json.loads(json.dumps(dataclasses.asdict(TrainingConfig())))  # options that are newer than the training
    then, here = (
        {
            **newer,
            **given["training"],
            "sampling": newer["sampling"] | given["training"]["sampling"],
            "series": given["series"],
            "validation": given.get("validation"),
            "validation_runs": given.get("validation_runs", _unnamed([])),
        }
        for given in (begun, now)
    )
    differing = [name for name in here if name not in RESUMABLE and here[name] != then.get(name)]
    if differing:
        found = "; ".join(f"{name}: {then.get(name)} then, {here[name]} now" for name in differing)
        raise InputError(f"{path}: expected the same training to resume (but for {', '.join(RESUMABLE)}), found {found}")


def _prepare_network(model: networks.AngioMorph, config: TrainingConfig) -> None:
    """Set what belongs to the training, and not to the model's files."""
    networks.promise_one_hyper(model)  # as the dataset draws it
    if config.mixed_precision:
        networks.mix_precision(model, config.mixed_precision)


def _provenance(resolved: dict[str, Any]) -> dict[str, Any]:
    """Return what a model says of its making, without file names, in which a patient's name may be."""
    training = {name: value for name, value in resolved["training"].items() if name != "load_weights"}
    held_out = {"validation_stores": len(resolved["validation"]), "validation_runs": resolved["validation_runs"]["count"]}
    data = {"runs": resolved["series"], "frames": resolved["frames"], **held_out}
    return {"training": training, "data": data, "versions": resolved["versions"]}


def _unnamed(runs: Sequence[str]) -> dict[str, Any]:
    """Return what tells sets of DICOM runs apart without their names, in which a patient's may be."""
    return {"count": len(runs), "sha256": hashlib.sha256("\n".join(sorted(runs)).encode()).hexdigest() if runs else None}


def _resolved(
    config: TrainingConfig, stores: Sequence[Path], source: Source, validation: Sequence[Path], validation_runs: Sequence[str]
) -> dict[str, Any]:
    versions = {"angiomorph": __version__, "tensorflow": tf.__version__, "voxelmorph": vxm.__version__}
    return {
        "training": dataclasses.asdict(config),
        "stores": [path.name for path in stores],
        "validation": [path.name for path in validation],
        "validation_runs": _unnamed(validation_runs),
        "series": len(source.runs),
        "frames": source.frame_count(),
        "versions": {**versions, "python": platform.python_version()},
    }
