"""Pictures of the same runs at several moments, as a page shows them, and as that page gives them back."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from angiomorph.pages.page import Markup, embed_picture, escape, join, make_figure, make_section

MOMENTS_SCRIPT = Path(__file__).with_name("moments.js")
JPEG = "data:image/jpeg;base64,"


@dataclass(frozen=True)
class Moment:
    """What there was to see at one moment.

    Args:
        step: when it was.
        caption: name below the picture.
        pictures: JPEG of each run.
    """

    step: int
    caption: str
    pictures: tuple[bytes, ...]


def thin_moments(moments: Sequence[Moment], most: int) -> list[Moment]:
    """Return at most some moments: the first, the last, and others about evenly between them.

    One at a time goes that leaves the smallest gap, so that moments may come one by one.

    Args:
        moments: in order.
        most: how many, at least 2.
    """
    kept = list(moments)
    while len(kept) > most:
        gaps = [after.step - before.step for before, after in zip(kept, kept[2:], strict=False)]
        kept.pop(1 + gaps.index(min(gaps)))
    return kept


def draw_moments(title: str, moments: Sequence[Moment], fixed: Sequence[Sequence[Markup]], words: Markup) -> Markup:
    """Return a part of a page: of each run what does not change, beside it one moment, and all moments below.

    With `MOMENTS_SCRIPT` a slider chooses the moment.

    Args:
        title: the heading.
        moments: at least one, in order, all of the same runs.
        fixed: figures of each run.
        words: sentence above the pictures.
    """
    last = moments[-1]
    parts = []
    for run, figures in enumerate(fixed):
        picture = make_figure(embed_picture(last.pictures[run], "jpeg", f"run {run + 1}, {last.caption}"), last.caption)
        shown = Markup(picture.replace("<figure>", '<figure class="moment">', 1))
        strip = "".join(_draw_one(moment, run) for moment in moments)
        parts.append(
            join(
                Markup(f"<h3>run {run + 1}</h3>\n"),
                Markup(f'<div class="run">{"".join([*figures, shown])}</div>'),
                Markup(
                    f'\n<div class="strip" tabindex="0" role="group" aria-label="run {run + 1}, all moments">{strip}</div>\n'
                ),
            )
        )
    end = len(moments) - 1
    controls = (
        '<div class="controls"><label>Moment '
        f'<input class="frame" type="range" min="0" max="{end}" value="{end}" aria-valuetext="{escape(last.caption)}"></label>'
        f"<output>{escape(last.caption)}</output></div>\n"
    )
    return make_section(title, Markup(f"<p>{words}</p>\n{controls}"), *parts, wide=True)


def _draw_one(moment: Moment, run: int) -> Markup:
    picture = embed_picture(moment.pictures[run], "jpeg", f"run {run + 1}, {moment.caption}")
    caption = escape(moment.caption)
    return Markup(
        f'<figure data-step="{moment.step}" data-run="{run}" data-caption="{caption}">{picture}'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def read_moments(path: str | os.PathLike[str]) -> list[Moment]:
    """Return the moments of a page that `draw_moments` has a part in; none where the page is absent or another one.

    Args:
        path: HTML file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    found: dict[tuple[int, str], dict[int, bytes]] = defaultdict(dict)
    for step, caption, run, picture in _Reader(text).found:
        found[step, caption][run] = picture
    count = max(map(len, found.values()), default=0)
    whole = {key: pictures for key, pictures in found.items() if set(pictures) == set(range(count))}
    return [
        Moment(step, caption, tuple(pictures[run] for run in range(count)))
        for (step, caption), pictures in sorted(whole.items())
    ]


class _Reader(HTMLParser):
    """Finds step, caption, run and picture of every figure that has them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._figure: dict[str, str | None] = {}
        self.found: list[tuple[int, str, int, bytes]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "figure":
            self._figure = dict(attrs)
        elif tag == "img":
            self.found += self._read(dict(attrs).get("src") or "")

    def _read(self, source: str) -> Iterator[tuple[int, str, int, bytes]]:
        step, caption, run = (self._figure.get(f"data-{name}") for name in ("step", "caption", "run"))
        if step and caption and run and step.isdecimal() and run.isdecimal() and source.startswith(JPEG):
            yield int(step), caption, int(run), base64.b64decode(source.removeprefix(JPEG))
