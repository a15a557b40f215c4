"""What a machine says of itself, also where it says little."""

import platform
from pathlib import Path

import pytest

from angiomorph.evaluation.machine import processor


@pytest.mark.parametrize(("named", "expected"), [("Cortex", "Cortex"), ("", platform.machine())])
def test_without_proc_the_processor_is_what_python_knows(monkeypatch, named, expected):
    def fail(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", fail)
    monkeypatch.setattr(platform, "processor", lambda: named)
    assert processor() == expected
