"""The routes of the page, and who may ask them: only a browser that has the address, on a page of this server."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from angiomorph.errors import InputError, say_failure
from angiomorph.view.shown import HEAVY, LIGHT, SAVE, Answer, Shown

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
GONE = 499  # the browser no longer waits
FAILED = 422  # not 500, by which the page knows a server that is ending
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",  # pixels of patients are not left on the disk by the browser
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def build_app(shown: Shown, token: str, host: str = "127.0.0.1") -> ASGIApp:
    """Return the application that serves the page of one run.

    Args:
        shown: the run.
        token: secret that every address begins with.
        host: name or address of this machine by which it may be asked, beside `localhost` and any address in numbers.
    """
    turn = asyncio.Lock()  # of those that need the network, the first to ask is the first to be answered

    async def ask(request: Request) -> Response:
        kind, asked = request.path_params["kind"], dict(request.query_params)
        if kind in LIGHT:
            return await _answer(shown, kind, asked)
        if kind not in HEAVY:
            return PlainTextResponse(f"{kind}: expected one of {', '.join((*LIGHT, *HEAVY))}", 404)
        return await wait(request, kind, asked)

    async def save(request: Request) -> Response:
        return await wait(request, SAVE, dict(request.query_params))

    async def wait(request: Request, kind: str, asked: dict[str, str]) -> Response:
        async with turn:
            if await request.is_disconnected():  # another λ was wanted meanwhile, or the tab was closed
                return Response(status_code=GONE)
            return await _answer(shown, kind, asked)

    routes = [
        Route("/", _page),
        Route("/page/{name}", _page),
        Route("/ask/{kind}", ask),
        Route("/save", save, methods=["POST"]),
    ]
    return Doorkeeper(Starlette(routes=routes), token, host)


async def _answer(shown: Shown, kind: str, asked: dict[str, str]) -> Response:
    try:
        answer = await run_in_threadpool(shown.answer, kind, asked)
    except InputError as error:
        return PlainTextResponse(str(error), 400)
    except Exception as error:  # one question fails, the page goes on
        return PlainTextResponse(say_failure("this run", error), FAILED)
    return Response(pack(answer), media_type="application/octet-stream")


def pack(answer: Answer) -> bytes:
    """Return an answer in one piece.

    Returns:
        the length of the text, 4 bytes, little endian; the information as JSON, spaces behind it; the data, at a multiple of 8.
    """
    text = json.dumps(answer.info).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return struct.pack("<I", len(text)) + text + answer.data


async def _page(request: Request) -> Response:
    path = PAGE / request.path_params.get("name", "index.html")
    if path not in PAGE.iterdir():
        return PlainTextResponse("no such page", 404)
    return Response(path.read_bytes(), media_type=TYPES[path.suffix])


class Doorkeeper:
    """Refuses requests without the token, by strange names of this machine, or from pages of elsewhere.

    Args:
        app: next app, asked if nothing is wrong, with the token taken off the path.
        token: first part of every path.
        host: see `build_app`.
    """

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        self._app, self._token, self._host = app, token, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        sends = _with_headers(send)
        first, _, rest = scope["path"].lstrip("/").partition("/")
        if not secrets.compare_digest(first.encode(), self._token.encode()):
            await PlainTextResponse("The address lacks its token: take it whole, as it was printed.", 403)(
                scope, receive, sends
            )
        elif refusal := self._refuse(Headers(scope=scope)):
            await PlainTextResponse(refusal, 403)(scope, receive, sends)
        else:
            inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}
            await self._app(inner, receive, sends)

    def _refuse(self, headers: Headers) -> str:
        """Return why a request is refused; "" if it is not."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):  # a name that someone else's server gives for this machine
            return "This name of the machine is not known here: use the address as it was printed."
        if origin is not None and origin.partition("://")[2] != host:
            return "Pages of other origins may not ask here."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and headers.get("sec-fetch-mode") != "navigate":
            return "Pages of other sites may not ask here."
        return ""

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.removeprefix("[").removesuffix("]")
        if name.lower() in ("localhost", self._host.lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sends(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sends
