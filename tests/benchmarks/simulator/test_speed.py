import pytest

from angiomorph.simulate.write import simulate
from benchmarks.simulator.speed import STAGES, main, shares
from tests.simulate.settings import SETTINGS


@pytest.mark.slow
def test_every_stage_is_found_and_all_shares_make_one(tmp_path):
    found = shares(lambda: simulate(tmp_path, runs=1, seed=0, settings=SETTINGS))
    assert set(found) == {*STAGES, "rest"}
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) > 0


def test_work_of_another_kind_is_rest():
    assert shares(lambda: sorted(range(10000)))["rest"] == 1


@pytest.mark.slow
def test_the_command_prints_frames_per_second_and_a_row_a_stage(capsys):
    assert main(["--runs", "1", "--size", "64", "--workers", "1"]) == 0
    rate, *rows = capsys.readouterr().out.splitlines()
    assert float(rate.split()[0]) > 0
    assert {row.split("|")[1].strip() for row in rows if row.endswith("% |")} == {*STAGES, "rest"}
