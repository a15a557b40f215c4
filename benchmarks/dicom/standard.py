"""dicom-validator beside a folder that already holds an edition of the standard: nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pydicom

from angiomorph.errors import InputError

EDITION = re.compile(r"\d{4}[a-h]")
PARTS = ("dict_info.json", "iod_info.json", "module_info.json", "uid_info.json")
MOST_SHOWN = 5


def find_edition(folder: Path) -> str:
    """Return the newest edition in a folder of dicom-validator, as `validate_iods` leaves it: `<edition>/json/`.

    Raises:
        InputError: there is none.
    """
    names = sorted(path.name for path in folder.glob("*") if EDITION.fullmatch(path.name))
    whole = [name for name in names if all((folder / name / "json" / part).is_file() for part in PARTS)]
    if not whole:
        raise InputError(
            f"{folder}: expected an edition of the standard, such as 2024b/json/, found none; run validate_iods once where "
            "there is a network, and give its folder (by default ~/dicom-validator)"
        )
    return whole[-1]


def load_validator(folder: Path) -> Callable[[Path], str]:
    """Return what says what is wrong with a file by an edition of the standard, "" for nothing.

    Raises:
        InputError: no edition in the folder, or no dicom-validator.
    """
    edition = find_edition(folder)
    try:
        from dicom_validator.spec_reader.edition_reader import EditionReader
        from dicom_validator.validator.error_handler import NullValidationResultHandler
        from dicom_validator.validator.iod_validator import IODValidator
    except ImportError as error:
        raise InputError("dicom-validator: expected it installed; run pip install '.[benchmark]'") from error
    info = EditionReader(folder).load_dicom_info(edition)

    def check(path: Path) -> str:
        result = IODValidator(pydicom.dcmread(path), info, error_handler=NullValidationResultHandler()).validate()
        if not result.errors and result.status.name == "Passed":
            return ""
        found = [
            f"{module}: {tag} {error.code.name}"
            for module, errors in result.module_errors.items()
            for tag, error in errors.items()
        ]
        return "; ".join(found[:MOST_SHOWN]) + ("; ..." if len(found) > MOST_SHOWN else "") or result.status.name

    return check
