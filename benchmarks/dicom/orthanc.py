"""An archive of one's own: Orthanc on this machine, with storage that is thrown away, asked by its REST API."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from angiomorph.errors import InputError

PROGRAM = "Orthanc"
TITLE = "STORESCU"  # what storescu calls itself
STARTED, ANSWERED, ENDED = 30, 20, 20  # seconds at most


@dataclass(frozen=True)
class Server:
    """A running Orthanc.

    Args:
        dicom: port of its DICOM server.
        http: port of its REST API.
    """

    dicom: int
    http: int

    def fetch(self, sop_instance_uid: str) -> bytes:
        """Return the stored file of an instance, empty where it has none."""
        found = json.loads(self._ask("/tools/lookup", sop_instance_uid.encode()))
        return self._ask(f"/instances/{found[0]['ID']}/file") if found else b""

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", body)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the machine has
        with direct.open(request, timeout=ANSWERED) as answer:
            return bytes(answer.read())


def find_program() -> str | None:
    """Return the path of Orthanc, which Debian keeps where only root looks; None where it is not installed."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def running() -> Iterator[Server]:
    """Run Orthanc on two free ports and yield it; end it, by its id, and its storage afterwards.

    It takes images from this machine alone, and answers only this machine.

    Raises:
        InputError: Orthanc is not installed, or does not answer in time.
    """
    program = find_program()
    if program is None:
        raise InputError(f"{PROGRAM}: expected it installed, found none; install the Debian package orthanc")
    server = Server(*_free_ports())
    with TemporaryDirectory(prefix="orthanc-") as folder:
        configuration = Path(folder, "orthanc.json")
        configuration.write_text(json.dumps(_configuration(server, folder)))
        environment = {**os.environ, "TMPDIR": folder}
        process = subprocess.Popen(
            [program, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            _await(server, process)
            yield server
        finally:
            _end(process)


def _free_ports() -> tuple[int, int]:
    with ExitStack() as stack:
        free = [stack.enter_context(closing(socket.socket())) for _ in range(2)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        first, second = (each.getsockname()[1] for each in free)
        return first, second


def _configuration(server: Server, folder: str) -> dict[str, Any]:
    return {
        "Name": "conformance",
        "StorageDirectory": f"{folder}/storage",
        "IndexDirectory": f"{folder}/index",
        "Plugins": [],
        "ConcurrentJobs": 1,
        "HttpPort": server.http,
        "HttpThreadsCount": 2,
        "RemoteAccessAllowed": False,
        "OrthancExplorerEnabled": False,
        "WebDavEnabled": False,
        "DicomPort": server.dicom,
        "DicomAet": "CONFORMANCE",
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomCheckModalityHost": True,
        "DicomModalities": {"here": [TITLE, "127.0.0.1", 104]},
        "UnknownSopClassAccepted": True,
    }


def _await(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTED
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError):
            server._ask("/system")
            return
        time.sleep(0.05)
    raise InputError(f"{PROGRAM}: expected it to answer on port {server.http} within {STARTED} s; try again")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(ENDED)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(ENDED)
