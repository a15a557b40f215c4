"""`angiomorph simulate`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from angiomorph.cli.arguments import add_options, add_verb, read_count, read_options
from angiomorph.cli.cluster import add_cluster, connect
from angiomorph.cli.terminal import show_progress
from angiomorph.errors import InputError
from angiomorph.simulate.settings import SimulationSettings


def add_simulate(verbs: Any) -> None:
    verb = add_verb(verbs, "simulate", _simulate, "Make angiographic runs with known truth from a CT.")
    verb.add_argument("--out", metavar="DIR", help="folder for DICOM runs and their truth")
    verb.add_argument("--store", metavar="STORE.h5", help="training store to write")
    verb.add_argument(
        "--ct", metavar="CT", help="CT of head, neck or chest: NIfTI, DICOM folder; without one, a procedural head"
    )
    verb.add_argument("--vessels", metavar="NII", help="CT angiography of a head without bone; without one, vessels are grown")
    verb.add_argument("--runs", type=read_count, default=1, metavar="N", help="how many (default: 1)")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything drawn (default: 0)")
    verb.add_argument(
        "--workers", type=read_count, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a core)"
    )
    add_cluster(verb)
    verb.add_argument("--picture", metavar="PNG", help="contact sheet to write of the runs in --out")
    add_options(verb.add_argument_group("what is drawn", "Ranges and shares are drawn anew for each run."), SimulationSettings)


def _simulate(arguments: argparse.Namespace) -> int:
    settings = read_options(arguments, SimulationSettings)
    out = None if arguments.out is None else Path(arguments.out)
    if arguments.picture and out is None:
        raise InputError("`picture`: expected `out` DIR with it, whose runs it shows; name a folder")
    from angiomorph.simulate.write import run_path, simulate

    with connect(arguments.cluster) as cluster:
        simulate(
            out,
            runs=arguments.runs,
            seed=arguments.seed,
            ct=arguments.ct,
            vessels=arguments.vessels,
            settings=settings,
            store=arguments.store,
            workers=arguments.workers,
            progress=show_progress("runs made"),
            cluster=cluster,
        )
    if arguments.picture and out is not None:
        from angiomorph.simulate.contact_sheet import contact_sheet

        contact_sheet([run_path(out, number) for number in range(1, arguments.runs + 1)], arguments.picture)
    return 0
