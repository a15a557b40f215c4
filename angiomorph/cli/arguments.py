"""What several verbs take: flags made of dataclasses of options, types of arguments, and options that verbs share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from types import MappingProxyType
from typing import Any, TypeVar

from angiomorph.options import Kind, fits, read_kinds, say_expected, say_help

T = TypeVar("T")
NOTHING: Mapping[str, Callable[[str], str]] = MappingProxyType({})


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


EXAMPLES = "Research use only. Exit status: 0 all done; 1 some runs failed; 2 wrong use or unusable input."


def add_verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary, epilog=EXAMPLES)
    verb.set_defaults(run=run, parser=verb)
    return verb


def add_unsubtracted(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--unsubtracted", action="store_true", help="take runs as acquired, whatever headers say of subtraction")


def add_options(
    parser: Any, options: type, leave: Collection[str] = (), first: Mapping[str, Callable[[str], str]] = NOTHING
) -> None:
    """Add a flag for each field of a dataclass of options: name, default, help, choices and range are the field's.

    Args:
        parser: a parser or a group of one.
        options: the dataclass, see `angiomorph.options`.
        leave: names of the fields that get no flag.
        first: by name of a field, what sees the text before it is read, and may refuse it.
    """
    kinds = read_kinds(options)
    for part in fields(options):
        if part.name not in leave:
            _add_option(parser, part, kinds[part.name], first.get(part.name, str))


def _add_option(parser: Any, part: Field[Any], kind: Kind, first: Callable[[str], str]) -> None:
    given = part.metadata
    name = part.name.replace("_", "-")
    if kind.of is bool:
        name, action = (f"no-{name}", "store_false") if part.default else (name, "store_true")
        parser.add_argument(given["flag"] or f"--{name}", dest=part.name, action=action, help=given["off"] or given["help"])
        return
    several: dict[str, Any] = {}
    if kind.count is not None and given["separator"] is None:
        several["nargs"] = kind.count or "+"
    parser.add_argument(
        given["flag"] or f"--{name}",
        dest=part.name,
        default=None if part.default is MISSING else part.default,
        type=_read_parts(given["separator"]) if given["separator"] else _read_value(part, kind, first),
        choices=None if given["separator"] else given["choices"],
        metavar=given["metavar"],
        help=say_help(part).replace("%", "%%"),
        **several,
    )


def _read_value(part: Field[Any], kind: Kind, first: Callable[[str], str]) -> Callable[[str], Any]:
    """Return what reads one value of an option; argparse itself says which choices there are."""

    def read(text: str) -> Any:
        with suppress(ValueError):
            value = kind.of(first(text))
            if part.metadata["choices"] is not None or fits(part, kind, value):
                return value
        raise argparse.ArgumentTypeError(f"expected {say_expected(part, kind)}, got {text}")

    return read


def _read_parts(separator: str) -> Callable[[str], tuple[str, ...]]:
    return lambda text: tuple(dict.fromkeys(word for word in map(str.strip, text.split(separator)) if word))


def read_options(arguments: argparse.Namespace, options: type[T], leave: Collection[str] = ()) -> T:
    """Return a dataclass of options as the command line gave them, the dataclass's defaults where it has no flag.

    Args:
        arguments: parsed by a parser that `add_options` has added to.
        options: the dataclass.
        leave: names of the fields whose values go elsewhere.

    Raises:
        InputError: as the dataclass says.
    """
    names = {part.name for part in fields(options)} - set(leave)  # type: ignore[arg-type]
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return options(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def repeat_flags(arguments: argparse.Namespace, names: Collection[str]) -> list[str]:
    """Return flags and values as a user gave them, for a command line that gives them again.

    Args:
        arguments: parsed by `arguments.parser`.
        names: names of the arguments; those at their default are left out.
    """
    words: list[str] = []
    for action in arguments.parser._actions:
        value = getattr(arguments, action.dest, None)
        if action.dest in names and value != action.default:
            words += [action.option_strings[-1], *([] if isinstance(value, bool) else [str(value)])]
    return words


def name_flags(message: str, parser: argparse.ArgumentParser) -> str:
    """Return a message in which arguments, in backticks, have a parser's names: --lambda for `hyper`, M.h5 for `model`.

    Args:
        message: text of an error or a warning of the library.
        parser: the verb's parser.
    """
    flags = {action.dest: action.option_strings[-1] if action.option_strings else action.metavar for action in parser._actions}
    return re.sub(r"`(\w+)`", lambda found: str(flags.get(found[1]) or found[0]), message)
