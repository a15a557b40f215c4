"""The benchmark of the pipeline by a made clock and text, and on stores small enough to train on."""

import itertools

import numpy as np
import pytest

from angiomorph.training.config import Sampling, TrainingConfig
from benchmarks.training import pipeline


@pytest.fixture
def path(tmp_path):
    pipeline.write_store(tmp_path / "made.h5", 3, (4, 16, 16))
    return tmp_path / "made.h5"


def test_frames_per_second_by_a_made_clock(path):
    # Each epoch asks the clock twice, 2 s apart: 3 runs of 50 frames.
    clock = itertools.count(0, 2).__next__
    assert pipeline.speeds(path, Sampling(size=16, batch_size=8), 2, clock) == [75, 75]


@pytest.mark.slow
def test_fit_and_plain_steps_are_timed_in_each_round(path):
    config = TrainingConfig(sampling=Sampling(size=16, batch_size=2), enc=(4, 4), dec=(4, 4), hyp_units=(4,))
    through, alone = pipeline.fitted(path, config, rounds=2, steps=3)
    assert through.shape == alone.shape == (2,)
    assert np.all(through > 0)
    assert np.all(alone > 0)


@pytest.mark.slow
def test_plain_step_trains(path):
    config = TrainingConfig(sampling=Sampling(size=16, batch_size=2), enc=(4, 4), dec=(4, 4), hyp_units=(4,), lr=1e-3)
    step = pipeline.plain_step(path, config)
    losses = [step() for _ in range(12)]
    assert losses[-1] < losses[0]


def test_resident_memory_in_megabytes():
    assert pipeline.resident("VmHWM:\t 9 kB\nVmRSS:\t 2000000 kB\nRssAnon:\t 1 kB\n") == pytest.approx(2048.0)


@pytest.mark.slow
def test_memory_is_that_of_another_process(tmp_path):
    pipeline.write_store(tmp_path / "made.h5", 3, pipeline.SMALL)
    found = pipeline.memory_of(tmp_path / "made.h5")
    assert len(found) == 1 + pipeline.EPOCHS
    assert all(held > 10 for held in found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100"], "--size: expected multiples of 16, got 100"),
        (["--series", "0"], "--series: expected a whole number"),
    ],
)
def test_wrong_use_is_refused(arguments, message, capsys):
    assert pipeline.main(arguments) == 2
    assert message in capsys.readouterr().err
