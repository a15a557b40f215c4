"""What several test modules need: programs and packages that nobody here wrote, and shared data that is no part of the project.

from tests.tools import require_package, require_tool, shared_data
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DEBIAN_PACKAGES = {"dciodvfy": "dicom3tools", "dcentvfy": "dicom3tools", "dcdump": "dicom3tools", "Orthanc": "orthanc"}
DEBIAN_PACKAGES |= {"chromium": "chromium", "chromedriver": "chromium-driver"}
DEBIAN_PACKAGES |= {"node": "nodejs", "npm": "npm"}
SERVERS = "/usr/sbin:/usr/local/sbin"  # where Debian keeps Orthanc, and only root looks


def require_tool(name: str) -> str:
    """Return the path of the program `name`; skip the test where it is absent, or fail it if ANGIOMORPH_REQUIRE_TOOLS=1."""
    path = shutil.which(name) or shutil.which(name, path=SERVERS)
    if path is not None:
        return path
    _absent(f"the program {name} is not installed (Debian package {DEBIAN_PACKAGES.get(name, 'dcmtk')})")


def require_package(name: str, extra: str) -> None:
    """Skip the test where the package `name`, as pip calls it, is absent, or fail it if ANGIOMORPH_REQUIRE_TOOLS=1.

    Args:
        name: of the package.
        extra: of this project, that brings it.
    """
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        _absent(f"the package {name} is not installed (pip install '.[{extra}]')")


def _absent(reason: str) -> NoReturn:
    if os.environ.get("ANGIOMORPH_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{reason}, and ANGIOMORPH_REQUIRE_TOOLS=1 asks for it")
    pytest.skip(reason)


def shared_data(relative: str) -> Path:
    """Return the path of `relative` in the data shared beside the repository (`../shared/data`); skip where it is absent."""
    path = REPOSITORY.parent / "shared" / "data" / relative
    if not path.exists():
        pytest.skip(f"../shared/data/{relative} is not on this machine; it is no part of the project")
    return path
