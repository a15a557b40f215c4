"""Models at their best λ and their differences, by hand."""

import pytest

from benchmarks.paired import main

HEAD = "model,image_loss,lambda,run,runs,artefact_left,contrast_kept,cnr,harm"


@pytest.fixture
def runs(tmp_path):
    """Two models at two λ on two moving runs and a still one; `b` leaves 0.1 more of the artefact on either run."""
    rows = [HEAD]
    for model, more in (("a", 0), ("b", 0.1)):
        for hyper, offset in ((0.25, 0.3), (0.75, 0.0)):
            rows += [
                f"{model},vle,{hyper},{run},moving,{left + more + offset},0.9,2," for run, left in (("x", 0.1), ("y", 0.5))
            ]
            rows.append(f"{model},vle,{hyper},z,still,,1,3,{0.2 + more}")
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


@pytest.mark.parametrize("content", ["", "no,table\n1,2\n", HEAD + "\na,vle,0.5,z,still,,1,3,0.2\n"])
def test_what_is_no_evaluation_of_moving_runs_is_refused(content, tmp_path, capsys):
    path = tmp_path / "runs.csv"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert f"{path}: expected" in capsys.readouterr().err
    assert main([str(tmp_path / "absent.csv")]) == 2
