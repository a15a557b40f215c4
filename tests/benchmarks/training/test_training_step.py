"""Alternation, ratios and peak memory with made clocks and texts; the three trainings do train."""

import numpy as np
import pytest

from benchmarks.training import training_step
from benchmarks.training.training_step import HYPERMORPH, VOXELMORPH

pytestmark = pytest.mark.slow


def test_alternation_times_each_step_in_each_round():
    now = [0.0]

    def takes(seconds):
        def run():
            now[0] += seconds

        return run

    seconds = training_step.alternate({"one": takes(1.0), "two": takes(2.0)}, 3, lambda: now[0])
    assert seconds["one"].tolist() == [1.0] * 3
    assert seconds["two"].tolist() == [2.0] * 3


def test_table_by_hand():
    wall = {HYPERMORPH: np.array([2.0, 4.0, 8.0]), VOXELMORPH: np.array([1.0, 1.0, 4.0])}
    lines = training_step.table(wall, 4, {HYPERMORPH: 900.4}).splitlines()
    assert lines[2] == "| HyperVxmDense | 1000 | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 3.00) | 900 |"
    assert lines[3] == "| VxmDense | 250 | 0.50 (0.38 to 0.50) | 1.00 (1.00 to 1.00) | not measured |"


def test_high_water_mark_in_megabytes():
    assert training_step.high_water_mark("VmPeak:\t 9 kB\nVmHWM:\t 2000000 kB\nVmRSS:\t 1 kB\n") == pytest.approx(2048.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100"], "--size: expected a multiple of 16, got 100"),
        (["--batch", "8", "0"], "--batch: expected a whole number from 1, got 0"),
        (["--memory-of", "nothing"], "--memory-of: expected one of HyperVxmDense"),
    ],
)
def test_wrong_use_is_refused(arguments, message, capsys):
    assert training_step.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", list(training_step.STEPS))
def test_each_training_lowers_its_loss(name):
    train = training_step.step(training_step.STEPS[name](16, 2))
    losses = [train() for _ in range(12)]
    assert losses[-1] < losses[0]
