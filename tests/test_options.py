"""Options that know their help, range and flag, checked and shown by one piece of code each."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, dataclass

import pytest

from angiomorph.cli.arguments import add_options, name_flags, read_options
from angiomorph.errors import InputError
from angiomorph.options import check_options, document_options, option


@document_options
@dataclass(frozen=True)
class Kitchen:
    """What is cooked."""

    salt: float | None = option(None, "share of salt", flag="--grains", low=0, high=1, shown="the cook's")
    plates: int = option(4, "plates at a time", metavar="N", low=1)
    spice: str = option("none", "50% of taste", choices=("none", "hot"))
    cover: bool = option(True, "keep it warm", off="let it cool")
    taste: bool = option(False, "taste it first")
    oven: tuple[float, float] = option((80.0, 90.0), "range of heat", metavar=("LOW", "HIGH"), low=0)
    dishes: tuple[str, ...] = option(("soup",), "what to serve", choices=("soup", "cake"), separator=",")

    def __post_init__(self):
        check_options(self)


@document_options
@dataclass(frozen=True)
class Guest:
    """Who eats."""

    guest: str = option(MISSING, "who comes", choices=("Ann", "Bob"))


@pytest.fixture
def parser():
    made = argparse.ArgumentParser(prog="cook")
    add_options(made, Kitchen)
    return made


def test_nothing_said_gives_the_dataclass_itself(parser):
    assert read_options(parser.parse_args([]), Kitchen) == Kitchen()


def test_every_flag_reaches_its_field(parser):
    said = "--grains 0.5 --plates 2 --spice hot --no-cover --taste --oven 10 20 --dishes cake,soup,cake"
    assert read_options(parser.parse_args(said.split()), Kitchen) == Kitchen(
        salt=0.5, plates=2, spice="hot", cover=False, taste=True, oven=(10.0, 20.0), dishes=("cake", "soup")
    )


@pytest.mark.parametrize(
    "words",
    [
        "--grains SALT share of salt (default: the cook's)",
        "--plates N plates at a time (default: 4)",
        "--spice {none,hot} 50% of taste (default: none)",
        "--no-cover let it cool",
        "--taste taste it first",
        "--oven LOW HIGH range of heat (default: 80.0 90.0)",
        "--dishes DISHES what to serve (default: soup)",
    ],
)
def test_help_says_what_the_fields_say(parser, words):
    assert words in " ".join(parser.format_help().split())


def test_fields_that_are_left_get_no_flag():
    parser = argparse.ArgumentParser()
    add_options(parser, Kitchen, leave=("plates",))
    assert not hasattr(parser.parse_args([]), "plates")
    assert read_options(parser.parse_args([]), Kitchen).plates == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"salt": 1.5}, "`salt` 1.5: expected a number from 0 to 1, got 1.5"),
        ({"salt": float("nan")}, "expected a number from 0 to 1, got nan"),
        ({"salt": float("inf")}, "expected a number from 0 to 1, got inf"),
        ({"plates": float("nan")}, "expected a whole number from 1, got nan"),
        ({"plates": float("inf")}, "expected a whole number from 1, got inf"),
        ({"salt": "much"}, "expected a number from 0 to 1, got much"),
        ({"plates": 0}, "expected a whole number from 1, got 0"),
        ({"plates": 2.5}, "expected a whole number from 1, got 2.5"),
        ({"plates": None}, "expected a whole number from 1, got None"),
        ({"plates": True}, "expected a whole number from 1, got True"),
        ({"spice": "mild"}, "expected one of none, hot, got mild"),
        ({"cover": 1}, "expected True or False, got 1"),
        ({"oven": (1.0,)}, "expected a tuple of 2, got 1.0"),
        ({"oven": (1.0, -1.0)}, "`oven` 1.0,-1.0: expected a number from 0, got -1.0"),
        ({"dishes": ("soup", "gin")}, "`dishes` soup,gin: expected some of soup,cake, got gin"),
        ({"dishes": "soup"}, "expected a tuple of such values, got soup"),
    ],
)
def test_wrong_values_are_refused_by_name(given, words):
    with pytest.raises(InputError) as refused:
        Kitchen(**given)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("--grains 1.5", "argument --grains: expected a number from 0 to 1, got 1.5"),
        ("--grains much", "expected a number from 0 to 1, got much"),
        ("--plates 0", "argument --plates: expected a whole number from 1, got 0"),
        ("--plates 2.5", "expected a whole number from 1, got 2.5"),
        ("--spice mild", "invalid choice: 'mild'"),
        ("--oven 1", "expected 2 arguments"),
    ],
)
def test_wrong_words_are_refused_by_flag(parser, capsys, said, words):
    with pytest.raises(SystemExit):
        parser.parse_args(said.split())
    assert words in capsys.readouterr().err


def test_arguments_in_messages_become_flags(parser):
    assert name_flags("`salt` 2 or `cover`, as `angiomorph train` and `other`", parser) == (
        "--grains 2 or --no-cover, as `angiomorph train` and `other`"
    )


def test_positional_arguments_have_their_names_too(parser):
    parser.add_argument("pan", metavar="FILE")
    assert name_flags("`pan`: expected `salt`", parser) == "FILE: expected --grains"


def test_a_value_that_has_to_be_named_has_no_default(parser):
    add_options(parser, Guest)
    assert parser.parse_args([]).guest is None
    assert read_options(parser.parse_args(["--guest", "Bob"]), Guest) == Guest("Bob")
    assert "--guest {Ann,Bob} who comes" in " ".join(parser.format_help().split())
    assert Guest.__doc__ == "Who eats.\n\nArgs:\n    guest: who comes."
    with pytest.raises(TypeError, match="guest"):
        Guest()


def test_the_docstring_lists_every_field():
    text = Kitchen.__doc__
    assert text.startswith("What is cooked.\n\nArgs:\n    salt: share of salt (default: the cook's).\n")
    assert "    oven: range of heat (default: 80.0 90.0)." in text
