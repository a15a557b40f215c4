"""`angiomorph evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from angiomorph.cli.arguments import add_options, add_verb, name_flags, read_fraction, read_options
from angiomorph.cli.terminal import complain, show_nothing, show_progress
from angiomorph.errors import InputError
from angiomorph.evaluation.find import find_runs
from angiomorph.registration.engines import check_engine, configure_engine
from angiomorph.registration.model_defaults import MODELS, read_model_defaults
from angiomorph.registration.options import EngineOptions, RegistrationOptions, check_folder


def add_evaluate(verbs: Any) -> None:
    verb = add_verb(verbs, "evaluate", _evaluate, "Measure registration on runs, against their truth where they are simulated.")
    verb.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders of them; simulated ones with their truth beside")
    shipped = f"models, or names of shipped ones of {', '.join(MODELS)} (default: truth)"
    verb.add_argument("--model", nargs="+", metavar="M.h5", help=shipped)
    verb.add_argument(
        "--lambda",
        dest="hyper",
        type=read_fraction,
        nargs="+",
        metavar="L",
        help="at which weights of smoothness, 0 to 1, each model is scored (default: each model's own)",
    )
    add_options(verb, RegistrationOptions, leave=("hyper", "require_clean"))
    verb.add_argument(
        "--out", metavar="DIR", help="folder for evaluation.md, .csv and .json, runs.csv and, of several lambda, lambda.png"
    )
    verb.add_argument("--html", metavar="FILE", help="page with every run's scores beside pictures of it, which a click sorts")
    add_options(verb, EngineOptions)
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but the table and errors")
    verb.add_argument("--json", action="store_true", help="what evaluation.json holds on standard output, instead of the table")


def _evaluate(arguments: argparse.Namespace) -> int:
    options = read_options(arguments, RegistrationOptions, leave=("hyper",))
    names = arguments.model or [None]
    for name in names:
        read_model_defaults(name).complete(options)
    engine = read_options(arguments, EngineOptions)
    check_engine(engine, arguments.gpu)
    if arguments.out:
        check_folder(arguments.out)
    if arguments.html:
        _check_page(Path(arguments.html))
    find_runs(arguments.runs)
    from angiomorph.evaluation.evaluate import evaluate
    from angiomorph.registration.model import Model

    configure_engine(engine, arguments.gpu)
    progress = show_nothing if arguments.quiet else show_progress("runs evaluated")
    models, pictures = [Model(name, engine) for name in names], bool(arguments.html)
    report = evaluate(arguments.runs, models, arguments.hyper or (), options, progress, pictures=pictures)
    for reason in report.failed.values():
        complain("evaluate", name_flags(f"failed: {reason}", arguments.parser))
    if not report.about["runs"]:
        return 2
    print(report.json() if arguments.json else report.text(), flush=True)
    written = report.write(Path(arguments.out)) if arguments.out else []
    if arguments.html:
        report.write_page(arguments.html)
        written.append(Path(arguments.html))
    if not arguments.quiet and not arguments.json:
        print(*written, sep="\n", end="\n" if written else "")
    return 1 if report.failed else 0


def _check_page(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"--html {path}: expected a name for a file, found a folder; name a file in it")
    check_folder(path.parent)
