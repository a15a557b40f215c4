"""A training's model directory: whether one can begin or go on in it; without TensorFlow, so that it is said at once."""

from __future__ import annotations

from pathlib import Path

from angiomorph.errors import InputError

CHECKPOINTS = "checkpoints"
PATTERN = "[0-9]*.h5"


def list_checkpoints(model_dir: Path) -> list[Path]:
    """Return a model directory's checkpoints, the oldest first."""
    return sorted((model_dir / CHECKPOINTS).glob(PATTERN))


def check_model_dir(model_dir: Path, *, resume: bool) -> None:
    """Raise where no training can begin, or go on, in a directory.

    Args:
        model_dir: the directory.
        resume: whether a training goes on.

    Raises:
        InputError: there is a training in it, or none to resume.
    """
    found = bool(list_checkpoints(model_dir))
    if resume and not found:
        raise InputError(f"{model_dir}: expected checkpoints/NNNNNNNN.h5 to resume from, found none; train without `resume`")
    if found and not resume:
        raise InputError(f"{model_dir}: expected a new model directory, found a training in it; add `resume` or name another")
