"""Models at their best λ and their differences, by hand."""

from dataclasses import fields

import pytest

from angiomorph.evaluation.score import Score
from benchmarks.training.paired import main

FIGURES = [part.name for part in fields(Score)]
HEAD = ",".join(["model", "image_loss", "lambda", "run", "runs", *FIGURES])


def row(model, hyper, run, runs, **figures):
    return ",".join([model, "vle", str(hyper), run, runs, *(str(figures.get(name, "")) for name in FIGURES)])


STILL = row("a", 0.5, "z", "still", rmse=1, contrast_kept=1, cnr=3, harm=0.2)


@pytest.fixture
def runs(tmp_path):
    """Two models at two λ on two moving runs and a still one; `b` leaves 0.1 more of the artefact on either run."""
    rows = [HEAD]
    for model, more in (("a", 0), ("b", 0.1)):
        for hyper, offset in ((0.25, 0.3), (0.75, 0.0)):
            for run, left in (("x", 0.1), ("y", 0.5)):
                figures = {"artefact_left": left + more + offset, "contrast_kept": 0.9, "cnr": 2, "rmse": 1}
                rows.append(row(model, hyper, run, "moving", **figures))
            rows.append(row(model, hyper, "z", "still", rmse=1, contrast_kept=1, cnr=3, harm=0.2 + more))
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_models_stand_at_their_best_lambda_and_differ_run_by_run(runs, capsys):
    assert main([str(runs)]) == 0
    lines = [[part.strip() for part in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:4] == ["model", "λ", "moving: artefact left", "moving: contrast kept"]
    assert [line[:2] for line in lines[2:]] == [["a", "0.75"], ["b", "0.75"], ["b less a", ""]]
    assert lines[2][2] == "0.300 [0.100, 0.500]"
    assert lines[4][2:4] == ["+0.100 [+0.100, +0.100]", "+0.000 [+0.000, +0.000]"]
    assert lines[4][5] == "+0.100 [+0.100, +0.100]"


def test_the_reference_is_named(runs, capsys):
    assert main([str(runs), "--reference", "b"]) == 0
    assert "| a less b |  | -0.100 [-0.100, -0.100] |" in capsys.readouterr().out
    assert main([str(runs), "--reference", "c"]) == 2
    assert "--reference c: expected one of a, b" in capsys.readouterr().err


def test_all_stand_at_one_lambda_if_it_is_named(runs, capsys):
    assert main([str(runs), "--lambda", "0.25"]) == 0
    assert "| a | 0.25 | 0.600 [0.400, 0.800] |" in capsys.readouterr().out
    assert main([str(runs), "--lambda", "0.3"]) == 2
    assert "--lambda 0.3: expected one at which every model was evaluated, of 0.25, 0.75" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "no,table\n1,2\n", f"{HEAD}\n{STILL}\n"])
def test_what_is_no_evaluation_of_moving_runs_is_refused(content, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert f"{path}: expected" in capsys.readouterr().err
    assert main([str(tmp_path / "absent.csv")]) == 2
