"""Fixtures for every test: the data shared between machines, and folders of real DICOM files written here."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data shared between development machines; skip where there is none."""
    if not SHARED.is_dir():
        pytest.skip("the shared data is not on this machine")
    return SHARED
