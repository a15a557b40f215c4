"""What a command that refuses leaves: its exit status, one paragraph, and no file."""

from pathlib import Path

import pytest

from angiomorph.cli import main


def left_in(folder):
    """Return every file and folder in `folder`, which need not be there."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*"))


def refused(capsys, status, *words):
    """Check status 2 and one paragraph on standard error that holds `words`; nothing on standard output."""
    said = capsys.readouterr()
    assert status == 2
    assert said.out == ""
    assert "Traceback" not in said.err
    lines = [line for line in said.err.splitlines() if not line.startswith("registering ")]
    assert len(lines) == 1, said.err
    assert lines[0].startswith("angiomorph ")
    assert all(word in lines[0] for word in words), said.err


def refused_by_argparse(capsys, arguments, *words):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.out == ""
    assert all(word in said.err for word in words), said.err
