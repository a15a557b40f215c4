"""What the page takes, of the example run."""

import pytest

from angiomorph.errors import InputError
from benchmarks.registration.page import look
from tests.tools import REPOSITORY, require_package, require_tool


@pytest.fixture(autouse=True)
def chromium():
    """Ask for what drives the page, which a user's machine need not have."""
    require_package("selenium", "test")
    require_tool("chromium")
    require_tool("chromedriver")


@pytest.mark.slow
def test_a_run_is_opened_played_and_warped_anew():
    looked = look(REPOSITORY / "data" / "example_run.dcm", ["--engine", "openvino"], 1)
    assert 0 < looked.address < looked.first_picture < looked.all_warped < looked.all_drawn
    assert looked.frames_a_second > 1
    assert looked.step > 1
    assert looked.peak > 100
    assert looked.rows().count("\n") == 10


@pytest.mark.slow
def test_what_is_no_run_is_said(tmp_path, capfd):
    (tmp_path / "run.dcm").write_text("no run")
    with pytest.raises(InputError, match=r"run.dcm: expected `angiomorph view` to print an address, but it ended"):
        look(tmp_path / "run.dcm", [], 1)
    assert "run.dcm" in capfd.readouterr().err
