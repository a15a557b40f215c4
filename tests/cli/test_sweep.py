"""`angiomorph sweep`: what it prints, what it writes, and what it refuses before TensorFlow is there."""

import json
import re
import shlex
import sys

import pytest

from angiomorph.cli import main
from tests.runs import SIZE, phantom, save_tiny_model

PATIENT = {"PatientName": "Quartz^Zebulon", "PatientID": "QZ-4711", "PatientBirthDate": "19330911"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5")


@pytest.mark.slow
def test_it_prints_a_table_a_suggestion_and_the_command(tmp_path, capsys, xa_file, model):
    surplus = phantom((1, SIZE, SIZE)).tobytes()
    run = xa_file(
        "a run.dcm",
        frames=phantom((4, SIZE, SIZE)),
        attributes=PATIENT,
        change=lambda dataset: setattr(dataset, "PixelData", dataset.PixelData + surplus),
    )
    given = ["--model", str(model), "--background", "1", "--refine", "0", "--lambda", "0", "1", "--frames", "2"]
    assert main(["sweep", str(run), "--out", str(tmp_path / "out"), *given]) == 0
    said = capsys.readouterr()
    assert "angiomorph sweep: warning: " in said.err
    assert "there are pixels for 5 frames; the first 4 are read" in said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("lambda  bright residue left  edges left")
    assert [line.split()[0] for line in lines[1:3]] == ["0.00", "1.00"]
    suggested = re.match(r"suggested: lambda ([\d.]+), (sure|fairly sure|not sure): ", lines[3])
    names = ["a run_sweep.png", "a run_sweep_curves.png", "a run_sweep.csv"]
    assert lines[4] == f"look before you take it: {', '.join(str(tmp_path / 'out' / name) for name in names)}"
    command = ["angiomorph", "register", str(run), "--lambda", suggested[1], "--model", str(model)]
    assert shlex.split(lines[5].removeprefix("then: ")) == [*command, "--background", "1", "--refine", "0"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    table = (tmp_path / "out" / names[2]).read_text()
    assert not [secret for secret in ("Quartz", "4711", "19330911") if secret in said.out + said.err + table]


@pytest.mark.slow
def test_json_has_figures_and_suggestion(tmp_path, capsys, xa_file, model):
    run = xa_file(frames=phantom((4, SIZE, SIZE)))
    given = ["--model", str(model), "--background", "1", "--refine", "0", "--lambda", "0.5", "--frames", "1"]
    assert main(["sweep", str(run), "--out", str(tmp_path / "out"), *given, "--quiet", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["frames"], found["key_frame"]) == ([found["key_frame"]], found["key_frame"])
    assert found["figures"][0]["hyper"] == 0.5
    assert found["suggestion"]["sure"] in ("sure", "fairly sure", "not sure")
    assert found["command"].startswith(f"angiomorph register {run} --lambda")
    assert found["outputs"][0] == str(tmp_path / "out" / "run_sweep.png")
    assert said.err == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["absent.dcm"], "absent.dcm"),
        (["notes.txt"], "notes.txt"),
        (["notes.txt", "--out", "notes.txt"], "--out notes.txt: expected a folder"),
        (["notes.txt", "--model", "absent.h5"], "absent.h5: expected a model"),
        (["notes.txt", "--refine", "3"], "--refine 3: expected 0 for"),
    ],
)
def test_errors_come_without_tensorflow(tmp_path, monkeypatch, capsys, given, words):
    (tmp_path / "notes.txt").write_text("no run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "angiomorph.registration.sweep", None)  # which would bring it
    assert main(["sweep", *given]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("angiomorph sweep: ")
    assert words in said.err
    assert sorted(tmp_path.iterdir()) == [tmp_path / "notes.txt"]


@pytest.mark.slow
def test_a_baked_model_is_refused_without_tensorflow(tmp_path, monkeypatch, capsys, model):
    baked = tmp_path / "baked.h5"
    assert main(["bake", str(model), str(baked), "--lambda", "0.2"]) == 0
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "angiomorph.registration.sweep", None)
    assert main(["sweep", "absent.dcm", "--model", str(baked)]) == 2
    said = capsys.readouterr().err
    assert f"{baked}: expected a model for all λ, found one that was baked at 0.2; give the model" in said


@pytest.mark.parametrize("given", [["--lambda", "2"], ["--frames", "0"], ["--lambda"]])
def test_wrong_options_are_refused(capsys, given):
    with pytest.raises(SystemExit) as stopped:
        main(["sweep", "run.dcm", *given])
    assert stopped.value.code == 2
    assert given[0] in capsys.readouterr().err
