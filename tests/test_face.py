"""What `import angiomorph as am` offers: names at once, TensorFlow with the first that needs it, examples that run."""

import ast
import doctest
import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import angiomorph as am
from tests.tools import REPOSITORY, require_package

# In this order: a later one may use what an earlier one has made.
NAMES = sorted(am.__all__, key=lambda name: (name == "Score", name))
SHOWN_BY = {"Cluster": "open_cluster", "ImageOptions": "read_images"}  # names that another's examples use
EXTRAS = {"open_cluster": ("distributed", "cluster"), "show": ("anywidget", "notebook"), "simulate": ("numba", "simulate")}


def test_importing_the_face_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import angiomorph; dir(angiomorph); print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    strange = [name for name in done.stdout.split() if name.split(".")[0] not in {*sys.stdlib_module_names, "angiomorph"}]
    assert strange == []


@pytest.mark.slow
def test_names_that_need_no_tensorflow_bring_none():
    names = "Cluster ImageOptions InputError OutputOptions RegistrationOptions Series SimulationSettings TrainingConfig"
    names += " find_series open_cluster prepare read_images read_series read_truth register_runs simulate"
    code = f"import sys, angiomorph\nfor name in {names.split()}: getattr(angiomorph, name)\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


def read_typed_names():
    """Return the module of each name, as type checkers see it."""
    tree = ast.parse((REPOSITORY / "angiomorph" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    return {alias.name: node.module for node in block.body for alias in node.names}


def test_the_type_checker_and_the_interpreter_see_the_same_names():
    assert sorted(read_typed_names()) == sorted(am.__all__) == sorted(set(dir(am)) - {"__version__"}) == sorted(am.PLACES)


def test_the_page_of_the_package_has_a_line_for_every_name():
    assert sorted(re.findall(r"^    ([A-Za-z_]+)  +\w", am.__doc__, re.MULTILINE)) == sorted(am.__all__)


@pytest.mark.parametrize("name", am.__all__)
def test_the_reference_in_the_docs_has_every_name(name):
    page = (REPOSITORY / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert {f"angiomorph.{name}", f"{read_typed_names()[name]}.{name}"} & set(re.findall(r"^::: (\S+)$", page, re.MULTILINE))


@pytest.mark.slow
def test_help_is_one_page():
    """`help` believes `__all__`, and would print 2,000 lines that AngioMorph inherits from Keras."""
    page = pydoc.plain(pydoc.render_doc(am))
    assert len(page.splitlines()) < 150
    assert am.__doc__.splitlines()[0] in page
    assert "PACKAGE CONTENTS" in page
    assert "inherited from" not in page


@pytest.mark.slow
def test_a_star_imports_every_name():
    names = {}
    exec("from angiomorph import *", names)
    assert set(am.__all__) == set(names) - {"__builtins__"}


@pytest.mark.parametrize("name", am.__all__)
def test_every_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(am, name))
    assert callable(getattr(am, name)) or isinstance(getattr(am, name), ModuleType)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["angiomorph", "angiomorph.simulate", "angiomorph.simulate.settings"])
def test_simulate_is_called_and_holds_its_modules(first):
    code = f"""
import importlib
importlib.import_module({first!r})
import angiomorph as am
import angiomorph.simulate.settings
from angiomorph import simulate
from angiomorph.simulate import write
write.simulate = lambda *given, **options: print(given, options)
am.simulate("out", runs=2)
assert simulate is am.simulate is angiomorph.simulate
assert am.simulate.settings.SimulationSettings is am.SimulationSettings
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("('out',) {'runs': 2}\n", "")


def test_simulate_has_the_page_and_the_signature_of_its_function():
    from angiomorph.simulate.write import simulate

    assert am.simulate.__doc__ == simulate.__doc__
    assert inspect.signature(am.simulate) == inspect.signature(simulate)


TAKE_PATHS = {
    "find_series": lambda path, out: am.find_series(path),
    "read_series": lambda path, out: am.read_series(path),
    "read_images": lambda path, out: am.read_images(path, am.ImageOptions(relation="LIN")),
    "prepare": lambda path, out: am.prepare(path, out / "store.h5"),
    "register_runs": lambda path, out: am.register_runs(path, out),
}


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", TAKE_PATHS)
def test_a_path_by_itself_is_one_source(tmp_path, name, kind):
    with pytest.raises(am.InputError, match=r"^absent\.dcm: expected "):
        TAKE_PATHS[name](kind("absent.dcm"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, Path])
def test_a_training_takes_texts_and_paths(tmp_path, kind):
    with pytest.raises(am.InputError, match=r"^absent\.dcm: expected .* found nothing there"):
        am.train([kind("store.h5")], kind(tmp_path), validation=kind("absent.dcm"))
    with pytest.raises(am.InputError, match=r"^store\.h5: expected"):
        am.train(kind("store.h5"), kind(tmp_path))
    with pytest.raises(am.InputError, match=r"^`stores`: expected at least one run"):
        am.train([], kind(tmp_path))


def test_other_names_are_refused_with_those_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'register'; it has AngioMorph, .*, train"):
        am.register  # noqa: B018


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Return what the page of the package leaves behind; its examples, and all others, run beside the repository's data."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "data").symlink_to(REPOSITORY / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = {}
        assert run_examples("angiomorph", am.__doc__, found) > 3
        yield found


def run_examples(name, text, names):
    """Run a docstring's examples in a namespace, which keeps what they make, and return how many there are."""
    test = doctest.DocTestParser().get_doctest(inspect.cleandoc(text), names, name, None, 0)
    test.globs = names
    said = []
    doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)
    return len(test.examples)


def read_docstrings(found):
    """Return the docstrings of a name and, of a class, those of its own methods, by their names."""
    methods = {name: getattr(found, name) for name in vars(found) if inspect.isclass(found) and not name.startswith("_")}
    return {name: inspect.getdoc(each) or "" for name, each in {"": found, **methods}.items() if not name or callable(each)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_examples_of_a_name_run(names, name):
    if name in EXTRAS:
        require_package(*EXTRAS[name])
    count = sum(run_examples(f"{name} {part}", text, names) for part, text in read_docstrings(getattr(am, name)).items())
    assert count or f"am.{name}" in getattr(am, SHOWN_BY[name]).__doc__


@pytest.mark.slow
def test_a_user_can_check_types_strictly(tmp_path):
    require_package("mypy", "lint")
    code = """
import angiomorph as am

run: am.Series = am.read_series("run.dcm")
images: am.Series = am.read_images("run.npy", am.ImageOptions(relation="LIN"))
print([files.name for files in am.find_series("archive")])
model = am.Model.load("vle", am.EngineOptions(engine="openvino"))
result: am.Registration = model.register(run, am.RegistrationOptions(hyper=0.2))
largest: float = float(abs(result.warp).max())
paths = result.save("out/run", kinds=("dicom", "h5")) + result.save("out/run", kinds="png")
print(paths[0].name, largest, result.background.numbers)
live = am.Registrar(model, run.frames[:3], run.relation)
print(live.push(run.frames[3]).weight)
tried = am.sweep(run, model, many=am.SweepOptions(frames=2))
am.show(run, model)
with am.open_cluster("local:2") as cluster:
    output = am.OutputOptions(kinds=("dicom",))
    for outcome in am.register_runs([path for path in ("a", "b")], "out", output=output, cluster=cluster):
        print(outcome.error)
connected: am.Cluster = cluster
am.simulate("simulated", runs=1, seed=1, settings=am.SimulationSettings(size=64))
print(am.read_truth("simulated/run-000001_truth.h5").pose)
try:
    report = am.evaluate("runs", [model], hypers=(0.1, 0.2))
    scores: dict[str, am.Score] = report.entries[0].scores
except am.InputError as error:
    print(error)
am.prepare("archive", "store.h5")
config = am.TrainingConfig(sampling=am.Sampling(augmentation=am.Augmentation(flip=0.5)))
best: str = am.train(["store.h5"], "mine", config).name + am.train("store.h5", "other", validation="held_out").name
network = am.AngioMorph((32, 32))
similarity = am.losses.VLE(image_sigma=0.3)
"""
    assert set(re.findall(r"am\.(\w+)", code)) == set(am.__all__)
    wrong = """am.Modell
am.RegistrationOptions(hypr=0.2)
model.register("run.dcm")
am.simulate("out", runs=1)
am.train(3, "mine")
"""
    (tmp_path / "user.py").write_text(code + wrong)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        str(REPOSITORY / ".mypy_cache"),
    ]
    done = subprocess.run([*command, str(tmp_path / "user.py")], cwd=REPOSITORY, capture_output=True, text=True)
    first = len(code.splitlines()) + 1
    lines = [line.split(":")[1] for line in done.stdout.splitlines() if ": error:" in line]
    assert lines == [str(first + number) for number in range(len(wrong.splitlines()))], done.stdout
