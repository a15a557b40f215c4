"""Validators that nobody here wrote."""

import shutil
import subprocess

import pytest


def run_tool(*command) -> subprocess.CompletedProcess:
    """Run a program of dicom3tools or dcmtk; skip the test where it is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace", check=False)


def dciodvfy_errors(path) -> list[str]:
    """Return dciodvfy's lines that start with Error (its exit code is 0 with some of them)."""
    result = run_tool("dciodvfy", path)
    lines = (result.stdout + result.stderr).splitlines()
    assert "XAImage" in lines, lines
    return [line for line in lines if line.startswith("Error")]
