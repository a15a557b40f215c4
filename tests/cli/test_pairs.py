"""`register` with the options of VoxelMorph's register.py."""

import json
import subprocess
import sys

import numpy as np
import pytest

from angiomorph.backend import vxm
from angiomorph.cli import main
from tests.cli.refusals import left_in, refused, refused_by_argparse
from tests.runs import SIZE, phantom, save_tiny_model
from tests.tools import REPOSITORY

PAIR = phantom((2, SIZE, SIZE), filled=1) / np.float32(4095)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez_compressed("a.npz", vol=PAIR[0])
    np.savez_compressed("b.npz", vol=PAIR[1])
    return tmp_path


GIVEN = ["--moving", "a.npz", "--fixed", "b.npz", "--moved", "c.npz"]


@pytest.mark.slow
def test_a_pair_by_voxelmorphs_options(here, model, capsys):
    options = [*GIVEN, "--warp", "w.npz", "--model", model, "-g", "-1", "--no-guard", "--refine", "0"]
    assert main(["register", *options]) == 0
    assert left_in(here) == ["a.npz", "b.npz", "c.npz", "w.npz"]
    moved, warp = (vxm.py.utils.load_volfile(name) for name in ("c.npz", "w.npz"))
    expected = vxm.layers.SpatialTransformer()([PAIR[:1, ..., None], warp[None]])
    np.testing.assert_allclose(moved, expected[0, ..., 0], atol=1e-6)
    assert capsys.readouterr().out.startswith("c.npz: lambda 0.60, largest shift ")


@pytest.mark.slow
def test_figures_as_json(here, model, capsys):
    assert main(["register", *GIVEN, "--model", model, "--json", "--lambda", "0.2", "--refine", "0", "--no-guard"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["moved"], found["warp"], found["lambda"], found["weight"]) == ("c.npz", None, 0.2, 1.0)


@pytest.mark.slow
def test_a_still_pair_is_left_unwarped_and_told(here, model, capsys):
    np.savez_compressed("b.npz", vol=PAIR[0])
    assert main(["register", *GIVEN, "--model", model, "--refine", "0"]) == 0
    assert "left unwarped" in capsys.readouterr().err
    np.testing.assert_array_equal(vxm.py.utils.load_volfile("c.npz"), PAIR[0])


WRONG = {
    "neither": ([], "expected RUN, or --moving, --fixed and --moved, got neither"),
    "both": (["run", *GIVEN], "expected no RUN beside a pair, got run"),
    "no fixed": (["--moving", "a.npz", "--moved", "c.npz"], "got no --fixed"),
    "no moved": (["--moving", "a.npz", "--fixed", "b.npz"], "got no --moved"),
    "background": ([*GIVEN, "--background", "2"], "--background: expected with RUN alone"),
    "save": ([*GIVEN, "--save", "png"], "--save: expected with RUN alone"),
    "ending": ([*GIVEN, "--warp", "w.png"], "--warp w.png: expected a name that ends in"),
    "absent": (["--moving", "x.npz", *GIVEN[2:]], "x.npz: expected an image file, found none there"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_refused(name, here, capsys):
    arguments, words = WRONG[name]
    refused(capsys, main(["register", *arguments]), words)
    assert left_in(here) == ["a.npz", "b.npz"]


@pytest.mark.slow
def test_wrong_use_is_refused_before_tensorflow(here):
    np.savez_compressed("b.npz", vol=PAIR[1, 1:])
    code = "import sys\nfrom angiomorph.cli import main\nstatus = main(sys.argv[1:])\n"
    code += "sys.exit(9 if 'tensorflow' in sys.modules else status)"
    given = [str(here / word) if word.endswith("npz") else word for word in GIVEN]
    done = subprocess.run([sys.executable, "-c", code, "register", *given], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "resample" in done.stderr) == (2, True)


def test_multichannel_is_answered(capsys):
    refused_by_argparse(capsys, ["register", *GIVEN, "--multichannel"], "--multichannel: images have one grey channel here")
