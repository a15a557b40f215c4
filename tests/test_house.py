"""The tests' own manners: short names, an assertion in each, and only public names of the package and the benchmarks."""

from __future__ import annotations

import ast

import pytest

from tests.tools import REPOSITORY

LONGEST = 60  # characters of a test's name
ASSERTING = {"raises", "warns", "fail"}
OF_ANYWIDGET = {"_esm", "_css"}  # names that it asks a widget for


def read_tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def is_private(name):
    return name.startswith("_") and not name.endswith("_")


def read_private_names():
    """Return the private functions, classes and attributes of the package and the benchmarks, and their modules' values."""
    found = set()
    for folder in ("angiomorph", "benchmarks"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(read_tree(path)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    found.add(node.name)
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    found.add(node.attr)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    found.add(node.id)
    return {name for name in found if is_private(name)} - OF_ANYWIDGET


def find_private_names(tree, private):
    """Return the private names of others that a module uses: imported, taken from an object, or as text, as for monkeypatch."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in private - own:
            yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom):
            yield from (f"line {node.lineno}: {alias.name}" for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            yield from (f"line {node.lineno}: {text}" for text in texts if text in private)


def find_tests(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def find_asserting(trees):
    """Return the names of the functions that assert something themselves, or call one that does."""
    called, found = {}, set()
    for tree in trees:
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            names = {ast.unparse(node.func).split(".")[-1] for node in ast.walk(function) if isinstance(node, ast.Call)}
            called.setdefault(function.name, set()).update(names)
            if names & ASSERTING or any(isinstance(node, ast.Assert) for node in ast.walk(function)):
                found.add(function.name)
            if any(name.startswith("assert_") for name in names):
                found.add(function.name)
    while more := {name for name, names in called.items() if name not in found and names & found}:
        found |= more
    return found


@pytest.fixture(scope="module")
def trees():
    return {path.relative_to(REPOSITORY).as_posix(): read_tree(path) for path in sorted((REPOSITORY / "tests").rglob("*.py"))}


def test_tests_use_public_names_alone(trees):
    private = read_private_names()
    faults = {path: list(find_private_names(tree, private)) for path, tree in trees.items()}
    assert {path: names for path, names in faults.items() if names} == {}


def test_private_names_are_noticed():
    text = "from angiomorph.x import _a\nx._b\nself._c\nmonkeypatch.setattr(x, '_b', 1)\nx.b\nx._d\ndef _c(): pass"
    found = list(find_private_names(ast.parse(text), {"_a", "_b", "_c"}))
    assert sorted(found) == ["line 1: _a", "line 2: x._b", "line 4: _b"]


def test_names_of_tests_are_short(trees):
    long = {path: [test.name for test in find_tests(tree) if len(test.name) > LONGEST] for path, tree in trees.items()}
    assert {path: names for path, names in long.items() if names} == {}


def test_every_test_asserts(trees):
    asserting = find_asserting(trees.values())
    silent = [f"{path}: {test.name}" for path, tree in trees.items() for test in find_tests(tree) if test.name not in asserting]
    assert silent == []


def test_silent_tests_are_noticed():
    text = "def a(): assert 1\ndef b(): a()\ndef c(): print()\n"
    text += "def d():\n    with pytest.raises(E): f()\ndef e(): np.testing.assert_equal(1, 1)"
    assert find_asserting([ast.parse(text)]) == {"a", "b", "d", "e"}
