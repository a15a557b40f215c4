"""The tests' own manners: short names, an assertion in each, no loop for cases, seeded draws, and only public names."""

from __future__ import annotations

import ast

import pytest

from tests.tools import REPOSITORY

LONGEST = 60  # characters of a test's name
ASSERTING = {"raises", "warns", "fail"}
SEEDED = {"default_rng", "RandomState", "Random", "SeedSequence", "PCG64"}  # by their first argument
GLOBAL_DRAWS = (["np", "random"], ["numpy", "random"])
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
            yield from (f"line {node.lineno}: {text}" for text in texts if private & set(text.split(".")))


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


def is_literal(node):
    """Return whether a loop goes over what is written there, one by one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "items":
        return isinstance(node.func.value, ast.Dict)
    return isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict) and not any(
        isinstance(part, ast.Starred) for part in ast.iter_child_nodes(node)
    )


def find_assertions(tree):
    asserting = ASSERTING - {"fail"}
    for node in ast.walk(tree):
        called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Assert) or called in asserting or called.startswith("assert_"):
            yield node


def find_loops_for_cases(tree):
    """Return the tests that assert in a last loop over literals alone: such cases are parameters."""
    for test in find_tests(tree):
        last = test.body[-1]
        if isinstance(last, ast.For) and is_literal(last.iter):
            inside = len(list(find_assertions(last)))
            if inside and inside == len(list(find_assertions(test))):
                yield f"line {last.lineno}: {test.name}"


def find_unseeded_draws(tree):
    """Return the calls that draw otherwise each time: generators without a seed, and NumPy's one for all."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        *module, name = ast.unparse(node.func).split(".")
        if (name in SEEDED and not node.args and not node.keywords) or (module in GLOBAL_DRAWS and name not in SEEDED):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.fixture(scope="module")
def trees():
    return {path.relative_to(REPOSITORY).as_posix(): read_tree(path) for path in sorted((REPOSITORY / "tests").rglob("*.py"))}


@pytest.mark.slow
def test_tests_use_public_names_alone(trees):
    private = read_private_names()
    faults = {path: list(find_private_names(tree, private)) for path, tree in trees.items()}
    assert {path: names for path, names in faults.items() if names} == {}


def test_private_names_are_noticed():
    text = "from angiomorph.x import _a\nx._b\nself._c\nmonkeypatch.setattr(x, '_b', 1)\nx.b\nx._d\ndef _c(): pass\n"
    text += "monkeypatch.setattr('x.y._b', 1)\nmonkeypatch.setattr('x.y.b', 1)"
    found = list(find_private_names(ast.parse(text), {"_a", "_b", "_c"}))
    assert sorted(found) == ["line 1: _a", "line 2: x._b", "line 4: _b", "line 8: x.y._b"]


def test_names_of_tests_are_short(trees):
    long = {path: [test.name for test in find_tests(tree) if len(test.name) > LONGEST] for path, tree in trees.items()}
    assert {path: names for path, names in long.items() if names} == {}


@pytest.mark.slow
def test_every_test_asserts(trees):
    asserting = find_asserting(trees.values())
    silent = [f"{path}: {test.name}" for path, tree in trees.items() for test in find_tests(tree) if test.name not in asserting]
    assert silent == []


def test_silent_tests_are_noticed():
    text = "def a(): assert 1\ndef b(): a()\ndef c(): print()\n"
    text += "def d():\n    with pytest.raises(E): f()\ndef e(): np.testing.assert_equal(1, 1)"
    assert find_asserting([ast.parse(text)]) == {"a", "b", "d", "e"}


def test_cases_are_parameters(trees):
    faults = {path: list(find_loops_for_cases(tree)) for path, tree in trees.items()}
    assert {path: loops for path, loops in faults.items() if loops} == {}


@pytest.mark.parametrize(
    ("body", "noticed"),
    [
        ("for x in (1, 2): assert x", True),
        ("y = f()\n for x, z in {1: 2}.items():\n  with pytest.raises(E): f(x)", True),
        ("assert y\n for x in (1, 2): assert x", False),
        ("for x in range(3): assert x", False),
        ("for x in (1, 2): f(x)\n assert y", False),
        ("for x in (*a, *b): assert x", False),
    ],
)
def test_loops_for_cases_are_noticed(body, noticed):
    assert bool(list(find_loops_for_cases(ast.parse(f"def test_a():\n {body}")))) == noticed


def test_draws_are_seeded(trees):
    faults = {path: list(find_unseeded_draws(tree)) for path, tree in trees.items()}
    assert {path: draws for path, draws in faults.items() if draws} == {}


@pytest.mark.parametrize(
    ("draw", "noticed"),
    [
        ("np.random.default_rng()", True),
        ("np.random.normal(0, 1)", True),
        ("random.Random()", True),
        ("np.random.default_rng(0).normal(0, 1)", False),
        ("random.normal(0, 1)", False),
    ],
)
def test_unseeded_draws_are_noticed(draw, noticed):
    assert bool(list(find_unseeded_draws(ast.parse(draw)))) == noticed


def find_borrowed(tree):
    """Return the test modules, and conftest, that a module imports from: what several need stands in a module of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1].startswith(("test_", "conftest")):
            yield f"line {node.lineno}: {node.module}"


def test_tests_borrow_from_no_other_test(trees):
    faults = {path: list(find_borrowed(tree)) for path, tree in trees.items()}
    assert {path: modules for path, modules in faults.items() if modules} == {}


@pytest.mark.parametrize(
    ("line", "noticed"),
    [("from tests.x.test_y import z", True), ("from tests.conftest import z", True), ("from tests.runs import z", False)],
)
def test_borrowing_is_noticed(line, noticed):
    assert bool(list(find_borrowed(ast.parse(line)))) == noticed
