"""Augmentation: geometry against SciPy, attenuation and noise against physics, and that a step's pairs are its own."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.cli import main, parser
from angiomorph.cli.train import read_training_config as training_config
from angiomorph.preprocessing.intensity import Normalisation, normalisation, normalise, resolve_mode, to_domain
from angiomorph.storage import store
from angiomorph.training.augmentation import Change, Tone, add_noise, augment, draw_change, move, scale_attenuation, tone
from angiomorph.training.config import Augmentation, Sampling
from angiomorph.training.model_dir import list_checkpoints
from angiomorph.training.pipeline import make_dataset
from angiomorph.training.source import Source
from tests.runs import phantom

EVERYTHING = Augmentation(flip=0.5, rotate=20.0, zoom=0.2, gamma=0.3, noise=0.02)
LOGARITHMIC, PROPORTIONAL = Tone(1 / 20, True), Tone(1 / 20, False)
OPTIONS = ["--flip", "0.5", "--rotate", "20", "--zoom", "0.2", "--gamma", "0.3", "--noise", "0.02"]
TINY = ["--size", "32", "--enc", "4", "4", "--dec", "4", "4", "4", "--hyp-units", "4", "8", "--lr", "0.001", "--gpu", "-1"]


def pairs(count=3, size=33, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2, size, size), np.float32)


def dot(row: int, column: int) -> np.ndarray:
    frames = np.zeros((1, 2, 65, 65), np.float32)
    frames[..., row, column] = 1
    return ndimage.gaussian_filter(frames, (0, 0, 2, 2))


def scipy_moved(frame: np.ndarray, change: Change) -> np.ndarray:
    """The transform of one frame restated: mirrored, then each new pixel looked up where it came from."""
    frame = frame[:, ::-1] if change.mirrored else frame
    middle = (np.array(frame.shape) - 1) / 2
    cosine, sine = math.cos(change.angle), math.sin(change.angle)
    matrix = np.array([[cosine, sine], [-sine, cosine]]) / change.scale
    offset = middle - matrix @ middle
    return ndimage.affine_transform(frame.astype(np.float64), matrix, offset, order=1, mode="nearest")


def stored_run(relation: str, mode: str) -> tuple[np.ndarray, Normalisation]:
    values = to_domain(phantom((4, 64, 64)), mode)
    return values, normalisation(values, None, mode)


def stored_tone(path, key: str) -> Tone:
    with store.open_store(path) as file:
        run = store.read(file, key)
    mode = resolve_mode(run.relation, "auto")
    return tone(run.relation, mode, normalisation(to_domain(run.frames, mode), None, mode))


def test_a_mirrored_pair_is_exact():
    frames = pairs()
    moved = move(frames, [Change(mirrored=True), Change(), Change(mirrored=True)])
    np.testing.assert_array_equal(moved[[0, 2]], frames[[0, 2], ..., ::-1])
    np.testing.assert_array_equal(moved[1], frames[1])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (Change(angle=math.pi / 2), (32 - 20, 32)),  # anticlockwise: what lay on the right comes to lie above
        (Change(angle=math.radians(30)), (32 - 20 * math.sin(math.radians(30)), 32 + 20 * math.cos(math.radians(30)))),
        (Change(scale=1.25), (32, 32 + 25)),
        (Change(scale=0.5), (32, 32 + 10)),
        (Change(mirrored=True), (32, 32 - 20)),
        (Change(mirrored=True, angle=math.pi / 2, scale=0.5), (32 + 10, 32)),
    ],
)
def test_a_point_comes_to_lie_where_it_should(change, place):
    for frame in move(dot(32, 52), [change])[0]:
        np.testing.assert_allclose(ndimage.center_of_mass(frame), place, atol=0.02)


def test_frames_are_resampled_as_scipy_does():
    frames = pairs()
    changes = [Change(angle=0.3, scale=1.1), Change(True, -0.7, 0.8), Change(scale=0.9)]
    moved = move(frames, changes)
    for pair, new, change in zip(frames, moved, changes, strict=True):
        for frame, result in zip(pair, new, strict=True):
            np.testing.assert_allclose(result, scipy_moved(frame, change), atol=1e-4)
    # Shrunk to 0.85, the 33 pixels cover 28.05: two on each side see what is nearest.
    shrunk = move(np.ones((1, 2, 33, 33), np.float32), [Change(scale=0.85)])
    np.testing.assert_array_equal(shrunk, 1)


def test_frames_that_are_not_square_turn_about_their_middle():
    frames = np.random.default_rng(0).random((1, 2, 24, 40), np.float32)
    np.testing.assert_allclose(move(frames, [Change(angle=math.pi)]), frames[..., ::-1, ::-1], atol=1e-4)


@pytest.mark.parametrize("scale", [LOGARITHMIC, PROPORTIONAL])
def test_equal_frames_stay_equal_without_noise(scale):
    frame = pairs()[:, 0]
    moving, fixed = augment(frame, frame.copy(), Augmentation(1.0, 30.0, 0.3, 0.5), scale, (0, 4))
    np.testing.assert_array_equal(moving, fixed)
    assert np.abs(moving - frame).max() > 0.1


def test_a_logarithmic_subtraction_is_only_warped_and_scaled():
    frames, augmentation, key = pairs(), Augmentation(0.5, 25.0, 0.3, 0.5), (3, 11)
    moving, fixed = augment(frames[:, 0], frames[:, 1], augmentation, LOGARITHMIC, key)
    for place, (moved, filled) in enumerate(zip(moving, fixed, strict=True)):
        change = draw_change(np.random.default_rng([*key, place, 1]), augmentation)
        bsa = frames[place, 1] - frames[place, 0]
        np.testing.assert_allclose(filled - moved, change.factor * scipy_moved(bsa, change), atol=2e-4)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0])
@pytest.mark.parametrize(("relation", "mode"), [("LIN", "log"), ("LIN", "linear"), ("LOG", "linear"), ("DISP", "linear")])
def test_gamma_scales_the_subtraction_by_its_factor(relation, mode, factor):
    values, scale = stored_run(relation, mode)
    frames = normalise(values, scale)

    def subtrahend(normalised: np.ndarray) -> np.ndarray:
        """What `register` subtracts: ln of LIN, else what is stored."""
        domain = scale.lo + normalised.astype(np.float64) * (scale.hi - scale.lo)
        return np.log(domain) if relation == "LIN" and mode == "linear" else domain

    scaled = scale_attenuation(frames, factor, tone(relation, mode, scale))
    before, after = (subtrahend(each[3]) - subtrahend(each[0]) for each in (frames, scaled))
    np.testing.assert_allclose(after, factor * before, atol=2e-5 * np.abs(before).max())
    assert np.abs(before).max() > 0.4
    # Iodine and bone stay dark, the bright end stays where it is, and nothing is cut off.
    assert (np.diff(scaled.ravel()[np.argsort(frames.ravel())]) >= 0).all()
    assert scaled[frames == 1] == pytest.approx(1)
    assert scaled.min() >= 0


def test_tones_are_what_the_values_mean():
    run = Normalisation(math.log(100), math.log(4000))
    assert tone("LIN", "log", run).dark == pytest.approx(1 / 40)
    assert tone("LIN", "log", run).logarithmic
    assert tone("LIN", "linear", Normalisation(100, 4000)) == Tone(1 / 40, False)
    assert tone("LOG", "linear", Normalisation(0, 4095)) == tone("DISP", "linear", Normalisation(50, 900)) == Tone(1 / 64, True)


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("transmitted", [0.08, 0.3, 0.9])
def test_noise_is_that_of_photons_in_dark_and_bright_areas(logarithmic, transmitted):
    photons, dark = 40_000, 1 / 20  # at the bright end
    scale = Tone(dark, logarithmic)
    value = 1 - math.log(transmitted) / math.log(dark) if logarithmic else (transmitted - dark) / (1 - dark)
    frames = np.full((2, 200, 200), value, np.float32)
    noisy = add_noise(frames, photons**-0.5, scale, np.random.default_rng(0)).astype(np.float64)
    found = math.log(dark) * (1 - noisy) if logarithmic else np.log(dark + (1 - dark) * noisy)
    counted = np.log(np.random.default_rng(1).poisson(photons * transmitted, frames.shape) / photons)
    # 80,000 values: five standard deviations of a standard deviation are 1.25 %, twice
    assert found.std() == pytest.approx(counted.std(), rel=0.03)
    assert found.std() == pytest.approx((photons * transmitted) ** -0.5, rel=0.015)
    assert found.mean() == pytest.approx(math.log(transmitted), abs=1e-3)
    # 40,000 pixels: five standard deviations of a correlation are 2.5 %
    assert abs(np.corrcoef(found[0].ravel(), found[1].ravel())[0, 1]) < 0.025
    assert abs(np.corrcoef(found[0, :, 1:].ravel(), found[0, :, :-1].ravel())[0, 1]) < 0.025


@pytest.mark.parametrize("scale", [LOGARITHMIC, PROPORTIONAL, Tone(0.0, False)])
def test_saturated_values_get_no_noise_and_others_stay_in_range(scale):
    frames = np.random.default_rng(0).choice(np.array([0, 0.02, 0.5, 0.98, 1], np.float32), (100, 100))
    noisy = add_noise(frames, 0.2, scale, np.random.default_rng(1))
    ends = (frames == 0) | (frames == 1)
    np.testing.assert_array_equal(noisy[ends], frames[ends])
    assert (noisy[~ends] != frames[~ends]).all()
    assert noisy.min() == 0
    assert noisy.max() == 1
    assert noisy.dtype == np.float32


def test_saturated_values_are_known_before_gamma_lifts_them():
    black, augmentation = np.zeros((2, 8, 8), np.float32), Augmentation(gamma=1.0, noise=0.1)
    for frames in augment(black, black, augmentation, LOGARITHMIC, (0, 0)):
        for place, frame in enumerate(frames):
            factor = draw_change(np.random.default_rng([0, 0, place, 1]), augmentation).factor
            np.testing.assert_allclose(frame, 1 - factor, rtol=1e-6)


def test_a_constant_run_has_no_contrast_to_change():
    constant = tone("LIN", "log", Normalisation(3.0, 3.0))
    black = np.zeros((2, 8, 8), np.float32)
    for frames in augment(black, black, EVERYTHING, constant, (0, 0)):
        np.testing.assert_array_equal(frames, black)


@pytest.mark.parametrize("scale", [LOGARITHMIC, PROPORTIONAL, Tone(0.0, False)])
def test_frames_keep_shape_type_and_range(scale):
    frames = pairs(8)
    inputs = frames.copy()
    for varied in augment(frames[:, 0], frames[:, 1], Augmentation(0.5, 180.0, 1.0, 1.0, 1.0), scale, (0, 0)):
        assert varied.shape == (8, 33, 33)
        assert varied.dtype == np.float32
        assert varied.min() >= 0
        assert varied.max() <= 1
    np.testing.assert_array_equal(frames, inputs)


def test_all_off_returns_the_very_frames():
    moving, fixed = pairs()[:, 0], pairs()[:, 1]
    varied = augment(moving, fixed, Augmentation(), LOGARITHMIC, (0, 0))
    assert varied[0] is moving
    assert varied[1] is fixed


def test_draws_cover_their_ranges_evenly_and_are_apart():
    rng = np.random.default_rng(0)
    changes = [draw_change(rng, EVERYTHING) for _ in range(4000)]

    def checked(values, low, high):
        share = (np.array(values) - low) / (high - low)
        assert share.min() >= 0
        assert share.max() <= 1
        # 400 expected in each tenth: five standard deviations of a binomial are 95
        assert np.abs(np.histogram(share, 10, (0, 1))[0] - 400).max() < 95

    checked([change.angle for change in changes], -math.radians(20), math.radians(20))
    checked([math.log(change.scale) for change in changes], -math.log(1.2), math.log(1.2))
    checked([math.log(change.factor) for change in changes], -math.log(1.3), 0)
    checked([change.sigma for change in changes], 0, 0.02)
    assert np.mean([change.mirrored for change in changes]) == pytest.approx(0.5, abs=0.04)
    alone, together = (draw_change(np.random.default_rng(7), each) for each in (Augmentation(rotate=20.0), EVERYTHING))
    assert alone == Change(angle=together.angle)
    assert draw_change(np.random.default_rng(7), Augmentation()) == Change()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "archive.h5"
    with store.create(path) as file:
        for run, relation in enumerate(("LIN", "LOG", "DISP")):
            store.append(file, f"run-{run}", store.StoredRun(phantom((6, 32, 24), filled=3, seed=run), relation, 12))
    return path


def sampling(augmentation=EVERYTHING, seed=0) -> Sampling:
    return Sampling(frames_per_series=4, batch_size=2, size=32, seed=seed, augmentation=augmentation)


def taken(archive, count, first_step=0, **options) -> list[tuple[np.ndarray, ...]]:
    with Source([archive], sampling(**options)) as source:
        elements = make_dataset(source, (16, 16, 2), first_step).take(count).as_numpy_iterator()
        return [inputs for inputs, _, _ in elements]


def test_the_pipeline_without_augmentation_is_what_is_read(archive):
    with Source([archive], sampling(Augmentation())) as source:
        for step, (moving, fixed, _) in enumerate(taken(archive, 6, augmentation=Augmentation())):
            plain = source.read(source.draw_step(step).draws[0])
            np.testing.assert_array_equal(moving[..., 0], plain.moving)
            np.testing.assert_array_equal(fixed[..., 0], plain.fixed)


def test_augmentation_changes_pairs_but_not_what_is_drawn(archive):
    for one, other in zip(taken(archive, 6), taken(archive, 6, augmentation=Augmentation()), strict=True):
        assert all(np.abs(a - b).max() > 0.05 for a, b in zip(one[:2], other[:2], strict=True))
        np.testing.assert_array_equal(one[2], other[2])
    with Source([archive], sampling()) as source:
        for step in range(6):
            draw = source.draw_step(step).draws[0]
            plain = source.read(draw)
            expected = augment(plain.moving, plain.fixed, EVERYTHING, stored_tone(archive, f"run-{draw.run}"), (0, step))
            batch = source.batch(step)
            np.testing.assert_array_equal(batch.moving, expected[0])
            np.testing.assert_array_equal(batch.fixed, expected[1])


@pytest.mark.parametrize("first", [1, 5, 8])
def test_a_step_is_augmented_the_same_wherever_training_began(archive, first):
    for one, other in zip(taken(archive, 12)[first:], taken(archive, 12 - first, first), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("key", [(0, 1), (1, 0)])
def test_pairs_steps_and_seeds_are_augmented_apart(key):
    frame = pairs(1)[:, 0].repeat(2, axis=0)

    def varied(key):
        return augment(frame, frame, EVERYTHING, LOGARITHMIC, key)[0]

    first = varied((0, 0))
    assert np.abs(first[0] - first[1]).max() > 0.05
    assert np.abs(varied(key) - first).max() > 0.05


def test_the_papers_preset_takes_a_users_augmentation():
    def config(*options):
        return training_config(parser().parse_args(["train", "x.h5", *options])).sampling.augmentation

    assert config("--preset", "paper") == config() == Augmentation()
    assert config("--preset", "paper", "--flip", "0.5") == Augmentation(flip=0.5)
    assert config(*OPTIONS) == EVERYTHING


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--flip", "1.5", "a number from 0 to 1, got 1.5"),
        ("--rotate", "181", "a number from 0 to 180, got 181"),
        ("--rotate", "nan", "a number from 0 to 180, got nan"),
        ("--zoom", "-0.1", "a number from 0 to 1, got -0.1"),
        ("--gamma", "much", "a number from 0 to 1, got much"),
        ("--noise", "inf", "a number from 0 to 1, got inf"),
    ],
)
def test_values_that_mean_nothing_are_refused(option, value, expected, capsys):
    with pytest.raises(SystemExit) as status:
        parser().parse_args(["train", "x.h5", f"{option}={value}"])
    assert status.value.code == 2
    assert f"argument {option}: expected {expected}" in capsys.readouterr().err


@pytest.mark.slow
def test_an_augmented_training_resumes_only_with_the_same(tmp_path, archive, capsys):
    def train(name, *options):
        few = ["--frames-per-series", "2", "--batch-size", "2"]
        return main(["train", str(archive), "--model-dir", str(tmp_path / name), *TINY, *few, *options])

    assert train("whole", *OPTIONS, "--epochs", "2") == 0
    assert train("parts", *OPTIONS, "--epochs", "1") == 0
    capsys.readouterr()
    assert train("parts", "--epochs", "2", "--resume") == 2
    assert "expected the same training to resume" in capsys.readouterr().err
    assert train("parts", *OPTIONS[:-1], "0.01", "--epochs", "2", "--resume") == 2
    assert "'noise': 0.02}} then" in capsys.readouterr().err
    assert train("parts", *OPTIONS, "--epochs", "2", "--resume") == 0
    assert (tmp_path / "parts" / "steps.csv").read_text() == (tmp_path / "whole" / "steps.csv").read_text()
    assert list_checkpoints(tmp_path / "parts")[-1].name == "00000006.h5"
    resolved = json.loads((tmp_path / "parts" / "config.json").read_text())["training"]["sampling"]["augmentation"]
    assert resolved == {"flip": 0.5, "rotate": 20.0, "zoom": 0.2, "gamma": 0.3, "noise": 0.02}


def test_clean_frames_change_with_the_pair_and_get_no_noise():
    frames, key = pairs(), (3, 11)
    moving, fixed = frames[:, 0], frames[:, 1]
    noisy = augment(moving, fixed, EVERYTHING, LOGARITHMIC, key, clean=(moving, fixed))
    assert [each.shape for each in noisy] == [moving.shape] * 4
    np.testing.assert_array_equal(noisy[:2], augment(moving, fixed, EVERYTHING, LOGARITHMIC, key))
    silent = augment(moving, fixed, dataclasses.replace(EVERYTHING, noise=0.0), LOGARITHMIC, key)
    np.testing.assert_array_equal(noisy[2:], silent)
    assert np.abs(noisy[0] - noisy[2]).max() > 1e-3
    assert augment(moving, fixed, Augmentation(), LOGARITHMIC, key, clean=(fixed,))[2] is fixed
