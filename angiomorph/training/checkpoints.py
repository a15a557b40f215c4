"""Checkpoints and logs of a training, written so that a kill at any moment or a full disk leaves something to go on from.

Logs reach the disk before the checkpoint that counts them as done, and what they say beyond the checkpoint from which a
training goes on is cut off, so that no row is missing or there twice.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.errors import InputError
from angiomorph.networks.model import silence_keras_advice
from angiomorph.storage import model_file
from angiomorph.storage.atomic import replace_file, sync_path
from angiomorph.training.optimizer import GuardedAdam

FOLDER = "checkpoints"
PATTERN = "[0-9]*.h5"
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
def writing(path: Path) -> Iterator[None]:
    """Tell of a full or failing disk with the file's name and the remedy.

    Raises:
        InputError: the block could not write.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(
            f"{path}: expected room and permission to write, found: {reason}; free space (fewer checkpoints: --keep), then go "
            "on with --resume; the last checkpoint is whole"
        ) from error


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, even where the power fails.

    Raises:
        InputError: the disk is full or fails.
    """
    with writing(path), replace_file(path, durable=True) as partial:
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


def found(model_dir: Path) -> list[Path]:
    """Return a model directory's checkpoints, the oldest first."""
    return sorted((model_dir / FOLDER).glob(PATTERN))


def save(model: tf.keras.Model, model_dir: Path, progress: Progress, keep: int) -> None:
    """Write `checkpoints/SSSSSSSS.h5`, called by the step, and remove all but the last `keep`.

    Raises:
        InputError: the disk is full or fails.
    """
    write(model_dir / FOLDER / f"{progress.step:08d}.h5", image(model, progress))
    for old in found(model_dir)[:-keep]:
        old.unlink()


def load(path: Path) -> tuple[networks.AngioMorph, Progress]:
    """Return the compiled model, optimizer state included, and the progress of a checkpoint.

    Raises:
        InputError: the file cannot be read, is no checkpoint, or holds more than AngioMorph writes, see `modelfile.reading`.
    """
    with model_file.reading(path, model_file.OWN, "a checkpoint (.h5)", BEFORE) as found:
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


def tidy(model_dir: Path, progress: Progress, epoch: int) -> None:
    """Remove what a killed training left that its checkpoint does not count as done.

    Args:
        model_dir: the model directory.
        progress: of the checkpoint.
        epoch: number of whole epochs in it.

    Raises:
        InputError: the disk is full or fails.
    """
    for partial in [*model_dir.glob(".*.partial"), *(model_dir / FOLDER).glob(".*.partial")]:
        partial.unlink()
    _cut_table(model_dir / "steps.csv", "step", progress.step)
    _cut_table(model_dir / "history.csv", "epoch", epoch)
    _cut_table(model_dir / "validation.csv", "step", progress.step + 1)  # of the steps before it, not of the next
    for events in (model_dir / "tensorboard").glob("**/events.out.tfevents.*"):
        _cut_events(events, progress.step)


def _cut_table(path: Path, column: str, end: int) -> None:
    """Keep the rows of a CSV file in which `column` is below `end`; a row that was cut short goes too."""
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows = list(csv.DictReader(lines))
    write(
        path,
        "".join([*lines[:1], *(line for line, row in zip(lines[1:], rows, strict=True) if int(row[column]) < end)]).encode(),
    )


def _cut_events(path: Path, end: int) -> None:
    """Keep TensorBoard's events up to the step `end`; one that was cut short goes too."""
    kept = []
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if tf.compat.v1.Event.FromString(record).step <= end:
                kept.append(record)
    except tf.errors.DataLossError:
        pass  # a kill cuts the last record short
    with writing(path), replace_file(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
        for record in kept:
            writer.write(record)


class Table:
    """A CSV log whose rows wait in memory until they are asked to the disk.

    Args:
        path: the file; rows are added to what is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Add a row; all have the same columns."""
        self._rows.append(row)

    def flush(self) -> None:
        """Bring all rows to the disk.

        Raises:
            InputError: the disk is full or fails.
        """
        if not self._rows:
            return
        with writing(self.path):
            with self.path.open("a", newline="") as file:
                table = csv.DictWriter(file, list(self._rows[0]), lineterminator="\n")
                if not file.tell():
                    table.writeheader()
                table.writerows(self._rows)
            sync_path(self.path)
        self._rows.clear()
