"""Imports point one way, as docs/architecture.md says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tests.tools import REPOSITORY

PACKAGE = REPOSITORY / "angiomorph"
FREE = {"", "__main__"}  # the version, and the way in
FACE = "angiomorph"  # hands out names of all rooms, and imports a room when one of its names is asked for


def read_rooms():
    """Return what each room may import, by the table of docs/architecture.md, in its order."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", text, re.MULTILINE)
    rooms = {room: set(re.findall(r"`(\w+)`", allowed)) for room, allowed in rows}
    rooms["cli"] = set(rooms) - {"cli"}
    return rooms


def name_module(path):
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports(package=PACKAGE):
    """Return the modules of the package that each of its modules imports, anywhere in its text."""
    modules = {name_module(path): path for path in package.rglob("*.py")}
    found = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names if alias.name in modules}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "angiomorph":
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found[name] |= {known if known in modules else node.module for known in inner}
    return found


def room_of(module):
    return [*module.split("."), ""][1]


ROOMS = read_rooms()


def test_the_table_names_every_room():
    there = {room_of(name) for name in read_imports()} - FREE
    assert there == set(ROOMS)


def test_the_table_points_one_way():
    """Each room may import only rooms above it."""
    above = set()
    for room, allowed in ROOMS.items():
        assert allowed <= above, room
        above.add(room)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room):
    strange = [
        f"{name} imports {other}"
        for name, others in read_imports().items()
        for other in others
        if room_of(name) == room and room_of(other) not in ROOMS[room] | FREE | {room}
    ]
    assert strange == []


@pytest.mark.slow
def test_no_modules_import_each_other():
    imports = {name: others for name, others in read_imports().items() if name != FACE}
    assert set(TopologicalSorter(imports).static_order()) == {*imports, FACE}  # else CycleError names the circle


@pytest.mark.slow
def test_rooms_take_only_the_version_from_the_face():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == FACE and path != PACKAGE / "__init__.py":
                inner = {alias.name for alias in node.names}
                assert {name for name in inner if f"{FACE}.{name}" not in read_imports()} <= {"__version__"}, path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("pydicom", {"dicom"}),
        ("voxelmorph", {"backend"}),
        ("neurite", {"backend"}),
        ("tensorflow", {"backend"}),
        ("tf_keras", {"backend"}),
        ("distributed", {"workers"}),
    ],
)
def test_one_room_knows_a_library(library, rooms):
    knowing = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if library in {name.split(".")[0] for name in names}:
                knowing.add(room_of(name_module(path)))
    assert knowing <= rooms


@pytest.mark.slow
def test_rooms_that_import_without_tensorflow():
    rooms = (
        "options",
        "workers",
        "metrics",
        "preprocessing",
        "storage",
        "pictures",
        "pages",
        "dicom",
        "images",
        "view",
        "simulate",
        "archive",
        "readers",
        "cli",
    )
    parts = (
        "evaluation.find",
        "training.config",
        "training.model_dir",
        "training.learning_curve",
        "training.validation_page",
    )
    modules = sorted(name for name in read_imports() if room_of(name) in rooms)
    modules += [f"angiomorph.{part}" for part in parts]
    computing = {f"angiomorph.registration.{part}" for part in ("tensorflow_engine", "refinement")}
    modules += sorted(name for name in read_imports() if room_of(name) == "registration" and name not in computing)
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    if 'tensorflow' in sys.modules: sys.exit(name)"
    assert subprocess.run([sys.executable, "-c", code, *modules], cwd=REPOSITORY, stderr=subprocess.PIPE).stderr == b""
