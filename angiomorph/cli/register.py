"""`angiomorph register`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from angiomorph.cli.arguments import add_options, add_unsubtracted, add_verb, name_flags, read_options
from angiomorph.cli.cluster import add_cluster, connect
from angiomorph.cli.images import add_images, read_images
from angiomorph.cli.pairs import OF_RUNS, add_pair, is_pair, register_pair_of
from angiomorph.cli.terminal import RunDisplay, complain, print_line, show_runs, show_search
from angiomorph.dicom import say_passed_over
from angiomorph.images import ImageOptions, choose_kinds
from angiomorph.registration.model_defaults import MODELS, read_model_defaults
from angiomorph.registration.options import FILES, EngineOptions, OutputOptions, RegistrationOptions

if TYPE_CHECKING:
    from angiomorph.registration.runs import Outcome
    from angiomorph.workers import Cluster


def add_register(verbs: Any) -> None:
    verb = add_verb(verbs, "register", _register, "Register the background of DICOM runs and write subtracted runs.")
    verb.add_argument("runs", nargs="*", metavar="RUN", help="DICOM files, folders of frames, or trees of series")
    verb.add_argument(
        "--model", metavar="M.h5", help=f"model, or the name of a shipped one of {', '.join(MODELS)} (default: truth)"
    )
    verb.add_argument("--out", metavar="DIR", default="registered", help="where to write (default: registered)")
    add_options(verb, RegistrationOptions)
    add_unsubtracted(verb)
    add_images(verb)
    add_pair(verb)
    add_options(verb, OutputOptions)
    add_options(verb, EngineOptions)
    verb.add_argument("-g", "--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument(
        "--skip-existing",
        action="store_true",
        help="skip runs whose results are there whole, made with this option of the same files, model and options",
    )
    add_cluster(verb)
    verb.add_argument("--quiet", action="store_true", help="say nothing but errors")
    verb.add_argument("--json", action="store_true", help="one JSON object a run on standard output")
    verb.set_defaults(usual=argparse.Namespace(**{name: verb.get_default(name) for name in OF_RUNS}))


def _register(arguments: argparse.Namespace) -> int:
    if is_pair(arguments):
        return register_pair_of(arguments, arguments.usual)
    images = read_images(arguments, arguments.runs)
    options, output = read_options(arguments, RegistrationOptions), read_options(arguments, OutputOptions)
    if images is not None:
        output = replace(output, kinds=choose_kinds(output.kinds, FILES.kinds))
    defaults = read_model_defaults(arguments.model)
    defaults.complete(options)
    with connect(arguments.cluster, quiet=arguments.quiet) as cluster:
        return _register_runs(arguments, defaults.name, options, output, images, cluster)


def _register_runs(
    arguments: argparse.Namespace,
    model: str,
    options: RegistrationOptions,
    output: OutputOptions,
    images: ImageOptions | None,
    cluster: Cluster | None,
) -> int:
    from angiomorph.registration.runs import register_runs

    quiet = arguments.quiet
    passed_over, display = Counter[str](), RunDisplay(quiet=quiet)
    outcomes = register_runs(
        arguments.runs,
        arguments.out,
        arguments.model,
        options,
        output,
        unsubtracted=arguments.unsubtracted,
        gpu=arguments.gpu,
        engine=read_options(arguments, EngineOptions),
        passed_over=passed_over,
        images=images,
        skip_existing=arguments.skip_existing,
        progress=show_runs(model, quiet=quiet),
        cluster=cluster,
        search_progress=show_search(quiet=quiet),
        stage_progress=display.stage,
        frame_progress=display.frames,
    )
    failed, total = [], 0
    for outcome in outcomes:
        display.close()
        total += 1
        outcome = outcome.translate(partial(name_flags, parser=arguments.parser))
        if outcome.error:
            failed.append(outcome)
        _tell(outcome, as_json=arguments.json, quiet=quiet)
    for outcome in failed:
        complain("register", f"failed: {outcome.error}")
    others = "all runs failed" if len(failed) == total else f"{len(failed)} of {total} runs failed, the others are written"
    last = [others] if failed and total > 1 else []
    if passed_over and not quiet:
        last.append(say_passed_over(passed_over))
    if last:
        complain("register", "; ".join(last))
    return 0 if not failed else 1 if total > 1 else 2


def _tell(outcome: Outcome, *, as_json: bool, quiet: bool) -> None:
    if not quiet:
        for warning in outcome.warnings:
            complain("register", f"warning: {warning}")
    if as_json:
        print(json.dumps(outcome.report()), flush=True)
    elif not quiet and not outcome.error:
        print_line(outcome.line())
