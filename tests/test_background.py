"""Which frames count as background, on runs whose answer is known by construction."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.background import before_arrival, choose_background, darkening_curve, named_frames, noise_deviation
from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from angiomorph.intensity import normalisation, normalise, to_domain
from tests.tools import shared_data

ROWS, COLUMNS, FRAMES = 96, 80, 14
FIELD = np.ones((ROWS, COLUMNS), bool)


def run(*, arrival=7, sway=0.0, noise=0.0, seed=0):
    """Return `(T, H, W)` in [0, 1]: texture that sways by `sway` pixels and a vessel that fills from frame index `arrival`."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS)), 3)
    tissue = 0.55 + 0.1 * texture / texture.std()
    vessel = np.zeros((ROWS, COLUMNS))
    vessel[10:90, 38:43] = 1
    fill = np.clip((np.arange(FRAMES) - arrival + 1) / 2, 0, 1)
    frames = [ndimage.shift(tissue, (sway * np.sin(t), sway * np.cos(2 * t)), mode="nearest") for t in range(FRAMES)]
    values = np.stack(frames) - 0.25 * fill[:, None, None] * vessel + noise * rng.normal(size=(FRAMES, ROWS, COLUMNS))
    return np.clip(values, 0.01, 1)


@pytest.mark.parametrize("arrival", [3, 7, 11])
@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_a_still_run_gives_the_last_three_frames_before_iodine(arrival, noise):
    chosen = before_arrival(run(arrival=arrival, noise=noise), FIELD)
    assert chosen.numbers == (arrival - 2, arrival - 1, arrival)
    assert chosen.choice == "arrival"


@pytest.mark.parametrize("sway", [1.0, 2.0])
def test_a_moving_run_gives_frames_without_iodine_and_only_such_as_agree(sway):
    chosen = before_arrival(run(sway=sway, noise=0.005), FIELD)
    assert chosen.numbers == (7,)
    assert chosen.choice == "arrival"


def test_frames_of_an_exposure_ramp_are_no_background():
    values = run(noise=0.005)
    values[:4] *= np.array([0.2, 0.4, 0.6, 0.8])[:, None, None]
    assert before_arrival(values, FIELD).numbers == (5, 6, 7)
    values = run(noise=0.005, arrival=5)
    values[:4] *= np.array([0.2, 0.4, 0.6, 0.8])[:, None, None]
    assert before_arrival(values, FIELD).numbers == (5,)


def test_what_happens_behind_the_shutter_does_not_count():
    values = run(noise=0.005)
    field = FIELD.copy()
    field[:, :20] = False
    values[3:, :, :16] = 0.05
    assert before_arrival(values, field).numbers == (5, 6, 7)


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
def test_where_no_iodine_comes_the_first_frame_is_taken(noise):
    values = run(arrival=99, noise=noise)
    chosen = before_arrival(values, FIELD)
    assert (chosen.numbers, chosen.choice) == ((1,), "first")


def test_larger_frames_give_the_same_answer():
    values = run().repeat(4, 1).repeat(4, 2)
    values += 0.02 * np.random.default_rng(1).normal(size=values.shape)
    assert before_arrival(values, np.ones(values.shape[1:], bool)).numbers == (5, 6, 7)


def test_darkening_is_signed_and_blind_to_slow_change():
    first = run(noise=0)[0]
    vessel = np.zeros_like(first)
    vessel[20:60, 40:43] = 0.2
    slow = np.linspace(0, 0.2, ROWS)[:, None] * np.ones(COLUMNS)
    still, darker, lighter, ramp = darkening_curve(np.stack([first, first - vessel, first + vessel, first + slow]), FIELD, 0.0)
    assert still == 0
    assert darker > 1e-3
    assert lighter < -1e-3
    assert abs(ramp) < 0.1 * darker


def test_named_numbers_and_tags():
    values = run()
    assert choose_background("3", values, (1, 2), FIELD).numbers == (3,)
    ranged = choose_background(" 2-4 ", values, (), FIELD)
    assert (ranged.numbers, ranged.choice) == ((2, 3, 4), "number")
    for wanted in ("tag", "auto"):
        tagged = choose_background(wanted, values, (5, 2, 2), FIELD)
        assert (tagged.numbers, tagged.choice) == ((2, 5), "tag")
    assert choose_background("auto", values, (), FIELD) == before_arrival(values, FIELD)


@pytest.mark.parametrize("wanted", ["", "0", "0-3", "4-2", "-1", "1-", "1,2", "first", "1.5", "٣", "1-2-3"])
def test_words_that_name_no_frame_are_refused(wanted):
    with pytest.raises(InputError, match="expected auto, tag, a frame number N or a range N-M, counted from 1"):
        named_frames(wanted)


@pytest.mark.parametrize("wanted", ["15", "1-15", "999999999"])
def test_frames_beyond_the_last_are_refused(wanted):
    with pytest.raises(InputError, match=f"--background {wanted}: expected frame numbers from 1 to 14, the run's last"):
        choose_background(wanted, run(), (), FIELD)


def test_tag_without_one_is_refused():
    with pytest.raises(InputError, match="--background tag: expected MaskSubtractionSequence with MaskFrameNumbers"):
        choose_background("tag", run(), (), FIELD)


def test_real_run_is_given_frames_before_it_fills():
    series = read_series(shared_data("xa/fodicom_HasFragmentSequence.dcm"))
    mode = "log" if series.relation == "LIN" else "linear"
    values = to_domain(series.frames, mode)
    seen = normalise(values, normalisation(values, series.shutter, mode))
    chosen = choose_background("auto", seen, (), series.shutter)
    assert chosen.choice == "arrival"
    assert min(chosen.numbers) >= 7
    assert max(chosen.numbers) <= 17


def test_the_noise_of_the_root_is_that_of_quanta_whatever_the_intensity():
    rng = np.random.default_rng(0)
    expected = np.linspace(200, 900, 128)[None].repeat(128, 0)
    roots = np.sqrt(rng.poisson(expected, (1, 128, 128)))
    assert noise_deviation(roots, np.ones(expected.shape, bool)) == pytest.approx(0.5, rel=0.03)
