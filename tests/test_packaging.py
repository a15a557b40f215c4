"""The wheel and the source package hold all that runs, and nothing else."""

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import angiomorph
from tests.tools import REPOSITORY

BUILT_OR_CACHED = shutil.ignore_patterns(".*", "build", "dist", "demo", "*.egg-info", "__pycache__")
SHIPPED = {".py", ".h5", ".md", ".typed", ".html", ".css", ".js", ".svg"}


def shipped_files() -> set[str]:
    """Return the paths, relative to the repository, of the package's files that a user needs."""
    package = REPOSITORY / "angiomorph"
    return {path.relative_to(REPOSITORY).as_posix() for path in package.rglob("*") if path.suffix in SHIPPED}


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a "wheel" or an "sdist" of `source` with the installed setuptools, without network, and return its path."""
    folder.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder / result.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Return the source package of this tree, the folder it unpacks to, and the wheel built from that folder."""
    folder = tmp_path_factory.mktemp("packages")
    source = folder / "source"
    shutil.copytree(REPOSITORY, source, ignore=BUILT_OR_CACHED)
    sdist = build("sdist", source, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    unpacked = folder / f"angiomorph-{angiomorph.__version__}"
    return sdist, unpacked, build("wheel", unpacked, folder)


def test_wheel_holds_the_package_and_nothing_else(packages):
    with zipfile.ZipFile(packages[2]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == shipped_files()


def test_source_package_holds_what_the_commands_need(packages):
    unpacked = packages[1]
    texts = ("README.md", "LICENSE", "NOTICE", "CITATION.cff", "CHANGELOG.md", "benchmarks/README.md")
    for name in ("Makefile", "train.py", "register.py", "benchmarks/peers/peers.py", "tests/test_packaging.py", *texts):
        assert (unpacked / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert {path.name for path in (unpacked / "data").glob("*")} == {path.name for path in (REPOSITORY / "data").glob("*")}


def test_metadata_names_program_licence_and_pythons(packages):
    with zipfile.ZipFile(packages[2]) as wheel:
        info = f"angiomorph-{angiomorph.__version__}.dist-info"
        metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
        programs = wheel.read(f"{info}/entry_points.txt").decode()
        licence = wheel.read(f"{info}/licenses/LICENSE").decode()
    assert programs == "[console_scripts]\nangiomorph = angiomorph.cli:main\n"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.14"}
    assert metadata["Version"] == angiomorph.__version__
    assert licence.split() == (REPOSITORY / "LICENSE").read_text().split()
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence


@pytest.mark.slow
def test_wheel_runs_without_the_repository(packages, tmp_path):
    with zipfile.ZipFile(packages[2]) as wheel:
        wheel.extractall(tmp_path)
    code = "import angiomorph.backend as b; print(b.__file__)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(result.stdout.strip()).is_relative_to(tmp_path)
