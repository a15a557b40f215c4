"""What mkdocs adds to the pages of docs/: those that stand elsewhere in the repository, and the command line's own."""

from __future__ import annotations

import argparse
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from angiomorph.cli import parser

REPOSITORY = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "angiomorph/models/MODEL_CARD.md": "reference/model-card.md",
    "benchmarks/README.md": "reference/benchmarks.md",
    "data/README.md": "reference/example-data.md",
    "examples/README.md": "how-to/examples.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that do not lie in docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(REPOSITORY / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/command-line.md", content=describe_command_line()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where the site has the file that they name; a file that it has not is named without a link."""
    here = page.file.src_uri
    source = {page: source for source, page in ELSEWHERE.items()}.get(here, f"docs/{here}")

    def relink(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if path not in ELSEWHERE and not path.startswith("docs/"):
            return text
        path = posixpath.relpath(ELSEWHERE.get(path, path.removeprefix("docs/")), posixpath.dirname(here) or ".")
        return f"{mark}[{text}]({path}{'#' + anchor if anchor else ''})"

    return LINK.sub(relink, markdown)


def describe_command_line() -> str:
    """Return the page of the command line, from its parsers."""
    verbs = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    lines = [
        "# Command line",
        "",
        "This page is made from the program's own help. `python train.py` and `python register.py` are `angiomorph train` and",
        "`angiomorph register`.",
        "",
        "Exit status: 0 all done; 1 some runs failed, the rest is written; 2 wrong use or unusable input.",
        "",
    ]
    for name, verb in verbs.choices.items():
        lines += [f"## angiomorph {name}", "", verb.description or "", "", "| argument | what |", "| --- | --- |"]
        shown = [action for action in verb._actions if action.dest != "help" and action.help != argparse.SUPPRESS]
        lines += [describe_argument(action, verb) for action in shown]
        lines.append("")
    return "\n".join(lines)


def describe_argument(action: argparse.Action, verb: argparse.ArgumentParser) -> str:
    """Return an argument's row: how it is written, and its help."""
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    if action.choices is not None and action.metavar is None:
        value = ", ".join(str(choice) for choice in action.choices)
    value = value if isinstance(value, str) else " ".join(value)
    names = ", ".join(action.option_strings)
    help_text = (action.help or "") % {**vars(action), "prog": verb.prog}
    return f"| `{' '.join(filter(None, (names, value)))}` | {help_text.replace('|', chr(92) + '|')} |"
