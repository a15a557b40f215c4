"""The server prints one line, ends when it is told to, and says in one line why it cannot begin."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import webbrowser

import pytest
import uvicorn

from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.view.serve import TOKEN, listen, serve
from tests.tools import REPOSITORY

ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/\n")


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_server_ends_cleanly(ending, xa_file):
    path = xa_file("Doe_Jane.dcm")
    command = [sys.executable, "-m", "angiomorph", "view", str(path), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        assert ADDRESS.fullmatch(line), line
        page = urllib.request.urlopen(line.strip(), timeout=20).read().decode()
        process.send_signal(ending)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert "Doe" not in page + err


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"^`host` 127\.0\.0\.1, `port` {port}: expected .* but: Address already in use; "
        ):
            listen("127.0.0.1", port)


def test_a_host_of_elsewhere_is_refused():
    with pytest.raises(
        InputError, match=r"^`host` 192\.0\.2\.1, `port` 0: expected an address of this machine and a free port"
    ):
        listen("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent.dcm"], "absent.dcm: expected a DICOM file, but it cannot be read"),
        (["absent.png", "--relation", "DISP"], "absent.png"),
        (["absent.dcm", "--model", "absent.h5"], "absent.h5: expected a model (.h5)"),
        (["absent.dcm", "--refine", "3"], "--refine 3: expected 0 for"),
    ],
)
def test_wrong_input_is_said_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["view", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


@pytest.mark.parametrize("port", ["-1", "65536", "many"])
def test_a_port_is_a_number(port, capsys):
    with pytest.raises(SystemExit):
        main(["view", "run.dcm", "--port", port])
    assert f"expected a port from 0 to 65535, got {port}" in capsys.readouterr().err


def test_missing_packages_are_named_with_the_remedy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["view", "run.dcm"]) == 2
    assert "pip install 'angiomorph[view]'" in capsys.readouterr().err


def test_the_browser_is_given_the_address_that_is_told(monkeypatch):
    told, opened = [], []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: sockets[0].close())
    serve(None, "127.0.0.1", 0, told.append, open_browser=True)
    assert opened == told
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", told[0])
