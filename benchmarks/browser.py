"""A headless Chromium that reaches this machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium import webdriver

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # as root in a container
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL2 without a graphics card
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
ONLY_THIS_MACHINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


@contextmanager
def open_browser(program: str, driver: str, folder: Path, width: int = 1280, height: int = 800) -> Iterator[webdriver.Chrome]:
    """Yield a browser of its own profile, which reaches this machine and no other.

    Args:
        program: path of chromium.
        driver: path of chromedriver.
        folder: for its profile, and for what it downloads: `folder / "downloads"`.
        width: of the page, pixels.
        height: of the page, pixels.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, ONLY_THIS_MACHINE, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.set_page_load_timeout(60)
        browser.set_script_timeout(60)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # of the page itself, without the window's frame
        yield browser
    finally:
        browser.quit()
