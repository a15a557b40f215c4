"""Folders of single frames, zip and gz archives and DICOMDIR media, and ways to break them, for `benchmarks.dicom.fuzz`."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from angiomorph.dicom import write_run
from benchmarks.dicom import mutations

GIVEN, OUTSIDE = "given", "outside"  # the folder of the input, and one beside it that nothing may read or write
ZIP = "run.zip"
COUNT, SHAPE = 4, (24, 16)
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Tree:
    """A broken folder, archive or medium.

    Args:
        base: "folder", "zip", "gz" or "DICOMDIR".
        kind: what was done.
        detail: where, to find it again.
        allowed: see `benchmarks.dicom.mutations`.
        path: what is given to the reader, below the folder `GIVEN`; "." for that folder.
        make: returns the files below `GIVEN`, from the folder that it and `OUTSIDE` are in.
    """

    base: str
    kind: str
    detail: str
    allowed: str
    path: str
    make: Callable[[Path], Files]

    @property
    def name(self) -> str:
        """Return base, kind and detail."""
        return f"{self.base} / {self.kind} / {self.detail}"


def good_trees() -> list[Tree]:
    """Return a folder, archives of both kinds and a medium that are as they should be, in the order of `Tree.base`."""
    frames, whole = _single_frames(0), _multi_frame(0)
    return [
        Tree("folder", "good", "", "same", ".", _always(frames)),
        Tree("zip", "good", "", "same", ZIP, _always({ZIP: _pack_zip(frames)})),
        Tree("gz", "good", "", "same", "run.dcm.gz", _always({"run.dcm.gz": _pack_gz(whole)})),
        Tree("DICOMDIR", "good", "", "same", "DICOMDIR", _always(_medium(frames))),
    ]


def outside() -> Files:
    """Return files of another run, which lie beside the folder that is given."""
    return _single_frames(1)


def trees(seed: int, count: int) -> list[Tree]:
    """Return mutations of the good trees, every kind in turn.

    Args:
        seed: of the choice and of random bytes.
        count: how many.
    """
    rng = np.random.default_rng(seed)
    frames, whole = _single_frames(0), _multi_frame(0)
    found = [*_of_folder(frames, rng), *_of_zip(frames, rng), *_of_gz(whole, rng), *_of_medium(frames, rng)]
    groups: dict[tuple[str, str], list[Tree]] = {}
    for index in rng.permutation(len(found)):
        groups.setdefault((found[index].base, found[index].kind), []).append(found[index])
    chosen: list[Tree] = []
    while len(chosen) < count and any(groups.values()):
        chosen += [group.pop() for group in groups.values() if group]
    return chosen[:count]


def _multi_frame(seed: int) -> bytes:
    frames = np.random.default_rng(seed).integers(1 << 11, 1 << 12, (COUNT, *SHAPE)).astype(np.uint16)
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.dcm")
        write_run(path, frames, BitsStored=12, relation="LIN", frame_time=100.0)
        return path.read_bytes()


@lru_cache
def _single_frames(seed: int) -> Files:
    found = {}
    for index in range(COUNT):
        dataset = pydicom.dcmread(io.BytesIO(_multi_frame(seed)))
        size = len(dataset.PixelData) // COUNT
        dataset.PixelData = dataset.PixelData[index * size : (index + 1) * size]
        for keyword in ("NumberOfFrames", "FrameTime", "FrameIncrementPointer", "MaskSubtractionSequence"):
            if keyword in dataset:
                del dataset[keyword]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{seed}.{index + 1}")
        dataset.InstanceNumber = index + 1
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20200101", f"12000{index}.500000"
        dataset.AcquisitionNumber = 1
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
        dataset.PatientID, dataset.PatientName, dataset.SeriesNumber = "SIMULATED", "SIMULATED^RUN", 1
        found[f"{index + 1}.dcm"] = _bytes(dataset)
    return found


def _bytes(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _pack_zip(files: Files, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name), data, compression)
    return content.getvalue()


def _pack_gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _medium(files: Files, last: Sequence[str] = ()) -> Files:
    """Return the files of a medium with a DICOMDIR, which calls the last of them `last` if that is given."""
    names = [["DICOM", f"IM{index}"] for index in range(len(files))]
    there = {"/".join(name): data for name, data in zip(names, files.values(), strict=True)}
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    records = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that DICOM does not allow
        for name in [*names[:-1], list(last) or names[-1]]:
            record = Dataset()
            record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", name
            records.append(record)
        directory.DirectoryRecordSequence = records
        return {"DICOMDIR": _bytes(directory), **there}


def _always(files: Files) -> Callable[[Path], Files]:
    return lambda _: files


def _replace_files(files: Files, name: str, make: Callable[[], bytes], root: Path) -> Files:
    return {**files, name: make()}


def _of_folder(frames: Files, rng: np.random.Generator) -> Iterator[Tree]:
    def tree(kind: str, detail: str, allowed: str, files: Files) -> Tree:
        return Tree("folder", kind, detail, allowed, ".", _always(files))

    for name in ("1.dcm", f"{COUNT - 1}.dcm"):
        good = mutations.base("explicit", frames[name])
        for one in mutations.of_base(good, rng):
            # A frame that is none leaves the others, told; one of other times or numbers is another frame.
            allowed = "told" if one.allowed in ("refuse", "told") else "any"
            make = partial(_replace_files, frames, name, one.make)
            yield Tree("folder", f"frame: {one.kind}", f"{name}, {one.detail}", allowed, ".", make)
    yield tree("files", "names backwards", "same", {f"{COUNT - at}.dcm": data for at, data in enumerate(frames.values())})
    for name, data in {"empty": b"", "notes.txt": b"no picture", "x" * 250: b"DICM" * 50, "zip": b"PK\x03\x04"}.items():
        yield tree("files", f"and {name[:20]}", "same", {**frames, name: data})
    for name, data in frames.items():
        yield tree("files", f"{name} twice", "same", {**frames, f"copy of {name}": data})
        yield tree("files", f"{name} in a folder below", "any", {**_without(frames, name), f"below/{name}": data})
        yield tree("files", f"without {name}", "any", _without(frames, name))


def _without(files: Files, name: str) -> dict[str, bytes]:
    return {other: data for other, data in files.items() if other != name}


def _broken(data: bytes, rng: np.random.Generator, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield a file cut, and with bits flipped."""
    for position in sorted({int(place) for place in rng.integers(0, len(data), count)}):
        yield f"cut at {position}", data[:position]
    for _ in range(count):
        position, bit = int(rng.integers(len(data))), 1 << int(rng.integers(8))
        yield f"bit {bit} at {position}", data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]


NAMES = {
    "up": "../evil.dcm",
    "far up": "a/../../../../evil.dcm",
    "of another system": "..\\..\\evil.dcm",
    "a drive": "C:\\evil.dcm",
    "nothing": "/",
    "dots": "..",
    "of 300 letters": "x" * 300 + ".dcm",
    "deep": "a/" * 2000 + "evil.dcm",
    "no text": "\udcff.dcm".encode("utf-8", "surrogatepass").decode("latin-1"),
}


def _of_zip(frames: Files, rng: np.random.Generator) -> Iterator[Tree]:
    yield from _names_in_zip(frames)
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield from _damage_zip(_pack_zip(frames, compression), f"compression {compression}", rng)
    yield from _falsify_zip(_pack_zip(frames))
    for times, allowed in ((1, "same"), (2, "same"), (40, "refuse"), (1000, "refuse")):
        yield Tree("zip", "bomb", f"64 MB, listed {times} times", allowed, ZIP, partial(_zip_bomb, frames, times))
    yield _zip("files", "nothing", "refuse", _pack_zip({}))
    yield _zip("files", "a zip within", "same", _pack_zip({**frames, "inner.zip": _pack_zip(frames)}))
    yield _zip("files", "names twice", "same", _zip_twice(frames))


def _zip(kind: str, detail: str, allowed: str, data: bytes) -> Tree:
    return Tree("zip", kind, detail, allowed, ZIP, _always({ZIP: data}))


def _names_in_zip(frames: Files) -> Iterator[Tree]:
    stranger = next(iter(outside().values()))

    def absolute(root: Path) -> Files:
        return {ZIP: _pack_zip({**frames, f"{root}/evil.dcm": stranger})}

    for name, evil in NAMES.items():
        yield _zip("names", name, "any", _pack_zip({**frames, evil: stranger}))
    yield _zip("names", "a file and a folder", "any", _pack_zip({"a": b"x", "a/b": b"x", **frames}))
    yield Tree("zip", "names", "absolute", "refuse", ZIP, absolute)
    yield Tree("zip", "names", "a link out of it", "same", ZIP, partial(_add_links, frames))


def _damage_zip(packed: bytes, name: str, rng: np.random.Generator) -> Iterator[Tree]:
    for detail, data in _broken(packed, rng, 30):
        yield _zip(f"bytes, {name}", detail, "told", data)
    start = 30 + len("1.dcm")  # behind the first member's name its packed bytes begin
    for detail, data in _broken(packed[start : start + 400], rng, 10):
        if not detail.startswith("cut"):
            yield _zip(f"a member, {name}", detail, "told", packed[:start] + data + packed[start + 400 :])


def _falsify_zip(packed: bytes) -> Iterator[Tree]:
    central = packed.index(b"PK\x01\x02")
    for name, place, code in (("flags", 8, "H"), ("method", 10, "H"), ("packed", 20, "L"), ("size", 24, "L"), ("at", 42, "L")):
        for number in (0, 1, 12, 14, 99, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF):
            if code == "L" or number <= 0xFFFF:
                data = mutations.patch_bytes(packed, central + place, struct.pack(f"<{code}", number))
                yield _zip("directory", f"{name} {number}", "told", data)


def _zip_twice(frames: Files) -> bytes:
    content = io.BytesIO(_pack_zip(frames))
    with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in frames.items():
            packed.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def _add_links(frames: Files, root: Path) -> Files:
    content = io.BytesIO(_pack_zip(frames))
    with zipfile.ZipFile(content, "a") as packed:
        for name, target in (("link.dcm", f"{root}/{OUTSIDE}/1.dcm"), ("below", f"{root}/{OUTSIDE}")):
            member = zipfile.ZipInfo(name)
            member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            packed.writestr(member, target)
    return {ZIP: content.getvalue()}


def _zip_bomb(frames: Files, times: int, root: Path) -> Files:
    """Return a zip whose directory lists 64 MB of zeros so many times, in the same place."""
    packed = _pack_zip({**frames, "zeros": bytes(1 << 26)})
    end = packed.rindex(b"PK\x05\x06")
    entry = packed[packed.rindex(b"PK\x01\x02") : end]
    count, size = struct.unpack_from("<HL", packed, end + 10)
    counts = struct.pack("<HHL", count + times - 1, count + times - 1, size + (times - 1) * len(entry))
    return {ZIP: packed[:end] + entry * (times - 1) + packed[end : end + 8] + counts + packed[end + 16 :]}


def _of_gz(whole: bytes, rng: np.random.Generator) -> Iterator[Tree]:
    def tree(kind: str, detail: str, allowed: str, data: bytes) -> Tree:
        return Tree("gz", kind, detail, allowed, "run.dcm.gz", _always({"run.dcm.gz": data}))

    packed = _pack_gz(whole)
    for detail, data in _broken(packed, rng, 40):
        yield tree("bytes", detail, "same", data)
    yield tree("members", "zeros behind", "same", packed + bytes(100))
    yield tree("members", "noise behind", "same", packed + rng.bytes(100))
    yield tree("members", "twice", "same", packed + packed)
    yield tree("members", "packed twice", "refuse", _pack_gz(packed))
    yield tree("members", "of nothing", "refuse", _pack_gz(b""))


def _of_medium(frames: Files, rng: np.random.Generator) -> Iterator[Tree]:
    medium = _medium(frames)
    good = mutations.base("DICOMDIR", medium["DICOMDIR"])

    def tree(kind: str, detail: str, allowed: str, make: Callable[[Path], Files]) -> Tree:
        return Tree("DICOMDIR", kind, detail, allowed, "DICOMDIR", make)

    for one in (*mutations._cuts(good), *mutations._lengths(good), *mutations._flips(good, rng)):
        # Records that are lost leave their frames out, and nothing says that they were there.
        yield tree(one.kind, one.detail, "any", partial(_replace_files, medium, "DICOMDIR", one.make))
    for name in [name for name in medium if name != "DICOMDIR"]:
        yield tree("files", f"without {name}", "told", _always(_without(medium, name)))
    names: dict[str, Callable[[Path], Sequence[str]]] = {
        "up": lambda _: ["..", OUTSIDE, "1.dcm"],
        "up in one part": lambda _: [f"../{OUTSIDE}/1.dcm"],
        "absolute": lambda root: [f"{root}/{OUTSIDE}/1.dcm"],
        "root": lambda root: ["/", *root.parts[1:], OUTSIDE, "1.dcm"],
        "of 300 letters": lambda _: ["X" * 300],
        "a null": lambda _: ["DICOM", "A\0B"],
        "no ASCII": lambda _: ["\xe9\xff"],
        "a folder": lambda _: ["DICOM"],
        "a file as a folder": lambda _: ["DICOMDIR", "1"],
        "itself": lambda _: ["DICOMDIR"],
        "deep": lambda _: ["A"] * 5000,
    }
    for name, parts in names.items():
        yield tree("names", name, "told", partial(_name_files, frames, parts))


def _name_files(frames: Files, parts: Callable[[Path], Sequence[str]], root: Path) -> Files:
    return _medium(frames, parts(root))
