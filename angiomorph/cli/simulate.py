"""`angiomorph simulate`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.cli.arguments import add_verb, read_count, read_fraction
from angiomorph.cli.terminal import show_progress
from angiomorph.errors import InputError

if TYPE_CHECKING:
    from angiomorph.simulate.settings import SimulationSettings


def add_simulate(verbs: Any) -> None:
    verb = add_verb(verbs, "simulate", _simulate, "Make angiographic runs with known truth from a CT.")
    verb.add_argument("--out", metavar="DIR", help="folder for DICOM runs and their truth")
    verb.add_argument("--store", metavar="STORE.h5", help="training store to write")
    verb.add_argument(
        "--ct", metavar="CT", help="CT of head, neck or chest: NIfTI, DICOM folder; without one, a procedural head"
    )
    verb.add_argument("--vessels", metavar="NII", help="CT angiography of a head without bone; without one, vessels are grown")
    verb.add_argument("--runs", type=read_count, default=1, help="how many (default: 1)")
    verb.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")
    verb.add_argument("--workers", type=read_count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    verb.add_argument("--picture", metavar="PNG", help="contact sheet to write of the runs in --out")
    drawn = verb.add_argument_group(
        "what is drawn (ranges and shares: anew for each run; defaults: those of SimulationSettings)"
    )
    for name, metavar, summary in (
        ("frames", "N", "frames a run"),
        ("background", "N", "frames before the contrast agent"),
        ("size", "N", "rows and columns, pixels, a multiple of 4"),
    ):
        drawn.add_argument(f"--{name}", type=read_count, metavar=metavar, help=summary)
    for name, summary in (
        ("motion-mm", "largest shift of the patient, mm"),
        ("motion-deg", "largest turn, degrees"),
        ("kv", "tube voltage, kV"),
        ("copper", "filter, mm"),
        ("dose", "photons behind the patient per mm^2 and frame"),
        ("frame-time", "ms"),
        ("field-of-view", "detector width over 300 mm"),
        ("iodine", "in arteries, mg/ml"),
        ("blush", "blood shown in capillaries over what flows in, 0 to 1"),
    ):
        drawn.add_argument(f"--{name}", type=float, nargs=2, metavar=("LOW", "HIGH"), help=summary)
    for name, summary in (
        ("still", "share of runs in which nothing moves but the blood"),
        ("parts", "share of runs in which jaw, throat, shoulders or diaphragm move, and a heart beats"),
        ("objects", "share of runs with a table, with leads, with a catheter"),
        ("metal", "share of runs with a clip or a coil"),
        ("grown", "share of runs with grown vessels although --vessels is given"),
        ("collimated", "share of runs with a visible collimator"),
    ):
        drawn.add_argument(f"--{name}", type=read_fraction, metavar="SHARE", help=summary)
    drawn.add_argument("--deformation", type=float, metavar="MM", help="elastic change of the anatomy, standard deviation, mm")
    drawn.add_argument("--views", nargs="+", metavar="VIEW", help="of frontal, lateral, oblique")
    drawn.add_argument("--relations", nargs="+", metavar="RELATION", help="PixelIntensityRelationship, of LIN, LOG, DISP")
    drawn.add_argument("--bits-stored", nargs="+", type=read_count, metavar="BITS", help="BitsStored, of 8, 10, 12, 16")


def _simulate(arguments: argparse.Namespace) -> int:
    from angiomorph.simulate.write import run_path, simulate

    out = None if arguments.out is None else Path(arguments.out)
    if arguments.picture and out is None:
        raise InputError("simulate: expected --out DIR with --picture, whose runs it shows; name a folder")
    simulate(
        out,
        runs=arguments.runs,
        seed=arguments.seed,
        ct=arguments.ct,
        vessels=arguments.vessels,
        settings=_simulation_settings(arguments),
        store=arguments.store,
        workers=arguments.workers,
        progress=show_progress("runs made"),
    )
    if arguments.picture and out is not None:
        from angiomorph.simulate.contact_sheet import contact_sheet

        contact_sheet([run_path(out, number) for number in range(1, arguments.runs + 1)], arguments.picture)
    return 0


def _simulation_settings(arguments: argparse.Namespace) -> SimulationSettings:
    from dataclasses import fields

    from angiomorph.simulate.settings import SimulationSettings

    given = {field.name: getattr(arguments, field.name) for field in fields(SimulationSettings)}
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None
    }
    for name in ("relations", "bits_stored"):
        if name in chosen:
            usual = dict(getattr(SimulationSettings, name))
            chosen[name] = tuple((value, usual.get(value, 1.0)) for value in chosen[name])
    return SimulationSettings(**chosen)
