"""Displacements by hand, and the printed table with a network that does not move anything."""

from types import SimpleNamespace

import numpy as np
import pytest

from angiomorph import networks
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.tensorflow_engine import TensorFlowEngine
from benchmarks.registration import reach
from tests.benchmarks.made import SIDE, make_run
from tests.runs import TINY


def test_a_displacement_is_named_in_pixels_of_512():
    np.testing.assert_array_equal(reach.Displacement(32, 0).warp((512, 512))[0, 0], [-19, -26])  # 19.2, 25.6
    np.testing.assert_array_equal(reach.Displacement(32, 0).warp((128, 256))[5, 7], [-10, -13])
    np.testing.assert_allclose(reach.Displacement(0, 90).warp((3, 3))[0, 0], [2, 0], atol=1e-6)


@pytest.mark.slow
def test_table(tmp_path, monkeypatch, capsys):
    """By 40 of 512, in frames of 64, the background lies (3, 4) away, beside the run's own motion of as much."""
    network = networks.AngioMorph((SIDE, SIDE), **TINY)
    network.set_weights([np.zeros_like(weights) for weights in network.get_weights()])
    network.metadata.update(size=SIDE)
    model = SimpleNamespace(
        predictor=Predictor(TensorFlowEngine(network)), defaults=SimpleNamespace(intensity="log", hyper=0.5)
    )
    monkeypatch.setattr(reach, "Model", lambda: model)
    make_run(tmp_path / "run.dcm", shift=(3, 4))
    reach.main([str(tmp_path), "--shift", "40", "0", "--turn", "0"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in rows[2:]] == ["40 px, 0°", "0 px, 0°", "0 px, 0°"]
    far, near, same = ([float(value) for value in row[1:]] for row in rows[2:])
    assert far[0] == pytest.approx(0, abs=1e-3)
    assert far[2] > 1.2
    assert far[1] == pytest.approx(1, abs=1e-2)
    assert near[0] == pytest.approx(0, abs=1e-3)
    assert near[2] == 1
    assert near == same
