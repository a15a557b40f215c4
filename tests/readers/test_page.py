"""The page as a reader uses it: in a browser, from disk, by keys alone, to the figures."""

import csv
import time

import numpy as np
import pytest

from angiomorph.readers.answers import COLUMNS, read_answers
from angiomorph.readers.make import make_study
from angiomorph.readers.options import StudyOptions
from angiomorph.readers.score import score_study
from tests.browser import open_browser, read_complaints
from tests.readers.studies import write_result

pytestmark = pytest.mark.slow

PIXELS = (
    "const {width, height} = document.querySelector('#panel-' + arguments[0] + ' canvas');"
    "const context = document.querySelector('#panel-' + arguments[0] + ' canvas').getContext('2d');"
    "return Array.from(context.getImageData(0, 0, width, height).data).filter((_, i) => i % 4 === 0)"
)
BLURS = {"sharp": 0.5, "smooth": 2.0, "smoother": 4.0}
CUT = "return [...document.querySelectorAll('fieldset, header')].filter((each) => each.scrollWidth > each.clientWidth).length"
LONG = "return document.documentElement.scrollHeight > innerHeight"
WIDE = "return document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for name, blur in BLURS.items():
        for seed in range(2):
            write_result(folder / name / f"{seed}_bsa.h5", blur=blur, seed=seed, shape=(8, 120, 160))
    key = make_study({name: folder / name for name in BLURS}, folder / "made", StudyOptions(seed=2))
    return folder / "made", key


@pytest.fixture
def browser(tmp_path):
    with open_browser(tmp_path) as opened:
        yield opened


def wait(check, seconds=15):
    until = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.05)
    return found


def open_case(browser, path, number=1):
    browser.get(path.as_uri())
    wait_for_case(browser, number)


def wait_for_case(browser, number):
    wait(lambda: browser.execute_script("return document.body?.dataset.ready") and browser.title.startswith(f"Case {number} "))


def press(browser, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def element(browser, name):
    return browser.find_element("id", name)


def test_a_reader_judges_all_cases_by_keys_alone(tmp_path, study, browser):
    from selenium.webdriver.common.keys import Keys

    folder, key = study
    open_case(browser, folder / "pages" / "case-001.html")
    assert browser.title == "Case 1 of 2"
    element(browser, "reader").send_keys('Ann, "B"')
    browser.execute_script("document.activeElement.blur()")
    ranks = {"sharp": 2, "smooth": 1, "plain DSA": 3, "smoother": 4}
    for number, code in enumerate(key.cases, start=1):
        wait_for_case(browser, number)
        assert not element(browser, "next").is_enabled()
        time.sleep(0.3)
        for letter, method in key.panels[code].items():
            assert f"Panel {letter}: " in element(browser, "say").text
            press(browser, letter.lower(), str(ranks[method]), str(6 - ranks[method]), str(5 - ranks[method]), "3")
        if number < len(key.cases):
            press(browser, Keys.ENTER)
    assert element(browser, "reader").get_attribute("value") == 'Ann, "B"'
    element(browser, "save").click()
    (path,) = wait(lambda: list((tmp_path / "downloads").glob("*.csv")))
    assert path.name == f"answers-{key.study}-Ann_B_.csv"
    answers = read_answers([path], key)
    assert len(answers) == 8
    assert {answer.reader for answer in answers} == {'Ann, "B"'}
    for answer in answers:
        assert answer.rank == ranks[answer.method]
        assert answer.points == (6 - answer.rank, 5 - answer.rank, 3)
        assert 0.3 <= answer.seconds < 60
    path.rename(folder / "answers" / "ann.csv")
    scores, _ = score_study(folder)
    assert {each.method: each.first for each in scores.methods} == {
        "sharp": 0.0,
        "smooth": 1.0,
        "smoother": 0.0,
        "plain DSA": 0.0,
    }
    assert read_complaints(browser) == []


def test_the_mouse_and_what_is_seen(tmp_path, study, browser):
    folder, _ = study
    open_case(browser, folder / "pages" / "case-001.html")
    assert element(browser, "number").text.endswith("/ 6")  # of 8 frames two are background
    panels = {letter: browser.execute_script(PIXELS, letter) for letter in "ABCD"}
    assert all(np.std(pixels) > 5 for pixels in panels.values())
    assert panels["A"] != panels["B"] != panels["C"]
    first = element(browser, "frame").get_attribute("value")
    wait(lambda: element(browser, "frame").get_attribute("value") != first)  # it plays
    press(browser, " ")
    stopped = element(browser, "frame").get_attribute("value")
    time.sleep(0.6)
    assert element(browser, "frame").get_attribute("value") == stopped
    press(browser, ".")
    assert int(element(browser, "frame").get_attribute("value")) == int(stopped) % 6 + 1
    press(browser, ",", ",")
    assert int(element(browser, "frame").get_attribute("value")) == (int(stopped) - 2) % 6 + 1

    def chosen(letter, question):
        return [box.is_selected() for box in browser.find_elements("name", f"{letter}-{question}")]

    browser.find_elements("name", "A-rank")[0].click()
    assert chosen("A", "rank") == [True, False, False, False]
    browser.find_elements("name", "B-rank")[0].click()  # each rank stands once
    assert chosen("A", "rank") == [False, False, False, False]
    assert chosen("B", "rank") == [True, False, False, False]
    press(browser, "c", "2", "\ue003", "3")  # backspace: the rank again
    assert chosen("C", "rank") == [False, False, True, False]
    assert element(browser, "say").text == "Write your name or number first."
    wide = browser.find_element("css selector", "#panel-C canvas").rect["width"]
    press(browser, "z")
    assert [panel.is_displayed() for panel in browser.find_elements("tag name", "section")] == [False, False, True, False]
    assert browser.find_element("css selector", "#panel-C canvas").rect["width"] > 1.5 * wide
    press(browser, "b")
    assert element(browser, "panel-B").is_displayed()
    press(browser, "z")
    assert all(panel.is_displayed() for panel in browser.find_elements("tag name", "section"))


def test_a_case_judged_again_counts_once(tmp_path, study, browser):
    folder, key = study
    open_case(browser, folder / "pages" / "case-001.html")
    for first in (1, 3):
        element(browser, "reader").send_keys("7")
        browser.execute_script("document.activeElement.blur()")
        for letter, rank in zip("ABCD", (first, 2, 4 - first, 4), strict=True):
            press(browser, letter, str(rank), "5", "4", "3")
        element(browser, "next").click()
        wait_for_case(browser, 2)
        if first == 1:
            browser.back()
            wait_for_case(browser, 1)
            browser.refresh()
            wait_for_case(browser, 1)
    element(browser, "save").click()
    (path,) = wait(lambda: list((tmp_path / "downloads").glob("*.csv")))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["case"], row["panel"], row["rank"]) for row in rows] == [
        ("case-001", "A", "3"),
        ("case-001", "B", "2"),
        ("case-001", "C", "1"),
        ("case-001", "D", "4"),
    ]
    assert rows[0]["study"] == key.study


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080)])
def test_all_is_seen_without_scrolling(tmp_path, study, width, height):
    with open_browser(tmp_path, width, height) as browser:
        open_case(browser, study[0] / "pages" / "case-002.html", 2)
        assert not browser.execute_script(LONG)
        assert not browser.execute_script(WIDE)
        assert not element(browser, "next").is_displayed()  # the last case
        assert browser.execute_script(CUT) == 0
        tops = {round(panel.rect["y"]) for panel in browser.find_elements("tag name", "section")}
        assert len(tops) == 1  # side by side
        press(browser, "z")
        assert not browser.execute_script(LONG)
        assert not browser.execute_script(WIDE)
        assert browser.execute_script(CUT) == 0
        canvas = browser.find_element("css selector", ".chosen canvas").rect
        assert canvas["height"] > 0.7 * height
        questions = browser.find_elements("css selector", ".chosen fieldset")
        assert all(each.rect["x"] > canvas["x"] + canvas["width"] for each in questions)  # beside it
        assert element(browser, "save").rect["y"] < height
        assert read_complaints(browser) == []
