"""How far a run is, on a terminal and elsewhere."""

import sys
import time

import pytest

from angiomorph.cli.terminal import show_frames


@pytest.mark.parametrize(("quiet", "expected"), [(True, ""), (False, "frames registered: 3/4\n")])
def test_elsewhere_than_on_a_terminal_a_line_comes_after_each_minute(capsys, monkeypatch, quiet, expected):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = show_frames(quiet=quiet)
    for done, total in ((1, 4), (2, 4), (3, 4), (4, 4), (1, 9)):
        now[0] += 25
        told(done, total)
    assert capsys.readouterr().err == expected


def test_on_a_terminal_each_run_has_a_bar_of_its_own(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told = show_frames(quiet=False)
    for done, total in ((1, 3), (2, 3), (1, 2), (2, 2)):  # the first run fails at its third frame
        told(done, total)
    shown = capsys.readouterr().err
    assert "frames registered:   0%" in shown
    assert "0/3" in shown
    assert "0/2" in shown
