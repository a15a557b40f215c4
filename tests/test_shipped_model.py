"""The shipped model on runs of another seed: motion goes, contrast stays, stillness is left alone."""

import numpy as np
import pytest

from angiomorph import evaluate
from angiomorph.cli import REFINE, main
from angiomorph.registration import SHIPPED, Model
from tests.tools import shared_data

CT = "ct/mricrogl_head_ct_1mm.nii.gz"
VESSELS = "ct/niivue_CT_AVM_bone_removed_cta.nii.gz"


@pytest.fixture(scope="module")
def model():
    return Model(SHIPPED)


def simulate(folder, *options):
    given = ["--ct", shared_data(CT), "--vessels", shared_data(VESSELS), "--out", folder, "--frames", 6, "--workers", 1]
    assert main(["simulate", *map(str, [*given, *options])]) == 0
    return evaluate.simulated_runs([str(folder)])


@pytest.mark.xfail(
    reason="the model was trained before tissue blush was simulated: on a run of blush alone it keeps too little contrast"
)
def test_motion_goes_and_contrast_stays(tmp_path, model):
    runs = simulate(tmp_path, "--runs", 3, "--seed", 9000, "--still", 0, "--motion-mm", 1, 5, "--motion-deg", 1, 3)
    score = evaluate.mean([evaluate.evaluate_run(run, model, model.hyper, refine_steps=REFINE) for run in runs])
    assert score.artefact_left < 0.15
    assert 0.9 < score.contrast_kept < 1.1
    assert score.rmse_over_floor < 2
    assert score.folding < 1e-3


@pytest.mark.xfail(reason="the guard lets pass a warp that adds 8 % of the noise floor's energy")
def test_a_still_run_comes_back_no_worse(tmp_path, model):
    runs = simulate(tmp_path, "--runs", 1, "--seed", 9100, "--still", 1)
    score = evaluate.evaluate_run(runs[0], model, model.hyper, refine_steps=REFINE)
    assert score.harm < 0.01
    assert score.contrast_kept == pytest.approx(1, abs=0.01)
    assert score.rmse_over_floor == pytest.approx(1, abs=0.01)


def test_the_file_is_small_and_says_what_it_is(model):
    assert SHIPPED.stat().st_size < 10e6
    assert model.size == 192
    assert model.similarity.get_config()["image_sigma"] == pytest.approx(0.1)
    assert 0 < model.hyper < 1


def test_the_table_through_the_command_line(tmp_path, capsys):
    assert main(["simulate", "--out", str(tmp_path), "--size", "64", "--frames", "5", "--workers", "1"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path), "--lambda", "0.2", "0.8", "--refine", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("lambda")] == ["lambda 0.20", "lambda 0.80"]
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| run-000001") or line.startswith("| mean")]
    assert len(rows) == 4
    assert np.isfinite([float(row[3]) for row in rows]).all()


def test_runs_without_truth_are_refused(tmp_path, capsys, xa_file):
    xa_file()
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "expected simulated runs with <name>_truth.h5 beside them, found none" in capsys.readouterr().err
