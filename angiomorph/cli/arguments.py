"""What several verbs take: types of arguments, and options that they share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def read_fraction(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")


def read_count(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")


def read_kinds(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in map(str.strip, text.split(",")) if word))


def read_steps(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text}")


EXAMPLES = "Research use only. Exit status: 0 all done; 1 some runs failed; 2 wrong use or unusable input."


def add_verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary, epilog=EXAMPLES)
    verb.set_defaults(run=run)
    return verb


def add_unsubtracted(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--unsubtracted", action="store_true", help="take runs as acquired, whatever headers say of subtraction")


def add_refinement(verb: argparse.ArgumentParser) -> None:
    summary = "sizes at which the network sees the frames, each twice the one before, the first its own (default: the model's)"
    verb.add_argument("--levels", type=read_count, metavar="N", help=summary)
    summary = "further passes of the network through its finer sizes; each takes about as long as the network (default: 0)"
    verb.add_argument("--rounds", type=read_steps, default=0, metavar="N", help=summary)
    summary = "steps that improve the warp after the network, by the loss of its training; not for one of truth (default: 40)"
    verb.add_argument("--refine", type=read_steps, metavar="STEPS", help=summary)
    verb.add_argument("--no-guard", action="store_true", help="warp every frame, also where nothing shows that it moves")
