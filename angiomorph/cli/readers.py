"""`angiomorph readers make | score`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from angiomorph.cli.arguments import add_options, add_verb, read_options
from angiomorph.cli.terminal import print_line, show_nothing, show_progress
from angiomorph.errors import InputError
from angiomorph.readers.options import StudyOptions


def add_readers(verbs: Any) -> None:
    summary = "Let people judge results side by side without knowing whose they are, and score their answers."
    readers = verbs.add_parser("readers", help=summary, description=summary)
    parts = readers.add_subparsers(dest="part", required=True, metavar="make|score")
    make = add_verb(parts, "make", _make, "Write a blinded page for each run that all methods have registered.")
    make.add_argument("methods", nargs="+", metavar="NAME=FOLDER", help="a method, and its results by `register --save h5`")
    make.add_argument("--out", required=True, metavar="DIR", help="a new folder for the pages, the key and the answers")
    add_options(make, StudyOptions)
    make.add_argument("--quiet", action="store_true", help="say nothing but errors")
    score = add_verb(parts, "score", _score, "Print and write the figures of the answers in DIR/answers.")
    score.add_argument("dir", metavar="DIR", help="the study's folder, with its key and the readers' CSV files in answers/")
    score.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _make(arguments: argparse.Namespace) -> int:
    options = read_options(arguments, StudyOptions)
    methods: dict[str, Path] = {}
    for given in arguments.methods:
        name, _, folder = given.partition("=")
        if not name.strip() or not folder or name.strip() in methods:
            raise InputError(f"{given}: expected NAME=FOLDER, with a name for each, found another form; write it so")
        methods[name.strip()] = Path(folder)

    from angiomorph.readers.make import PAGES, make_study

    out = Path(arguments.out)
    key = make_study(methods, out, options, show_nothing if arguments.quiet else show_progress("cases made"))
    if not arguments.quiet:
        print_line(f"{out / PAGES}: {len(key.cases)} cases for readers, who begin with {next(iter(key.cases))}.html")
        print_line(f"{out / 'key.json'}: keep it from them (seed {key.seed})")
    return 0


def _score(arguments: argparse.Namespace) -> int:
    from angiomorph.readers.score import say_scores, score_study, write_scores

    folder = Path(arguments.dir)
    scores, answers = score_study(folder)
    paths = write_scores(scores, answers, folder)
    if not arguments.quiet:
        for line in [*say_scores(scores).splitlines(), *map(str, paths)]:
            print_line(line)
    return 0
