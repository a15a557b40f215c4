"""The page as people use it: in Chromium, without network, with the example run and the shipped model."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy import ndimage
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser import open_browser, read_complaints
from tests.tools import REPOSITORY

pytestmark = pytest.mark.slow
RUN = REPOSITORY / "data" / "example_run.dcm"
TOKEN = "token-of-the-test"
VIEWER = "document.getElementById('angiomorph-viewer').viewer"
SMALLEST_TEXT = """return Math.min(...[...document.querySelectorAll('aside *, footer *')].map(
    (part) => parseFloat(getComputedStyle(part).fontSize)))"""
PICTURE = f"""const canvas = {VIEWER}.parts.picture, flat = document.createElement('canvas');
    Object.assign(flat, {{ width: canvas.width, height: canvas.height }});
    const pen = flat.getContext('2d');
    pen.drawImage(canvas, 0, 0);
    const seen = pen.getImageData(0, 0, flat.width, flat.height).data;
    return Array.from({{ length: seen.length / 64 }}, (_, i) => seen[64 * i])"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def serving(port, token=TOKEN):
    """Run `angiomorph view` of the example run at a port, and yield its address."""
    command = [sys.executable, "-m", "angiomorph", "view", str(RUN), "--port", str(port)]
    environment = os.environ | {"ANGIOMORPH_VIEW_TOKEN": token}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            yield server.stdout.readline().decode().strip()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def address():
    with serving(free_port()) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.downloads = next(tmp_path_factory.getbasetemp().glob("browser*/downloads"))
        yield browser


@pytest.fixture
def page(browser, address):
    """Return the browser with the page just opened, and every frame warped at the model's own λ."""
    browser.get(address)
    wait_for_run(browser)
    return browser


def until(browser, script, seconds=120):
    """Return the first value of a script on the page that is true."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if value := browser.execute_script(script):
            return value
        time.sleep(0.05)
    raise AssertionError(
        f"the page never came to {script}; it says {text(browser, '.banner')!r}, {text(browser, '[role=status]')!r}"
    )


def wait_for_run(browser):
    until(browser, f"return {VIEWER} && {VIEWER}.parts.progress.textContent === 'All frames are at this λ.' && !{VIEWER}.dirty")


def settle(browser):
    until(browser, f"return !{VIEWER}.dirty")


def press(browser, *keys):
    ActionChains(browser, duration=0).send_keys(*keys).perform()
    settle(browser)


def hold_shift(browser, key):
    ActionChains(browser, duration=0).key_down(Keys.SHIFT).send_keys(key).key_up(Keys.SHIFT).perform()
    settle(browser)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def text(browser, selector):
    return find(browser, selector).get_attribute("textContent")


def state(browser, name):
    return browser.execute_script(f"return {VIEWER}.state.{name}")


def values(browser, name):
    """Return what the graphics card subtracts for the shown frame, `(512, 512)`."""
    given = browser.execute_script(f"return Array.from({VIEWER}.values('{name}'))")
    return np.array(given, np.float32).reshape(512, 512)


def step(browser, change):
    """Change the page's state, and wait until it is drawn."""
    browser.execute_script(f"{VIEWER}.change({{ {change} }})")
    until(browser, f"return !{VIEWER}.dirty")


def picture(browser):
    """Return what is on the canvas, grey, every 16th pixel."""
    return np.array(browser.execute_script(PICTURE), float)


def save(browser, kind, name):
    """Press the button that saves one kind of file, and return the file when it is whole."""
    path = browser.downloads / name
    find(browser, f"[data-act={kind}]").click()
    ends = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < ends, text(browser, ".banner")
        time.sleep(0.05)
    return path


def drag(browser, across, down, selector=".stage"):
    ActionChains(browser, duration=20).drag_and_drop_by_offset(find(browser, selector), across, down).perform()
    settle(browser)


def test_the_page_opens(page, address):
    assert page.title == "AngioMorph"
    assert page.current_url == address
    assert [part.text for part in page.find_elements("css selector", ".caption")] == ["Plain DSA", "BSA λ 0.20"]
    assert "3.0 frames/s, model reg-truth" in text(page, "aside")
    assert text(page, "footer output").startswith("8 / 8")
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert {name.startswith(address) for name in loaded} == {True}
    assert read_complaints(page) == []


def test_the_card_computes_what_the_equations_say(page):
    """bsa = ln(frame) - ln(background)(x + warp(x)) - level, restated with SciPy from what the server sent."""
    told = page.execute_script(
        f"""const v = {VIEWER}, frame = v.state.frame, warp = v.findWarp(frame), name = v.background.of[frame];
        const half = await import(document.querySelector('script').src);
        return [v.background.levels[frame - 1], Array.from(v.references.get(name).values),
            Array.from(warp.half, half.readHalf), Array.from(v.frames.get(frame))]"""
    )
    level, reference, warp, frame = told[0], *(np.array(part, np.float64) for part in told[1:])
    reference, warp, frame = reference.reshape(512, 512), warp.reshape(512, 512, 2), frame.reshape(512, 512)
    moved = ndimage.map_coordinates(reference, np.indices((512, 512)) + np.moveaxis(warp, -1, 0), order=1, mode="nearest")
    plain, bsa = values(page, "plain"), values(page, "bsa")
    inside = slice(120, 400), slice(120, 400)
    assert np.abs(plain - (np.log(frame) - reference - level))[inside].max() < 1e-4
    assert np.abs(bsa - (np.log(frame) - moved - level))[inside].max() < 1e-3
    assert np.abs(warp).max() > 5
    assert bsa[inside].std() < 0.9 * plain[inside].std()


def test_the_slider_warps_anew(page):
    before = values(page, "bsa")
    slider = find(page, "input.hyper")
    slider.send_keys(Keys.END)
    wait_for_run(page)
    smooth = values(page, "bsa")
    assert state(page, "hyper") == 1
    assert "BSA λ 1.00" in find(page, ".caption:nth-of-type(2)").text
    assert np.abs(smooth - before).max() > 0.05
    press(page, "l")
    wait_for_run(page)
    assert np.array_equal(values(page, "bsa"), before)


def test_the_run_plays_at_its_own_rate(page):
    """A frame lasts 338 ms, so that about six follow in 2 s; more at four times the speed, as far as the machine draws them."""
    counting = f"""const v = {VIEWER}, done = arguments[0], began = performance.now(), times = []; let last = v.state.frame;
        const look = () => {{ if (v.state.frame !== last) {{ last = v.state.frame; times.push(performance.now() - began); }}
            performance.now() - began < 2000 ? requestAnimationFrame(look) : done(times); }}; look();"""
    press(page, "1", " ")
    assert find(page, ".play").get_attribute("aria-label") == "Stop"
    usual = len(page.execute_async_script(counting))
    assert 3 <= usual <= 8
    press(page, "]", "]")
    assert len(page.execute_async_script(counting)) > usual
    press(page, " ")
    assert find(page, ".play").get_attribute("aria-label") == "Play"
    assert page.execute_async_script(counting) == []


def test_a_drag_moves_the_window(page):
    low, high = state(page, "window")
    before = picture(page)
    drag(page, 100, 0)
    wider = state(page, "window")
    assert wider[1] - wider[0] == pytest.approx((high - low) * np.exp(100 / 250), rel=0.05)
    assert sum(wider) == pytest.approx(low + high, abs=1e-6)
    drag(page, 0, -80)
    assert sum(state(page, "window")) < sum(wider)
    brighter = picture(page)
    assert brighter.mean() > before.mean() + 5
    press(page, "r")
    assert np.abs(picture(page) - before).max() <= 1


def test_pictures_drawn_ahead_are_those_drawn_when_shown(page):
    until(page, f"return {VIEWER}.ahead >= {VIEWER}.run.frames")
    assert page.execute_script(f"return {VIEWER}.pictures.entries.size === {VIEWER}.run.frames")
    step(page, "frame: 4")
    kept = picture(page)
    page.execute_script(f"{VIEWER}.pictures.clear()")
    step(page, "frame: 4")
    np.testing.assert_array_equal(picture(page), kept)
    assert kept.std() > 5


@pytest.mark.parametrize("change", ["window: [-0.2, 0.1]", "inverted: true", "landmarks: 0.2", "layout: 'swipe'", "zoom: 2"])
def test_a_picture_drawn_ahead_is_left_when_more_changes(page, change):
    until(page, f"return {VIEWER}.ahead >= {VIEWER}.run.frames")
    step(page, "frame: 4")
    kept = picture(page)
    step(page, change)
    assert np.abs(picture(page) - kept).max() > 20


def test_another_background_by_one_click(page):
    press(page, Keys.HOME)
    assert values(page, "plain").std() > 0
    find(page, "[data-act=remask]").click()
    until(page, f"return {VIEWER}.state.background === '1'")
    wait_for_run(page)
    assert "frame 1named here" in text(page, "aside").replace("Remask: this frameBAs opened0", "")
    assert np.abs(values(page, "plain")).max() < 1e-6
    assert read_complaints(page) == []
    press(page, "0")
    until(page, f"return {VIEWER}.state.background === 'start'")
    assert values(page, "plain").std() > 0


def test_a_click_draws_curves(page):
    stage = find(page, ".stage")
    ActionChains(page, duration=0).move_to_element_with_offset(stage, -250, 40).click().perform()
    settle(page)
    row, column = state(page, "point")
    points = {
        line.get_attribute("data-curve"): line.get_attribute("points").split()
        for line in page.find_elements("css selector", ".curve polyline")
    }
    assert {name: len(each) for name, each in points.items()} == {"plain": 8, "bsa": 8}
    shown = re.search(r"DSA (-?[\d.]+)BSA (-?[\d.]+)", text(page, ".legend"))
    around = slice(row - 2, row + 3), slice(column - 2, column + 3)
    assert float(shown[1]) == pytest.approx(-values(page, "plain")[around].mean(), abs=2e-3)
    assert float(shown[2]) == pytest.approx(-values(page, "bsa")[around].mean(), abs=2e-3)


def test_speeds_are_in_order(page):
    speeds = [float(speed.split()[0]) for speed in find(page, "footer select").text.split("\n")]
    assert speeds == [0.1, 0.25, 0.5, 1, 2, 4, 8]


@pytest.mark.parametrize("control", ["[data-layout=swipe]", "aside select", "input.hyper"])
def test_keys_are_the_pages_after_the_mouse(page, control):
    frame = state(page, "frame")
    find(page, control).click()
    if control == "aside select":
        page.execute_script(f"document.querySelector('{control}').dispatchEvent(new Event('change', {{ bubbles: true }}))")
    press(page, Keys.ARROW_RIGHT)
    assert state(page, "frame") == frame % 8 + 1


def test_who_comes_by_tab_keeps_the_control(page):
    page.execute_script("document.querySelector('[data-layout=swipe]').focus()")
    press(page, Keys.ENTER)
    assert state(page, "layout") == "swipe"
    assert page.execute_script("return document.activeElement.dataset.layout") == "swipe"


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        (",", "after.window[1] - after.window[0] < before.window[1] - before.window[0]"),
        (".", "after.window[1] - after.window[0] > before.window[1] - before.window[0]"),
        (";", "after.window[0] < before.window[0]"),
        ("'", "after.window[0] > before.window[0]"),
        ("+", "after.zoom > before.zoom"),
        ("c", "before.point === null && after.point.join() === '256,256'"),
    ],
)
def test_grey_place_and_curve_need_no_mouse(page, key, changed):
    page.execute_script(f"window.before = structuredClone({VIEWER}.state)")
    press(page, key)
    assert page.execute_script(f"const before = window.before, after = {VIEWER}.state; return {changed}")


def test_arrows_move_the_picture_and_f_hides_the_controls(page):
    press(page, "+", "+")
    ActionChains(page, duration=0).key_down(Keys.CONTROL).send_keys(Keys.ARROW_RIGHT).key_up(Keys.CONTROL).perform()
    assert state(page, "centre")[0] > 256
    press(page, "f")
    assert not find(page, "aside").is_displayed()
    press(page, "f")
    assert find(page, "aside").is_displayed()


def test_pictures_over_time_say_of_which_lambda_they_are(page):
    step(page, "time: 'least'")
    assert "others to come" not in text(page, ".stage")
    page.execute_script(f"{VIEWER}.setHyper(0.93)")
    assert until(
        page, "return document.querySelector('.stage').textContent.match(/λ 0.93 in (\\d) of 8 frames, others to come/)"
    )
    wait_for_run(page)
    assert "BSA λ 0.93 minimum over time" in text(page, ".stage")


def test_a_peak_is_timed_from_the_first_iodine_to_the_last_frame(page):
    first = page.execute_script(f"return {VIEWER}.background.iodine_from")
    assert 1 < first < 8
    assert page.execute_script(f"return [{first}, 8].map((frame) => {VIEWER}.partOfTime(frame))") == [0, 1]
    assert page.execute_script(f"return {VIEWER}.sayTime(8)") == "2.4 s"


def test_a_background_with_iodine_is_warned_of(page):
    assert text(page, ".warning") == ""
    step(page, "frame: 7")
    find(page, "[data-act=remask]").click()
    until(page, f"return {VIEWER}.state.background === '7'")
    wait_for_run(page)
    assert "background frame 7, chosen by number, shows iodine" in text(page, ".warning")
    assert "background frame" in text(page, ".caption")


def test_what_is_seen_is_saved(page):
    path = save(page, "png", "angiomorph_frame_8.png")
    with Image.open(path) as saved:
        grey = np.asarray(saved.convert("L"), float)
        assert not saved.info
    height, width = grey.shape
    assert [width, height] == page.execute_script(f"return [{VIEWER}.parts.picture.width, {VIEWER}.parts.picture.height]")
    middle = grey[height // 2 - 100 : height // 2 + 100]
    assert middle[:, : width // 2].std() > middle[:, width // 2 :].std() > 5  # motion smears over plain DSA
    assert grey[:30, :100].max() > 200  # the caption


def test_a_video_has_the_window_that_is_seen(page):
    press(page, "i")
    low, high = state(page, "window")
    with Image.open(save(page, "gif", "angiomorph_bsa.gif")) as saved:
        saved.seek(7)
        grey = np.asarray(saved.convert("L"), float)
    assert np.median(grey) == pytest.approx(255 * high / (high - low), abs=8)


def test_the_run_is_saved_as_dicom(page):
    saved = pydicom.dcmread(save(page, "dicom", "angiomorph_bsa.dcm"))
    assert (saved.NumberOfFrames, saved.Rows, "DERIVED" in saved.ImageType) == (8, 512, True)
    assert text(page, ".saved") == "Saved: angiomorph_bsa.dcm"
    assert read_complaints(page) == []


def test_frames_that_the_guard_left_are_marked(page):
    """The guard warps every frame of this run, so that the page is told of another judgement."""
    page.execute_script(f"{VIEWER}.weights.set({VIEWER}.wish, [1, 1, 1, 1, 0, 0.5, 1, 0]); {VIEWER}.draw()")
    settle(page)
    colours = page.execute_script(
        f"""const line = {VIEWER}.parts.line, pen = line.getContext('2d'), each = line.width / 8;
        const row = Array.from(pen.getImageData(0, line.height * 0.4, line.width, 1).data);
        return Array.from({{length: 8}}, (_, i) => row.slice(4 * Math.floor((i + 0.25) * each)).slice(0, 4))"""
    )
    amber, blue = [255, 180, 84, 255], [63, 127, 208, 255]
    assert [colour == amber for colour in colours] == [False, False, False, False, True, True, False, True]
    assert colours[2] == blue
    assert "Left unwarped: 2 frames; warped in part: 1." in text(page, "aside")
    assert find(page, ".caption:nth-of-type(2)").text == "BSA λ 0.20 left unwarped"
    assert np.array_equal(values(page, "bsa"), values(page, "plain"))
    press(page, "g")
    assert find(page, ".caption:nth-of-type(2)").text == "BSA λ 0.20"
    assert not np.array_equal(values(page, "bsa"), values(page, "plain"))


def test_the_module_is_a_widget_too(page):
    """In a notebook the same module asks the kernel; here a stand-in for the kernel asks the server."""
    before = values(page, "bsa")
    page.execute_async_script(
        """const done = arguments[0], module = await import(document.querySelector('script').src);
        const server = new module.Server(document.baseURI), place = document.createElement('div');
        let hear;
        const model = {
          on: (_, heard) => { hear = heard; },
          send: async ({id, kind, asked}) => {
            const {info, data} = await server.ask(kind, asked);
            hear({id, info}, [new DataView(data)]);
          },
        };
        document.getElementById('angiomorph-viewer').viewer.end();
        document.getElementById('angiomorph-viewer').replaceWith(place);
        window.end = module.default.render({model, el: place});
        place.id = 'angiomorph-viewer';
        done();"""
    )
    wait_for_run(page)
    assert np.array_equal(values(page, "bsa"), before)
    find(page, ".stage").click()
    press(page, "i")
    assert state(page, "inverted")
    page.execute_script("window.end()")
    assert read_complaints(page) == []


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("2", "layout", "swipe"),
        ("3", "layout", "flicker"),
        ("6", "layout", "frame"),
        ("i", "inverted", True),
        ("g", "guard", False),
        ("m", "landmarks", 0.2),
        ("t", "time", "least"),
        ("w", "beside", "warp"),
        ("o", "marks", "grid"),
        ("\ue012", "frame", 7),  # the left arrow
        ("\ue011", "frame", 1),  # Home
    ],
)
def test_a_key_changes_the_picture(page, key, name, value):
    before = page.get_screenshot_as_png()
    press(page, key)
    assert state(page, name) == value
    assert page.get_screenshot_as_png() != before
    assert read_complaints(page) == []


def test_shift_and_arrows_move_plain_dsa_alone(page):
    plain, bsa = values(page, "plain"), values(page, "bsa")
    hold_shift(page, Keys.ARROW_LEFT)
    hold_shift(page, Keys.ARROW_LEFT)
    assert state(page, "shift") == [0, 1]
    assert "shifted" in find(page, ".caption").text
    assert np.abs(values(page, "plain") - plain).max() > 0.01
    assert np.array_equal(values(page, "bsa"), bsa)


def test_help_opens_and_gives_the_keys_back(page):
    press(page, "?")
    assert "remask: this frame is the background" in find(page, ".help").text
    press(page, "\ue00c")
    assert not find(page, ".help").is_displayed()
    press(page, "i")
    assert state(page, "inverted")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080)])
def test_the_page_fits_and_every_control_has_a_name(page, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    settle(page)
    room = page.execute_script(
        "const all = document.documentElement; return [innerWidth, innerHeight, all.scrollWidth, all.scrollHeight]"
    )
    assert room == [width, height, width, height]
    smallest = page.execute_script(SMALLEST_TEXT)
    assert smallest >= 10
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [node for node in nodes if node.get("role", {}).get("value") in ("button", "slider", "combobox")]
    assert len(controls) > 20
    assert [node for node in controls if not node.get("name", {}).get("value")] == []
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | {"width": 1280, "height": 800})


def test_tabs_do_not_disturb_each_other(page, address):
    first, before = page.current_window_handle, values(page, "bsa")
    page.switch_to.new_window("tab")
    try:
        page.get(address)
        wait_for_run(page)
        find(page, "input.hyper").send_keys(Keys.END)
        wait_for_run(page)
        other = values(page, "bsa")
    finally:
        page.close()
        page.switch_to.window(first)
    assert state(page, "hyper") == pytest.approx(0.2)
    assert np.array_equal(values(page, "bsa"), before)
    assert np.abs(other - before).max() > 0.05


def test_a_server_that_is_gone_comes_back(browser):
    port = free_port()
    with serving(port) as address:
        browser.get(address)
        until(browser, f"return {VIEWER}.frames.entries.size === 8")
    until(browser, f"return !{VIEWER}.parts.banner.hidden", 20)
    assert text(browser, ".banner") == "The server does not answer. Trying again …"
    with serving(port):
        until(browser, f"return {VIEWER}.parts.banner.hidden", 20)
        press(browser, "6")
        assert find(browser, ".caption").text.startswith("Frame as acquired")
    until(browser, f"return !{VIEWER}.parts.banner.hidden", 20)
    with serving(port, "another-token"):
        until(browser, f"return {VIEWER}.parts.banner.textContent.startsWith('Another server answers')", 20)
