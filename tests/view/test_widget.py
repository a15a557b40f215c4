"""The widget answers in a notebook what the server answers over HTTP."""

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.view.shown import Answer
from angiomorph.view.widget import RunWidget
from tests.tools import REPOSITORY


class Told:
    def answer(self, kind, asked):
        if kind == "patient":
            raise InputError("`patient`: expected a question that the page has")
        if kind == "broken":
            raise ValueError("Doe^Jane")
        return Answer({"kind": kind, **asked}, b"12")


@pytest.fixture
def widget(monkeypatch):
    """Return a widget, and the list of what it sends."""
    widget, sent = RunWidget(Told()), []
    monkeypatch.setattr(widget, "send", lambda message, buffers=None: sent.append((message, buffers)))
    return widget, sent


def test_a_question_is_answered(widget):
    widget, sent = widget
    widget._handle_custom_msg({"id": 3, "kind": "warp", "asked": {"frame": 2, "hyper": 0.5}}, [])
    assert sent == [({"id": 3, "info": {"kind": "warp", "frame": "2", "hyper": "0.5"}}, [b"12"])]


@pytest.mark.parametrize("kind", ["patient", "broken"])
def test_a_question_that_fails_is_answered_too(widget, kind):
    widget, sent = widget
    widget._handle_custom_msg({"id": 4, "kind": kind, "asked": {}}, [])
    ((message, buffers),) = sent
    assert (message["id"], buffers) == (4, None)
    assert ("expected a question" in message["error"]) == (kind == "patient")
    assert "Doe" not in message["error"]


def test_the_widget_is_the_page(widget):
    page = REPOSITORY / "angiomorph" / "view" / "page"
    assert str(widget[0]._esm) == (page / "viewer.js").read_text(encoding="utf-8")
    assert str(widget[0]._css) == (page / "viewer.css").read_text(encoding="utf-8")
    assert "application/vnd.jupyter.widget-view+json" in np.atleast_1d(widget[0]._repr_mimebundle_())[0]
