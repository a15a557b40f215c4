"""A headless Chromium, for tests that look at pages as people do.

from tests.browser import open_browser, read_complaints

with open_browser(tmp_path) as browser:
    browser.get(page.as_uri())
    assert read_complaints(browser) == []
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import browser as chromium
from tests.tools import require_package, require_tool

if TYPE_CHECKING:
    from selenium import webdriver


def open_browser(folder: Path, width: int = 1280, height: int = 800) -> AbstractContextManager[webdriver.Chrome]:
    """Return `benchmarks.browser.open_browser`; skip where Chromium is absent.

    Args:
        folder: for its profile, and for what it downloads: `folder / "downloads"`.
        width: of the page, pixels.
        height: of the page, pixels.
    """
    require_package("selenium", "test")
    return chromium.open_browser(require_tool("chromium"), require_tool("chromedriver"), folder, width, height)


def read_complaints(browser: webdriver.Chrome) -> list[str]:
    """Return the errors and warnings that came to the browser's console since the last call."""
    entries: list[dict[str, Any]] = browser.get_log("browser")
    said = [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]
    return [message for message in said if "GPU stall due to ReadPixels" not in message]  # of software's WebGL, on screenshots
