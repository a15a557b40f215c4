"""What the commands of the benchmark have in common."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from angiomorph.errors import InputError
from benchmarks.peers.methods import PEERS, Peer, set_threads

REMEDY = "python -m pip install '.[simulate,benchmark]'"


def parser(summary: str, *, out: str, frames: int, runs: int, seed: int) -> argparse.ArgumentParser:
    """Return a parser of the options that all commands have.

    Args:
        summary: what the command does.
        out: default of --out.
        frames: default of --frames-per-run.
        runs: default of --runs.
        seed: default of --seed.
    """
    made = argparse.ArgumentParser(description=summary)
    made.add_argument("--ct", metavar="CT", help="head CT to simulate from; without one, a procedural head")
    made.add_argument("--vessels", metavar="CTA", help="CT angiography without bone; without one, vessels are grown")
    made.add_argument("--out", type=Path, default=Path(out), metavar="DIR", help=f"where to write (default: {out})")
    made.add_argument("--runs", type=int, default=runs, metavar="N", help=f"runs in which a head moves (default: {runs})")
    made.add_argument("--seed", type=int, default=seed, metavar="N", help=f"of these runs (default: {seed})")
    made.add_argument("--frames-per-run", type=int, default=frames, metavar="N", help=f"frames registered (default: {frames})")
    made.add_argument("--size", type=int, default=512, metavar="N", help="rows and columns, pixels (default: 512)")
    made.add_argument("--methods", nargs="+", metavar="NAME", help="only these (default: all)")
    cores = os.cpu_count() or 1
    made.add_argument("--threads", type=int, default=cores, metavar="N", help=f"of every method (default: {cores})")
    made.add_argument("--workers", type=int, default=cores, metavar="N", help=f"processes that simulate (default: {cores})")
    return made


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a command and return its exit status: 0, or 2 with one line on standard error for unusable input."""
    try:
        _check(arguments)
        main(arguments)
    except InputError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 2
    return 0


def _check(arguments: argparse.Namespace) -> None:
    for name in ("runs", "frames_per_run", "threads", "workers"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')}: expected a whole number from 1, got {getattr(arguments, name)}")
    missing = [peer.package for peer in PEERS if not _is_installed(peer.package)]
    if missing:
        raise InputError(f"expected the peers' packages, found no {', '.join(dict.fromkeys(missing))}; install them: {REMEDY}")
    set_threads(arguments.threads)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def chosen(names: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the named methods, in the order in which they are known; all of them for None.

    Raises:
        InputError: a name is not known.
    """
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise InputError(f"--methods: expected of {', '.join(map(repr, known))}, got {', '.join(map(repr, unknown))}")
    return [name for name in known if names is None or name in names]


def versions(peers: Sequence[Peer] = PEERS) -> dict[str, str]:
    """Return the version of every package that a figure depends on."""
    packages = dict.fromkeys(["angiomorph", "tensorflow", *(peer.package for peer in peers)])
    return {package: importlib.metadata.version(package) for package in packages}


def progress(what: str) -> Callable[[int, int], None]:
    """Return a callback that prints (done, total) a line each on standard error."""
    return lambda done, total: print(f"{what}: {done}/{total}", file=sys.stderr, flush=True)
