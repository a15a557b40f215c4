"""A cine within a page, in a browser, from disk, without a network: what it shows, and how it is steered."""

import time

import numpy as np
import pytest

from angiomorph.pages.cine import CineFrame, make_cine, read_script
from angiomorph.pages.curves import Curve, draw_curves
from angiomorph.pages.page import write_page
from tests.browser import open_browser, read_complaints
from tests.html_reader import Reader

SHADES = (20, 90, 160, 230)
PIXELS = (
    "return [...document.querySelectorAll('.cine canvas')].map((canvas) =>"
    " canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0])"
)


def make_frames(milliseconds=60.0):
    for number, shade in enumerate(SHADES, start=1):
        pictures = (np.full((40, 60), shade, np.uint8), np.full((40, 60), 255 - shade, np.uint8))
        yield CineFrame(number, milliseconds, (f"one <{number}>", f"two {number}"), pictures)


def write(path, milliseconds=60.0):
    curves = draw_curves("values", [1, 2, 3, 4], [Curve("values", [1, 2, 3, 4])], "frame", follows=True)
    write_page(path, "cine", [*make_cine("a & b", ("one", "two"), make_frames(milliseconds)), curves], [read_script()])
    return path


def test_frames_are_made_when_they_are_written():
    made = []

    def frames():
        for frame in make_frames():
            made.append(frame.number)
            yield frame

    pieces = make_cine("a & b", ("one", "two"), frames())
    next(pieces)
    assert made == []
    next(pieces)
    assert made == [1]


def test_a_cine_says_what_it_shows(tmp_path):
    read = Reader(write(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert read.said("h2") == ["a & b"]
    assert read.said("i") == [f"one <{n}>" if left else f"two {n}" for n in range(1, 5) for left in (True, False)]
    assert [each["data-milliseconds"] for each in read.find("div") if "data-number" in each] == ["60"] * 4
    assert len(read.find("img")) == 8


def wait(check, seconds=15):
    until = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < until, "nothing came"
        time.sleep(0.02)
    return found


def press(browser, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def read_shown(browser):
    """Return the shades of both panels and the number that the page says, which belong together."""
    number = int(browser.find_element("css selector", ".number").text.split()[1])
    return browser.execute_script(PIXELS), number


def is_at(browser, number):
    shades, said = read_shown(browser)
    assert said == number
    np.testing.assert_allclose(shades, [SHADES[number - 1], 255 - SHADES[number - 1]], atol=3)


@pytest.mark.slow
def test_it_plays_and_is_steered_by_keys_and_mouse(tmp_path):
    from selenium.webdriver.common.keys import Keys

    with open_browser(tmp_path) as browser:
        browser.get(write(tmp_path / "page.html").as_uri())
        wait(lambda: browser.execute_script("return document.body.dataset.ready"))
        seen = set()
        wait(lambda: seen.add(read_shown(browser)[1]) or len(seen) == 4)  # it plays through all frames
        press(browser, " ", Keys.HOME)
        is_at(browser, 1)
        time.sleep(0.3)
        is_at(browser, 1)
        press(browser, Keys.ARROW_LEFT)
        is_at(browser, 4)
        press(browser, ".", ".")
        is_at(browser, 2)
        assert [each.text for each in browser.find_elements("css selector", ".cine figcaption")] == ["one <2>", "two 2"]
        now = browser.find_element("css selector", ".now")
        assert float(now.get_attribute("x1")) == pytest.approx(58 + (640 - 58 - 12) / 3)
        scrub = browser.find_element("css selector", ".controls .frame")
        browser.execute_script("arguments[0].value = 2; arguments[0].dispatchEvent(new Event('input'))", scrub)
        is_at(browser, 3)

        figures = browser.find_elements("css selector", ".cine figure")
        for key, shown in (("4", [True, False]), ("5", [False, True]), ("1", [True, True])):
            press(browser, key)
            assert [figure.is_displayed() for figure in figures] == shown
        press(browser, "3")
        wait(lambda: figures[0].is_displayed())
        wait(lambda: figures[1].is_displayed())
        assert not figures[0].is_displayed()
        browser.find_element("css selector", "[data-view=side]").click()
        contrast = browser.find_element("css selector", ".contrast")
        contrast.send_keys(Keys.END)
        assert "contrast(300%)" in browser.find_element("css selector", ".cine canvas").get_attribute("style")
        browser.find_element("css selector", ".reset").click()
        assert contrast.get_attribute("value") == "100"
        assert [said for said in read_complaints(browser) if "willReadFrequently" not in said] == []  # of `PIXELS`


@pytest.mark.slow
def test_no_script_from_elsewhere_runs_and_nothing_is_fetched(tmp_path):
    """A page into which someone wrote a script, and a picture from a server, runs and asks for neither."""
    path = write(tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    bad = '<script>document.body.dataset.bad = "yes"</script><img src="http://127.0.0.1:9/a.png" onerror="document.title = 1">'
    path.write_text(text.replace("</main>", f"{bad}</main>"), encoding="utf-8")
    with open_browser(tmp_path) as browser:
        browser.get(path.as_uri())
        wait(lambda: browser.execute_script("return document.body.dataset.ready"))
        assert browser.execute_script("return document.body.dataset.bad") is None
        assert browser.title == "cine"
        complaints = read_complaints(browser)
        assert sum("Content Security Policy" in each for each in complaints) >= 2
