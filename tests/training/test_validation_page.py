"""The page of a training's validations: what it shows, how large it gets, and how it goes on after a kill."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from angiomorph.pages.moments import read_moments
from angiomorph.training.validation_page import MOST, PAGE, SIZE, ValidationPage
from tests.browser import open_browser, read_complaints
from tests.html_reader import Reader

HYPERS = (0, 0.5, 1)


def make_rows(step, left=0.5):
    return [
        {"step": step, "lambda": hyper, "loss": 0.1 + hyper, "artefact_left": left, "harm": "", "edge_left": hyper}
        for hyper in HYPERS
    ]


def make_examples(value=0.5, shape=(40, 60), runs=2):
    """Return background 0, contrast frame 0.25, plain DSA 0.75 and BSA of some runs."""
    parts = [np.full((runs, *shape, 1), each, np.float32) for each in (0, 0.25, 0.75, value)]
    return np.concatenate(parts, axis=2)


def make_page(folder, total=100):
    return ValidationPage(folder / PAGE, folder / "history.csv", folder / "validation.csv", "vle", total)


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def decode(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_no_page_before_the_first_validation(tmp_path):
    make_page(tmp_path).write()
    assert list(tmp_path.iterdir()) == []


def test_a_page_shows_pictures_and_figures_of_each_validation(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss,a_transformer_loss,a_flow_loss\n0,0.5,0.4,0.1\n1,0.3,0.2,0.1\n")
    page = make_page(tmp_path)
    for step, value in ((10, 0.2), (20, 0.6)):
        page.add(make_rows(step, step / 100), 0.7, make_examples(value))
    page.write()
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    read = Reader(text)
    assert read.said("title")[0] == "Validation of Reg-VLE"
    assert "Step 20 of 100. Validations so far: 2; pictures of all of them." in read.said("p")
    assert read.said("h2") == [
        "Subtractions over time",
        *("loss: (1 - λ) VLE / α² + λ smoothness", "(1 - λ) VLE / α²", "λ smoothness"),
        *("Figures of merit", "objective, over all pairs"),
        *("artefact left, moving runs (0 is best)", "no truth: edge energy left"),
    ]
    points = {"λ 0.5, 10: 0.1", "λ 0.5, 20: 0.2", "λ 0, 10: 0", "λ 1, 20: 1.1", "training, 2: 0.3"}
    assert points <= set(re.findall(r"<circle[^>]*><title>([^<]*)<", text))
    first, second = read_moments(tmp_path / PAGE)
    assert (first.step, first.caption) == (10, "BSA, step 10, λ 0.7")
    for moment, value in ((first, 0.2), (second, 0.6)):
        assert len(moment.pictures) == 2
        assert np.abs(decode(moment.pictures[1]) - 255 * value).max() <= 2


@pytest.mark.slow
def test_pictures_are_few_and_small(tmp_path):
    rng, page = np.random.default_rng(0), make_page(tmp_path)
    noise = rng.random((3, 512, 4 * 512, 1), np.float32)
    for step in range(1, 60):
        page.add(make_rows(step), 0.7, noise)
    page.write()
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert f"Validations so far: 59; pictures of {MOST}, the first, the last, and others" in text
    moments = read_moments(tmp_path / PAGE)
    assert (len(moments), moments[0].step, moments[-1].step) == (MOST, 1, 59)
    assert decode(moments[0].pictures[0]).shape == (SIZE, SIZE)
    assert len(text) < 5e6  # of noise, which JPEG makes the largest files of


def test_a_resumed_training_goes_on_with_what_its_logs_have(tmp_path):
    page = make_page(tmp_path)
    for step in (10, 20, 30):
        page.add(make_rows(step), 0.7, make_examples(step / 100))
    page.write()
    write_rows(tmp_path / "validation.csv", [*make_rows(10), *make_rows(20, 0.3)])  # rolled back to the checkpoint of step 25
    again = make_page(tmp_path)
    again.add(make_rows(30), 0.4, make_examples(0.9))
    again.write()
    moments = read_moments(tmp_path / PAGE)
    assert [moment.caption for moment in moments] == [*("BSA, step 10, λ 0.7", "BSA, step 20, λ 0.7", "BSA, step 30, λ 0.4")]
    assert decode(moments[-1].pictures[0]).mean() == pytest.approx(255 * 0.9, abs=2)
    assert (tmp_path / PAGE).read_text().count("λ 0.5, 20: 0.3") == 1


def test_another_count_of_runs_begins_anew(tmp_path):
    page = make_page(tmp_path)
    page.add(make_rows(10), 0.7, make_examples(runs=1))
    page.add(make_rows(20), 0.7, make_examples(runs=2))
    page.write()
    assert [moment.step for moment in read_moments(tmp_path / PAGE)] == [20]


def test_curves_of_many_validations_are_thinned(tmp_path):
    write_rows(tmp_path / "validation.csv", [row for step in range(1, 1000) for row in make_rows(step)])
    page = make_page(tmp_path)
    page.add(make_rows(1000), 0.7, make_examples())
    page.write()
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert text.count("<title>λ 0.5, ") == 3 * 200
    assert "λ 0.5, 1: " in text
    assert "λ 0.5, 1000: " in text


@pytest.mark.slow
def test_a_browser_shows_each_moment_by_key_and_click(tmp_path):
    page = make_page(tmp_path)
    for step in (10, 20, 30):
        page.add(make_rows(step), 0.7, make_examples(step / 100))
    page.write()
    with open_browser(tmp_path / "browser") as browser:
        browser.get((tmp_path / PAGE).as_uri())
        look = (
            "const shown = document.querySelector('figure.moment'), picture = shown.querySelector('img');"
            "return [shown.querySelector('figcaption').textContent, picture.naturalWidth > 0, picture.src]"
        )
        last = browser.execute_script(look)
        assert last[:2] == ["BSA, step 30, λ 0.7", True]
        slider = browser.find_element("css selector", ".controls .frame")
        slider.send_keys("\ue012")  # arrow left
        assert browser.execute_script(look)[0] == "BSA, step 20, λ 0.7"
        browser.find_elements("css selector", ".strip figure")[0].click()
        first = browser.execute_script(look)
        assert first[:2] == ["BSA, step 10, λ 0.7", True]
        assert first[2] != last[2]
        assert slider.get_attribute("aria-valuetext") == "BSA, step 10, λ 0.7"
        assert read_complaints(browser) == []
