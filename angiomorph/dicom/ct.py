"""Reading a CT series: one file a slice, as a volume of CT numbers in the patient's axes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from angiomorph.dicom.attributes import label, number, numbers, text, value, values
from angiomorph.dicom.find import is_marked
from angiomorph.dicom.header import Header, read_header
from angiomorph.dicom.pixels import decode, find_pixels
from angiomorph.errors import InputError

Triple = tuple[float, float, float]

MAX_OBLIQUE = 5.0  # degrees
UNEVEN = 0.05  # of the slice distance, by which one may differ
KEYWORDS = ("SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "ImagePositionPatient")
ALIKE = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PixelSpacing")
NEEDED = {"PixelSpacing": 2, "ImagePositionPatient": 3, "ImageOrientationPatient": 6, "RescaleSlope": 1, "RescaleIntercept": 1}
TO_RAS = np.array((-1.0, -1.0, 1.0))  # DICOM's patient axes run to the left, back and head


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder, or a file with DICOM's mark at byte 128."""
    path = Path(path)
    return path.is_dir() or (path.is_file() and is_marked(path))


def read_ct(source: str | os.PathLike[str]) -> tuple[np.ndarray, Triple, Triple]:
    """Read a CT series as CT numbers, slices ordered by ImagePositionPatient, axes turned to RAS (right, anterior, superior).

    Args:
        source: a folder or tree with one series (localizers aside), or one file of a series, whose folder has the others.

    Returns:
        values `(Z, Y, X)` float32, Hounsfield units; spacing and position of voxel [0, 0, 0], x, y, z, mm in RAS.

    Raises:
        InputError: no CT, several series, no or malformed spacing, position, orientation or rescale; slices that differ in size
            or orientation, are oblique by more than 5 degrees, lie at the same place, or unevenly; pixels that do not decode.

    Source: DICOM PS3.3 C.7.6.2 (image plane), C.8.2.1 (CT image).
    """
    headers = [read_header(path) for path in _slices(Path(source))]
    for header in headers:
        find_pixels(header)
        _check_plane(header)
    _check_alike(headers)
    headers, step = _stack_slices(Path(source), headers)
    first = headers[0].dataset
    rows, columns = numbers(first, "PixelSpacing")
    along_row, along_column = _directions(first)
    axes = (
        np.stack([along_row * columns, along_column * rows, step], axis=1) * TO_RAS[:, None]
    )  # of column, row and slice index
    volume = np.stack([_read_hounsfield(header) for header in headers])
    return _in_ras(headers[0].path, volume, axes, _position(first) * TO_RAS)


def _slices(source: Path) -> list[Path]:
    """Return the files of the one series that is meant."""
    if not source.is_dir():
        wanted = value(_ct_header(source).dataset, "SeriesInstanceUID")
        return _series(source.parent.glob("*")).get(wanted, [source])
    found = _series(Path(folder, name) for folder, _, names in os.walk(source) for name in names)
    if not found:
        raise InputError(
            f"{source}: expected a folder with the files of a CT series, found no CT image in it. Give the folder of a CT, or "
            "a NIfTI file by itself"
        )
    if len(found) > 1:
        listed = ", ".join(f"{len(files)} files such as {files[0].name}" for files in found.values())
        raise InputError(
            f"{source}: expected a folder with one CT series, found {len(found)} ({listed}); give one file of the series that "
            "is meant"
        )
    return next(iter(found.values()))


def _series(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Group the CT images among files by SeriesInstanceUID; localizers are no part of a volume."""
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        if not path.is_file() or not is_marked(path):
            continue
        dataset = read_header(path, KEYWORDS).dataset
        if value(dataset, "SOPClassUID") == CTImageStorage and "LOCALIZER" not in values(dataset, "ImageType"):
            found.setdefault(str(value(dataset, "SeriesInstanceUID")), []).append(path)
    return found


def _ct_header(path: Path) -> Header:
    header = read_header(path, KEYWORDS)
    sop_class = value(header.dataset, "SOPClassUID")
    if sop_class == EnhancedCTImageStorage:
        raise InputError(
            f"{path}: expected a CT series of one file a slice, found an enhanced multi-frame CT; convert it to NIfTI, for "
            "example with dcm2niix"
        )
    if sop_class != CTImageStorage:
        raise InputError(
            f"{path}: expected a CT image, found {label('Modality')} {text(header.dataset, 'Modality') or 'absent'} of class "
            f"{getattr(sop_class, 'name', 'absent')}; give a CT series"
        )
    return header


def _check_plane(header: Header) -> None:
    for keyword, count in NEEDED.items():
        found = numbers(header.dataset, keyword)
        if len(found) != count:
            raise InputError(
                f"{header.path}: expected {label(keyword)} with {count} numbers, found {len(found) or 'none'}; export the CT "
                "anew from its archive, as original axial slices"
            )
    if min(numbers(header.dataset, "PixelSpacing")) <= 0:
        raise InputError(f"{header.path}: expected {label('PixelSpacing')} above 0 mm, found 0 or less; export the CT anew")
    if (kind := text(header.dataset, "RescaleType")) not in ("", "HU", "US"):
        raise InputError(
            f"{header.path}: expected CT numbers ({label('RescaleType')} HU), found {kind}; give the series in Hounsfield units"
        )


def _check_alike(headers: list[Header]) -> None:
    for header in headers:
        for keyword in ALIKE:
            expected, found = values(headers[0].dataset, keyword), values(header.dataset, keyword)
            if found != expected:
                raise InputError(
                    f"{header.path}: expected the {label(keyword)} {expected} of the series' other slices, found {found}; give "
                    "the slices of one series"
                )


def _position(dataset: Dataset) -> np.ndarray:
    return np.array(numbers(dataset, "ImagePositionPatient"))


def _directions(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors to the next column and to the next row."""
    orientation = np.array(numbers(dataset, "ImageOrientationPatient")).reshape(2, 3)
    row, column = orientation / np.maximum(np.linalg.norm(orientation, axis=1, keepdims=True), 1e-9)
    return row, column


def _stack_slices(source: Path, headers: list[Header]) -> tuple[list[Header], np.ndarray]:
    """Order slices by their place along the normal; also the step to the next one, mm."""
    if len(headers) < 2:
        raise InputError(f"{source}: expected a CT series, found a single slice; give the folder that has its other slices")
    directions = np.concatenate(_directions(headers[0].dataset))
    for header in headers:
        if np.abs(np.concatenate(_directions(header.dataset)) - directions).max() > 1e-3:
            raise InputError(
                f"{header.path}: expected the {label('ImageOrientationPatient')} of the series' other slices, found another; "
                "give one stack of parallel slices"
            )
    normal = np.cross(directions[:3], directions[3:])
    headers = sorted(headers, key=lambda header: float(_position(header.dataset) @ normal))
    places = np.array([_position(header.dataset) for header in headers])
    _check_even(headers, np.diff(places @ normal))
    return headers, (places[-1] - places[0]) / (len(places) - 1)


def _check_even(headers: list[Header], gaps: np.ndarray) -> None:
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    one, two = headers[worst].path.name, headers[worst + 1].path.name
    if gaps.min() < 1e-3:
        same = int(np.argmin(gaps))
        raise InputError(
            f"{headers[same].path}: expected one slice at each place, found {headers[same + 1].path.name} at the same "
            f"{label('ImagePositionPatient')}; give one reconstruction and one phase"
        )
    if abs(gaps[worst] - usual) > UNEVEN * usual:
        raise InputError(
            f"{headers[worst].path}: expected slices {usual:g} mm apart, found {gaps[worst]:g} mm between {one} and {two}; "
            "fetch what is missing or resample the CT to even slices"
        )


def _read_hounsfield(header: Header) -> np.ndarray:
    slope, intercept = (number(header.dataset, keyword) or 0.0 for keyword in ("RescaleSlope", "RescaleIntercept"))
    stored = next(decode(find_pixels(header)))
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _in_ras(path: Path, volume: np.ndarray, axes: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, Triple, Triple]:
    """Turn a volume [slice, row, column] whose indices column, row, slice run along `axes` to RAS."""
    spacing = np.linalg.norm(axes, axis=0)
    cosines = axes / spacing
    towards = np.argmax(np.abs(cosines), axis=0)  # patient axis of each index
    angle = np.degrees(np.arccos(np.clip(np.abs(cosines).max(axis=0).min(), -1, 1)))
    if angle > MAX_OBLIQUE or len(set(towards)) < 3:
        raise InputError(
            f"{path}: expected slices within {MAX_OBLIQUE:g} degrees of the patient's axes, each above the other, found them "
            f"oblique by {angle:.0f} degrees. Resample the CT to upright axial slices"
        )
    index = np.argsort(towards)  # the index that runs along x, y, z
    volume = volume.transpose([2 - index[axis] for axis in (2, 1, 0)])
    steps = axes[:, index]
    corner = origin.copy()
    for axis in range(3):
        if steps[axis, axis] < 0:
            volume = np.flip(volume, 2 - axis)
            corner += steps[:, axis] * (volume.shape[2 - axis] - 1)
    x, y, z = (float(size) for size in spacing[index])
    return np.ascontiguousarray(volume), (x, y, z), (float(corner[0]), float(corner[1]), float(corner[2]))
