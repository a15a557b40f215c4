"""Turn a CT that InVesalius has saved into NIfTI, for tests on a head that no shipped model was trained on.

    python -m benchmarks.simulator.skull Cranium.inv3 skull.nii.gz

Debian's package invesalius-examples (GPL-2) has such a head, in usr/share/doc/invesalius-examples/examples/Cranium.inv3.
"""

from __future__ import annotations

import argparse
import plistlib
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from angiomorph.errors import InputError
from angiomorph.storage.atomic import replace_file


def read_project(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read the CT of an InVesalius project.

    Args:
        path: `.inv3`, a tar of `main.plist`, which names the volume's file, type, shape and spacing, and that file.

    Returns:
        `(Z, Y, X)` HU, slices from feet to head, rows from front to back; spacing along x, y, z, mm.

    Raises:
        InputError: no such project, or one whose volume is not whole.
    """
    try:
        with tarfile.open(path) as tar:
            members = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
            project = plistlib.loads(_content(tar, members["main.plist"]))
            matrix = project["matrix"]
            values = np.frombuffer(_content(tar, members[matrix["filename"]]), np.dtype(matrix["dtype"]))
            return values.reshape(matrix["shape"]), tuple(map(float, project["spacing"]))
    except (OSError, tarfile.TarError, plistlib.InvalidFileException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected an InVesalius project (.inv3) with its CT, but: {error}") from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file: Any = tar.extractfile(member)
    return bytes(file.read())


def write_volume(path: Path, values: np.ndarray, spacing: Sequence[float]) -> None:
    """Write a volume as NIfTI and print its size.

    Args:
        path: `.nii.gz`.
        values: `(Z, Y, X)`.
        spacing: of voxels along x, y, z, mm.
    """
    import nibabel

    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([*spacing, 1.0]))
    with replace_file(path) as partial:
        whole = partial.with_name(f"{partial.name}.nii.gz")  # nibabel chooses the format by the name's end
        nibabel.save(image, whole)
        whole.replace(partial)
    print(f"{path}: {'x'.join(map(str, image.shape))} voxels of {'x'.join(f'{size:g}' for size in spacing)} mm")


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one project."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulator.skull", description="A CT saved by InVesalius, as NIfTI.")
    parser.add_argument("project", type=Path, metavar="PROJECT.inv3")
    parser.add_argument("out", type=Path, metavar="CT.nii.gz")
    arguments = parser.parse_args(argv)
    try:
        values, spacing = read_project(arguments.project)
    except InputError as error:
        print(f"benchmarks.simulator.skull: {error}", file=sys.stderr)
        return 2
    # InVesalius shows rows from front to back too, and stores slices and rows in the order of growing NIfTI y and z.
    write_volume(arguments.out, values, spacing)
    return 0


if __name__ == "__main__":
    sys.exit(main())
