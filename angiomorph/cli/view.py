"""`angiomorph view`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from contextlib import suppress
from typing import Any

from angiomorph.cli.arguments import add_options, add_unsubtracted, add_verb, read_options
from angiomorph.cli.images import add_images, read_one_run
from angiomorph.cli.terminal import print_line
from angiomorph.errors import InputError
from angiomorph.registration.engines import check_engine
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import EngineOptions, RegistrationOptions
from angiomorph.registration.saved_result import find_result, read_result

NEEDED = ("starlette", "uvicorn")


def read_port(text: str) -> int:
    with suppress(ValueError):
        if 0 <= int(text) < 2**16:
            return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text}")


def add_view(verbs: Any) -> None:
    verb = add_verb(verbs, "view", _view, "Show a run in the browser: plain DSA beside BSA, with a slider for lambda.")
    verb.add_argument(
        "source", metavar="RUN", help="a DICOM file, a folder of frames, or a result (_bsa.h5, or _bsa.dcm beside it)"
    )
    verb.add_argument("--model", metavar="M.h5", help="model, or the name of a shipped one (default: truth)")
    add_options(verb, RegistrationOptions, leave=("batch_size", "require_clean"))
    add_unsubtracted(verb)
    add_images(verb)
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)")
    verb.add_argument("--port", type=read_port, default=0, help="port to listen on (default: 0, any that is free)")
    verb.add_argument("--open", action="store_true", help="open the browser, too")
    add_options(verb, EngineOptions)
    verb.add_argument("--gpu", metavar="ID", help="GPU numbers; -1 for the CPU (default: all there are)")


def _view(arguments: argparse.Namespace) -> int:
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise InputError("expected the packages of its page, found them missing; pip install 'angiomorph[view]'")
    options = read_options(arguments, RegistrationOptions)
    engine = read_options(arguments, EngineOptions)
    read_model_defaults(arguments.model).complete(options)
    check_engine(engine, arguments.gpu)
    result = find_result(arguments.source)
    if result is None:
        series = read_one_run(arguments)
    else:
        series, options = read_result(result, arguments.model, options)
    from angiomorph.registration.live_registration import LiveRegistration

    live = LiveRegistration(series, arguments.model, options, arguments.gpu, engine)
    from angiomorph.view.serve import serve

    live.start()
    serve(live, arguments.host, arguments.port, print_line, open_browser=arguments.open)
    sys.stdout.flush()
    sys.stderr.flush()
    if live.loading:
        os._exit(0)  # a thread that builds the network would crash where Python ends
    return 0
