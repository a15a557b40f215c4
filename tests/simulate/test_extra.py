"""Without the extra's packages everything imports, and what needs one names it when it is called."""

import subprocess
import sys

import pytest

from angiomorph.errors import InputError
from angiomorph.simulate.extra import check_extra

PROGRAM = """
import sys
sys.modules[{name!r}] = None
import numpy as np
from angiomorph.errors import InputError
from angiomorph.simulate import write
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.scene.nifti import load_nifti
from angiomorph.simulate.xray.projector import find_occupied
from angiomorph.simulate.xray.spectrum import find_coefficients
assert SimulationSettings().size == 512
try:
    {call}
except InputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("numba", "find_occupied(np.zeros((8, 8, 8, 2), np.float32))"),
        ("numba", "write.set_num_threads(1)"),
        ("nibabel", "load_nifti('a.nii')"),
        ("xraydb", "find_coefficients('water', np.array([60.0]))"),
        ("xraydb", "write.simulate(None, runs=1, seed=0, store='s.h5')"),
    ],
)
def test_a_missing_package_is_named_by_what_needs_it(tmp_path, name, call):
    program = PROGRAM.format(name=name, call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == (f"{name}: expected to be installed for simulations, found nothing; run `pip install {name}`\n")


def test_a_package_that_is_hidden_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "xraydb", None)
    with pytest.raises(InputError, match="xraydb: expected to be installed for simulations, found nothing; run `pip install"):
        check_extra()
