"""`angiomorph prepare`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from angiomorph.cli.arguments import add_unsubtracted, add_verb, name_flags, read_count
from angiomorph.cli.cluster import add_cluster, connect
from angiomorph.cli.images import add_images, read_images
from angiomorph.cli.terminal import print_line, say, show_progress
from angiomorph.errors import InputError
from angiomorph.images import ImageOptions
from angiomorph.workers import Cluster


def add_prepare(verbs: Any) -> None:
    verb = add_verb(verbs, "prepare", _prepare, "Turn a DICOM archive into a training store without identities.")
    verb.add_argument("dicom", nargs="+", metavar="DICOM", help="DICOM files, folders, or trees of them")
    verb.add_argument("store", metavar="STORE.h5", help="the training store to write; repeat the command to resume")
    verb.add_argument("--size", type=read_count, metavar="N", help="shrink frames whose longer side is larger, pixels")
    add_unsubtracted(verb)
    add_images(verb)
    verb.add_argument("--workers", type=read_count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    add_cluster(verb)


def _prepare(arguments: argparse.Namespace) -> int:
    dicom = [Path(path) for path in arguments.dicom]
    images = read_images(arguments, dicom)
    with connect(arguments.cluster) as cluster:
        return write_store(
            dicom,
            Path(arguments.store),
            arguments.parser,
            size=arguments.size,
            unsubtracted=arguments.unsubtracted,
            workers=arguments.workers,
            images=images,
            cluster=cluster,
        )


def write_store(
    dicom: Sequence[Path],
    path: Path,
    parser: argparse.ArgumentParser,
    *,
    size: int | None,
    unsubtracted: bool,
    workers: int,
    images: ImageOptions | None = None,
    pairs: Sequence[tuple[Path, Path]] = (),
    cluster: Cluster | None = None,
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
        say=lambda line: say(name_flags(line, parser)),
        cluster=cluster,
    )
    for name, reason in report.left_out:
        print(f"left out {name}: {name_flags(reason, parser)}", file=sys.stderr)
    passed_over = f"; {line}" if (line := say_passed_over(report.passed_over)) else ""
    runs = "run" if report.taken == 1 else "runs"
    print_line(f"{path}: {report.taken} {runs} taken, {len(report.left_out)} left out{passed_over}")
    return 1 if report.left_out else 0
