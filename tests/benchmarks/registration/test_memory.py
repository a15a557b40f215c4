"""A run of any length is made as it is said, and what a process takes is printed."""

import stat
import sys

import numpy as np
import pytest

from angiomorph.dicom import read_series
from benchmarks.registration import memory


def test_a_run_is_made_once_of_the_examples_frames(tmp_path):
    path = memory.make_run(tmp_path, 7, 48)
    series = read_series(path)
    assert (series.frames.shape, series.relation, series.background_numbers) == ((7, 48, 48), "LIN", (1, 2))
    corner = read_series(memory.EXAMPLE).frames[0, :48, :48]
    inside = slice(memory.MOST_SHIFT, -memory.MOST_SHIFT)
    moves = range(-memory.MOST_SHIFT, memory.MOST_SHIFT + 1)
    shifted = [np.roll(corner, (down, right), (0, 1)) for down in moves for right in moves]
    assert any((series.frames[1][inside, inside] == other[inside, inside]).all() for other in shifted)
    before = path.read_bytes()
    assert memory.make_run(tmp_path, 7, 48).read_bytes() == before


@pytest.fixture
def program(tmp_path, monkeypatch):
    def stand_in(lines):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{lines}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return stand_in


def test_the_table_has_a_row_for_each_length(tmp_path, program, capsys):
    program("""echo '{"stages": {"read": 1.25, "write": 2}, "peak_memory": 123000000}'""")
    memory.main(["--out", str(tmp_path), "--frames", "3", "2", "--size", "32", "--levels", "1"])
    said = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said[2:]]
    assert said[0] == "32 x 32, register --levels 1"
    assert rows[0] == ["frames", "peak memory, MB", "whole process, s", "read, s", "network, s", "subtract, s", "write, s"]
    assert [(row[0], row[3:]) for row in rows[2:]] == [(count, ["1.2", "0.0", "0.0", "2.0"]) for count in ("3", "2")]
    assert [row[1] for row in rows[2:]] == ["123", "123"]


def test_the_system_tells_the_peak_where_a_process_cannot(tmp_path, program):
    program("""echo '{"stages": {}, "peak_memory": null}'""")
    assert memory.measure(tmp_path / "run.dcm", tmp_path, []).megabytes > 0


def test_a_process_that_fails_is_told(tmp_path, program):
    program("echo broken; exit 2")
    with pytest.raises(RuntimeError, match="expected status 0, got 2: broken"):
        memory.main(["--out", str(tmp_path), "--frames", "2", "--size", "32"])
