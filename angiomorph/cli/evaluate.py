"""`angiomorph evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from angiomorph.cli.arguments import add_refinement, add_verb, read_fraction
from angiomorph.cli.terminal import complain, show_nothing, show_progress


def add_evaluate(verbs: Any) -> None:
    verb = add_verb(verbs, "evaluate", _evaluate, "Measure registration on runs, against their truth where they are simulated.")
    verb.add_argument("runs", nargs="+", metavar="RUN", help="runs, or folders of them; simulated ones with their truth beside")
    verb.add_argument("--model", nargs="+", metavar="M.h5", help="models, or names of shipped ones (default: truth)")
    verb.add_argument("--lambda", dest="hyper", type=read_fraction, nargs="+", metavar="L", help="(default: each model's own)")
    verb.add_argument("--background", default="auto", metavar="B", help="auto, tag, or frame numbers N or N-M (default: auto)")
    add_refinement(verb)
    verb.add_argument(
        "--out", metavar="DIR", help="folder for evaluation.md, .csv and .json, runs.csv and, of several lambda, lambda.png"
    )
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but the table and errors")
    verb.add_argument("--json", action="store_true", help="what evaluation.json holds on standard output, instead of the table")


def _evaluate(arguments: argparse.Namespace) -> int:
    from angiomorph.backend import configure_gpu
    from angiomorph.evaluation import evaluate
    from angiomorph.registration.series import SHIPPED, Model

    configure_gpu(arguments.gpu)
    runs = evaluate.find_runs(arguments.runs)
    models = [Model(path) for path in arguments.model or [SHIPPED]]
    settings = evaluate.Settings(
        background=arguments.background,
        levels=arguments.levels,
        rounds=arguments.rounds,
        refine_steps=arguments.refine,
        guard=not arguments.no_guard,
    )
    progress = show_nothing if arguments.quiet else show_progress("runs evaluated")
    entries, failed = evaluate.evaluate(runs, models, arguments.hyper or [], settings, progress)
    for reason in failed.values():
        complain("evaluate", f"failed: {reason}")
    if len(failed) == len(runs):
        return 2
    report = evaluate.report(entries, models, settings)
    print(report.json() if arguments.json else report.text(), flush=True)
    if arguments.out:
        for path in report.write(Path(arguments.out)):
            if not arguments.quiet and not arguments.json:
                print(path)
    return 1 if failed else 0
