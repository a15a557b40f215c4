"""The examples run as they are, with few steps."""

import runpy
import shutil

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import angiomorph as am
from tests.tools import REPOSITORY

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
FEW = {"epochs": 1, "steps_per_epoch": 1, "enc": (4, 4), "dec": (4, 4), "hyp_units": (4, 4)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a working directory that has the repository's data."""
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_script(name, *given, **options):
    return runpy.run_path(str(EXAMPLES / name))["main"](*given, **options)


def test_every_example_is_listed_and_run():
    listed = (EXAMPLES / "README.md").read_text()
    tested = "".join((REPOSITORY / "tests" / name).read_text() for name in ("test_examples.py", "networks/test_export.py"))
    for path in (path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb", ".mjs")):
        assert f"({path.name})" in listed
        assert f'"{path.name}"' in tested


def test_register_one_run(folder, capsys):
    run_script("register_one_run.py", "data/sample_lin.dcm", "out")
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"sample_lin_bsa.{end}" for end in ("dcm", "h5", "png")]
    assert "background frames (1, 2)" in capsys.readouterr().out


def test_register_archive(folder, capsys):
    (folder / "archive").mkdir()
    shutil.copy(REPOSITORY / "data" / "sample_lin.dcm", folder / "archive")
    (folder / "archive" / "cut.dcm").write_bytes((REPOSITORY / "data" / "sample_lin.dcm").read_bytes()[:5000])
    run_script("register_archive.py", "archive", "out", levels=1)
    said = capsys.readouterr()
    assert said.out.startswith("archive/sample_lin.dcm: 6 frames of 256x256")
    assert "failed: " in said.err
    assert "cut.dcm" in said.err


def test_choose_lambda(folder):
    run_script("choose_lambda.py", "data/sample_lin.dcm", "lambda.png", (0.0, 1.0), levels=1)
    assert (folder / "lambda.png").stat().st_size > 10_000


def test_score_simulated_runs(folder):
    settings = am.SimulationSettings(frames=4, background=2, size=64)
    score = run_script("score_simulated_runs.py", "runs", runs=1, settings=settings, levels=1)
    assert score.runs in ("moving", "still")


def test_train_on_archive(folder):
    config = am.TrainingConfig(**FEW, sampling=am.Sampling(size=64))
    path = run_script("train_on_archive.py", "data/sample_lin.dcm", "model", config)
    assert am.Model.load(path).defaults.size == 64


def test_warp_arrays(folder):
    warp = run_script("warp_arrays.py")
    assert warp.shape == (128, 128, 2)
    assert np.abs(warp).max() > 0.5


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("read_register_look.ipynb", 'PATH = "data/sample_lin.dcm"\nHYPERS = (0.1, 0.9)\nLEVELS = 1'),
        ("train_on_your_archive.ipynb", f'ARCHIVE = "data/sample_lin.dcm"\nOUT = "mine"\nSIZE = 64\nCONFIG = {FEW}'),
    ],
)
def test_notebooks_run(folder, monkeypatch, name, parameters):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    cell.source = parameters
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", ()) for kind in output.get("data", ())]
    assert "image/png" in shown
