"""`angiomorph register`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.cli.arguments import add_refinement, add_unsubtracted, add_verb, read_count, read_fraction, read_kinds
from angiomorph.cli.images import add_images, read_images
from angiomorph.cli.pairs import OF_RUNS, add_pair, is_pair, register_pair_of
from angiomorph.cli.terminal import complain, print_line
from angiomorph.dicom.encoding import COMPRESSIONS, DEPTHS, Encoding
from angiomorph.images import choose_kinds

if TYPE_CHECKING:
    from angiomorph.registration.runs import Outcome

DEFAULT_SAVE = ("dicom", "h5")


def add_register(verbs: Any) -> None:
    verb = add_verb(verbs, "register", _register, "Register the background of DICOM runs and write subtracted runs.")
    verb.add_argument("runs", nargs="*", metavar="RUN", help="DICOM files, folders of frames, or trees of series")
    verb.add_argument("--model", metavar="M.h5", help="model, or the name of a shipped one (default: truth)")
    verb.add_argument("--lambda", dest="hyper", type=read_fraction, metavar="L", help="0 to 1 (default: the model's own)")
    verb.add_argument("--out", metavar="DIR", default="registered", help="where to write (default: registered)")
    verb.add_argument("--background", default="auto", metavar="B", help="auto, tag, or frame numbers N or N-M (default: auto)")
    verb.add_argument(
        "--require-clean",
        action="store_true",
        help="refuse runs whose background shows iodine or may show it, instead of a warning",
    )
    verb.add_argument("--intensity", choices=("auto", "log", "linear"), help="what the network sees (default: the model's)")
    add_unsubtracted(verb)
    add_images(verb)
    add_pair(verb)
    add_refinement(verb)
    verb.add_argument(
        "--save",
        type=read_kinds,
        default=DEFAULT_SAVE,
        metavar="KINDS",
        help="of dicom,h5,png,dsa,dsa-state,nifti (default: dicom,h5; of images h5)",
    )
    verb.add_argument(
        "--pixel-depth",
        type=int,
        choices=DEPTHS,
        default=Encoding.pixel_depth,
        help="bits of the subtracted run (default: %(default)s)",
    )
    verb.add_argument(
        "--compress",
        choices=COMPRESSIONS,
        default=Encoding.compress,
        help="lossless compression of the subtracted run (default: %(default)s)",
    )
    verb.add_argument("--frame", type=read_count, metavar="N", help="frame of the picture (default: the most iodine)")
    verb.add_argument("--batch-size", type=read_count, default=4, metavar="N", help="frames at a time (default: 4)")
    verb.add_argument("-g", "--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but errors")
    verb.add_argument("--json", action="store_true", help="one JSON object a run on standard output")
    verb.set_defaults(usual=argparse.Namespace(**{name: verb.get_default(name) for name in OF_RUNS}))


def _register(arguments: argparse.Namespace) -> int:
    if is_pair(arguments):
        return register_pair_of(arguments, arguments.usual)
    images = read_images(arguments, arguments.runs)
    save = arguments.save if images is None else choose_kinds(arguments.save, DEFAULT_SAVE)
    from angiomorph.dicom import say_passed_over
    from angiomorph.registration.runs import Options, register_runs

    options = Options(
        hyper=arguments.hyper,
        background=arguments.background,
        intensity=arguments.intensity,
        save=save,
        frame=arguments.frame,
        levels=arguments.levels,
        rounds=arguments.rounds,
        refine=arguments.refine,
        guard=not arguments.no_guard,
        batch_size=arguments.batch_size,
        require_clean=arguments.require_clean,
        unsubtracted=arguments.unsubtracted,
        encoding=Encoding(arguments.pixel_depth, arguments.compress),
    )
    passed_over = Counter[str]()
    outcomes = register_runs(
        arguments.runs, Path(arguments.out), arguments.model, options, gpu=arguments.gpu, passed_over=passed_over, images=images
    )
    failed, total = [], 0
    for outcome in outcomes:
        total += 1
        if outcome.error:
            failed.append(outcome)
        _tell(outcome, as_json=arguments.json, quiet=arguments.quiet)
    for outcome in failed:
        complain("register", f"failed: {outcome.error}")
    last = [f"{len(failed)} of {total} runs failed, the others are written"] if failed and total > 1 else []
    if passed_over and not arguments.quiet:
        last.append(say_passed_over(passed_over))
    if last:
        complain("register", "; ".join(last))
    return 0 if not failed else 1 if total > 1 else 2


def _tell(outcome: Outcome, *, as_json: bool, quiet: bool) -> None:
    if not quiet:
        for warning in outcome.warnings:
            complain("register", f"warning: {warning}")
    if as_json:
        print(json.dumps(outcome.summary or {"name": outcome.name, "error": outcome.error}), flush=True)
    elif not quiet and not outcome.error:
        print_line(outcome.line())
