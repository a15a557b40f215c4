"""`angiomorph sweep`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from angiomorph.cli.arguments import add_options, add_unsubtracted, add_verb, name_flags, read_options, repeat_flags
from angiomorph.cli.images import add_images, read_one_run
from angiomorph.cli.terminal import complain, print_line, show_nothing, show_progress
from angiomorph.registration.model_defaults import MODELS, read_model_defaults
from angiomorph.registration.options import RegistrationOptions, SweepOptions, check_folder
from angiomorph.registration.runs import name_results
from angiomorph.storage.json_values import replace_non_finite

if TYPE_CHECKING:
    from angiomorph.registration.sweep import Sweep

OF_RUNS = ("hyper", "guard", "batch_size", "require_clean")  # options that a few frames do not have
AGAIN = ("model", "background", "intensity", "levels", "rounds", "refine", "unsubtracted", "relation", "frame_time")
COLUMNS = {  # of the table: heading, and figure with its format
    "bright residue left": ("residue_left", ".3f"),
    "edges left": ("edge_left", ".3f"),
    "vessel contrast left": ("contrast_left", ".3f"),
    "CNR": ("cnr_estimated", ".2f"),
    "folding": ("folding", ".3%"),
    "largest shift, px": ("largest_shift", ".1f"),
}


def add_sweep(verbs: Any) -> None:
    verb = add_verb(verbs, "sweep", _sweep, "Show a few frames of a run at many lambda, with figures, and suggest one.")
    verb.add_argument("source", metavar="RUN", help="a DICOM file, or a folder of frames")
    verb.add_argument(
        "--model", metavar="M.h5", help=f"model, or the name of a shipped one of {', '.join(MODELS)} (default: truth)"
    )
    verb.add_argument("--out", metavar="DIR", default="swept", help="where to write (default: swept)")
    add_options(verb, SweepOptions)
    add_options(verb, RegistrationOptions, leave=OF_RUNS)
    add_unsubtracted(verb)
    add_images(verb)
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")
    verb.add_argument("--quiet", action="store_true", help="say nothing but errors")
    verb.add_argument(
        "--json", action="store_true", help="figures and suggestion as JSON on standard output, instead of the table"
    )


def _sweep(arguments: argparse.Namespace) -> int:
    options, many = read_options(arguments, RegistrationOptions, leave=OF_RUNS), read_options(arguments, SweepOptions)
    defaults = read_model_defaults(arguments.model)
    defaults.complete(options)
    defaults.check_free()
    folder = check_folder(arguments.out)
    series = read_one_run(arguments)
    from angiomorph.backend import configure_gpu
    from angiomorph.registration.model import Model
    from angiomorph.registration.sweep import sweep
    from angiomorph.registration.sweep_files import write_sweep

    configure_gpu(arguments.gpu)
    progress = show_nothing if arguments.quiet else show_progress("registrations done")
    swept = sweep(series, Model(arguments.model), options, many, progress)
    paths = write_sweep(folder / name_results(series.name), swept)
    command = ["angiomorph", "register", arguments.source, "--lambda", f"{swept.suggestion.hyper:g}"]
    command += repeat_flags(arguments, AGAIN)
    if not arguments.quiet:
        for warning in (*series.warnings, *swept.warnings):
            complain("sweep", f"warning: {name_flags(warning, arguments.parser)}")
    if arguments.json:
        print(json.dumps(_report(swept, paths, command)), flush=True)
    elif not arguments.quiet:
        for line in (*_say_table(swept), *_say_suggestion(swept, paths, command)):
            print_line(line)
    return 0


def _report(swept: Sweep, paths: list[Path], command: list[str]) -> dict[str, Any]:
    return {
        "frames": list(swept.frames),
        "key_frame": swept.key_frame,
        "figures": [replace_non_finite(asdict(each)) for each in swept.figures],
        "suggestion": replace_non_finite(asdict(swept.suggestion)),
        "command": shlex.join(command),
        "outputs": [str(path) for path in paths],
    }


def _say_table(swept: Sweep) -> Iterator[str]:
    """Yield lines of the median of each figure over the frames, by λ."""
    yield "  ".join(["lambda", *COLUMNS])
    columns = [(len(heading), swept.medians(name), style) for heading, (name, style) in COLUMNS.items()]
    for index, hyper in enumerate(swept.hypers):
        yield "  ".join([f"{hyper:6.2f}", *(f"{values[index]:>{wide}{style}}" for wide, values, style in columns)])


def _say_suggestion(swept: Sweep, paths: list[Path], command: list[str]) -> Iterator[str]:
    said = swept.suggestion
    yield f"suggested: lambda {said.hyper:g}, {said.sure}: {said.why.replace('λ', 'lambda')}"
    yield f"look before you take it: {', '.join(map(str, paths))}"
    yield f"then: {shlex.join(command)}"
