"""Pages of a study: blinded, of one look, small, and whole or not there at all."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.pictures import subtraction_window
from angiomorph.preprocessing.recovery import move_image
from angiomorph.readers.key import read_key
from angiomorph.readers.make import draw_key, make_study
from angiomorph.readers.options import StudyOptions
from angiomorph.readers.panels import LARGEST, encode_panels, read_case, read_rate
from angiomorph.storage.store import read_arrays, write_arrays
from tests.readers.studies import BACKGROUND, write_result

RUNS = ("doe_jane", "sub/roe_richard", "poe")
WHOLE = np.ones((32, 32), bool)
BLURS = {"sharp secret": 0.5, "smooth secret": 2.0}


@pytest.fixture
def methods(tmp_path):
    for name, blur in BLURS.items():
        for seed, run in enumerate(RUNS):
            write_result(tmp_path / name / f"{run}_bsa.h5", blur=blur, seed=seed)
    return {name: tmp_path / name for name in BLURS}


def read_page(path):
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)[1])


def decode(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), np.float32)


def test_pages_hide_what_the_key_tells(tmp_path, methods):
    key = make_study(methods, tmp_path / "study", StudyOptions(seed=1))
    assert read_key(tmp_path / "study") == key
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["answers", "key.json", "pages"]
    pages = sorted((tmp_path / "study" / "pages").iterdir())
    assert [path.name for path in pages] == ["case-001.html", "case-002.html", "case-003.html"]
    assert sorted(key.cases.values()) == sorted(RUNS)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for word in (*RUNS, "roe", "secret", "plain DSA", "lambda", str(tmp_path), "angiomorph", "http:", "https:"):
            assert word not in text.lower()
        assert page.stat().st_size < 10_000_000
        data = read_page(page)
        assert list(data["panels"]) == ["A", "B", "C"]
        for letter in data["panels"]:
            assert not {"exif", "comment"} & Image.open(io.BytesIO(base64.b64decode(data["panels"][letter][0]))).info.keys()
    assert [read_page(page)["next"] for page in pages] == ["case-002.html", "case-003.html", None]


def test_panels_show_what_the_key_says(tmp_path, methods):
    """Plain DSA and bsa, recomputed here from the files, in the window that the methods' panels choose."""
    key = make_study(methods, tmp_path / "study", StudyOptions(seed=4))
    for code, run in key.cases.items():
        data = read_page(tmp_path / "study" / "pages" / f"{code}.html")
        arrays = {name: read_arrays(folder / f"{run}_bsa.h5")[0] for name, folder in methods.items()}
        shown = {name: each["bsa"][2:] for name, each in arrays.items()}
        frames = arrays["sharp secret"]["bsa"] + arrays["sharp secret"]["moved"]
        shown["plain DSA"] = frames[2:] - frames[:2].mean(0)
        shown = {name: each - np.median(each, axis=(1, 2), keepdims=True) for name, each in shown.items()}
        low, high = np.mean([subtraction_window(shown[name]) for name in methods], axis=0)
        for letter, method in key.panels[code].items():
            found = np.stack([decode(text) for text in data["panels"][letter]])
            expected = 255 * np.clip((shown[method] - low) / (high - low), 0, 1)
            assert np.abs(found - expected).mean() < 3


def test_the_seed_alone_decides_the_order(tmp_path, methods):
    keys = [make_study(methods, tmp_path / f"study{number}", StudyOptions(seed=seed)) for number, seed in enumerate((1, 1, 2))]
    orders = [(key.cases, key.panels) for key in keys]
    assert orders[0] == orders[1] != orders[2]
    assert len({key.study for key in keys}) == 3  # answers of one are no answers of another


@pytest.mark.parametrize("method", ["a", "b", "c"])
def test_a_method_may_stand_anywhere(method):
    """Each letter hides each method equally often, but for chance."""
    panels = draw_key(("a", "b", "c"), [str(number) for number in range(300)], 5).panels.values()
    letters = [letter for each in panels for letter, hidden in each.items() if hidden == method]
    assert len(letters) == 300
    assert min(letters.count(letter) for letter in "ABC") > 70  # 100 expected, deviation 8


def test_plain_dsa_has_each_frames_own_background(tmp_path):
    frames = write_result(tmp_path / "a_bsa.h5")
    arrays, attributes = read_arrays(tmp_path / "a_bsa.h5")
    pairs = np.array([(frame, 1 if frame < 4 else 2) for frame in range(1, 6)])
    write_arrays(tmp_path / "a_bsa.h5", arrays | {"background_of_frame": pairs}, attributes)
    (_, plain), _ = read_case([tmp_path / "a_bsa.h5"], StudyOptions())
    for shown, index, background in zip(plain, (2, 3, 4), (0, 1, 1), strict=True):
        expected = frames[index] - frames[background]
        np.testing.assert_allclose(shown, expected - np.median(expected), atol=1e-5)


def test_results_without_moved_give_the_same_panels(tmp_path):
    frames = write_result(tmp_path / "a_bsa.h5")
    arrays, attributes = read_arrays(tmp_path / "a_bsa.h5")
    image = frames[:2].mean(0, dtype=np.float64).astype(np.float32)
    warp = np.random.default_rng(0).normal(0, 2, (*frames.shape, 2)).astype(np.float32)
    moved = np.stack([move_image(image, each) for each in warp])
    given = arrays | {"bsa": frames - moved, "warp": warp, "moved": moved}
    write_arrays(tmp_path / "with_bsa.h5", given, attributes)
    del given["moved"]
    write_arrays(tmp_path / "without_bsa.h5", given | {"background_image": image[None]}, attributes)
    paths = [tmp_path / f"{name}_bsa.h5" for name in ("with", "without")]
    (one, other, plain), _ = read_case(paths, StudyOptions())
    np.testing.assert_allclose(one, other, atol=1e-5)
    expected = frames[2:] - image
    np.testing.assert_allclose(plain, expected - np.median(expected, axis=(1, 2), keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("times", "most", "rate"),
    [
        (np.arange(9) * 133.3, 40, 7.5),
        (np.arange(9) * 133.3, 4, 3.75),  # every other frame of those behind the background
        (np.array([0, 50, 100, 600, 1100, 1600, 2100, 5100, 8100.0]), 40, 2.0),
        (np.arange(9) * 3.0, 40, 60.0),
        (np.zeros(9), 40, 4.0),
        (np.arange(3) * 100.0, 40, 4.0),
        (np.arange(9) * 133.3, 1, 4.0),
        (None, 40, 4.0),
    ],
)
def test_a_case_plays_as_acquired(tmp_path, times, most, rate):
    write_result(tmp_path / "a_bsa.h5", shape=(9, 8, 8))
    arrays, attributes = read_arrays(tmp_path / "a_bsa.h5")
    if times is not None:
        write_arrays(tmp_path / "a_bsa.h5", arrays | {"frame_times": times}, attributes)
    assert read_rate(tmp_path / "a_bsa.h5", most) == rate


@pytest.mark.parametrize(("rate", "shown"), [(None, 10), (3.0, 3)])
def test_a_rate_that_is_named_comes_first(tmp_path, methods, rate, shown):
    for folder in methods.values():
        for run in RUNS:
            arrays, attributes = read_arrays(folder / f"{run}_bsa.h5")
            write_arrays(folder / f"{run}_bsa.h5", arrays | {"frame_times": np.arange(5) * 100.0}, attributes)
    make_study(methods, tmp_path / "study", StudyOptions(seed=1, rate=rate))
    assert read_page(tmp_path / "study" / "pages" / "case-001.html")["rate"] == shown


def test_long_and_large_runs_are_thinned_and_shrunk(tmp_path):
    write_result(tmp_path / "a_bsa.h5", shape=(12, 40, 80))
    (panel,), field = read_case([tmp_path / "a_bsa.h5"], StudyOptions(plain=False, frames=4, size=40))
    assert panel.shape == (4, 20, 40)
    assert field.shape == (20, 40)
    assert field.all()
    whole = read_arrays(tmp_path / "a_bsa.h5")[0]["bsa"][[2, 5, 8, 11]]  # of indices 2 to 11
    levelled = whole - np.median(whole, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(panel, levelled.reshape(4, 20, 2, 40, 2).mean((2, 4)), atol=1e-5)


def test_nothing_is_shown_behind_blades(tmp_path):
    """Blades on the left: dark and noisy in all frames, and no part of the window."""
    random = np.random.default_rng(0)
    frames = random.normal(0, 0.01, (6, 128, 160)).astype(np.float32)
    frames[:, :, :40] = random.normal(-4, 0.5, (6, 128, 40))
    frames[:, 1::2, :] += 0.02  # structure, so that the field is not empty of it
    moved = np.broadcast_to(frames[:2].mean(0), frames.shape)
    arrays = {"bsa": frames - moved, "moved": moved, "background": np.array(BACKGROUND)}
    write_arrays(tmp_path / "a_bsa.h5", arrays, {"units": "ln(intensity)"})
    (bsa, plain), field = read_case([tmp_path / "a_bsa.h5"], StudyOptions())
    assert not field[:, :38].any()
    assert field[:, 44:].all()
    for panel in (bsa, plain):
        assert not panel[:, ~field].any()
    (encoded,) = encode_panels([bsa], field, 1, "a")
    shown = np.asarray(Image.open(io.BytesIO(encoded[0])))
    assert np.std(shown[:, 50:].astype(float)) > 20


def test_a_case_too_large_for_a_page_is_refused(monkeypatch):
    noise = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    sizes = [len(frame) for panel in encode_panels(list(noise), WHOLE, 1, "x") for frame in panel]
    assert sum(sizes) < LARGEST
    monkeypatch.setattr("angiomorph.readers.panels.LARGEST", sum(sizes) - 1)
    smaller = [len(frame) for panel in encode_panels(list(noise), WHOLE, 1, "x") for frame in panel]
    assert sum(smaller) < sum(sizes)
    monkeypatch.setattr("angiomorph.readers.panels.LARGEST", 100)
    with pytest.raises(InputError, match=r"x: expected at most 100 bytes of frames for a page, .* lower `frames` or `size`"):
        encode_panels(list(noise), WHOLE, 1, "x")


def other_frames(folder):
    write_result(folder / "poe_bsa.h5", seed=9)


def other_count(folder):
    write_result(folder / "poe_bsa.h5", seed=2, shape=(6, 40, 48))


def no_file(folder):
    (folder / "poe_bsa.h5").unlink()


def no_moved(folder):
    write_arrays(folder / "poe_bsa.h5", {"bsa": np.zeros((3, 4, 4)), "background": np.array(BACKGROUND)}, {})


def no_hdf5(folder):
    (folder / "poe_bsa.h5").write_text("no")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (other_frames, "expected a registration of the same frames as"),
        (other_count, "expected a registration of the same frames as"),
        (no_file, r"expected poe_bsa\.h5, which another method has, found none"),
        (no_moved, r"that leads back to its frames, found no background_image in it; register the run again"),
        (no_hdf5, "cannot be opened as HDF5"),
    ],
)
def test_results_that_do_not_fit_leave_no_study(tmp_path, methods, harm, words):
    harm(methods["smooth secret"])
    with pytest.raises(InputError, match=words):
        make_study(methods, tmp_path / "study", StudyOptions(seed=1))
    assert not [path for path in tmp_path.iterdir() if "study" in path.name]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["a"], "a: expected NAME=FOLDER"),
        (["a=x", "a=y"], "a=y: expected NAME=FOLDER, with a name for each"),
        (["a=nowhere"], "nowhere: expected the folder of results of 'a', found none"),
        (["a=."], "expected results \\*_bsa.h5, found none"),
        (["a=.", "--no-plain"], "NAME=FOLDER a: expected 2 to 6 different names, found 1"),
        (["plain DSA=."], "expected 2 to 6 different names"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, monkeypatch, capsys, given, words):
    monkeypatch.chdir(tmp_path)
    assert main(["readers", "make", *given, "--out", "study"]) == 2
    said = capsys.readouterr().err
    assert re.search(words, said)
    assert said.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_the_command_says_what_readers_get(tmp_path, methods, capsys):
    given = [f"{name}={folder}" for name, folder in methods.items()]
    assert main(["readers", "make", *given, "--out", str(tmp_path / "study"), "--seed", "3", "--rate", "8"]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'study' / 'pages'}: 3 cases for readers, who begin with case-001.html" in said.out
    assert "key.json: keep it from them (seed 3)" in said.out
    assert not set(RUNS) & set(re.findall(r"\w+", said.out + said.err))
    assert read_page(tmp_path / "study" / "pages" / "case-001.html")["rate"] == 8
