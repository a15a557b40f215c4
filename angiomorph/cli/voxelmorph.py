"""Answers to options of VoxelMorph's programs that mean nothing here."""

from __future__ import annotations

import argparse
from typing import Any


class _Answer(argparse.Action):
    """Refuse an option in one line that says what to use instead."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        parser.error(f"{option}: {self.const}")


def add_answer(group: argparse._ActionsContainer, option: str, answer: str) -> None:
    """Take an option of VoxelMorph's, hidden from --help, and answer it."""
    group.add_argument(option, action=_Answer, nargs="?", const=answer, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)


def refuse_ncc(text: str) -> str:
    """Return a loss's name; answer VoxelMorph's `ncc`.

    Raises:
        ArgumentTypeError: `ncc`, with the loss to take instead.
    """
    if text == "ncc":
        raise argparse.ArgumentTypeError("expected vle instead of ncc: local correlation takes vessels that fill for motion")
    return text
