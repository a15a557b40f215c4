"""Names that docstrings mention: what stands in backticks with a dot leads to something in the package."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest

from tests.tools import REPOSITORY

PACKAGE = REPOSITORY / "angiomorph"
DOTTED = re.compile(r"`([A-Za-z]\w*(?:\.[A-Za-z]\w*)+)(?:\([^`]*\))?`")
ENDINGS = {"csv", "h5", "html", "json", "md", "png", "py"}
OTHERS = {"distributed", "inspect", "model", "np", "sys", "tf", "voxelmorph"}  # of other packages; `model` is Keras's


def read_package():
    """Return each module's syntax tree by its parts: ("registration", "options")."""
    trees = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        trees[parts[:-1] if parts[-1] == "__init__" else parts] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def list_names(body):
    """Yield the names that statements bind, and the attributes that methods set on their object."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.If | ast.With | ast.Try):
            yield from list_names(node.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield from (one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
        if isinstance(node, ast.FunctionDef):
            yield from (one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store))


def map_names(trees):
    """Return what may follow a dot: names of modules by the module's last part, of classes by the class, with its bases."""
    known = defaultdict(set)
    bases = {}
    for parts, tree in trees.items():
        if parts:
            known[parts[-1]] |= set(list_names(tree.body))
            known[parts[-2] if len(parts) > 1 else "angiomorph"].add(parts[-1])
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            known[node.name] |= set(list_names(node.body))
            bases[node.name] = [ast.unparse(base).split(".")[-1] for base in node.bases]
    for name, others in bases.items():
        known[name] |= {inherited for other in others for inherited in known.get(other, ())}
    return dict(known)


def list_docstrings(tree):
    """Yield each docstring of a module with the arguments or fields that it tells of."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or not (text := ast.get_docstring(node)):
            continue
        inner = () if isinstance(node, ast.Module) else ast.walk(node)
        yield (
            text,
            {getattr(one, "arg", None) or ast.unparse(one.target) for one in inner if isinstance(one, ast.arg | ast.AnnAssign)},
        )


def find_strange_names(text, given, known):
    """Return the dotted names of a docstring whose parts do not follow from one another; `given` are arguments."""
    strange = []
    for name in DOTTED.findall(text):
        first, *rest = name.split(".")
        if rest[-1] in ENDINGS or first in given | OTHERS:
            continue
        pairs = zip([first, *rest], rest, strict=False)
        if not all(after in known.get(before, ()) for before, after in pairs):
            strange.append(name)
    return strange


@pytest.mark.slow
def test_dotted_names_of_docstrings_lead_somewhere():
    trees = read_package()
    known = map_names(trees)
    strange = {
        f"angiomorph/{'/'.join(parts)}: {name}"
        for parts, tree in trees.items()
        for text, given in list_docstrings(tree)
        for name in find_strange_names(text, given, known)
    }
    assert strange == set()


def test_names_that_lead_nowhere_are_noticed():
    code = "class A(B):\n    c: int\n    def d(self): self.e = 1\nclass B:\n    f = 1\ndef g(h): pass\n"
    known = map_names({("room", "module"): ast.parse(code)})
    text = "`A.c` `A.d` `A.e` `A.f` `module.g` `room.module.A` `h.i` `np.j` `k.csv` `A.l` `module.m(n)` `other.g`"
    assert find_strange_names(text, {"h"}, known) == ["A.l", "module.m", "other.g"]
