"""Logs of a training: CSV tables and TensorBoard, rolled back to the checkpoint from which a training continues.

Rows wait in memory until a checkpoint is due: they reach the disk before the checkpoint that counts them as done.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.backend import tf
from angiomorph.storage.atomic import replace_file, sync_path
from angiomorph.training.checkpoints import explain_disk_errors, write

STEPS, HISTORY, VALIDATION, BOARD = "steps.csv", "history.csv", "validation.csv", "tensorboard"


class Table:
    """A CSV log whose rows wait in memory until they are flushed.

    Args:
        path: the file; rows are added to what is there.
        active: False to discard every row, as workers other than the chief do.
    """

    def __init__(self, path: Path, active: bool = True) -> None:
        self.path = path
        self._active = active
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Add a row; all have the same columns."""
        if self._active:
            self._rows.append(row)

    def flush(self) -> None:
        """Bring all rows to the disk.

        Raises:
            InputError: the disk is full or fails.
        """
        if not self._rows:
            return
        with explain_disk_errors(self.path):
            with self.path.open("a", newline="") as file:
                table = csv.DictWriter(file, list(self._rows[0]), lineterminator="\n")
                if not file.tell():
                    table.writeheader()
                table.writerows(self._rows)
            sync_path(self.path)
        self._rows.clear()


class Board:
    """TensorBoard's events of a training; the axis is the step.

    Args:
        model_dir: where the folder of events is.
        active: False to discard everything.
    """

    def __init__(self, model_dir: Path, active: bool = True) -> None:
        self._folder = model_dir / BOARD
        self._writer = tf.summary.create_file_writer(str(self._folder)) if active else tf.summary.create_noop_writer()

    def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add numbers by name.

        Raises:
            InputError: the disk is full or fails.
        """
        with explain_disk_errors(self._folder), self._writer.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def add_images(self, step: int, name: str, images: np.ndarray, description: str | None = None) -> None:
        """Add pictures, `(N, H, W, C)` in [0, 1] or uint8.

        Raises:
            InputError: the disk is full or fails.
        """
        with explain_disk_errors(self._folder), self._writer.as_default(step):
            tf.summary.image(name, images, max_outputs=len(images), description=description)

    def flush(self) -> None:
        """Bring all events to the disk.

        Raises:
            InputError: the disk is full or fails.
        """
        with explain_disk_errors(self._folder):
            self._writer.flush()


def roll_back(model_dir: Path, step: int, epoch: int) -> None:
    """Roll the logs back to the checkpoint after an interrupted training.

    Args:
        model_dir: the model directory.
        step: number of steps that the checkpoint counts as done.
        epoch: number of whole epochs in it.

    Raises:
        InputError: the disk is full or fails.
    """
    _cut_table(model_dir / STEPS, "step", step)
    _cut_table(model_dir / HISTORY, "epoch", epoch)
    _cut_table(model_dir / VALIDATION, "step", step + 1)  # of the steps before it, not of the next
    for events in (model_dir / BOARD).glob("**/events.out.tfevents.*"):
        _cut_events(events, step)


def _cut_table(path: Path, column: str, end: int) -> None:
    """Keep the rows of a CSV file in which `column` is below `end`; a row that was cut short goes too."""
    if not path.exists():
        return
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows = list(csv.DictReader(lines))
    kept = [line for line, row in zip(lines[1:], rows, strict=True) if int(row[column]) < end]
    write(path, "".join([*lines[:1], *kept]).encode())


def _cut_events(path: Path, end: int) -> None:
    """Keep TensorBoard's events up to the step `end`; one that was cut short goes too."""
    kept = []
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            if tf.compat.v1.Event.FromString(record).step <= end:
                kept.append(record)
    except tf.errors.DataLossError:
        pass  # a kill cuts the last record short
    with explain_disk_errors(path), replace_file(path) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
        for record in kept:
            writer.write(record)
