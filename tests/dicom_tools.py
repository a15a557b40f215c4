"""What tests ask of DICOM programs that nobody here wrote."""

import subprocess
from pathlib import Path

from tests.tools import require_tool


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of dicom3tools or dcmtk; skip the test where it is not installed."""
    command = [require_tool(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def dciodvfy_errors(path: Path) -> list[str]:
    """Return dciodvfy's lines that start with Error (its exit code is 0 with some of them)."""
    result = run_tool("dciodvfy", path)
    lines = (result.stdout + result.stderr).splitlines()
    assert any(line.endswith("Image") for line in lines), lines
    return [line for line in lines if line.startswith("Error")]
