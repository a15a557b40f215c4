"""What a run's results were made of, kept beside them, so that a later command can skip it: `--skip-existing`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from angiomorph import __version__
from angiomorph.dicom import SeriesFiles
from angiomorph.storage.atomic import replace_file


def hash_job(files: SeriesFiles, model_sha256: str, *options: Any) -> str:
    """Return a SHA-256 of all that decides a run's results: its files' names, sizes and times, model, options, version.

    Pixels are not read: a copy with other times counts as another run.

    Args:
        files: the run's files.
        model_sha256: SHA-256 of the model's file.
        options: dataclasses, or values that `repr` tells apart.
    """
    job = hashlib.sha256(f"{__version__} {model_sha256}".encode())
    for path in sorted({files.original(path) for path in (*files.paths, *(mask.path for mask in files.masks))}):
        status = path.stat()
        job.update(repr((path.name, status.st_size, status.st_mtime_ns)).encode("utf-8", "replace"))
    for each in options:
        job.update(repr(asdict(each) if hasattr(each, "__dataclass_fields__") else each).encode())
    return job.hexdigest()


def write_record(stem: Path, job: str, results: Sequence[Path]) -> None:
    """Say what files were made of a job; none of a patient's attributes is in it.

    Args:
        stem: path of the results without their endings.
        job: hash from `hash_job`.
        results: the files.
    """
    sizes = {path.name: path.stat().st_size for path in results}
    with replace_file(name_record(stem)) as partial:
        partial.write_text(json.dumps({"job": job, "bytes": sizes}))


def forget_record(stem: Path) -> None:
    """Remove what is said of results that are about to be replaced: of one size, the new ones would pass for the old.

    Args:
        stem: path of the results without their endings.
    """
    name_record(stem).unlink(missing_ok=True)


def is_complete(stem: Path, job: str) -> bool:
    """Return whether all results of this very job are there, with the sizes that they were written with.

    Args:
        stem: path of the results without their endings.
        job: hash from `hash_job`.
    """
    try:
        record = json.loads(name_record(stem).read_text())
        sizes = {name: stem.with_name(name).stat().st_size for name in record["bytes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(record["job"] == job and sizes == record["bytes"])


def name_record(stem: Path) -> Path:
    """Return the file that says what a run's results were made of; hidden, as it is no result."""
    return stem.with_name(f".{stem.name}_bsa.json")
