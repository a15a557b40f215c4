"""Frames that play within a page, panel beside panel, each a picture of its own: any browser opens these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np

from angiomorph.pages.page import Markup, embed_jpeg, escape

SKELETON = Path(__file__).with_name("cine.html")
SCRIPT = Path(__file__).with_name("cine.js")


@dataclass(frozen=True, eq=False)
class CineFrame:
    """One frame of a cine.

    Args:
        number: frame number, from 1.
        milliseconds: for which it is shown.
        captions: above each panel.
        pictures: one picture a panel, `(H, W)` uint8, all of one size.
    """

    number: int
    milliseconds: float
    captions: tuple[str, str]
    pictures: tuple[np.ndarray, np.ndarray]


def make_cine(title: str, panels: tuple[str, str], frames: Iterable[CineFrame]) -> Iterator[Markup]:
    """Yield the pieces of a section with a cine, which `read_script` plays; a page has one at most.

    Space plays, arrows step, and digits show panels alone or in turn. Curves that follow it show which frame is seen.

    Args:
        title: heading of the section.
        panels: their names.
        frames: in order, made when they are asked for.
    """
    first, second = map(escape, panels)
    skeleton = Template(SKELETON.read_text(encoding="utf-8"))
    yield Markup(skeleton.substitute(title=escape(title), first=first, second=second))
    for frame in frames:
        pictures = "".join(embed_jpeg(each, "") for each in frame.pictures)
        captions = "".join(f"<i>{escape(caption)}</i>" for caption in frame.captions)
        yield Markup(f'<div data-number="{frame.number}" data-milliseconds="{frame.milliseconds:g}">{captions}{pictures}</div>')
    yield Markup("</div>\n</section>")


def read_script() -> str:
    """Return the JavaScript that plays a page's cine, for `page.write_page`."""
    return SCRIPT.read_text(encoding="utf-8")
