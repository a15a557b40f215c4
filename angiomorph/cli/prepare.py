"""`angiomorph prepare`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from angiomorph.cli.arguments import add_unsubtracted, add_verb, read_count
from angiomorph.cli.images import add_images, read_images
from angiomorph.cli.terminal import print_line, say, show_progress
from angiomorph.errors import InputError
from angiomorph.images import ImageOptions


def add_prepare(verbs: Any) -> None:
    verb = add_verb(verbs, "prepare", _prepare, "Turn a DICOM archive into a training store without identities.")
    verb.add_argument("dicom", nargs="+", metavar="DICOM", help="DICOM files, folders, or trees of them")
    verb.add_argument("store", metavar="STORE.h5", help="the training store to write; the same command goes on if stopped")
    verb.add_argument("--size", type=read_count, metavar="N", help="shrink frames whose longer side is larger, pixels")
    add_unsubtracted(verb)
    add_images(verb)
    verb.add_argument("--workers", type=read_count, default=os.cpu_count() or 1, help="processes (default: one a core)")


def _prepare(arguments: argparse.Namespace) -> int:
    dicom = [Path(path) for path in arguments.dicom]
    return write_store(
        dicom,
        Path(arguments.store),
        size=arguments.size,
        unsubtracted=arguments.unsubtracted,
        workers=arguments.workers,
        images=read_images(arguments, dicom),
    )


def write_store(
    dicom: Sequence[Path],
    path: Path,
    *,
    size: int | None,
    unsubtracted: bool,
    workers: int,
    images: ImageOptions | None = None,
    pairs: Sequence[tuple[Path, Path]] = (),
) -> int:
    from angiomorph.archive.prepare import prepare
    from angiomorph.dicom import say_passed_over
    from angiomorph.storage.store import is_hdf5

    if path.exists() and not is_hdf5(path):
        raise InputError(
            f"{path}: expected a new file or an older store to replace, found something else; name the store last: "
            "angiomorph prepare DICOM... STORE.h5"
        )
    report = prepare(
        dicom,
        path,
        size=size,
        unsubtracted=unsubtracted,
        workers=workers,
        images=images,
        pairs=pairs,
        progress=show_progress("runs read"),
        say=say,
    )
    for name, reason in report.left_out:
        print(f"left out {name}: {reason}", file=sys.stderr)
    passed_over = f"; {line}" if (line := say_passed_over(report.passed_over)) else ""
    runs = "run" if report.taken == 1 else "runs"
    print_line(f"{path}: {report.taken} {runs} taken, {len(report.left_out)} left out{passed_over}")
    return 1 if report.left_out else 0
