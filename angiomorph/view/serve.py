"""The server of the page, on this machine until someone ends it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from angiomorph.errors import InputError
from angiomorph.view.app import build_app
from angiomorph.view.shown import Shown

TOKEN = "ANGIOMORPH_VIEW_TOKEN"  # of the environment: keeps an address over restarts; arguments are seen by other users
ENDING = 1  # seconds that open connections have


class _Server(uvicorn.Server):
    """Ends with status 0 when it is told to end, where uvicorn would raise the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(shown: Shown, host: str, port: int, tell: Callable[[str], None], *, open_browser: bool = False) -> None:
    """Serve the page of one run until Ctrl-C or SIGTERM.

    Args:
        shown: the run.
        host: address to listen at; 127.0.0.1 for this machine alone.
        port: to listen at; 0 for any that is free.
        tell: is given the address.
        open_browser: whether to open it, too.

    Raises:
        InputError: nobody can listen there.
    """
    listening = listen(host, port)
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    shown_host = f"[{host}]" if ":" in host else host
    address = f"http://{shown_host}:{listening.getsockname()[1]}/{token}/"
    config = uvicorn.Config(
        build_app(shown, token, host), log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=ENDING
    )
    tell(address)
    if open_browser:
        webbrowser.open(address)
    _Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: name or address of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: the host is none of this machine's, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror  # names that cannot be resolved have negative ones
        raise InputError(
            f"`host` {host}, `port` {port}: expected an address of this machine and a free port, but: "
            f"{reason}. Name others, or port 0 for any free one"
        ) from error
