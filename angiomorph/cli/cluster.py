"""`--cluster` of several verbs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from angiomorph.cli.terminal import say
from angiomorph.storage.interrupts import defer_interrupts
from angiomorph.workers import Cluster, open_cluster


def add_cluster(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--cluster",
        metavar="ADDRESS|local:N",
        help="do each run as a task of a dask scheduler, or of N processes of this machine: docs/how-to/cluster.md",
    )


@contextmanager
def connect(address: str | None, *, quiet: bool = False) -> Iterator[Cluster | None]:
    """Yield the cluster that the user names, or None; and say how many workers it has."""
    if address is None:
        yield None
        return
    with ExitStack() as stack:
        with defer_interrupts():  # dask cannot close what has half started
            cluster = stack.enter_context(open_cluster(address))
        workers = cluster.count_workers()
        if not quiet:
            waiting = "" if workers else "; waiting for the first"
            say(f"cluster {address}: {workers} worker{'' if workers == 1 else 's'}{waiting}")
        yield cluster
