"""What rooms say: names of arguments in backticks, which the command line turns into its own flags."""

import ast
import re

import pytest

from tests.tools import REPOSITORY

FLAG = re.compile(r"(?<!\w)--[a-z]")
COMMAND = re.compile(r"`[a-z]+ [^`]*`")  # as a shell takes it
BARE = re.compile(r"([a-z_]+): expected")
NO_ARGUMENTS = {"anywidget", "spool"}  # a package, and what the program has made itself


def read_texts(node):
    """Yield the line and the text of each string of a module, but of docstrings and of the flags of options."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.keyword) and node.arg == "flag":
        return
    if isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "1" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from read_texts(child)


def find_flags(texts):
    return [place for place, text in texts if FLAG.search(COMMAND.sub("", text))]


def find_bare_names(texts):
    found = ((place, BARE.match(text)) for place, text in texts)
    return [place for place, named in found if named and named[1] not in NO_ARGUMENTS]


@pytest.fixture(scope="module")
def texts():
    """Return the place and the text of each string of the rooms but the command line's."""
    package = REPOSITORY / "angiomorph"
    paths = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "cli"]
    trees = {path.relative_to(package): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    return [(f"{path}:{line}", text) for path, tree in trees.items() for line, text in read_texts(tree)]


def test_the_library_speaks_of_arguments_not_flags(texts):
    assert find_flags(texts) == []


def test_arguments_in_errors_stand_in_backticks(texts):
    assert find_bare_names(texts) == []


def test_flags_and_bare_names_are_noticed():
    text = '''"""Of --a."""
f"size: expected {1} with --b"
x = "`angiomorph register --save h5`"
x = "`size`: expected more than --c"
x = option(1, flag="--lambda")
x = f"`angiomorph bake --size {1}`"
x = f"{'--d' if 1 else ''}"
'''
    found = list(read_texts(ast.parse(text)))
    assert (find_flags(found), find_bare_names(found)) == ([2, 4, 7], [2])
