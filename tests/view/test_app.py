"""The routes answer who has the address, and nobody else; the network is asked one question after another."""

import asyncio
import http.client
import re
import struct
import threading
import time
from contextlib import closing, contextmanager

import pytest
import uvicorn

from angiomorph.errors import InputError
from angiomorph.view.app import build_app, pack
from angiomorph.view.serve import listen
from angiomorph.view.shown import Answer, read_number
from tests.tools import REPOSITORY

TOKEN = "token-of-the-test"
PAGES = ("", "page/viewer.js", "page/viewer.css", "page/icon.svg", "ask/run", "ask/frame?frame=1", "ask/warp?frame=1")


class Told:
    """A run of which each question is known beforehand; warps wait until they may be given."""

    def __init__(self):
        self.asked, self.at_once, self.most_at_once = [], 0, 0
        self.may_warp = threading.Event()
        self.may_warp.set()

    def answer(self, kind, asked):
        self.asked.append((kind, asked.get("hyper")))
        if kind == "frame" and asked.get("frame") == "0":
            raise InputError("`frame` 0: expected a frame number from 1")
        if kind == "frame" and asked.get("frame") == "broken":
            raise ValueError("Doe^Jane")
        if kind == "warp":
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            assert self.may_warp.wait(10)
            self.at_once -= 1
        return Answer({"kind": kind}, b"12")


@contextmanager
def serving(shown, host="127.0.0.1"):
    listening = listen("127.0.0.1", 0)
    app = build_app(shown, TOKEN, host)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@pytest.fixture(scope="module")
def port():
    with serving(Told(), host="angio.example") as port:
        yield port


def ask(port, path, token=TOKEN, method="GET", **headers):
    """Return the status, the headers and the body of what a server answers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(
            method, f"/{token}/{path}", headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


@pytest.mark.parametrize("path", PAGES)
def test_who_has_the_token_is_answered(port, path):
    status, headers, body = ask(port, path)
    assert (status, body != b"") == (200, True)
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert (headers["x-content-type-options"], headers["cross-origin-resource-policy"]) == ("nosniff", "same-origin")


@pytest.mark.parametrize("token", ["", "token-of-the-tess", "token-of-the-test2", "%C3%A9", "../token-of-the-test"])
@pytest.mark.parametrize("path", PAGES)
def test_who_lacks_the_token_is_refused(port, path, token):
    status, _, body = ask(port, path, token)
    assert (status, b"token" in body) == (403, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "LocalHost", "[::1]:80", "192.168.1.7:8000", "angio.example"])
def test_names_of_this_machine_are_known(port, host):
    assert ask(port, "ask/run", Host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", ""])
def test_other_names_are_refused(port, host):
    assert ask(port, "ask/run", Host=host)[0] == 403


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Origin": "http://localhost:7", "Host": "localhost:7", "Sec_Fetch_Site": "same-origin"}),
        (200, {"Sec_Fetch_Site": "none"}),
        (200, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}),  # a link to the address
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "http://localhost:8", "Host": "localhost:7"}),
        (403, {"Origin": "null"}),
        (403, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}),
        (403, {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}),
    ],
)
@pytest.mark.parametrize(("path", "method"), [("ask/run", "GET"), ("save", "POST")])
def test_pages_of_elsewhere_may_not_ask(port, path, method, status, headers):
    found, answered, _ = ask(port, path, method=method, **headers)
    assert found == status
    assert not [name for name in answered if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("status", "path", "method"),
    [
        (404, "ask/patient", "GET"),
        (404, "page/absent.js", "GET"),
        (404, "page/..%2fapp.py", "GET"),
        (404, "other", "GET"),
        (405, "ask/run", "POST"),
        (405, "save?file=h5", "GET"),
        (404, "ask/save", "GET"),
        (200, "save?file=h5", "POST"),
        (400, "ask/frame?frame=0", "GET"),
        (422, "ask/frame?frame=broken", "GET"),
    ],
)
def test_what_may_be_asked(port, status, path, method):
    found, _, body = ask(port, path, method=method)
    assert found == status
    assert b"Doe" not in body
    assert b"Traceback" not in body


def test_an_answer_is_text_and_data():
    text = b'{"a": 1}    '  # 4 bytes of length, 8 of text, 4 spaces
    assert pack(Answer({"a": 1}, b"\x01\x02")) == struct.pack("<I", 12) + text + b"\x01\x02"
    assert pack(Answer()) == struct.pack("<I", 4) + b"{}  "


def test_the_network_is_asked_one_question_at_once():
    told = Told()
    told.may_warp.clear()
    with serving(told) as port:
        threads = [threading.Thread(target=ask, args=(port, f"ask/warp?hyper={hyper}")) for hyper in (1, 2, 3)]
        for thread in threads:
            thread.start()
        assert ask(port, "ask/frame?frame=1")[0] == 200  # waits for none of them
        told.may_warp.set()
        for thread in threads:
            thread.join(10)
    assert sorted(hyper for kind, hyper in told.asked if kind == "warp") == ["1", "2", "3"]
    assert told.most_at_once == 1


@pytest.mark.slow
def test_what_nobody_waits_for_is_not_asked():
    told = Told()
    told.may_warp.clear()
    with serving(told) as port:
        first = threading.Thread(target=ask, args=(port, "ask/warp?hyper=first"))
        first.start()
        while told.asked != [("warp", "first")]:
            time.sleep(0.01)
        given_up = http.client.HTTPConnection("127.0.0.1", port)
        given_up.request("GET", f"/{TOKEN}/ask/warp?hyper=given-up")
        time.sleep(0.2)
        given_up.close()
        time.sleep(0.2)
        last = threading.Thread(target=ask, args=(port, "ask/warp?hyper=last"))
        last.start()
        told.may_warp.set()
        first.join(10)
        last.join(10)
    assert told.asked == [("warp", "first"), ("warp", "last")]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "angiomorph" / "view" / "page").iterdir()), ids=lambda path: path.name)
def test_the_page_names_no_other_machine(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(?i)\b(https?|wss?|ftp):|['\"(]//|@import|<script>|style=|\son\w+=", text)


@pytest.mark.parametrize("asked", [{}, {"hyper": ""}, {"hyper": "-0.1"}, {"hyper": "1.1"}, {"hyper": "nan"}, {"hyper": "much"}])
def test_a_number_out_of_range_is_refused(asked):
    with pytest.raises(InputError, match=r"^`hyper` .*: expected a number from 0 to 1; load the page again$"):
        read_number(asked, "hyper", 0, 1)


def test_a_number_that_is_not_asked_is_the_default():
    assert read_number({}, "hyper", 0, 1, 0.2) == 0.2
    assert read_number({"hyper": "0.7"}, "hyper", 0, 1, 0.2) == 0.7


def test_what_is_no_page_is_left_unanswered():
    def send(_):
        raise AssertionError("answered")

    asyncio.run(build_app(Told(), TOKEN, "127.0.0.1")({"type": "websocket", "path": "/"}, None, send))
