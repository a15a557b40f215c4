"""A shift that the truth shows is found from nothing; one that is right already is kept."""

import numpy as np
import pytest

from benchmarks.peers.floor import improve_warps
from benchmarks.peers.runs import read_sample
from tests.benchmarks.made import SIDE, make_run


@pytest.mark.slow
@pytest.mark.parametrize("start", [(0.0, 0.0), (3.0, -2.0)])
def test_what_the_truth_shows_is_found(tmp_path, start):
    sample = read_sample(make_run(tmp_path / "run.dcm", shift=(3, -2)), 2)
    warps = np.broadcast_to(np.float32(start), (2, SIDE, SIDE, 2)).copy()
    before = sample.score(warps, 1.0)
    after = sample.score(improve_warps(sample, warps), 1.0)
    assert after.artefact_left < max(0.05, before.artefact_left + 0.01)
    assert after.warp_error < max(0.5, before.warp_error + 0.2)
