"""The tests' own browser draws with WebGL2, reaches no other machine, and tells what went wrong in a page."""

import pytest

from tests.browser import open_browser, read_complaints

PAGE = "<!doctype html><title>page</title><link rel=icon href=data:,><canvas id=canvas></canvas>"
RENDER = "return document.getElementById('canvas').getContext('webgl2') !== null"
FETCH = "const done = arguments[0]; fetch('http://example.com/').then(() => done('there'), () => done('not there'))"


@pytest.mark.slow
def test_browser_draws_alone(tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    with open_browser(tmp_path, 1000, 700) as browser:
        browser.get((tmp_path / "page.html").as_uri())
        assert browser.title == "page"
        assert browser.execute_script("return [innerWidth, innerHeight]") == [1000, 700]
        assert browser.execute_script(RENDER)
        assert read_complaints(browser) == []
        assert browser.execute_async_script(FETCH) == "not there"
        assert "ERR_NAME_NOT_RESOLVED" in read_complaints(browser)[0]
