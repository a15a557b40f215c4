"""Which frames count as background, on runs whose answer is known by construction."""

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.preprocessing.arrival import Arrival, find_arrival
from angiomorph.preprocessing.background import Background, before_arrival, choose_background, noise_deviation
from angiomorph.preprocessing.frame_numbers import named_frames

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


def find(frames):
    """Say when iodine arrives in frames that keep still."""
    return find_arrival(frames, np.stack([frames[0]] * len(frames)), np.zeros((*frames.shape, 2)), FIELD)


def arriving(index, deviation=0.0):
    """Return a finder that has found iodine at an index, and the counts of frames that it was asked about."""
    asked = []

    def finder(frames):
        asked.append(len(frames))
        return Arrival(index, np.zeros(len(frames)), np.full(len(frames), deviation))

    return finder, asked


@pytest.mark.parametrize("arrival", [4, 7, 11])
@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_a_still_run_gives_frames_before_iodine(arrival, noise):
    chosen = before_arrival(run(arrival=arrival, noise=noise), FIELD, find)
    last = arrival - 1 if noise == 0.002 else arrival - 2
    assert chosen == Background(tuple(range(max(last - 2, 1), last + 1)), "arrival", arrival + 1)


def test_a_moving_run_gives_only_frames_that_agree():
    chosen = before_arrival(run(sway=2.0, noise=0.005), FIELD, arriving(7)[0])
    assert chosen == Background((6,), "arrival", 8)


@pytest.mark.parametrize(
    ("index", "numbers", "sure"), [(1, (1,), False), (2, (1,), False), (3, (1, 2), True), (5, (2, 3, 4), True)]
)
def test_an_early_arrival_is_not_sure(index, numbers, sure):
    chosen = before_arrival(run(noise=0.002, arrival=99), FIELD, arriving(index)[0])
    assert (chosen.numbers, chosen.iodine_from, chosen.sure) == (numbers, index + 1, sure)


@pytest.mark.parametrize(("deviation", "last"), [(0.002, 8), (0.0025, 8), (0.003, 7), (0.1, 7)])
def test_noise_that_hides_iodine_costs_one_more_frame(deviation, last):
    chosen = before_arrival(run(noise=0.002, arrival=99), FIELD, arriving(9, deviation)[0])
    assert chosen.numbers == (last - 2, last - 1, last)
    assert chosen.iodine_from == 10


def test_frames_of_an_exposure_ramp_are_no_background():
    values = run(noise=0.005, arrival=9)
    values[:4] *= np.array([0.2, 0.4, 0.6, 0.8])[:, None, None]
    assert before_arrival(values, FIELD, find) == Background((6, 7, 8), "arrival", 10)
    finder, asked = arriving(1)
    # Frame 5 is the first after the ramp; where frame 6 shows iodine already, the ramp's last one may be the only clean one.
    assert before_arrival(values, FIELD, finder) == Background((4,), "arrival", 6, sure=False)
    assert asked == [FRAMES - 4]


@pytest.mark.parametrize("noise", [0.0, 0.005, 0.02])
def test_where_no_iodine_comes_the_first_frame_is_taken(noise):
    assert before_arrival(run(arrival=99, noise=noise), FIELD, find) == Background((1,), "first")


def test_long_runs_are_looked_at_here_and_there():
    values = np.repeat(run(arrival=99, noise=0.002), 8, axis=0)
    finder, asked = arriving(10)
    chosen = before_arrival(values, FIELD, finder)
    assert asked == [38]  # every third of 112
    assert (chosen.numbers[-1], chosen.iodine_from) == (25, 31)


def test_a_run_of_one_frame_has_it_as_background():
    finder, asked = arriving(0)
    assert before_arrival(run()[:1], FIELD, finder) == Background((1,), "first")
    assert asked == []


def test_named_numbers_and_tags():
    values = run()
    finder, asked = arriving(7)
    assert choose_background("3", values, (1, 2), FIELD, finder).numbers == (3,)
    ranged = choose_background(" 2-4 ", values, (), FIELD, finder)
    assert (ranged.numbers, ranged.choice) == ((2, 3, 4), "number")
    for wanted in ("tag", "auto"):
        tagged = choose_background(wanted, values, (5, 2, 2), FIELD, finder)
        assert (tagged.numbers, tagged.choice) == ((2, 5), "tag")
    assert asked == []
    assert choose_background("auto", values, (), FIELD, finder) == before_arrival(values, FIELD, finder)


@pytest.mark.parametrize("choice", ["number", "tag"])
def test_a_named_background_that_shows_iodine_is_told(choice):
    def choose(number):
        wanted, tagged = (str(number), ()) if choice == "number" else ("auto", (number,))
        return choose_background(wanted, run(), tagged, FIELD, arriving(7)[0], check=True)

    clean, filled = choose(7), choose(8)
    assert (clean.choice, clean.shows_iodine, clean.warnings) == (choice, False, ())
    assert filled.shows_iodine
    assert filled.warnings == (
        f"background frame 8, chosen by {choice}, shows iodine, or motion like it, which begins with frame 8: vessels may be "
        "missing; look at it, or name an earlier frame with `background` N",
    )


def test_an_unsure_choice_is_told():
    (warning,) = before_arrival(run(arrival=99), FIELD, arriving(1)[0]).warnings
    assert warning.startswith(
        "iodine or motion is there from frame 2 on, so that nothing tells whether background frame 1 is clean"
    )
    assert before_arrival(run(arrival=99), FIELD, arriving(5)[0]).warnings == ()


@pytest.mark.parametrize("wanted", ["", "0", "0-3", "4-2", "-1", "1-", "1,2", "first", "1.5", "٣", "1-2-3"])
def test_words_that_name_no_frame_are_refused(wanted):
    with pytest.raises(InputError, match="expected auto, tag, a frame number N or a range N-M, counted from 1"):
        named_frames(wanted)


@pytest.mark.parametrize("wanted", ["15", "1-15", "999999999"])
def test_frames_beyond_the_last_are_refused(wanted):
    with pytest.raises(InputError, match=f"`background` {wanted}: expected frame numbers from 1 to 14, the run's last"):
        choose_background(wanted, run(), (), FIELD, find)


def test_tag_without_one_is_refused():
    with pytest.raises(InputError, match="`background` tag: expected MaskSubtractionSequence with MaskFrameNumbers"):
        choose_background("tag", run(), (), FIELD, find)


def test_the_noise_of_the_root_is_that_of_quanta():
    rng = np.random.default_rng(0)
    expected = np.linspace(200, 900, 128)[None].repeat(128, 0)
    roots = np.sqrt(rng.poisson(expected, (1, 128, 128)))
    assert noise_deviation(roots, np.ones(expected.shape, bool)) == pytest.approx(0.5, rel=0.03)
