"""The table: means, intervals, and where its figures go."""

import csv
import json
import math
from dataclasses import fields

import pytest

from angiomorph.evaluation import tables
from angiomorph.evaluation.score import Score
from angiomorph.metrics.interval import Interval

FIGURES = tuple(part.name for part in fields(Score))


def score(**given: float) -> Score:
    return Score(**dict.fromkeys(FIGURES, 0.0) | {"harm": math.nan} | given)


STILL = {"harm": 0.2, "artefact_left": math.nan}
COMPARED = {
    "none": [score(artefact_left=1, ms_per_frame=0), score(artefact_left=1, ms_per_frame=0), score(**STILL)],
    "other": [
        score(artefact_left=0.2, folding=0.01, ms_per_frame=100),
        score(artefact_left=0.4, folding=0.03, ms_per_frame=900),
        score(**STILL, contrast_kept=0.8, ms_per_frame=300),
    ],
}


def test_lines_part_moving_and_still_runs_by_median_time():
    none, other = tables.lines(COMPARED)
    assert other.moving["artefact_left"].mean == pytest.approx(0.3)
    assert other.moving["artefact_left"].count == 2
    assert other.moving["folding"].mean == pytest.approx(2)  # per cent
    assert other.still["harm"].mean == pytest.approx(0.2)
    assert other.still["contrast_kept"].mean == pytest.approx(0.8)
    assert other.seconds == pytest.approx(0.3)
    assert none.moving["artefact_left"] == Interval(1, 1, 1, 2)


def test_markdown_has_a_row_a_method_and_says_how_many_runs():
    text = tables.markdown(tables.lines(COMPARED), "a processor, 2 threads")
    head, rule, *rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    assert len(head) == len(rule) == len(rows[0]) == len(rows[1])
    assert head[1].strip() == "moving (2): artefact left"
    assert [cell.strip() for cell in head[3:6]] == [
        f"moving (2): {name}" for name in ("contrast kept", "local contrast", "invented")
    ]
    assert [cell.strip() for cell in head if "still (1)" in cell] == [
        "still (1): harm",
        "still (1): of it invented",
        "still (1): contrast kept",
        "still (1): local contrast",
        "still (1): RMSE / floor",
    ]
    assert rows[1][0].strip() == "other"
    assert rows[1][1].strip() == "0.300 [0.200, 0.400]"
    assert rows[1][-1].strip() == "0.300"
    assert "a processor, 2 threads" in text


def test_a_table_has_columns_for_the_kinds_of_run_that_there_are():
    moving = tables.markdown(tables.lines({"none": COMPARED["none"][:2]}), "-")
    assert "still" not in moving
    assert "real" not in moving
    blank = Score(**dict.fromkeys(FIGURES, math.nan) | {"edge_left": 0.5, "ms_per_frame": 7})
    real = tables.markdown(tables.lines({"other": [blank]}), "-").splitlines()
    assert real[0] == "| method | real (1): edge energy left | s a frame |"
    assert real[2] == "| other | 0.500 [0.500, 0.500] | 0.007 |"


def test_a_column_is_shown_where_one_line_has_a_figure():
    moving = [score(artefact_left=0.5, warp_error=math.nan)]
    text = tables.markdown(tables.lines({"none": moving, "other": [score(artefact_left=0.5, warp_error=2)]}), "-")
    head, _, none, other = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    column = head.index("moving (1): warp error, px")
    assert (none[column], other[column]) == ("-", "2.00 [2.00, 2.00]")


def test_files_hold_the_same_figures(tmp_path):
    lines = tables.lines(COMPARED)
    tables.write(lines, "text", {"threads": 2}, tmp_path, "peers")
    with (tmp_path / "peers.csv").open() as file:
        rows = {(row["method"], row["runs"], row["figure"]): row for row in csv.DictReader(file)}
    record = json.loads((tmp_path / "peers.json").read_text())
    assert float(rows["other", "moving", "artefact_left"]["mean"]) == lines[1].moving["artefact_left"].mean
    assert record["lines"][1]["moving"]["artefact_left"]["mean"] == lines[1].moving["artefact_left"].mean
    assert float(rows["other", "all", "seconds"]["mean"]) == lines[1].seconds
    assert record["about"] == {"threads": 2}
    assert (tmp_path / "peers.md").read_text() == "text"
