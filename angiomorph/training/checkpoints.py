"""Checkpoints of a training, written so that it can resume after a kill at any moment or a full disk."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.model import silence_keras_advice
from angiomorph.storage import model_file
from angiomorph.storage.atomic import replace_file
from angiomorph.training.model_dir import CHECKPOINTS, list_checkpoints
from angiomorph.training.optimizer import GuardedAdam

BEFORE = "remove it to go on from the one before"


@dataclass
class Progress:
    """Where a training is; with weights and optimizer, all that it needs to go on.

    Args:
        step: number of batches done.
        metrics: state of Keras's running means within the epoch; empty at its beginning.
        best: lowest so far of what the best model is judged by, else lowest loss of an epoch; None before the first.
        since_best: validations since then.
    """

    step: int = 0
    metrics: list[float] = dataclasses.field(default_factory=list)
    best: float | None = None
    since_best: int = 0


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Tell of a full or failing disk with the file's name and the remedy.

    Raises:
        InputError: the block could not write.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(
            f"{path}: expected room and permission to write, found: {reason}; free space (fewer checkpoints: `keep`), then "
            "continue with `resume`; the last checkpoint is whole"
        ) from error


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, even where the power fails.

    Raises:
        InputError: the disk is full or fails.
    """
    with explain_disk_errors(path), replace_file(path, durable=True) as partial:
        partial.write_bytes(content)


def image(model: tf.keras.Model, progress: Progress | None = None) -> memoryview:
    """Return the content of a model's `.h5`; with `progress` that of a checkpoint, optimizer included."""
    # In memory first: of a full disk HDF5 tells from its destructors, out of reach of any handler.
    content = io.BytesIO()
    with h5py.File(content, "w") as file, silence_keras_advice():
        model.save(file, save_format="h5", include_optimizer=progress is not None)
        if progress is not None:
            file.attrs["progress"] = json.dumps(dataclasses.asdict(progress))
    return content.getbuffer()


def save(model: tf.keras.Model, model_dir: Path, progress: Progress, keep: int) -> None:
    """Write `checkpoints/SSSSSSSS.h5`, called by the step, and remove all but the last `keep`.

    Raises:
        InputError: the disk is full or fails.
    """
    write(model_dir / CHECKPOINTS / f"{progress.step:08d}.h5", image(model, progress))
    for old in list_checkpoints(model_dir)[:-keep]:
        old.unlink()


def load(path: Path) -> tuple[networks.AngioMorph, Progress]:
    """Return the compiled model, optimizer state included, and the progress of a checkpoint.

    Raises:
        InputError: the file cannot be read, is no checkpoint, or holds more than AngioMorph writes, see
            `model_file.open_model_file`.
    """
    with model_file.open_model_file(path, model_file.OWN, "a checkpoint (.h5)", BEFORE) as found:
        if found.progress is None:
            raise InputError(f"{path}: expected a checkpoint (.h5), found a model without its progress; {BEFORE}")
        try:
            # Of the open file: by its path Keras would also take a folder, which can hold any code.
            model = tf.keras.models.load_model(found.file, custom_objects={"GuardedAdam": GuardedAdam})
            return model, Progress(**found.progress)
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: expected a checkpoint, but it cannot be read: {str(error).splitlines()[0]}; {BEFORE}"
            ) from error


def remove_partial(model_dir: Path) -> None:
    """Remove files that an interrupted training left half-written in its model directory."""
    for partial in [*model_dir.glob(".*.partial"), *(model_dir / CHECKPOINTS).glob(".*.partial")]:
        partial.unlink()
