"""What happens around the steps of a training, one job a callback, in an order that survives a kill.

Of each step: check that it is finite, log and count it, validate, write a checkpoint. The checkpoint comes last, as it counts
the rows of the logs as done.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.training import checkpoints
from angiomorph.training.checkpoints import Progress
from angiomorph.training.config import TrainingConfig
from angiomorph.training.distribution import Distribution
from angiomorph.training.learning_curve import draw_learning_curve
from angiomorph.training.logs import HISTORY, STEPS, VALIDATION, Board, Table
from angiomorph.training.model_dir import list_checkpoints
from angiomorph.training.source import Source
from angiomorph.training.validation import Measured, Validation
from angiomorph.training.validation_page import PAGE, ValidationPage

REPORT = 60  # seconds between two reports
MOST_SKIPPED = 100  # in a row: weights that give nothing finite any more do not recover

logger = logging.getLogger(__name__)


@dataclass
class Course:
    """A training under way, which its callbacks share.

    Args:
        model_dir: the model directory.
        config: the training.
        source: runs that the steps draw from.
        steps: batches an epoch.
        progress: where it is; kept up to date.
        team: how it is spread; only the chief writes, but all workers take the same decisions.
        network: model that is written: the one that Keras trains, or its part for "truth" and for two sizes.
        say: takes a line for people, from the chief alone.
        stopped: whether it ends before its last epoch.
        interrupted: whether somebody asked for its end; it then ends after the step, with a checkpoint of it.
    """

    model_dir: Path
    config: TrainingConfig
    source: Source
    steps: int
    progress: Progress
    team: Distribution
    network: networks.AngioMorph
    say: Callable[[str], None]
    stopped: bool = False
    interrupted: bool = False

    @property
    def ends_epoch(self) -> bool:
        """Whether the last step was an epoch's last."""
        return self.progress.step % self.steps == 0

    def is_due(self, interval: int | None) -> bool:
        """Return whether something is due within the epoch that happens every `interval` steps; None for never."""
        return interval is not None and not self.ends_epoch and self.progress.step % interval == 0

    def write_model(self, name: str) -> None:
        """Write the network as it is, if this is the chief.

        Raises:
            InputError: the disk is full or fails.
        """
        if not self.team.chief:
            return
        self.network.metadata.update(epochs=self.progress.step // self.steps, steps=self.progress.step)
        checkpoints.write(self.model_dir / name, checkpoints.image(self.network))


class LearningRate(tf.keras.callbacks.Callback):
    """Set the learning rate of each step along half a cosine."""

    def __init__(self, course: Course, final_lr: float) -> None:
        super().__init__()
        self.course = course
        self.final_lr = final_lr

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Set the rate."""
        course = self.course
        steps = course.config.epochs * course.steps
        rate = compute_learning_rate(course.progress.step, steps, course.config.lr, self.final_lr)
        self.model.optimizer.learning_rate.assign(rate)


class FiniteCheck(tf.keras.callbacks.Callback):
    """Stop at a step whose loss or gradient is not finite, or keep it out of the epoch's running means."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course
        self._skipped = 0
        self._means: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Restore the running means of an epoch that was left in its middle."""
        progress = self.course.progress
        if progress.metrics:
            set_means(self.model, progress.metrics)
        self._means = progress.metrics
        progress.metrics = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Check the step that ends.

        Raises:
            InputError: loss or gradient is not finite, and the training stops there.
        """
        loss, norm = read_loss_and_norm(self.model)
        skip = self.course.config.on_nan == "skip"
        if math.isfinite(loss) and (math.isfinite(norm) or bool(self.model.optimizer.last_overflow.numpy())):
            self._skipped = 0
            if skip:
                self._means = read_means(self.model)
            return
        step = self.course.progress.step
        found = f"step {step}: {self.course.source.describe(step)}: loss {loss}, norm of the gradient {norm}"
        self._skipped += 1
        if not skip or self._skipped == MOST_SKIPPED:
            raise InputError(
                f"{found}; expected finite numbers. The last checkpoint is intact. Check these frames or lower `lr`, or skip "
                f"such batches with `resume` and `on_nan` skip ({self._skipped} in a row)"
            )
        logger.warning("%s; left out", found)
        set_means(self.model, self._means)


class StepLog(tf.keras.callbacks.Callback):
    """Log each step, and count it as done."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course
        self.table = Table(course.model_dir / STEPS, course.team.chief)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Add a row and count the step."""
        step, hyper = self.course.progress.step, self.course.source.draw_step(self.course.progress.step).hyper
        loss, norm = read_loss_and_norm(self.model)
        row = {"step": step, "epoch": step // self.course.steps, "lambda": hyper, "loss": loss, "gradient_norm": norm}
        self.table.add(row)
        self.course.progress.step += 1


class BestModel(tf.keras.callbacks.Callback):
    """Keep the model that costs least: of each epoch by its loss, unless something else judges it."""

    def __init__(self, course: Course, by_epoch: bool) -> None:
        super().__init__()
        self.course = course
        self.by_epoch = by_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Judge the epoch's model by its mean loss."""
        if self.by_epoch:
            self.judge((logs or {})["loss"])

    def judge(self, cost: float) -> None:
        """Write the model if it costs less than every one before.

        Raises:
            InputError: the disk is full or fails.
        """
        progress = self.course.progress
        if not math.isfinite(cost) or (progress.best is not None and cost >= progress.best):
            progress.since_best += 1
            return
        progress.best, progress.since_best = cost, 0
        self.course.write_model("best.h5")


class Validator(tf.keras.callbacks.Callback):
    """Validate, log it, have the best model kept, and stop a training in which none has been better for long."""

    def __init__(self, course: Course, validation: Validation, best: BestModel, board: Board) -> None:
        super().__init__()
        self.course = course
        self.validation = validation
        self.best = best
        self.board = board
        self.table = Table(course.model_dir / VALIDATION, course.team.chief)
        page, history, table = (course.model_dir / name for name in (PAGE, HISTORY, VALIDATION))
        self.page = ValidationPage(page, history, table, course.config.image_loss, course.config.epochs * course.steps)
        self.losses: dict[str, float] = {}

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Validate within the epoch."""
        if self.course.is_due(self.course.config.validation_steps):
            self._validate()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Validate at the epoch's end."""
        if not self.course.stopped:
            self._validate()

    def _validate(self) -> None:
        course, patience = self.course, self.course.config.patience
        measured = self.validation.measure(course.progress.step)
        history, cost = measured.history(), measured.find_cost(course.config.best_by)
        *means, cost = course.team.mean([*history.values(), cost])  # for equal decisions
        self.losses = dict(zip(history, means, strict=True))
        if course.team.chief:
            self._log(measured)
        self.best.judge(cost)
        if patience and course.progress.since_best >= patience:
            count = f"{patience} validation{'s' * (patience > 1)}"
            course.say(f"stopped at step {course.progress.step}: {count} without a lower {course.config.best_by}")
            course.stopped = self.model.stop_training = True

    def _log(self, measured: Measured) -> None:
        rows, hyper = measured.rows(), self.course.config.default_hyper
        for row in rows:
            self.table.add(row)
        self.board.add_scalars(measured.step, measured.scalars())
        examples = self.validation.examples(hyper)
        self.page.add(rows, hyper, examples)
        write_page(self.page)
        self.board.add_images(measured.step, "background, contrast, DSA, BSA", examples)
        what = "means over the runs; bands: 95 % intervals"
        self.board.add_images(measured.step, "figures of merit over λ", measured.picture(), what)


class EpochLog(tf.keras.callbacks.Callback):
    """Log the means of each epoch."""

    def __init__(self, course: Course, board: Board, validator: Validator | None) -> None:
        super().__init__()
        self.course = course
        self.board = board
        self.validator = validator
        self.table = Table(course.model_dir / HISTORY, course.team.chief)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add a row, with the losses of the last validation, and TensorBoard's numbers."""
        row = dict(logs or {})
        self.board.add_scalars(self.course.progress.step, {f"epoch_{name}": value for name, value in row.items()})
        self.table.add({"epoch": epoch, **row, **(self.validator.losses if self.validator else {})})


class Checkpointer(tf.keras.callbacks.Callback):
    """Write checkpoints, after the logs that they count as done, and the newest model."""

    def __init__(self, course: Course, logs: Sequence[Table | Board]) -> None:
        super().__init__()
        self.course = course
        self.logs = logs
        self._runs = 0  # checksum of the runs that the steps drew

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Write a first checkpoint, so that a training can be resumed from its first step on."""
        if not list_checkpoints(self.course.model_dir):
            self._write([])

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Write a checkpoint within the epoch.

        Raises:
            InputError: the disk is full or fails, or the workers read other runs.
            KeyboardInterrupt: the training is to end; says what is kept.
        """
        if self.course.team.workers > 1:
            for draw in self.course.source.draw_step(self.course.progress.step - 1).draws:
                self._runs = zlib.crc32(draw.run.to_bytes(8, "little"), self._runs)
        if self.course.interrupted and not self.course.ends_epoch:
            self._save()
            self._interrupt()
        if self.course.is_due(self.course.config.checkpoint_steps):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the model and a checkpoint.

        Raises:
            InputError: the disk is full or fails, or the workers read other runs.
        """
        self.course.write_model("model.h5")
        self._save()
        if self.course.interrupted:
            self._interrupt()

    def _interrupt(self) -> None:
        raise KeyboardInterrupt(f"step {self.course.progress.step} is kept; continue with `resume`")

    def _save(self) -> None:
        team = self.course.team
        means = [] if self.course.ends_epoch else read_means(self.model)
        if team.mean([self._runs]) != [self._runs]:
            raise InputError(
                f"worker {team.worker} of {team.workers} (from 0): expected all workers to read the same runs, found "
                "one that only some can read. See which run each left out, then restart all with `resume`"
            )
        self._write(means)

    def _write(self, means: list[float]) -> None:
        course = self.course
        if not course.team.chief:
            return
        for log in self.logs:
            log.flush()
        progress = dataclasses.replace(course.progress, metrics=means)
        checkpoints.save(course.network, course.model_dir, progress, course.config.keep)


class StepReport(tf.keras.callbacks.Callback):
    """Say once a minute how far an epoch is and how long all will take: for logs, as a terminal has Keras' bar."""

    def __init__(self, course: Course, say: Callable[[str], None]) -> None:
        super().__init__()
        self.course, self.say = course, say
        self._begun, self._last, self._first = 0.0, 0.0, 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Note the time."""
        self._begun = self._last = time.monotonic()
        self._first = self.course.progress.step

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Say it, if a minute has passed."""
        now, step = time.monotonic(), self.course.progress.step
        if now - self._last < REPORT:
            return
        self._last = now
        each = (now - self._begun) / (step - self._first)
        total = self.course.config.epochs * self.course.steps
        left = timedelta(seconds=round((total - step) * each))
        self.say(
            f"step {step} of {total}: loss {(logs or {}).get('loss', math.nan):.4f}, {each:.2f} s a step, about {left} left"
        )


class CurveDrawer(tf.keras.callbacks.Callback):
    """Draw the losses of all epochs, in a picture and in the page of the validations."""

    def __init__(self, course: Course, page: ValidationPage | None) -> None:
        super().__init__()
        self.course = course
        self.page = page

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draw what the last checkpoint brought to the disk.

        Raises:
            InputError: the disk is full or fails.
        """
        picture = self.course.model_dir / "learning_curve.png"
        with checkpoints.explain_disk_errors(picture):
            draw_learning_curve(self.course.model_dir / HISTORY, picture, self.course.config.image_loss)
        if self.page is not None:
            write_page(self.page)


def write_page(page: ValidationPage) -> None:
    """Write the page of the validations.

    Raises:
        InputError: the disk is full or fails.
    """
    with checkpoints.explain_disk_errors(page.path):
        page.write()


def make_callbacks(
    course: Course, validation: Validation | None, say: Callable[[str], None] | None = None
) -> list[tf.keras.callbacks.Callback]:
    """Return the callbacks of a training, in their order.

    Args:
        course: the training.
        validation: judge of the best model and of early stopping; None for the epoch's loss.
        say: takes a line a minute; None for none.
    """
    board, best = Board(course.model_dir, course.team.chief), BestModel(course, by_epoch=validation is None)
    validator = None if validation is None else Validator(course, validation, best, board)
    step_log, epoch_log = StepLog(course), EpochLog(course, board, validator)
    logs: list[Table | Board] = [step_log.table, epoch_log.table, *([validator.table] if validator else []), board]
    return [
        *([] if course.config.final_lr is None else [LearningRate(course, course.config.final_lr)]),
        FiniteCheck(course),
        step_log,
        *([validator] if validator else []),
        best,
        epoch_log,
        *([StepReport(course, say)] if say else []),
        Checkpointer(course, logs),
        *([CurveDrawer(course, None if validator is None else validator.page)] if course.team.chief else []),
    ]


def lose_step(model: tf.keras.Model, course: Course, callbacks: Sequence[tf.keras.callbacks.Callback]) -> None:
    """Count a step whose warp was not finite: on a CPU, TensorFlow aborts such a step, and `fit` with it.

    Raises:
        InputError: the training stops there, or the disk is full.
    """
    model.optimizer.last_loss.assign(math.nan)
    model.optimizer.last_norm.assign(math.nan)
    epoch = course.progress.step // course.steps
    for callback in callbacks:
        callback.on_train_batch_end(0)
    if not course.ends_epoch:
        course.progress.metrics = read_means(model)
        return
    logs = {metric.name: float(metric.result()) for metric in model.metrics}
    for callback in callbacks:
        callback.on_epoch_end(epoch, logs)


def compute_learning_rate(step: int, steps: int, lr: float, final_lr: float) -> float:
    """Return the rate of a step on half a cosine.

        final_lr + (lr - final_lr) (1 + cos(pi step / steps)) / 2

    Args:
        step: step number, from 0.
        steps: number of steps of the whole training.
        lr: at the first step.
        final_lr: after the last.

    Source: Loshchilov and Hutter, ICLR 2017, without restarts.
    """
    return final_lr + (lr - final_lr) * (1 + math.cos(math.pi * step / steps)) / 2


def read_loss_and_norm(model: tf.keras.Model) -> tuple[float, float]:
    """Return the last step's own loss and the norm of its gradient, which Keras's logs do not have."""
    return float(model.optimizer.last_loss.numpy()), float(model.optimizer.last_norm.numpy())


def read_means(model: tf.keras.Model) -> list[float]:
    """Return the state of Keras's running means, exactly; of several workers all have to ask."""
    return [float(variable.numpy()) for metric in model.metrics for variable in metric.variables]


def set_means(model: tf.keras.Model, values: Sequence[float]) -> None:
    """Set the state of Keras's running means; to that of an epoch's beginning where there are no values."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    for variable, value in zip(variables, values or [0.0] * len(variables), strict=True):
        variable.assign(value)
