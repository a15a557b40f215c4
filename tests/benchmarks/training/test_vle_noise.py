"""The threshold of VLE under noise: what can be computed by hand, and the printed table."""

import numpy as np
import pytest

from benchmarks.training import vle_noise


def test_a_tenth_of_equal_noise_passes_for_iodine():
    # The frame's pixel is the least of ten equally distributed ones, itself and nine of the background.
    rng = np.random.default_rng(1)
    frames = [vle_noise.noisy(rng) for _ in range(2)]
    assert vle_noise.taken(*frames) == pytest.approx(0.1, abs=0.005)
    # The least of ten normal deviates is -1.54 on average, and the nine others 1.54 / 9; the rest of the pixels make up for it.
    assert vle_noise.pull(*frames) == pytest.approx(0.1 * (1.54 + 1.54 / 9) / 0.9, abs=0.03)


def test_without_noise_only_what_is_darker_passes():
    rng = np.random.default_rng(2)
    flat = np.full((vle_noise.SIZE, vle_noise.SIZE), vle_noise.LEVEL, np.float32)
    assert vle_noise.taken(vle_noise.noisy(rng), flat) == pytest.approx(0.5, abs=0.01)
    assert vle_noise.taken(flat - 3 * vle_noise.NOISE, flat) == 1


def test_table(capsys):
    vle_noise.main(["--seed", "3"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in rows[2:]] == list(vle_noise.BACKGROUNDS)
    shares = np.array([[float(value) for value in row[1:6]] for row in rows[2:]])
    assert (np.diff(shares, axis=1) > 0).all()
    assert shares[0, 0] == pytest.approx(0.1, abs=0.01)
