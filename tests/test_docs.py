"""What the pages say: links lead somewhere, flags exist, and the commands of tutorial and how-to run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import angiomorph as am
from angiomorph.cli import main, parser
from angiomorph.registration.options import ENDINGS
from tests.runs import save_tiny_model
from tests.tools import REPOSITORY, require_package


def find_verbs(parser):
    """Return the parsers of all verbs by name, "readers make" for a verb of a verb."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    found = {name: find_verbs(verb) or {"": verb} for action in inner for name, verb in action.choices.items()}
    return {f"{name} {part}".strip(): verb for name, parts in found.items() for part, verb in parts.items()}


DOCS = REPOSITORY / "docs"
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in (".", "docs", "benchmarks", "data", "examples", "angiomorph/models")
    for path in (REPOSITORY / folder).glob("**/*.md" if folder == "docs" else "*.md")
)
VERBS = find_verbs(parser())
COMMAND = re.compile(rf"(?:angiomorph|python) ({'|'.join(sorted(VERBS))})(?:\.py)?\b")


def read(page):
    return (REPOSITORY / page).read_text(encoding="utf-8")


def read_blocks(page):
    """Return the fenced blocks of a page that are run: their language and their text."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


RUN = [page for page in PAGES if read_blocks(page)]
QUICK = {"README.md", "docs/how-to/report.md", "docs/how-to/sweep.md"}  # a small model stands for the shipped one


def read_commands(page):
    """Return the verb and the arguments of each command line of a page, in a block of its own."""
    lines = re.sub(r"\\\n\s*", "", read(page)).splitlines()
    block = [line.strip() for line in lines if line.startswith("    ")]
    block += [line for language, text in read_blocks(page) if language == "sh" for line in text.splitlines()]
    return [(match[1], line[match.end() :].split(" #")[0]) for line in block if (match := COMMAND.match(line))]


def flags_of(verb):
    shown = [action for action in VERBS[verb]._actions if action.help != argparse.SUPPRESS]
    return {name for action in shown for name in action.option_strings}


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(page))
    missing = [t for t in targets if "://" not in t and not (REPOSITORY / page).parent.joinpath(t).exists()]
    made = {"reference/command-line.md", "../reference/command-line.md"}  # of the site, from the parsers
    assert set(missing) <= made


@pytest.mark.parametrize("page", [page for page in PAGES if read_commands(page)])
def test_commands_have_only_flags_that_exist(page):
    strange = {
        f"{verb} {flag}"
        for verb, arguments in read_commands(page)
        for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", arguments)
        if flag not in flags_of(verb)
    }
    assert strange == set()


@pytest.mark.parametrize(("verb", "heading"), [("train", "### train.py and"), ("register", "### register.py")])
def test_the_table_of_voxelmorphs_flags_is_true(verb, heading):
    section = read("docs/how-to/voxelmorph.md").split(heading)[1].split("\n#")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", section, re.MULTILINE)
    assert rows
    for theirs, here in rows:
        named = set(re.findall(r"`(--?[a-z-]+)`", here))
        assert named <= flags_of(verb), theirs
        if here == "absent":
            assert not set(re.findall(r"`(--?[a-z-]+)`", theirs)) & flags_of(verb), theirs


@pytest.mark.parametrize("page", ["docs/how-to/register.md", "docs/dicom.md"])
def test_the_page_names_every_kind_of_file(page):
    assert set(ENDINGS) <= set(re.findall(r"`([a-z0-9-]+)`", read(page)))


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_repository_that_pages_name_are_there(page):
    named = re.findall(r"`((?:angiomorph|benchmarks|tests|examples|docs)/[\w./-]*)`", read(page))
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_the_tutorial_and_four_guides_have_commands_to_run():
    assert len({page for page in RUN if page.startswith(("docs/tutorial/", "docs/how-to/"))}) >= 5


@pytest.mark.parametrize("page", PAGES)
def test_python_of_the_pages_is_fenced_and_so_runs(page):
    unfenced = re.sub(r"^```.*?^```", "", read(page), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^    (?:import|from) \w+.*$", unfenced, re.MULTILINE) == []


def prepare_names(page, folder, monkeypatch):
    """Put what a page takes for granted into the folder, and return the names that its Python has from before."""
    shutil.copytree(REPOSITORY / "data", folder / "data")
    if page in QUICK:
        model = am.Model.load(save_tiny_model(folder / "model.h5", image_loss="truth"))
        monkeypatch.setattr(am.Model, "load", lambda: model)
    if page == "README.md":
        frames = np.random.default_rng(0).random((2, 1, 64, 64, 1), np.float32)
        return {"moving": frames[0], "fixed": frames[1], "hyper": np.full((1, 1), 0.2, np.float32)}
    if page == "docs/how-to/view.md":
        require_package("anywidget", "notebook")
    if page == "docs/how-to/cluster.md":  # tests/test_cluster.py has workers; here is one run, in this process
        (folder / "archive" / "2024").mkdir(parents=True)
        shutil.copy(folder / "data" / "example_run.dcm", folder / "archive" / "2024")
        monkeypatch.setattr("angiomorph.workers.open_cluster", lambda address: nullcontext())
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_commands_of_the_page_run(page, tmp_path, monkeypatch):
    """Shell blocks hold commands of this program alone; Python blocks of a page share their names."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__", **prepare_names(page, tmp_path, monkeypatch)}
    for language, text in read_blocks(page):
        if language == "python":
            exec(compile(text, page, "exec"), names)
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "angiomorph", line
            assert main(arguments) == 0, line


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path):
    require_package("mkdocs-material", "docs")
    command = ["-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run([sys.executable, *command], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert {"index.html", "first-run.html", "command-line.html"} <= {path.name for path in pages}
    fetched = r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s>]*"
    assert [hit for path in pages for hit in re.findall(fetched, Path(path).read_text(encoding="utf-8"))] == []
