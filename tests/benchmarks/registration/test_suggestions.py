"""The suggested λ beside the truth: cells by hand, and the printed table with a network that does not move anything."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from angiomorph import networks
from angiomorph.registration.model_defaults import ModelDefaults
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.sweep import Sweep, SweptFrame
from angiomorph.registration.tensorflow_engine import TensorFlowEngine
from benchmarks.registration import suggestions
from tests.benchmarks.made import SIDE, make_run
from tests.runs import TINY

FRAME = SweptFrame(0.0, 3, 1.0, 10.0, 0.1, 0.1, 1.0, 2.0, 0.0, 1.0, 3.0)


def measured(artefact):
    """Return a sweep of one frame of which λ 0.5 leaves a twentieth more than λ 0, and λ 1 ten times as much."""
    figures = tuple(replace(FRAME, hyper=hyper, residue=left) for hyper, left in ((0, 1.0), (0.5, 1.05), (1, 10.0)))
    nothing = np.zeros((4, 4), np.float32)
    swept = Sweep((0, 0.5, 1), (3,), figures, 3, nothing, np.zeros((3, 4, 4), np.float32), nothing == 0, 0.2)
    return suggestions.Measured(swept, np.array(artefact), np.array([0.7, 0.9, 1.0]))


def test_cells_have_the_suggestion_and_the_least_artefact():
    assert measured([0.11, 0.12, 0.5]).cells() == ["0.5", "sure", "0.120", "0.900", "0", "0.110", "0.700"]
    assert measured([np.nan] * 3).cells() == ["0.5", "sure", "nothing moves", "0.900", "-", "-", "-"]


@pytest.mark.slow
def test_table(tmp_path, monkeypatch, capsys):
    """A network that moves nothing leaves all of the artefact and all of the contrast, at every λ."""
    network = networks.AngioMorph((SIDE, SIDE), **TINY)
    network.set_weights([np.zeros_like(weights) for weights in network.get_weights()])
    network.metadata.update(size=SIDE)
    defaults = ModelDefaults(Path("still.h5"), size=SIDE, intensity="log", hyper=0.3, image_loss="truth")
    model = SimpleNamespace(predictor=Predictor(TensorFlowEngine(network)), defaults=defaults)
    monkeypatch.setattr(suggestions, "Model", lambda name: model)
    monkeypatch.setattr("angiomorph.registration.coarse.RigidSearch.warps", lambda self, frames: np.zeros((*frames.shape, 2)))
    make_run(tmp_path / "run.dcm", shift=(3, 4))
    suggestions.main([str(tmp_path), "--frames", "1"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == list(suggestions.HEADS)
    assert rows[2][:4] == ["truth", "run", "0.3", "not sure"]
    assert [float(cell) for cell in (rows[2][4], rows[2][7])] == pytest.approx([1, 1], abs=1e-3)
