"""What a training is made of: for config.json, for the model's own file, for other workers, and to recognise it on resume."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from angiomorph import __version__
from angiomorph.backend import tf, vxm
from angiomorph.errors import InputError
from angiomorph.training.config import TrainingConfig
from angiomorph.training.model_dir import list_checkpoints
from angiomorph.training.source import Source

RESUMABLE = tuple(part.name for part in dataclasses.fields(TrainingConfig) if part.metadata["resumable"])


def describe_training(
    config: TrainingConfig, stores: Sequence[Path], source: Source, validation: Sequence[Path], validation_runs: Sequence[str]
) -> dict[str, Any]:
    """Return every option, what is trained and validated on, and versions, as config.json has them.

    Args:
        config: the training.
        stores: training stores.
        source: runs that the steps draw from.
        validation: stores that are validated on.
        validation_runs: names of DICOM runs that are validated on; they are counted and not named.
    """
    versions = {"angiomorph": __version__, "tensorflow": tf.__version__, "voxelmorph": vxm.__version__}
    return {
        "training": dataclasses.asdict(config),
        "stores": [path.name for path in stores],
        "validation": [path.name for path in validation],
        "validation_runs": _count_unnamed(validation_runs),
        "series": len(source.runs),
        "frames": source.frame_count(),
        "versions": {**versions, "python": platform.python_version()},
    }


def describe_model(described: dict[str, Any]) -> dict[str, Any]:
    """Return what a model says of its making, without file names, in which a patient's name may be.

    Args:
        described: result of `describe_training`.
    """
    training = {name: value for name, value in described["training"].items() if name != "load_weights"}
    held_out = {"validation_stores": len(described["validation"]), "validation_runs": described["validation_runs"]["count"]}
    data = {"runs": described["series"], "frames": described["frames"], **held_out}
    return {"training": training, "data": data, "versions": described["versions"]}


def describe_common(described: dict[str, Any], model_dir: Path, resume: bool) -> dict[str, Any]:
    """Return what the workers of a training must have in common.

    Args:
        described: result of `describe_training`.
        model_dir: the model directory.
        resume: whether the training continues.
    """
    training, last = described["training"], [path.name for path in list_checkpoints(model_dir)[-1:]]
    given = {**training, **training["sampling"], "`resume`": resume, "last checkpoint": last or "none"}
    return {**given, **{name: described[name] for name in ("series", "frames", "validation", "validation_runs", "versions")}}


def check_same_training(path: Path, described: dict[str, Any]) -> None:
    """Check that a training to resume is the one that was begun.

    Args:
        path: config.json of the one that was begun.
        described: result of `describe_training`.

    Raises:
        InputError: an option differs that is not `resumable`, or the data do.
    """
    begun, now = json.loads(path.read_text()), json.loads(json.dumps(described))
    newer = json.loads(json.dumps(dataclasses.asdict(TrainingConfig())))  # options that are newer than the training
    then, here = (
        {
            **newer,
            **given["training"],
            "sampling": newer["sampling"] | given["training"]["sampling"],
            "series": given["series"],
            "validation": given.get("validation"),
            "validation_runs": given.get("validation_runs", _count_unnamed([])),
        }
        for given in (begun, now)
    )
    differing = [name for name in here if name not in RESUMABLE and here[name] != then.get(name)]
    if differing:
        found = "; ".join(f"{name}: {then.get(name)} then, {here[name]} now" for name in differing)
        raise InputError(f"{path}: expected the same training to resume (but for {', '.join(RESUMABLE)}), found {found}")


def _count_unnamed(runs: Sequence[str]) -> dict[str, Any]:
    """Return what tells sets of DICOM runs apart without their names, in which a patient's may be."""
    return {"count": len(runs), "sha256": hashlib.sha256("\n".join(sorted(runs)).encode()).hexdigest() if runs else None}
