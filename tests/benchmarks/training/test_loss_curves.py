"""Loss curves beside each other, by hand."""

import numpy as np

from benchmarks.training.loss_curves import main


def training(path, losses):
    path.mkdir()
    (path / "steps.csv").write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in enumerate(losses)))
    return str(path)


def test_means_differences_and_spread(tmp_path, capsys):
    references = [training(tmp_path / "a", [4, 4, 4, 2]), training(tmp_path / "b", [4, 4, 4, 4])]
    others = [training(tmp_path / "c", [4, 4, 4, 1]), training(tmp_path / "d", [4, 4, 4, 5])]
    assert main(["--reference", *references, "--other", *others]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert lines[0] == "| all steps | 1 | 3.50000 | 3.25000 | -7.1 % |"
    assert lines[3] == "| last quarter | 1 | 2.00000 | 1.00000 | -50.0 % |"
    assert lines[4] == "| last quarter | 2 | 4.00000 | 5.00000 | +25.0 % |"
    spreads = [100 * np.sqrt(0.125) / 3.75, 100 * np.sqrt(2) / 3]
    assert [lines[2], lines[5]] == [
        f"| {name} | standard deviation of the references | {spread:.1f} % | | |"
        for name, spread in zip(("all steps", "last quarter"), spreads, strict=True)
    ]


def test_what_cannot_be_compared_is_told(tmp_path, capsys):
    first = training(tmp_path / "a", [1, 2])
    assert main(["--reference", first, "--other", first]) == 2
    assert "expected equally many directories, at least 2, got 1 and 1" in capsys.readouterr().err
    assert main(["--reference", first, first, "--other", first, str(tmp_path)]) == 2
    assert f"{tmp_path / 'steps.csv'}: expected the steps of a training, found none" in capsys.readouterr().err
