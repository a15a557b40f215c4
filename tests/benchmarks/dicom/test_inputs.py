"""Inputs as hospitals have them: the whole table is as expected, and what is not is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.dicom import inputs
from benchmarks.dicom.input_tools import RUN, Expected, Row, a_run, patch, save

KINDS = sorted({row.kind for row in inputs.ROWS})


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_is_as_expected(kind):
    found = inputs.run([row for row in inputs.ROWS if row.kind == kind])
    assert [(row.input, wrong) for row, wrong in found if wrong] == []


def test_no_row_stands_twice():
    assert len({(row.kind, row.input) for row in inputs.ROWS}) == len(inputs.ROWS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": (RUN[::-1],)}, "other pixels, or in another order"),
        ({"frames": (RUN, RUN)}, "1 runs were read, expected 2"),
        ({"told": "anything"}, "no warning that says 'anything', but: none"),
        ({"refused": "anything"}, "no refusal that says 'anything', but: none"),
        ({"masks": (1,)}, "mask frames (), expected (1,)"),
        ({"steps": ((1,), (2,))}, "masks of ranges (), expected ((1,), (2,))"),
        ({"times": 20.0}, "ms apart, expected 20.0"),
        ({"exposed": np.zeros(RUN.shape[1:], bool)}, "another exposed field"),
    ],
)
def test_what_is_not_as_expected_is_said(tmp_path, wrong, said):
    good = Expected(save(a_run(), tmp_path / "run.dcm"), times=250.0, masks=())
    assert inputs.fault(Row("kind", "input", "expected", lambda folder: good), tmp_path) == ""
    assert said in inputs.fault(Row("kind", "input", "expected", lambda folder: replace(good, **wrong)), tmp_path)


def test_a_refusal_and_a_traceback_are_faults(tmp_path, monkeypatch):
    path = patch(save(a_run(), tmp_path / "run.dcm"), "Rows", b"")
    row = Row("kind", "input", "expected", lambda folder: Expected(path))
    assert inputs.fault(row, tmp_path).startswith("refused: ")
    monkeypatch.setattr(inputs, "read_series", lambda *_, **__: 1 / 0)
    assert inputs.fault(row, tmp_path) == "ZeroDivisionError: division by zero"


def test_counts_and_rows_are_printed(capsys, monkeypatch, tmp_path):
    good, bad = inputs.ROWS[0], replace(inputs.ROWS[0], make=lambda folder: Expected(save(a_run(), folder / "a"), told="x"))
    monkeypatch.setattr(inputs, "ROWS", (good, bad))
    assert inputs.main([]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:4] == ["| control | 2 | 1 |", "as expected: 1 of 2"]
    assert printed[4].startswith("NOT AS EXPECTED control: a valid run: no warning that says 'x'")
    assert inputs.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "| control | a valid run | read |"
