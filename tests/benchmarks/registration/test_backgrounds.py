"""Figures of chosen backgrounds, by hand from made-up shares of contrast agent; and the command on two small runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from angiomorph.preprocessing.background import Background
from angiomorph.storage import store
from benchmarks.registration import backgrounds
from benchmarks.registration.background_runs import Contrast, contrast_path, read_contrast
from benchmarks.registration.backgrounds import Choice, judge, judge_runs, percent

pytestmark = pytest.mark.slow

ABOUT = {"anatomy": "neck", "dose": 5000.0, "still": False, "begins_with_iodine": False}
RISE = [0, 0.004, 0.01, 0.02, 0.5, 1, 0.005]  # clean up to the third frame, and again in the last


def choice_of(*numbers: int) -> Choice:
    return Choice("run 0", "code", numbers, "arrival", numbers[-1] + 2, True, 0)


@pytest.mark.parametrize(
    ("numbers", "share", "passed_over"),
    [((1,), 0, 2), ((1, 2), 0.004, 1), ((2, 3), 0.01, 0), ((3, 4), 0.02, None), ((2, 6), 1, None), ((7,), 0.005, 0)],
    ids=str,
)
def test_a_choice_is_judged_by_its_frame_with_most_iodine(numbers, share, passed_over):
    judged = judge(choice_of(*numbers), Contrast(np.array(RISE), ABOUT))
    assert judged.clean == 3
    assert judged.share == share
    assert judged.filled == (passed_over is None)
    np.testing.assert_equal(judged.passed_over, np.nan if passed_over is None else passed_over)


def test_all_frames_are_clean_where_no_contrast_agent_came():
    judged = judge(choice_of(2), Contrast(np.zeros(5), ABOUT))
    assert (judged.clean, judged.passed_over, judged.filled) == (5, 3, False)


def test_interval_of_a_share_is_exact():
    """Of 0 in n the upper bound p has (1 - p)**n = 0.025; of 1 in 4, (1 - p)**4 + 4 p (1 - p)**3 = 0.025."""
    assert percent(0, 3) == pytest.approx((0, 0, 100 * (1 - 0.025 ** (1 / 3))))
    share, low, high = percent(1, 4)
    assert share == 25
    assert low == pytest.approx(100 * (1 - 0.975 ** (1 / 4)))
    p = high / 100
    assert (1 - p) ** 4 + 4 * p * (1 - p) ** 3 == pytest.approx(0.025)


def made(folder: Path, name: str, share: list[float], **about: object) -> Path:
    path = folder / f"{name}.dcm"
    path.write_bytes(name.encode())
    store.write_arrays(contrast_path(path), {"share": np.array(share)}, {"about": json.dumps(ABOUT | about)})
    return path


CHOSEN = {
    "a": Background((1, 2), "arrival", 4),  # passes over one
    "b": Background((4,), "arrival", 6),  # filled
    "c": Background((1,), "first"),  # passes over eight
    "d": Background((1,), "arrival", 2, False),  # passes over none, not sure
    "e": Background((1,), "first"),  # begins with iodine, silent
    "f": Background((1,), "arrival", 2, False),  # begins with iodine, warned of as unsure
    "g": Background((2,), "arrival", 1),  # begins with iodine, warned of as filled
}


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    return [
        made(tmp_path, "a", RISE),
        made(tmp_path, "b", RISE, dose=25000.0, still=True),
        made(tmp_path, "c", [0] * 9 + [1], anatomy="chest"),
        made(tmp_path, "d", [0, 0.3, 1], anatomy="chest"),
        made(tmp_path, "e", [0.3, 1], begins_with_iodine=True),
        made(tmp_path, "f", [0.3, 1], begins_with_iodine=True),
        made(tmp_path, "g", [0.3, 1], begins_with_iodine=True, still=True),
    ]


class Chooser:
    """Says what `CHOSEN` has, and remembers of which runs it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, path: Path) -> Background:
        self.asked.append(path.stem)
        return CHOSEN[path.stem]


def ignore(done: int, total: int) -> None:
    """Take no note of progress."""


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_table(paths, tmp_path):
    judged = judge_runs(paths, Chooser(), "code", tmp_path / "b.csv", ignore)
    rows = cells(backgrounds.table(judged))
    assert rows[0] == ["", *backgrounds.HEADS]
    assert rows[2:] == [
        ["all", "4", "1: 25.0 % [0.6, 80.6]", "3.00", "1", "1: 25.0 %", "1"],
        ["chest", "2", "0: 0.0 % [0.0, 84.2]", "4.00", "4", "1: 50.0 %", "1"],
        ["neck", "2", "1: 50.0 % [1.3, 98.7]", "1.00", "1", "0: 0.0 %", "0"],
        ["dose up to 5,000 / mm²", "3", "0: 0.0 % [0.0, 70.8]", "3.00", "1", "1: 33.3 %", "1"],
        ["dose up to 25,000 / mm²", "1", "1: 100.0 % [2.5, 100.0]", "-", "-", "0: 0.0 %", "0"],
        ["still", "1", "1: 100.0 % [2.5, 100.0]", "-", "-", "0: 0.0 %", "0"],
        ["moving", "3", "0: 0.0 % [0.0, 70.8]", "3.00", "1", "1: 33.3 %", "1"],
        ["1-3 frames before iodine", "3", "1: 33.3 % [0.8, 90.6]", "0.50", "0.5", "1: 33.3 %", "0"],
        ["9 or more frames before iodine", "1", "0: 0.0 % [0.0, 97.5]", "8.00", "8", "0: 0.0 %", "1"],
    ]


def test_runs_that_begin_with_iodine_have_a_table_of_their_own(paths, tmp_path):
    judged = judge_runs(paths, Chooser(), "code", tmp_path / "b.csv", ignore)
    rows = cells(backgrounds.iodine_table(judged))
    assert rows[0] == ["", *backgrounds.IODINE_HEADS]
    assert rows[2:] == [["all", "3", "1", "2", "1"], ["still", "1", "0", "1", "0"], ["moving", "2", "1", "1", "1"]]


def test_choices_are_kept(paths, tmp_path):
    file, first = tmp_path / "b.csv", Chooser()
    judged = judge_runs(paths[:4], first, "code", file, ignore)
    assert first.asked == ["a", "b", "c", "d"]
    again = Chooser()
    assert repr(judge_runs(paths, again, "code", file, ignore)[:4]) == repr(judged)  # nan is not nan
    assert again.asked == ["e", "f", "g"]
    changed = Chooser()
    judge_runs(paths, changed, "other code", file, ignore)
    assert changed.asked == list("abcdefg")


def test_one_run_a_line_beside_the_truth(paths, tmp_path):
    judge_runs(paths, Chooser(), "code", tmp_path / "b.csv", ignore)
    with (tmp_path / "b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"].split()[0] for row in rows] == list("abcdefg")
    assert rows[0] | {"run": ""} == {
        "run": "",
        "code": "code",
        "numbers": "1 2",
        "choice": "arrival",
        "iodine_from": "4",
        "sure": "True",
        "warnings": "0",
        "anatomy": "neck",
        "dose": "5000.0",
        "still": "False",
        "begins_with_iodine": "False",
        "clean": "3",
        "share": "0.004",
        "passed_over": "1",
    }


def test_a_line_cut_short_is_chosen_anew(paths, tmp_path):
    file, again = tmp_path / "b.csv", Chooser()
    judged = judge_runs(paths, Chooser(), "code", file, ignore)
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.rindex(b",")])
    assert repr(judge_runs(paths, again, "code", file, ignore)) == repr(judged)
    assert again.asked == ["g"]
    assert file.read_bytes() == whole


def test_a_run_of_the_same_name_and_a_file_of_another_version_are_chosen_anew(paths, tmp_path):
    file, again, anew = tmp_path / "b.csv", Chooser(), Chooser()
    judge_runs(paths, Chooser(), "code", file, ignore)
    paths[1].write_bytes(b"other pixels")
    judge_runs(paths, again, "code", file, ignore)
    assert again.asked == ["b"]
    file.write_text(file.read_text().replace("iodine_from", "arrives", 1))
    judge_runs(paths, anew, "code", file, ignore)
    assert anew.asked == list("abcdefg")


def test_the_command_makes_runs_and_goes_on(tmp_path, capsys, monkeypatch):
    command = ["--runs", "2", "--size", "64", "--seed", "25", "--workers", "1", "--out", str(tmp_path)]
    assert backgrounds.main(command) == 0
    printed = capsys.readouterr().out
    for name in ("backgrounds.md", "backgrounds.csv", "backgrounds.json"):
        assert str(tmp_path / name) in printed
    assert (tmp_path / "backgrounds.md").read_text() in printed
    about = json.loads((tmp_path / "backgrounds.json").read_text())["about"]
    assert (about["seed"], about["ct"], about["code"]) == (25, ["procedural"], backgrounds.chooser_digest())
    runs = sorted((tmp_path / "runs").glob("*.dcm"))
    assert [path.name for path in runs] == ["run-000001.dcm", "run-000002.dcm"]
    for path in runs:
        share = read_contrast(path).share
        assert share.max() == 1
        assert share[0] == 0
    monkeypatch.setattr(backgrounds, "choose", None)  # would fail
    assert backgrounds.main(command) == 0
    assert capsys.readouterr().out == printed
    assert backgrounds.main([*command, "--vessels", "other.nii.gz"]) == 2
    assert "found one made otherwise" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (["--runs", "0"], "--runs: expected a whole number from 1, got 0"),
        (["--workers", "-1"], "--workers: expected a whole number from 1, got -1"),
        (["--seed", "-1"], "--seed: expected a whole number from 0, got -1"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_refused(tmp_path, capsys, argument, expected):
    assert backgrounds.main([*argument, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"benchmarks.registration.backgrounds: {expected}\n"


def test_an_unusable_ct_is_named(tmp_path, capsys):
    absent = str(tmp_path / "absent.nii.gz")
    assert backgrounds.main(["--ct", absent, "--runs", "1", "--size", "64", "--workers", "1", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"benchmarks.registration.backgrounds: {absent}: ")
