"""The shipped models on runs of another seed: motion goes, contrast stays, stillness is left alone."""

import pytest

from angiomorph.cli import main
from angiomorph.evaluation.evaluate import evaluate
from angiomorph.evaluation.tables import figures
from angiomorph.registration.model import Model
from angiomorph.registration.model_defaults import SHIPPED
from angiomorph.registration.options import USUAL, RegistrationOptions
from tests.tools import shared_data

pytestmark = pytest.mark.slow

CT = "ct/mricrogl_head_ct_1mm.nii.gz"
VESSELS = "ct/niivue_CT_AVM_bone_removed_cta.nii.gz"
PAPERS = {
    "vle": 0.6,
    "minmax": 0.6,
    "mse": 0.2,
}  # the least contrast that each keeps: MSE follows the iodine, as the paper says


@pytest.fixture(scope="module")
def model():
    return Model()


def simulate(folder, *options):
    given = ["--ct", shared_data(CT), "--vessels", shared_data(VESSELS), "--out", folder, "--frames", 6, "--workers", 1]
    assert main(["simulate", *map(str, [*given, *options])]) == 0


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """Return the folder of three runs that move."""
    folder = tmp_path_factory.mktemp("moving")
    simulate(folder, "--runs", 3, "--seed", 9000, "--still", 0, "--motion-mm", 1, 5, "--motion-deg", 1, 3)
    return folder


def scored(path, model, options=USUAL):
    report = evaluate([path], [model], options=options)
    assert not report.failed
    (entry,) = report.entries
    return {name: part.mean for name, part in figures(list(entry.scores.values())).items()}


def test_motion_goes_and_contrast_stays(moving, model):
    means = scored(moving, model)
    assert means["artefact_left"] < 0.15
    assert 0.9 < means["contrast_kept"] < 1.1
    assert means["rmse_over_floor"] < 2
    assert means["folding"] < 0.1  # per cent


def test_a_still_run_comes_back_no_worse(tmp_path, model):
    simulate(tmp_path, "--runs", 1, "--seed", 9100, "--still", 1)
    means = scored(tmp_path, model)
    assert means["harm"] < 0.01
    assert means["contrast_kept"] == pytest.approx(1, abs=0.01)
    assert means["rmse_over_floor"] == pytest.approx(1, abs=0.01)


def test_the_file_is_small_and_says_what_it_is(model):
    assert SHIPPED.stat().st_size < 10e6
    assert (model.defaults.size, model.defaults.levels, model.defaults.image_loss, model.defaults.refine) == (
        128,
        3,
        "truth",
        0,
    )
    assert model.defaults.image_sigma == pytest.approx(0.1)
    assert 0 < model.defaults.hyper < 1


@pytest.mark.parametrize(("name", "least"), PAPERS.items())
def test_the_papers_models_register(name, least, moving):
    model = Model(name)
    assert model.defaults.image_loss == name
    assert model.defaults.hyper == 0.7
    assert model.path.stat().st_size < 4e6
    means = scored(moving / "run-000001.dcm", model, RegistrationOptions(refine=0, guard=False))
    assert means["artefact_left"] < 0.5
    assert least < means["contrast_kept"] < 1.1
