"""What an option is: a field of a frozen dataclass that knows its own help, range and flag.

The command line, the library and the documentation are all built from these fields, so none of them can differ.

    @document_options
    @dataclass(frozen=True)
    class Options:
        rounds: int = option(0, "further passes of the network", low=0)

        def __post_init__(self) -> None:
            check_options(self)

Errors name the argument in backticks, `rounds`; the command line prints its flag instead, --rounds.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from angiomorph.errors import InputError

T = TypeVar("T")


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    metavar: str | tuple[str, ...] | None = None,
    choices: Sequence[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    off: str | None = None,
    shown: str | None = None,
    separator: str | None = None,
    resumable: bool = False,
) -> Any:
    """Return the field of one option.

    Args:
        default: its value where nobody names one; `MISSING` where the library has to be given one.
        help: what it does, for `help()`, `--help` and the documentation.
        flag: on the command line; None for the field's name, with "no-" before it where the default is True.
        metavar: what stands for the value in `--help`.
        choices: all values that it may have; of a tuple, all that its parts may have.
        low: the least value.
        high: the largest value.
        off: what the switch does that turns it off, of an option that is on by default.
        shown: what `--help` says of the default; None for the default itself.
        separator: what stands between the parts of a tuple on the command line; None for a space.
        resumable: whether it may change when the work that it belongs to is resumed.
    """
    given = {"flag": flag, "metavar": metavar, "choices": choices, "low": low, "high": high, "resumable": resumable}
    return field(default=default, metadata={"help": help, **given, "off": off, "shown": shown, "separator": separator})


@dataclass(frozen=True)
class Kind:
    """What values an option takes.

    Args:
        of: the type of a value, or of each part of a tuple.
        optional: whether it may be None.
        count: how many parts a tuple has: a number, 0 for any, None where the option is no tuple.
    """

    of: type
    optional: bool = False
    count: int | None = None


def read_kinds(options: type) -> dict[str, Kind]:
    """Return what values each field of a dataclass of options takes, by its annotations."""
    hints = typing.get_type_hints(options)
    return {part.name: _read_kind(hints[part.name]) for part in fields(options)}


def _read_kind(hint: Any) -> Kind:
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    optional = type(None) in parts
    (hint,) = (part for part in parts if part is not type(None))
    if typing.get_origin(hint) is tuple:
        inside = typing.get_args(hint)
        return Kind(inside[0], optional, 0 if Ellipsis in inside else len(inside))
    return Kind(hint, optional)


def check_options(options: Any) -> None:
    """Check each field of a dataclass of options by its type, choices and range.

    Raises:
        InputError: names the field, what was expected and what came.
    """
    kinds = read_kinds(type(options))
    for part in fields(options):
        value, kind = getattr(options, part.name), kinds[part.name]
        if value is None and kind.optional:
            continue
        if kind.count is None:
            if not fits(part, kind, value):
                raise refuse(part.name, say_expected(part, kind), value)
        elif not isinstance(value, tuple) or (kind.count and len(value) != kind.count):
            raise refuse(part.name, f"a tuple of {kind.count or 'such values'}", value)
        elif strange := [one for one in value if not fits(part, kind, one)]:
            raise InputError(
                f"`{part.name}` {say_value(value)}: expected {say_expected(part, kind)}, got {', '.join(map(str, strange))}"
            )


def refuse(name: str, expected: str, value: Any) -> InputError:
    """Return the error of an option whose value is not what was expected."""
    return InputError(f"`{name}` {say_value(value)}: expected {expected}, got {say_value(value)}")


def say_value(value: Any) -> str:
    """Return a value as the command line takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def fits(part: Field[Any], kind: Kind, value: Any) -> bool:
    """Return whether one value, or one part of a tuple, is of an option's type, choices and range."""
    choices, low, high = (part.metadata.get(name) for name in ("choices", "low", "high"))
    if kind.of in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (kind.of is int and value != int(value)):
            return False
    elif not isinstance(value, kind.of):
        return False
    return (choices is None or value in choices) and (low is None or value >= low) and (high is None or value <= high)


def say_expected(part: Field[Any], kind: Kind) -> str:
    """Return what values an option takes, in words."""
    choices, low, high = (part.metadata.get(name) for name in ("choices", "low", "high"))
    if choices is not None:
        words = ",".join(map(str, choices)) if kind.count is not None else ", ".join(map(str, choices))
        return f"{'one' if kind.count is None else 'some'} of {words}"
    words = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}.get(kind.of, kind.of.__name__)
    return words + (f" from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


def document_options(options: type[T]) -> type[T]:
    """Add the help of every field to the docstring of a dataclass of options."""
    lines = [f"    {part.name}: {say_help(part)}." for part in fields(options)]  # type: ignore[arg-type]
    options.__doc__ = "\n".join([inspect.cleandoc(options.__doc__ or ""), "", "Args:", *lines])
    return options


def say_help(part: Field[Any]) -> str:
    """Return the help of an option, with its default where it has one."""
    help: str = part.metadata["help"]
    return help if part.default is MISSING else f"{help} (default: {say_default(part)})"


def say_default(part: Field[Any]) -> str:
    """Return the default of an option in words."""
    metadata: Mapping[str, Any] = part.metadata
    if metadata.get("shown") is not None:
        return str(metadata["shown"])
    if isinstance(part.default, tuple):
        return (metadata.get("separator") or " ").join(map(str, part.default))
    return str(part.default)
