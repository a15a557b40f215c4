"""The SHA-256 by which a file is known."""

from __future__ import annotations

import hashlib
import os

BLOCK = 1 << 20  # bytes read at a time


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
