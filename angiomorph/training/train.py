"""Training: the paper's objective through stock Keras compile and fit, with what a long run needs around it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from angiomorph import networks
from angiomorph.backend import configure_gpu, tf, without_remapper
from angiomorph.errors import InputError
from angiomorph.evaluation.find import sort_out
from angiomorph.networks import precision
from angiomorph.storage.paths import AnyPath, AnyPaths, list_paths
from angiomorph.training import checkpoints, logs
from angiomorph.training.callbacks import Course, lose_step, make_callbacks
from angiomorph.training.checkpoints import Progress
from angiomorph.training.config import USUAL, TrainingConfig
from angiomorph.training.distribution import Distribution, join, read_workers
from angiomorph.training.model_dir import check_model_dir, list_checkpoints
from angiomorph.training.objective import build_network, build_similarity, compile_model, prepare_network, wrap_network
from angiomorph.training.pipeline import make_dataset
from angiomorph.training.provenance import check_same_training, describe_common, describe_model, describe_training
from angiomorph.training.source import Source
from angiomorph.training.validation import Validation


def train(
    stores: AnyPaths,
    model_dir: AnyPath,
    config: TrainingConfig = USUAL,
    *,
    validation: AnyPaths = (),
    resume: bool = False,
    gpu: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train a network and leave a model directory: model.h5, best.h5, checkpoints, config.json, logs, curve, TensorBoard.

    Keras prints the loss. Here a tiny network takes one step:

        >>> am.prepare("data/sample_lin.dcm", "out/trained_on.h5", size=64).taken
        1
        >>> tiny = am.TrainingConfig(epochs=1, steps_per_epoch=1, enc=(4, 4), dec=(4, 4), sampling=am.Sampling(size=64))
        >>> am.train("out/trained_on.h5", "out/model", tiny)
        1/1 - ...
        PosixPath('out/model/model.h5')

    Args:
        stores: training stores, or one of them.
        model_dir: the directory, made if missing.
        config: everything that decides the training.
        validation: stores, and DICOM runs or folders of them, that the best model and early stopping are judged by; none for
            the epoch's loss.
        resume: go on from the directory's last checkpoint.
        gpu: see `backend.configure_gpu`.
        say: takes what is trained, in a line, at the start, and a line a minute where there is no terminal.

    Returns:
        the path of model.h5; at once, if a resumed training is done already.

    Raises:
        InputError: there is nothing to train on or to resume; a resumed training differs from the one begun; a loss is not
            finite; too many runs, or one of the validation, cannot be read; the disk is full; the machine gains nothing by
            mixed precision.
        KeyboardInterrupt: Ctrl-C or SIGTERM; of a training by one process after the step under way and a checkpoint of it.
    """
    return _train(list_paths(stores), Path(model_dir), config, list_paths(validation), resume=resume, gpu=gpu, say=say)


def _train(
    stores: list[Path],
    model_dir: Path,
    config: TrainingConfig,
    validation: list[Path],
    *,
    resume: bool,
    gpu: str | None,
    say: Callable[[str], None] | None,
) -> Path:
    gpus, workers = configure_gpu(gpu), read_workers()
    if config.mixed_precision == "auto":
        config = dataclasses.replace(config, mixed_precision=precision.choose_type())
    config.check_validation(validation)
    validation_stores, validation_runs = sort_out(validation)
    part = (workers.index, len(workers.workers)) if workers else (0, 1)
    with ExitStack() as stack:
        source = stack.enter_context(Source(stores, config.sampling, part, config.needs_truth))
        whole = dataclasses.replace(config.sampling, finer=False)  # validation sees frames at the network's size alone
        held_out = (
            stack.enter_context(Source(validation_stores, whole, clean=config.needs_truth)) if validation_stores else None
        )
        steps = config.steps_per_epoch or config.sampling.count_steps(len(source.runs))
        described = describe_training(config, stores, source, validation_stores, list(validation_runs))
        team = join(workers, gpus, config.sampling, describe_common(described, model_dir, resume))
        stack.enter_context(team.explain_lost_workers())
        tf.keras.utils.set_random_seed(config.sampling.seed)
        tell = say if say and team.chief else ignore
        model, progress, around = _build(model_dir, config, described if resume else None, steps, team, tell)
        if done := _say_done(config, progress, steps):
            (say or ignore)(f"{model_dir}: {done}")
            return model_dir / "model.h5"
        prepare_network(model, config)
        judge = Validation(held_out, validation_runs, model, build_similarity(config), whole) if validation else None
        _check_judge(config, judge)
        model.metadata.update(describe_model(described))
        if team.chief:
            checkpoints.write(model_dir / "config.json", (json.dumps(described, indent=2) + "\n").encode())
        course = Course(model_dir, config, source, steps, progress, team, model, tell)
        tell(_describe_begin(config, source, course, gpus))
        report = None if sys.stdout.isatty() else tell
        with without_remapper(), _end_after_step(course):
            _fit(around, course, make_callbacks(course, judge, report))
        team.mean([0.0])  # until the chief has written all, which it would not if it saw another end
    return model_dir / "model.h5"


def _check_judge(config: TrainingConfig, judge: Validation | None) -> None:
    if config.best_by == "artefact" and (judge is None or not judge.moving):
        raise InputError(
            "`best_by` artefact: expected runs of `angiomorph simulate` with their truth, in which something moves, among "
            "`validation`, found none"
        )


def _say_done(config: TrainingConfig, progress: Progress, steps: int) -> str:
    """Return why nothing is left to train, or nothing where something is."""
    if progress.step >= config.epochs * steps:
        return f"all of `epochs` {config.epochs} are done; give more to train on"
    if config.patience and progress.since_best >= config.patience:
        return f"`patience` {config.patience} is over without a lower {config.best_by}; give more to train on"
    return ""


def _describe_begin(config: TrainingConfig, source: Source, course: Course, devices: int) -> str:
    """Return in a line what is trained."""
    gpus = f"{devices} GPU{'s' if devices > 1 else ''}" if devices else f"CPU, {os.cpu_count()} cores"
    return (
        f"training on {len(source.runs)} runs, {config.epochs} epochs of {course.steps} steps of "
        f"{config.sampling.batch_size} pairs, "
        f"{course.network.count_params():,} parameters, by {gpus}; from step {course.progress.step}"
    )


@contextmanager
def _end_after_step(course: Course) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the training after the step under way; the second one ends it at once."""
    if course.team.workers > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        if course.interrupted:
            raise KeyboardInterrupt
        course.interrupted = True
        course.say("ending after this step; once more ends at once")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore(line: str) -> None:
    """Say nothing."""


def _fit(model: tf.keras.Model, course: Course, callbacks: Sequence[tf.keras.callbacks.Callback]) -> None:
    """Call fit; when resuming mid-epoch, finish that epoch first."""
    team, source, progress = course.team, course.source, course.progress
    epochs, steps = course.config.epochs, course.steps
    while progress.step < epochs * steps and not course.stopped:
        epoch, offset = divmod(progress.step, steps)
        try:
            model.fit(
                team.pipeline(partial(make_dataset, source, model.output_shape[1][1:], progress.step, team.local_replicas)),
                steps_per_epoch=steps - offset,
                initial_epoch=epoch,
                epochs=epoch + 1 if offset else epochs,
                verbose=(1 if sys.stdout.isatty() else 2) if team.chief else 0,
                callbacks=callbacks,
            )
        except tf.errors.OpError as error:
            if source.error is not None:
                raise source.error from None
            # On a CPU, TensorFlow refuses to look up a pixel at a place that is not a number.
            if "is not in [0," not in error.message:
                raise
            if team.workers > 1:  # which cannot go on together after a step that broke off
                raise InputError(
                    f"step {progress.step}: {source.describe(progress.step)}: expected finite warps, found another. The last "
                    "checkpoint is intact. Check these frames or lower `lr`, or skip such batches on one machine with `resume` "
                    "and `on_nan` skip"
                ) from error
            lose_step(model, course, callbacks)


def _build(
    model_dir: Path,
    config: TrainingConfig,
    resumed: dict[str, Any] | None,
    steps: int,
    team: Distribution,
    say: Callable[[str], None],
) -> tuple[networks.AngioMorph, Progress, tf.keras.Model]:
    """Return the network, where its training stands, and what `fit` is called on."""
    with team.scope():
        if resumed is None:
            model, progress = _begin(model_dir, config, steps, team, say)
        else:
            model, progress = _resume(model_dir, config, resumed, steps, team)
        around = wrap_network(model, config)
        around.distribute_reduction_method = "first"  # Keras would add up means that are the joint batch's already
        if team.strategy is not None:
            checkpoints.image(model, progress)  # Keras makes metrics at the first save, which has to be on all workers
    return model, progress, around


def _begin(
    model_dir: Path, config: TrainingConfig, steps: int, team: Distribution, say: Callable[[str], None]
) -> tuple[networks.AngioMorph, Progress]:
    check_model_dir(model_dir, resume=False)
    progress = Progress(config.initial_epoch * steps)
    if team.chief:
        _roll_back(model_dir, 0, 0)
    model = build_network(config, say)
    compile_model(model, config)
    return model, progress


def _resume(
    model_dir: Path, config: TrainingConfig, described: dict[str, Any], steps: int, team: Distribution
) -> tuple[networks.AngioMorph, Progress]:
    check_model_dir(model_dir, resume=True)
    check_same_training(model_dir / "config.json", described)
    model, progress = checkpoints.load(list_checkpoints(model_dir)[-1])
    if team.chief:
        _roll_back(model_dir, progress.step, progress.step // steps)
    model.optimizer.learning_rate.assign(config.lr)
    model.metadata.update({"lambda": config.default_hyper, "levels": config.levels})
    return model, progress


def _roll_back(model_dir: Path, step: int, epoch: int) -> None:
    """Remove what an interrupted training left that its checkpoint does not count as done."""
    checkpoints.remove_partial(model_dir)
    logs.roll_back(model_dir, step, epoch)
