"""What `import angiomorph as am` offers: names at once, TensorFlow with the first that needs it, examples that run."""

import ast
import doctest
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import angiomorph as am
from tests.tools import REPOSITORY, require_package

# Their own modules tell of these; a simulation and a training take longer than an example should.
WITHOUT_EXAMPLES = {
    "Augmentation",
    "Sampling",
    "SimulationSettings",
    "TrainingConfig",
    "prepare",
    "read_truth",
    "simulate",
    "train",
}
# In this order: a later one may use what an earlier one has made.
WITH_EXAMPLES = [*sorted(set(am.__all__) - WITHOUT_EXAMPLES - {"Score"}), "Score"]


def test_importing_the_face_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import angiomorph; dir(angiomorph); print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    strange = [name for name in done.stdout.split() if name.split(".")[0] not in {*sys.stdlib_module_names, "angiomorph"}]
    assert strange == []


def test_names_that_need_no_tensorflow_bring_none():
    names = "InputError OutputOptions RegistrationOptions Series SimulationSettings find_series prepare read_series simulate"
    code = f"import sys, angiomorph\nfor name in {names.split()}: getattr(angiomorph, name)\n"
    code += "sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_the_type_checker_and_the_interpreter_see_the_same_names():
    tree = ast.parse((REPOSITORY / "angiomorph" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(typed) == sorted(am.__all__) == sorted(set(dir(am)) - {"__version__"}) == sorted(am.PLACES)


@pytest.mark.parametrize("name", am.__all__)
def test_every_name_is_there_and_documented(name):
    assert inspect.getdoc(getattr(am, name))
    assert callable(getattr(am, name)) or isinstance(getattr(am, name), ModuleType)


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


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_name_run(names, name):
    found = getattr(am, name)
    methods = [text for text in ("load", "register") if name == "Model"]
    count = run_examples(name, found.__doc__, names)
    for method in methods:
        count += run_examples(f"{name}.{method}", getattr(found, method).__doc__, names)
    assert count


@pytest.mark.slow
def test_a_user_can_check_types_strictly(tmp_path):
    require_package("mypy", "lint")
    code = """
import angiomorph as am

run: am.Series = am.read_series("run.dcm")
model = am.Model.load()
result: am.Registration = model.register(run, am.RegistrationOptions(hyper=0.2))
largest: float = float(abs(result.warp).max())
paths = result.save("out/run", kinds=("dicom", "h5"))
print(paths[0].name, largest, result.background.numbers)
for outcome in am.register_runs([path for path in ("a", "b")], "out", options=am.RegistrationOptions(levels=2)):
    print(outcome.error)
try:
    report = am.evaluate(["runs"], [model], hypers=(0.1, 0.2))
except am.InputError as error:
    print(error)
"""
    wrong = "am.Modell\nam.RegistrationOptions(hypr=0.2)\nmodel.register('run.dcm')\n"
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
    assert lines == [str(first), str(first + 1), str(first + 2)], done.stdout
