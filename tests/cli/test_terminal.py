"""How far a run is, on a terminal and elsewhere."""

import sys
import time

import pytest

from angiomorph.cli.terminal import RunDisplay, print_line, show_runs, show_search


@pytest.mark.parametrize(("quiet", "expected"), [(True, ""), (False, "frames registered: 3/4\n")])
def test_without_a_terminal_a_line_comes_each_minute(capsys, monkeypatch, quiet, expected):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display = RunDisplay(quiet=quiet)
    for done, total in ((1, 4), (2, 4), (3, 4), (4, 4), (1, 9)):
        now[0] += 25
        display.stage("reading run.dcm")
        display.frames(done, total)
    display.close()
    assert capsys.readouterr().err == expected


def test_without_any_bar_a_line_is_a_line(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    print_line("a line")
    assert capsys.readouterr().out == "a line\n"
    assert "tqdm" not in sys.modules


def test_on_a_terminal_a_run_has_stages_and_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    display = RunDisplay(quiet=False)
    for name, count in (("a", 3), ("b", 3), ("c", 2)):
        display.stage(f"reading {name}")
        display.stage("loading tiny.h5")
        for done in range(count - (name == "a")):  # which fails at its last frame
            display.frames(done, count)
        display.close()
        print_line(f"{name}: done")
    said = capsys.readouterr()
    assert said.out == "a: done\nb: done\nc: done\n"
    places = [said.err.index(text) for text in ("reading a", "loading tiny.h5", "0/3", "reading b", "reading c", "0/2")]
    assert places == sorted(places)
    assert said.err.count("0/3 ") == 2
    assert "frames registered:   0%" in said.err


def test_lines_stand_above_the_bar_of_a_tree(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told = show_runs("tiny.h5", quiet=False)
    told(0, 2)
    print_line("a: done")
    told(1, 2)
    told(2, 2)
    said = capsys.readouterr()
    assert said.err.startswith("registering 2 runs with model tiny.h5\n")
    assert "runs registered:   0%" in said.err
    assert "\r" in said.err.partition("0/2")[2].partition("1/2")[0]  # the bar was taken away for the line
    assert said.out == "a: done\n"


@pytest.mark.parametrize(("count", "words"), [(1, "1 run"), (3, "3 runs")])
def test_without_a_terminal_one_line_says_what_begins(capsys, count, words):
    told = show_runs("truth", quiet=False)
    for done in range(count + 1):
        told(done, count)
    assert capsys.readouterr().err == f"registering {words} with model truth\n"
    show_runs("truth", quiet=True)(0, count)
    assert capsys.readouterr().err == ""


def test_a_long_search_is_told(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told = show_search(quiet=False)
    for files in range(1, 120):
        now[0] += 0.125
        told(files)
    assert capsys.readouterr().err.splitlines() == [f"looking for runs: {files} files looked at" for files in (4, 84)]
    assert show_search(quiet=True) is None
