"""What rows of `benchmarks.dicom.inputs` are made of: a small run, its files, and bytes changed in them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import generate_fragments
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from angiomorph.dicom import write_run

SHAPE = (8, 48, 40)
FRAME_TIME = 250.0
NUMBERS = tuple(range(1, SHAPE[0] + 1))


def noise(bits: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Return frames of random values."""
    values = np.random.default_rng(seed).integers(1, 1 << bits, shape)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


RUN = noise(12)
OTHER = noise(12, seed=1)


@dataclass(frozen=True, eq=False)
class Expected:
    """What should become of an input.

    Args:
        path: file or folder that is given.
        frames: of each run that should be read.
        told: what a warning should say; "" for nothing in particular.
        refused: what a refusal should say; "" where nothing should be refused.
        masks: mask frames of the first run; None for any.
        steps: mask frames of each range of frames.
        times: ms between frames, one or all; None for any.
        exposed: field of the first run; None for any.
        tolerance: of values, for lossy compression.
        unsubtracted: whether `--unsubtracted` is given.
    """

    path: Path
    frames: tuple[np.ndarray, ...] = (RUN,)
    told: str = ""
    refused: str = ""
    masks: tuple[int, ...] | None = None
    steps: tuple[tuple[int, ...], ...] = ()
    times: float | Sequence[float] | None = None
    exposed: np.ndarray | None = None
    tolerance: float = 0.0
    unsubtracted: bool = False


@dataclass(frozen=True)
class Row:
    """A kind of input.

    Args:
        kind: group that it belongs to.
        input: what the input is, in words.
        expected: what a user expects, in words.
        make: writes it to a folder.
    """

    kind: str
    input: str
    expected: str
    make: Callable[[Path], Expected]


def item(**attributes: Any) -> Dataset:
    """Return an item of a sequence, or a data set."""
    found = Dataset()
    change(found, **attributes)
    return found


def change(dataset: Dataset, **attributes: Any) -> None:
    """Set attributes; None deletes one."""
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            del dataset[keyword]


def a_run(frames: np.ndarray = RUN, name: str = "run", bits: int = 0, **attributes: Any) -> Dataset:
    """Return the data set of a run; its UIDs are of its name."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.dcm")
        stored = bits or (8 if frames.dtype == np.uint8 else 12)
        write_run(path, frames, BitsStored=stored, relation="LIN", frame_time=FRAME_TIME, entropy=[name])
        dataset = pydicom.dcmread(path)
    change(dataset, **attributes)
    return dataset


def save(dataset: Dataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a data set, also one that lacks what a file should have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.TransferSyntaxUID = syntax
    for keyword, of_file in (("SOPClassUID", "MediaStorageSOPClassUID"), ("SOPInstanceUID", "MediaStorageSOPInstanceUID")):
        if keyword in dataset:
            setattr(dataset.file_meta, of_file, dataset[keyword].value)
    content = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(content, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    path.write_bytes(content.getvalue())
    return path


def encode(dataset: Dataset, syntax: UID) -> Dataset:
    """Return a data set compressed without loss, or with its words in the other byte order."""
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, f"u{dataset.BitsAllocated // 8}").byteswap().tobytes()
    elif syntax.is_compressed and not syntax.is_deflated:
        dataset.compress(syntax, encapsulate_ext=False, generate_instance_uid=False)
    return dataset


def single_frames(frames: np.ndarray = RUN, name: str = "run", **attributes: Any) -> list[Dataset]:
    """Return a data set of each frame, four a second."""
    found, whole = [], a_run(frames[:2], name=name)
    for index in range(len(frames)):
        dataset = a_run(frames[index : index + 1], name=f"{name} {index}", InstanceNumber=index + 1)
        change(dataset, NumberOfFrames=None, FrameTime=None, FrameIncrementPointer=None)
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = whole.SeriesInstanceUID, whole.StudyInstanceUID
        dataset.AcquisitionDate = dataset.ContentDate
        dataset.AcquisitionTime = dataset.ContentTime = f"1200{index // 4:02d}.{25 * (index % 4):02d}0000"
        change(dataset, **attributes)
        found.append(dataset)
    return found


def save_all(datasets: Sequence[Dataset], folder: Path, name: Callable[[int], str] = "{:03d}.dcm".format) -> Path:
    """Write single frames to a folder; return it."""
    for index, dataset in enumerate(datasets):
        save(dataset, folder / name(index + 1))
    return folder


def fragments(dataset: Dataset, items: Sequence[bytes], table: Sequence[int] = ()) -> Dataset:
    """Return a data set whose compressed pixels are these fragments behind an offset table."""
    offsets = struct.pack(f"<{len(table)}L", *table)
    dataset.PixelData = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(part)) + part for part in (offsets, *items))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def compressed(syntax: UID) -> tuple[Dataset, list[bytes], list[int]]:
    """Return a run compressed without loss, its fragments, one a frame, and where each starts behind the table."""
    dataset = encode(a_run(), syntax)
    items = list(generate_fragments(dataset.PixelData))[-int(dataset.NumberOfFrames) :]  # behind the table
    starts = [sum(8 + len(part) for part in items[:index]) for index in range(len(items))]
    return dataset, items, starts


def patch(path: Path, keyword: str, value: bytes | None) -> Path:
    """Replace the bytes of a value in a file of Explicit VR Little Endian, whatever its type allows; None cuts it out."""
    tag, data = tag_for_keyword(keyword) or 0, path.read_bytes()
    key = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + dictionary_VR(tag).encode()
    start = data.index(key, 132)
    end = start + 8 + struct.unpack("<H", data[start + 6 : start + 8])[0]
    if value is None:
        new = b""
    else:
        padded = value + (b"\0" if dictionary_VR(tag) == "UI" else b" ") * (len(value) % 2)
        new = key + struct.pack("<H", len(padded)) + padded
    data = data[:start] + new + data[end:]
    if tag >> 16 == 2:
        length = struct.unpack("<L", data[140:144])[0] + len(new) - (end - start)
        data = data[:140] + struct.pack("<L", length) + data[144:]
    path.write_bytes(data)
    return path


def replace_bytes(path: Path, old: bytes, new: bytes) -> Path:
    """Replace bytes that stand once in a file."""
    data = path.read_bytes()
    if data.count(old) != 1:
        raise ValueError(f"{old!r} stands {data.count(old)} times")
    path.write_bytes(data.replace(old, new))
    return path


def with_attributes(kind: str, words: str, expected: str, *, told: str = "", refused: str = "", **given: Any) -> Row:
    """Return a row of one multi-frame file with other attributes; what `Expected` takes goes to it."""
    known = {key: given.pop(key) for key in ("masks", "steps", "times", "exposed", "unsubtracted") if key in given}
    stored = given.pop("frames", RUN)
    read = given.pop("read", stored)
    bits = given.pop("bits", 0)

    def make(folder: Path) -> Expected:
        path = save(a_run(stored, bits=bits, **given), folder / "run.dcm")
        return Expected(path, () if refused else (read,), told=told, refused=refused, **known)

    return Row(kind, words, expected, make)


def with_bytes(kind: str, words: str, expected: str, patches: dict[str, bytes | None], **given: Any) -> Row:
    """Return a row of one multi-frame file in which the bytes of values are replaced."""
    known = {key: given.pop(key) for key in ("told", "refused", "masks", "times", "exposed") if key in given}

    def make(folder: Path) -> Expected:
        path = save(a_run(**given), folder / "run.dcm")
        for keyword, value in patches.items():
            patch(path, keyword, value)
        return Expected(path, () if known.get("refused") else (RUN,), **known)

    return Row(kind, words, expected, make)
