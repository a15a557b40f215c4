"""The skeleton of pages: nothing of a text becomes markup, no script but the page's own may run, and pictures come back."""

import base64
import hashlib
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from angiomorph.pages.page import (
    Markup,
    embed_jpeg,
    embed_png,
    escape,
    make_figure,
    make_gallery,
    make_paragraph,
    make_section,
    make_table,
    write_page,
)
from tests.html_reader import Reader


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_shown_as_it_is(text):
    for made in (make_paragraph(escape(text)), make_section(text), make_table([text], [[escape(text)]])):
        read = Reader(made)
        assert text in "".join(words for _, words in read.texts)
        assert {tag for tag, _ in read.elements} <= {"p", "section", "h2", "table", "thead", "tbody", "tr", "th"}
    assert Reader(embed_png(np.zeros((1, 1), np.uint8), text)).find("img")[0]["alt"] == text


def test_a_page_lets_its_own_scripts_run_and_nothing_else(tmp_path):
    scripts = ["const a = '<b>';", "// ä"]
    write_page(tmp_path / "new" / "page.html", "<one> & two", (Markup(f"<p>{n}</p>") for n in range(3)), scripts)
    text = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    read = Reader(text)
    assert read.said("title") == read.said("h1") == ["<one> & two"]
    assert [said for said in read.said("p") if said.strip()] == ["0", "1", "2"]
    policy = next(each["content"] for each in read.find("meta") if "http-equiv" in each)
    known = [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts]
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {' '.join(known)}"
    assert read.said("script") == scripts
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "page.html"]


def test_a_page_without_scripts_allows_none(tmp_path):
    write_page(tmp_path / "page.html", "one", [])
    assert "script-src 'none'" in (tmp_path / "page.html").read_text()


def test_no_half_page_is_left(tmp_path):
    def broken():
        yield escape("one")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_page(tmp_path / "page.html", "one", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_table_names_rows_and_columns():
    cells = [[escape(each) for each in row] for row in (("a", "1"), ("b", "2"))]
    read = Reader(make_table(["what", "how much"], cells, numbers=True, name="figures"))
    assert read.find("table") == [{"id": "figures", "class": "numbers"}]
    assert [each["scope"] for each in read.find("th")] == ["col", "col", "row", "row"]
    assert (read.said("th"), read.said("td")) == (["what", "how much", "a", "b"], ["1", "2"])
    assert "thead" not in make_table([], cells)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize(("embed", "kind", "loss"), [(embed_png, "png", 0), (embed_jpeg, "jpeg", 40)])
def test_pictures_come_back(shape, embed, kind, loss):
    picture = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    source = Reader(embed(picture, "steps")).find("img")[0]["src"]
    encoded = re.fullmatch(rf"data:image/{kind};base64,([\w+/=]+)", source)[1]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert shown.shape == shape
    assert np.abs(shown.astype(int) - picture).max() <= loss


def test_a_gallery_has_figures_with_captions():
    read = Reader(make_gallery([make_figure(escape(n), f"number {n}") for n in range(2)], "pair"))
    assert read.said("figcaption") == ["number 0", "number 1"]
    assert read.find("div") == [{"class": "gallery pair"}]
