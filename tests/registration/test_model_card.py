"""What the card says in short of each shipped model: found by the file, and of the same figures as its tables."""

import re

import pytest

from angiomorph.registration.model_card import CARD, read_excerpt
from angiomorph.registration.model_defaults import MODELS, read_model_defaults
from angiomorph.storage.digest import sha256
from tests.tools import REPOSITORY

FIGURE = r"\d\.\d{3}(?: \[[\d., ]+\])?"


def quote(name):
    return " ".join(read_excerpt(sha256(MODELS[name])))


def read_row(text, name):
    """Return the cells of the first row of a table that has this name."""
    (cells, *_) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", text, re.MULTILINE)
    return cells.split(" | ")


@pytest.mark.parametrize("name", MODELS)
def test_every_shipped_model_has_an_excerpt(name):
    text = quote(name)
    assert text.startswith("Research software; not a medical device.")
    assert f"on {read_model_defaults(name).metadata['data']['runs']} simulated runs alone" in text
    assert "Limits: " in text
    assert not set("*`#|") & set(text)


@pytest.mark.parametrize("digest", ["", "0" * 64, "None"])
def test_other_models_have_none(digest):
    assert read_excerpt(digest) == []


def test_figures_of_the_default_model_are_its_tables():
    card = CARD.read_text(encoding="utf-8")
    shown = read_row(card, "Reg-Truth (default), as it is")
    free = read_row(card, "Reg-Truth, without guard, as it is")
    local = read_row(card, "held-out skull, this file")
    assert re.findall(FIGURE, quote("truth")) == [shown[0], shown[1], local[2], shown[4], free[4]]
    assert local[:2] == shown[:2]


def test_figures_of_the_papers_models_are_the_benchmarks():
    table = (REPOSITORY / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = [read_row(table, f"Reg-{name}") for name in ("VLE", "MinMax", "MSE")]
    expected = [row[column].split(" ")[0] for column in (0, 2, 10) for row in rows]
    assert re.findall(r"\d\.\d{3}", quote("vle")) == expected
    assert quote("vle") == quote("minmax") == quote("mse")
