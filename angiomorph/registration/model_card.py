"""What the card of a shipped model says in short, so that pages with its results say the same."""

from __future__ import annotations

import re
from pathlib import Path

CARD = Path(__file__).parents[1] / "models" / "MODEL_CARD.md"
PART = re.compile(r"^## In short\n(.*?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)


def read_excerpt(sha256: str) -> list[str]:
    """Return the paragraphs that the card of a model has under *In short*, as plain text; none where no card names its file.

    Args:
        sha256: SHA-256 of the model's file.
    """
    cards = re.split(r"^(?=# )", CARD.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = next((part[1] for card in cards if f"`{sha256}`" in card and (part := PART.search(card))), "")
    plain = re.sub(r"[*`]", "", found)
    return [" ".join(paragraph.split()) for paragraph in plain.split("\n\n") if paragraph.strip()]
