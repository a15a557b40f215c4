"""The skeleton of every page, its text, tables and pictures."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NewType

import numpy as np
from PIL import Image

from angiomorph.storage.atomic import replace_file

Markup = NewType("Markup", str)  # HTML, in which all text is escaped
STYLE = Path(__file__).with_name("page.css")
SORT_SCRIPT = Path(__file__).with_name("sort.js")  # by which a click sorts the table that is called "sortable"
JPEG_QUALITY = 88


def escape(text: object) -> Markup:
    """Return text as a page shows it, whatever characters it has.

    >>> escape("1 < 2")
    '1 &lt; 2'
    """
    return Markup(html.escape(str(text)))


def join(*parts: Markup) -> Markup:
    """Return several pieces of a page as one."""
    return Markup("".join(parts))


def write_page(path: str | os.PathLike[str], title: str, body: Iterable[Markup], scripts: Sequence[str] = ()) -> None:
    """Write a dark page that needs no other file and no network; whole or not at all.

    Its policy lets a browser run the given scripts alone, by their SHA-256, and fetch nothing.

    Args:
        path: HTML file.
        title: in the browser's bar, and the heading.
        body: the page below the heading, written piece by piece, so that no long run has to be in memory.
        scripts: JavaScript, run in order when the body is there.

    Raises:
        OSError: the disk fails.
    """
    allowed = " ".join(f"'sha256-{_encode(hashlib.sha256(each.encode()).digest())}'" for each in scripts) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    with replace_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as file:
        file.write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
            f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n<main>\n"
        )
        for part in body:
            file.write(f"{part}\n")
        file.write("</main>\n")
        for script in scripts:
            file.write(f"<script>{script}</script>\n")
        file.write("</body>\n</html>\n")


def make_section(title: str, *parts: Markup, wide: bool = False) -> Markup:
    """Return a part of a page under a heading of its own.

    Args:
        title: the heading.
        parts: the section below its heading.
        wide: whether it takes the page's whole width, also where others stand side by side.
    """
    attributes = ' class="wide"' if wide else ""
    return Markup(f"<section{attributes}>\n<h2>{escape(title)}</h2>\n{join(*parts)}\n</section>")


def make_paragraph(text: Markup, *, warns: bool = False) -> Markup:
    """Return a paragraph; one that warns stands out."""
    attributes = ' class="warning"' if warns else ""
    return Markup(f"<p{attributes}>{text}</p>")


def make_table(head: Sequence[str], rows: Iterable[Sequence[Markup]], *, numbers: bool = False, name: str = "") -> Markup:
    """Return a table.

    Args:
        head: heading of each column; none for a table of names, in the first column, and values.
        rows: the cells of each row.
        numbers: whether all columns but the first hold numbers, which stand to the right.
        name: `id` of the table, for scripts.
    """
    top = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    lines = [_make_row(row) for row in rows]
    attributes = (f' id="{escape(name)}"' if name else "") + (' class="numbers"' if numbers else "")
    above = f"<thead><tr>{top}</tr></thead>\n" if head else ""
    return Markup(f"<table{attributes}>\n{above}<tbody>\n{''.join(lines)}</tbody>\n</table>")


def _make_row(cells: Sequence[Markup]) -> str:
    first, *others = cells
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>\n'


def embed_png(picture: np.ndarray, description: str) -> Markup:
    """Return a picture without loss.

    Args:
        picture: `(H, W)` or `(H, W, 3)` uint8.
        description: for people who do not see it.
    """
    made = io.BytesIO()
    Image.fromarray(picture).save(made, "PNG", optimize=True)
    return embed_picture(made.getvalue(), "png", description)


def embed_jpeg(picture: np.ndarray, description: str) -> Markup:
    """Return a picture with small losses, for many of them.

    Args:
        picture: `(H, W)` or `(H, W, 3)` uint8.
        description: for people who do not see it.
    """
    return embed_picture(encode_jpeg(picture), "jpeg", description)


def encode_jpeg(picture: np.ndarray) -> bytes:
    """Return a picture, `(H, W)` or `(H, W, 3)` uint8, as a file with small losses."""
    made = io.BytesIO()
    Image.fromarray(picture).save(made, "JPEG", quality=JPEG_QUALITY)
    return made.getvalue()


def embed_picture(encoded: bytes, kind: str, description: str) -> Markup:
    """Return an encoded picture as an element of the page.

    Args:
        encoded: the file.
        kind: "png", "jpeg" or "gif".
        description: for people who do not see it.
    """
    return Markup(f'<img alt="{escape(description)}" src="data:image/{kind};base64,{_encode(encoded)}">')


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make_figure(picture: Markup, caption: str) -> Markup:
    """Return a picture above its caption."""
    return Markup(f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>")


def make_gallery(figures: Iterable[Markup], kind: Literal["pictures", "curves", "pair"] = "pictures") -> Markup:
    """Return figures side by side.

    Args:
        figures: figures from `make_figure`.
        kind: pictures and curves, as many in a row as there is room for, curves wider; a pair, two in a row.
    """
    return Markup(f'<div class="gallery {kind}">{"".join(figures)}</div>')
