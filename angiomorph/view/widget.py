"""The page as a widget in a notebook, which asks the kernel what the page of a server asks over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget

from angiomorph.errors import say_failure
from angiomorph.view.shown import Shown

PAGE = Path(__file__).parent / "page"


class RunWidget(anywidget.AnyWidget):
    """Shows one run.

    Args:
        shown: the run.
    """

    _esm = PAGE / "viewer.js"
    _css = PAGE / "viewer.css"

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._shown = shown
        self.on_msg(self._answer)

    def _answer(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        asked = {name: str(value) for name, value in message["asked"].items()}
        try:
            answer = self._shown.answer(message["kind"], asked)
        except Exception as error:  # one question fails, the widget goes on
            self.send({"id": message["id"], "error": say_failure("this run", error)})
            return
        self.send({"id": message["id"], "info": dict(answer.info)}, [answer.data])
