"""The page of an evaluation: figures and pictures of every run, in a table that people sort."""

import io
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from angiomorph.evaluation.entry import Entry
from angiomorph.evaluation.page import write_evaluation
from angiomorph.evaluation.score import Score
from angiomorph.evaluation.thumbnails import SIZE, Sketch, Thumbnails
from angiomorph.pages.page import encode_jpeg
from angiomorph.preprocessing.background import Background
from angiomorph.registration.result import Registration
from angiomorph.storage.truth import RunTruth
from tests.browser import open_browser, read_complaints
from tests.html_reader import Reader
from tests.runs import phantom, series

SCORE = Score(**dict.fromkeys((part.name for part in fields(Score)), 0.5) | {"harm": math.nan})
SHAPE = (16, 24)
BAR = np.s_[4:12, 8:16]
FRAME = 3  # with the most iodine


def make_entry(lefts, hyper=0.7):
    """Return an entry with a run of each number of what is left of the artefact."""
    scores = {f"run-{n}": replace(SCORE, artefact_left=left) for n, left in enumerate(lefts)}
    return Entry("model", "vle", hyper, scores)


def make_pictures():
    picture = encode_jpeg(np.full(SHAPE, 100, np.uint8))
    return Thumbnails(3, picture, (picture,), picture, (picture,))


def write(path, entries, pictures=None, failed=0):
    write_evaluation(path, entries, pictures or {}, "a processor", failed)
    return Reader(path.read_text(encoding="utf-8"))


def register(unit=1.0, level=0.0, left=0.0):
    """Return a registration, in stored values of `unit` an ln, that leaves a share of a dark bar out; and its truth."""
    run, shape = series(phantom((4, *SHAPE))), (4, *SHAPE)
    vessel = np.random.default_rng(0).normal(0, 0.001, shape).astype(np.float32)
    vessel[FRAME - 1][BAR] = -0.4
    still = np.zeros(shape, np.float32)
    truth = RunTruth(still, vessel, vessel < -0.1, still == 0, still[:, 0, :6], still, still == 0, unit)
    field = np.broadcast_to(np.arange(SHAPE[1]) >= 4, SHAPE)
    result = Registration(
        series=run,
        bsa=unit * (vessel * (1 - left) + level) + np.where(field, 0, 9 * unit),
        dsa=unit * (vessel / 2 + level),
        moved=still,
        warp=np.zeros((*shape, 2), np.float32),
        background=Background((1,), "number"),
        units="ln(intensity)" if unit == 1 else "stored value",
        intensity="log",
        hyper=0.3,
        levels=1,
        rounds=0,
        refine=0,
        field=field,
        weights=np.ones(4),
    )
    return result, truth


def draw(truth, *results):
    sketch = Sketch(truth)
    for result in results:
        sketch.take(result)
    return sketch.draw()


def decode(picture):
    return np.asarray(Image.open(io.BytesIO(picture))).astype(int)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("unit", [1.0, 500.0])
def test_pictures_show_the_frame_of_most_iodine(known, unit):
    (result, truth), (other, _) = register(unit, level=0.3), register(unit, left=0.5)
    found = draw(truth if known else None, result, other)
    assert (found.frame, len(found.bsa), found.truth is not None, len(found.errors)) == (FRAME, 2, known, 2 * known)
    plain, whole, half = map(decode, (found.plain, *found.bsa))
    assert whole[BAR].mean() + 40 < half[BAR].mean() < 140
    assert np.abs(plain[BAR].mean() - half[BAR].mean()) < 8  # both have half of the contrast
    for picture in (plain, whole, half):
        assert abs(picture[:, 20:].mean() - 170) < 15  # two thirds of the window are below 0
        assert abs(picture[:, :2].mean() - 170) < 15  # behind the blade, whatever there is
    if known:
        assert np.abs(decode(found.truth) - whole).max() < 12
        exact, wrong = map(decode, found.errors)
        assert np.abs(exact[:, 6:] - 170).max() < 12
        assert wrong[BAR].mean() > 230  # of iodine that is missing


def test_pictures_are_small():
    shape = (4, 600, 900)
    result, _ = register()
    rng = np.random.default_rng(0)
    large = replace(
        result,
        series=series(phantom(shape)),
        **{name: rng.normal(0, 0.1, shape).astype(np.float32) for name in ("bsa", "dsa", "moved")},
        warp=np.zeros((*shape, 2), np.float32),
        field=np.ones(shape[1:], bool),
    )
    found = draw(None, large)
    assert decode(found.bsa[0]).shape == (171, SIZE)
    assert len(found.bsa[0]) < 40_000


def test_a_page_has_the_means_and_a_line_a_run(tmp_path):
    read = write(tmp_path / "page.html", [make_entry([0.25, 0.75])], {"run-0": make_pictures()}, failed=1)
    assert read.said("h2") == ["Means over the runs", "Runs"]
    assert {"0.500 [0.250, 0.750]", "0.25", "0.75", "moving", "model, λ 0.70"} <= set(read.said("td"))
    assert [each["alt"] for each in read.find("img")] == [
        f"{name} of run-0, model, λ 0.70, frame 3" for name in ("plain DSA", "BSA", "true vessels", "error")
    ]
    said = " ".join(read.said("p"))
    assert "Pictures of the first 1 of 2 runs" in said
    assert "Runs that could not be scored: 1;" in said
    assert "harm" not in read.said("th")


def test_runs_without_truth_have_no_pictures_of_it(tmp_path):
    blank = Score(**dict.fromkeys((part.name for part in fields(Score)), math.nan) | {"edge_left": 0.5, "ms_per_frame": 7})
    picture = make_pictures().plain
    read = write(tmp_path / "page.html", [Entry("m", "vle", 0, {"a": blank})], {"a": Thumbnails(1, picture, (picture,))})
    assert [said for said in read.said("th") if said in ("plain DSA", "BSA", "true vessels", "error")] == ["plain DSA", "BSA"]
    assert "error" not in " ".join(read.said("p"))


def test_several_lambdas_have_their_figure(tmp_path):
    read = write(tmp_path / "page.html", [make_entry([0.5], 0), make_entry([0.5], 1)])
    assert read.said("h2") == ["Means over the runs", "Over λ", "Runs"]
    assert [each["alt"] for each in read.find("img")] == ["each figure over λ"]


def test_long_tables_stay_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("angiomorph.evaluation.page.LINES", 20)
    read = write(tmp_path / "page.html", [make_entry(np.linspace(0, 1, 27))])
    assert "The first 20 of 27 lines are shown" in " ".join(read.said("p"))
    assert len([said for said in read.said("th") if said.startswith("run-")]) == 20


@pytest.mark.slow
def test_a_browser_sorts_by_click_and_by_key(tmp_path):
    lefts = [0.5, math.nan, 10, 0.000025, 2]
    write(tmp_path / "page.html", [make_entry(lefts)], {"run-0": make_pictures()})
    with open_browser(tmp_path / "browser", 1920, 1080) as browser:
        browser.get((tmp_path / "page.html").as_uri())

        def find(name):
            return next(
                each for each in browser.find_elements("css selector", "#sortable button") if each.text.startswith(name)
            )

        def read_order():
            return [each.text for each in browser.find_elements("css selector", "#sortable tbody th")]

        assert not [each for each in browser.find_elements("css selector", "#sortable button") if each.text == "plain DSA"]
        find("artefact left").click()
        assert read_order() == ["run-3", "run-0", "run-4", "run-2", "run-1"]
        find("artefact left").click()
        assert read_order() == ["run-2", "run-4", "run-0", "run-3", "run-1"]
        find("run").send_keys("\ue007")  # enter
        assert read_order() == ["run-0", "run-1", "run-2", "run-3", "run-4"]
        sorts = [each.get_attribute("aria-sort") for each in browser.find_elements("css selector", "#sortable thead th")]
        assert [sort for sort in sorts if sort] == ["ascending"]
        assert browser.execute_script("return [...document.images].every((each) => each.naturalWidth > 0)")
        assert read_complaints(browser) == []
