"""Models over runs: every run by every model at every λ, in tables, files and a picture."""

import csv
import json
import math
import re
from dataclasses import asdict

import numpy as np
import pytest
from matplotlib.image import imread
from pydicom import dcmread

from angiomorph import networks
from angiomorph.cli import main
from angiomorph.evaluation import evaluate
from angiomorph.evaluation.find import find_runs
from angiomorph.registration.model import Model
from angiomorph.registration.options import RegistrationOptions
from tests.benchmarks.made import make_run
from tests.runs import save_tiny_model

pytestmark = pytest.mark.slow

HYPERS = ("0", "0.5", "1")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return two models that warp differently."""
    folder = tmp_path_factory.mktemp("models")
    paths = [save_tiny_model(folder / loss / "model.h5", image_loss=loss) for loss in ("mse", "vle")]
    network = networks.AngioMorph.load(paths[0])
    network.set_weights([0.9 * weight for weight in network.get_weights()])
    networks.save(network, paths[0])
    return paths


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with two runs that move, one that does not, and one without truth."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (name, shift) in enumerate({"a": (3, -2), "b": (2, 1), "still": (0, 0), "real": (1, 1)}.items()):
        make_run(folder / f"{name}.dcm", shift, seed)
    (folder / "real_truth.h5").unlink()
    return folder


@pytest.fixture(scope="module")
def written(models, runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    chosen = ["--model", *map(str, models), "--lambda", *HYPERS, "--refine", "0", "--no-guard", "--quiet"]
    assert main(["evaluate", str(runs), *chosen, "--out", str(out), "--html", str(out / "page.html")]) == 0
    return out


def test_every_run_is_scored_by_every_model_at_every_lambda(written):
    with (written / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(HYPERS) * 4
    assert {(row["model"], row["image_loss"]) for row in rows} == {("mse/model", "mse"), ("vle/model", "vle")}
    assert {row["run"]: row["runs"] for row in rows} == {"a": "moving", "b": "moving", "still": "still", "real": "real"}
    assert all(row["artefact_left"] == "" for row in rows if row["run"] in ("still", "real"))
    assert all(float(row["edge_left"]) >= 0 for row in rows)


def test_table_and_json_hold_the_means_of_the_runs(written):
    with (written / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["model"], row["lambda"]) == ("vle/model", "0.5")]
    record = json.loads((written / "evaluation.json").read_text())
    (line,) = [line for line in record["lines"] if line["method"] == "vle/model, λ 0.50"]
    left = [float(row["artefact_left"]) for row in rows if row["runs"] == "moving"]
    assert line["moving"]["artefact_left"]["mean"] == pytest.approx(np.mean(left))
    assert line["moving"]["artefact_left"]["count"] == 2
    assert line["still"]["artefact_left"]["mean"] is None
    table = (written / "evaluation.md").read_text()
    assert f"| {np.mean(left):.3f} [{min(left):.3f}, {max(left):.3f}] |" in table
    assert len([row for row in table.splitlines() if row.startswith("| ")]) == 2 + 2 * len(HYPERS)
    assert set(record["about"]["models"]) == {"mse/model", "vle/model"}
    assert record["about"]["settings"] == asdict(RegistrationOptions(refine=0, guard=False))


def test_the_figure_of_lambda_has_a_curve_a_model(written):
    picture = imread(written / "lambda.png")
    assert picture.shape[1] > 1000
    for hexadecimal in ("D55E00", "009E73"):
        colour = np.array([int(hexadecimal[k : k + 2], 16) for k in (0, 2, 4)]) / 255
        assert np.sum(np.abs(picture[..., :3] - colour).max(-1) < 0.02) > 200, hexadecimal


def test_the_page_has_every_run_and_nothing_of_the_patient(written, runs):
    text = (written / "page.html").read_text()
    with (written / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    alts = re.findall(r'<img alt="([^"]*)"', text)
    assert len([alt for alt in alts if alt.startswith("BSA of ")]) == len(rows) == 24
    assert len([alt for alt in alts if alt.startswith("error of ")]) == 18  # all but those of the run without truth
    assert {f"{float(row['artefact_left']):.4g}" for row in rows if row["artefact_left"]} <= set(
        re.findall(r"<td>([^<]*)<", text)
    )
    header = dcmread(runs / "a.dcm")
    told = [str(header.get(name, "")) for name in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")]
    assert any(told)
    assert not [each for each in told if each and each in text]


@pytest.mark.parametrize("name", ["", "file/page.html"])
def test_a_page_that_cannot_be_written_is_refused_early(runs, tmp_path, name, capsys):
    (tmp_path / "file").write_text("")
    assert main(["evaluate", str(runs), "--html", str(tmp_path / name)]) == 2
    assert "expected a" in capsys.readouterr().err


def test_one_model_at_its_lambda_prints_runs_and_the_mean(models, runs, capsys):
    assert main(["evaluate", str(runs), "--model", str(models[1]), "--refine", "0"]) == 0
    captured = capsys.readouterr()
    rows = [line.split("|")[1].strip() for line in captured.out.splitlines() if line.startswith("| ")]
    assert rows == ["run", "---", "a", "b", "real", "still", "method", "---", "model, λ 0.60"]
    assert "runs evaluated: 4/4" in captured.err


def test_tables_of_real_runs_omit_columns_that_files_have(models, runs, tmp_path, capsys):
    given = ["--model", str(models[1]), "--refine", "0", "--quiet", "--out", str(tmp_path)]
    assert main(["evaluate", str(runs / "real.dcm"), *given]) == 0
    text = capsys.readouterr().out
    heads = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(("| run", "| method"))]
    without_truth = ["folding", "largest_shift", "edge_left", "deviation_left", "cnr_estimated", "ms_per_frame"]
    with (tmp_path / "runs.csv").open() as file:
        (row,) = csv.DictReader(file)
    known = [name for name in without_truth if row[name]]
    assert {"folding", "edge_left"} <= set(known)
    assert heads[0] == ["run", *known]
    assert {"artefact_left", "harm", "rmse", *without_truth} < set(row)
    assert len([name for name, value in row.items() if not value]) == len(row) - 5 - len(known)
    (line,) = json.loads((tmp_path / "evaluation.json").read_text())["lines"]
    assert line["real"]["artefact_left"]["count"] == 0
    assert not [cell for table in text.splitlines() for cell in table.split("|") if cell.strip() in ("-", "nan")]


def test_refining_a_model_of_truth_is_refused_early(models, runs, tmp_path, capsys):
    truth = save_tiny_model(tmp_path / "truth.h5", image_loss="truth")
    assert main(["evaluate", str(runs), "--model", str(models[0]), str(truth), "--refine", "5"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"angiomorph evaluate: --refine 5: expected 0 for {truth}")
    assert len(captured.err.splitlines()) == 1
    assert main(["evaluate", str(runs / "a.dcm"), "--model", str(truth), "--rounds", "2", "--quiet", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["about"]["settings"]
    assert (settings["rounds"], settings["refine"]) == (2, None)


def test_json_on_standard_output(models, runs, capsys):
    assert main(["evaluate", str(runs / "a.dcm"), "--model", str(models[0]), "--refine", "0", "--quiet", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["lines"][0]["method"] == "model, λ 0.60"
    assert captured.err == ""


def test_a_run_that_cannot_be_read_is_named_and_the_others_go_on(models, runs, tmp_path, capsys):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes((runs / "a.dcm").read_bytes()[:2000])
    given = ["--model", str(models[0]), "--refine", "0", "--quiet"]
    assert main(["evaluate", str(runs / "b.dcm"), str(broken), *given]) == 1
    captured = capsys.readouterr()
    assert "broken" in captured.err
    assert "| b |" in captured.out
    assert main(["evaluate", str(broken), *given]) == 2
    assert capsys.readouterr().out == ""


def test_a_truth_of_another_run_fails_that_run(models, runs, tmp_path, capsys):
    (tmp_path / "c.dcm").write_bytes((runs / "a.dcm").read_bytes())
    (tmp_path / "c_truth.h5").write_text("no truth")
    assert main(["evaluate", str(tmp_path), "--model", str(models[0]), "--refine", "0", "--quiet"]) == 2
    assert "c_truth.h5" in capsys.readouterr().err


def test_names_tell_models_and_runs_apart(tmp_path, models, runs):
    assert evaluate.model_names([tmp_path / "a" / "model.h5"]) == ["model"]
    same = [tmp_path / part / "x" / "model.h5" for part in ("one", "two")]
    assert evaluate.model_names(same) == ["one/x/model", "two/x/model"]
    assert evaluate.model_names([same[0], same[0]]) == ["model", "model"]
    (tmp_path / "sub").mkdir()
    for folder, source in ((tmp_path, "a.dcm"), (tmp_path / "sub", "b.dcm")):
        (folder / "a.dcm").write_bytes((runs / source).read_bytes())
    assert sorted(find_runs([tmp_path])) == ["a", "sub/a"]


def test_scores_do_not_depend_on_the_company_of_other_models(models, runs):
    options = RegistrationOptions(refine=0, guard=False)
    both = evaluate.evaluate([runs / "a.dcm"], [Model(path) for path in models], [0.5], options).entries
    alone = evaluate.evaluate([runs / "a.dcm"], [Model(models[1])], [0.5], options).entries
    assert both[1].scores["a"].artefact_left == alone[0].scores["a"].artefact_left
    assert not math.isnan(alone[0].scores["a"].artefact_left)
