"""Small trainings through the command line, and what they leave."""

from __future__ import annotations

import csv
import dataclasses
import resource
from contextlib import contextmanager

import numpy as np

from angiomorph.backend import tf
from angiomorph.cli import main
from angiomorph.training.source import Source

TINY = ["--size", "32", "--enc", "4", "--dec", "4", "4", "4", "--hyp-units", "4", "8", "--lr", "0.001", "--gpu", "-1"]
FEW = ["--frames-per-series", "4", "--batch-size", "2"]


def run_train(*arguments) -> int:
    return main(["train", *map(str, arguments)])


def table(path):
    """Return a CSV file's columns as arrays."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def board(model_dir):
    """Return (step, tag) of everything TensorBoard would show."""
    shown = []
    for path in (model_dir / "tensorboard").glob("**/events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            shown += [(event.step, value.tag) for value in event.summary.value]
    return sorted(shown)


def history(model_dir):
    with open(model_dir / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def spoil_batches(monkeypatch, moving, fixed, steps):
    """Multiply what the network sees at these steps."""
    batch = Source.batch

    def spoil(self, step):
        found = batch(self, step)
        spoilt = dataclasses.replace(found, moving=found.moving * moving, fixed=found.fixed * fixed)
        return spoilt if step in steps else found

    monkeypatch.setattr(Source, "batch", spoil)


@contextmanager
def largest_file(size):
    """Let no file grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
