"""The key of a study: which method stands behind which panel; it is kept apart from what readers get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file

NAME = "key.json"
FORMAT = 1


@dataclass(frozen=True)
class Key:
    """What a study hides from its readers.

    Args:
        study: name of the study in pages and answers, drawn.
        seed: random seed of the order of cases and panels.
        methods: their names, in the order of the command line.
        cases: by the code that readers see, the run's name.
        panels: by that code, and by the letter of a panel, the method's name.
        version: the program's version.
    """

    study: str
    seed: int
    methods: tuple[str, ...]
    cases: Mapping[str, str]
    panels: Mapping[str, Mapping[str, str]]
    version: str


def write_key(key: Key, folder: Path) -> Path:
    """Write a key into the study's folder and return its path."""
    with replace_file(folder / NAME) as partial:
        partial.write_text(json.dumps({"format": FORMAT, **asdict(key)}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder / NAME


def read_key(folder: Path) -> Key:
    """Return the key of a study.

    Raises:
        InputError: there is none, or it is not whole.
    """
    path = folder / NAME
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise ValueError("another format")
        key = Key(**{**found, "methods": tuple(found["methods"])})
        whole = key.cases.keys() == key.panels.keys() and all(
            sorted(panels.values()) == sorted(key.methods) for panels in key.panels.values()
        )
    except OSError as error:
        raise InputError(
            f"{path}: expected the key that `angiomorph readers make` wrote, but: {error.strerror}; name the study's folder"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected a key of format {FORMAT}, found another or a broken one; get it from a copy"
        ) from error
    if not whole:
        raise InputError(f"{path}: expected each method once in each case, found other panels; get it from a copy")
    return key
