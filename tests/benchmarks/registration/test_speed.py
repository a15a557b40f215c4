"""The printed table by hand, with works that take no time, and frames that are always the same."""

import numpy as np
import pytest

from benchmarks.registration import speed


def test_table_says_percentiles_and_ratios_to_the_network():
    """Of 0.1 s against 0.05 s a frame in each of three rounds, and one of them slow in both."""
    seconds = {speed.NETWORK: np.array([0.05, 0.05, 0.5]), speed.PUSH: np.array([0.1, 0.1, 1.0])}
    rows = [line.split("|")[1:-1] for line in speed.table(seconds).splitlines()[2:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [speed.NETWORK, "50", "491", "1.00 (1.00 to 1.00)"],
        [speed.PUSH, "100", "982", "2.00 (2.00 to 2.00)"],
    ]


def test_a_call_of_several_frames_counts_by_the_frame(tmp_path, monkeypatch, capsys):
    calls = {speed.NETWORK: 0, speed.PUSH: 0}

    def work(name):
        calls[name] += 1

    made = {name: (lambda name=name: work(name), frames) for name, frames in [(speed.NETWORK, 4), (speed.PUSH, 1)]}
    ticks = iter(np.arange(0, 100, 1.0))  # each call takes a second
    monkeypatch.setattr(speed, "works", lambda size, batch: made)
    monkeypatch.setattr(speed, "set_threads", lambda count: None)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    speed.main(["--out", str(tmp_path), "--rounds", "3", "--no-runs"])
    printed = capsys.readouterr().out
    assert calls == {speed.NETWORK: 5, speed.PUSH: 5}  # two rounds do not count
    assert f"| {speed.NETWORK} | 250 | 250 | 1.00 (1.00 to 1.00) |" in printed
    assert f"| {speed.PUSH} | 1000 | 1000 | 4.00 (4.00 to 4.00) |" in printed
    assert not list(tmp_path.iterdir())


def test_frames_are_enlarged_noisy_and_always_the_same():
    frames = speed.make_frames(600, 10)
    assert (frames.shape, frames.dtype) == ((10, 600, 600), np.uint16)
    np.testing.assert_array_equal(frames, speed.make_frames(600, 10))
    apart = np.ptp(frames[:8]) and np.std(frames[9].astype(float) - frames[1])  # the same frame of eight, other noise
    assert apart == pytest.approx(np.sqrt(2) * speed.NOISE * np.ptp(speed.read_series(speed.EXAMPLE).frames), rel=0.1)
