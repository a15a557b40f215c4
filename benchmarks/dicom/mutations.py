"""Small DICOM runs of every transfer syntax that can be written here, and thousands of ways to break them.

Each mutation knows what a reader may do with it:

    "refuse"  refuse it: the file has no such pixels
    "same"    refuse it, or return exactly the pixels of the file as it was: nothing that pixels depend on was touched
    "told"    refuse it, return the same pixels, or return others with a warning
    "any"     refuse it, or return whatever the changed file now says: nobody can tell that it was another
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedXAImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from angiomorph.dicom import write_run

SHAPE = (4, 48, 32)  # the least that JPEG 2000 encodes
PREAMBLE = 132
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
PIXELS_EXPLICIT = b"\xe0\x7f\x10\x00OW"
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
# What pixels depend on: sizes, bits, sign, colour, polarity, number of frames, the transfer syntax and class.
PIXELS = {
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation"),
    *("PixelIntensityRelationshipSign", "SamplesPerPixel", "NumberOfFrames", "PixelData", "TransferSyntaxUID", "SOPClassUID"),
    *("PixelSpacing", "PresentationLUTShape", "PixelIntensityRelationship", "ModalityLUTSequence", "ExtendedOffsetTable"),
}
PIXEL_TAGS = {tag_for_keyword(keyword) for keyword in PIXELS}


@dataclass(frozen=True)
class Element:
    """A data element, item or fragment in a file, by byte positions.

    Args:
        tag: group and element.
        start: of its tag.
        length_at: of its length field.
        length_size: of that field, 2 or 4 bytes.
        value: of its value.
        end: behind its value.
        depth: 0 at the top level.
        leaf: whether the value holds no further elements.
    """

    tag: int
    start: int
    length_at: int
    length_size: int
    value: int
    end: int
    depth: int
    leaf: bool


@dataclass(frozen=True)
class Base:
    """A good file.

    Args:
        name: of its kind.
        data: its bytes.
        syntax: transfer syntax.
        elements: what it is made of; empty where the data set is deflated.
    """

    name: str
    data: bytes
    syntax: UID
    elements: tuple[Element, ...]

    @property
    def order(self) -> str:
        """Return the byte order of the data set, as `struct` writes it."""
        return ">" if self.syntax == ExplicitVRBigEndian else "<"

    def element(self, keyword: str) -> Element:
        """Return a top-level element that is there."""
        found = self.find(keyword)
        if found is None:
            raise KeyError(keyword)
        return found

    def find(self, keyword: str) -> Element | None:
        """Return a top-level element; None where there is none."""
        tag = tag_for_keyword(keyword)
        return next((element for element in self.elements if element.tag == tag and not element.depth), None)

    def fragments(self) -> list[Element]:
        """Return the items of encapsulated pixel data, the offset table first."""
        pixels = self.find("PixelData")
        if pixels is None or self.syntax in NATIVE:
            return []
        return [e for e in self.elements if e.tag == ITEM and e.depth == 1 and pixels.value <= e.start < pixels.end]


@dataclass(frozen=True)
class Mutation:
    """A broken file.

    Args:
        base: name of the good file.
        kind: what was done.
        detail: where, to find it again.
        allowed: see the module.
        make: returns the bytes.
    """

    base: str
    kind: str
    detail: str
    allowed: str
    make: Callable[[], bytes]

    @property
    def name(self) -> str:
        """Return base, kind and detail."""
        return f"{self.base} / {self.kind} / {self.detail}"


def bases() -> list[Base]:
    """Return a good file of each transfer syntax for which an encoder is installed."""
    rng = np.random.default_rng(0)
    frames = rng.integers(1 << 11, 1 << 12, SHAPE).astype(np.uint16)
    attributes = {
        "MaskFrameNumbers": [1, 2],
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 2,
        "ShutterRightVerticalEdge": 30,
        "ShutterUpperHorizontalEdge": 2,
        "ShutterLowerHorizontalEdge": 40,
        "DistanceSourceToDetector": 1000,
    }
    whole = _write_and_read(frames, BitsStored=12, relation="LIN", attributes=attributes)
    small = _write_and_read((frames >> 4).astype(np.uint8), BitsStored=8, relation="LIN")
    log = _write_and_read(frames, BitsStored=12, relation="LOG", modality_lut=np.arange(1 << 12, dtype=np.uint16))
    made: list[tuple[str, Callable[[], Dataset]]] = [
        ("explicit", lambda: whole),
        ("eight bit", lambda: small),
        ("LOG", lambda: log),
        ("implicit", lambda: _as(whole, ImplicitVRLittleEndian)),
        ("big endian", lambda: _as(whole, ExplicitVRBigEndian)),
        ("deflated", lambda: _as(whole, DeflatedExplicitVRLittleEndian)),
        ("enhanced", lambda: _make_enhanced(whole)),
        ("RLE", lambda: _compress(whole, RLELossless)),
        ("JPEG-LS", lambda: _compress(whole, JPEGLSLossless)),
        ("JPEG 2000", lambda: _compress(whole, JPEG2000Lossless)),
        ("JPEG", lambda: _jpeg(small)),
    ]
    found = []
    for name, make in made:
        try:
            dataset = make()
        except (ImportError, RuntimeError):  # pydicom: no encoder is installed
            continue
        found.append(base(name, _bytes(dataset)))
    return found


def _write_and_read(frames: np.ndarray, **options: Any) -> Dataset:
    with TemporaryDirectory() as folder:
        path = Path(folder, "run.dcm")
        write_run(path, frames, frame_time=100.0, **options)
        return pydicom.dcmread(path)


def base(name: str, data: bytes) -> Base:
    """Return a good file with its structure."""
    syntax = UID(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta.TransferSyntaxUID)
    meta = Parser(data, explicit=True, order="<")
    start = meta.dataset(PREAMBLE, len(data), stop=0x00030000)
    if syntax == DeflatedExplicitVRLittleEndian:
        return Base(name, data, syntax, tuple(meta.found))
    content = Parser(data, explicit=syntax != ImplicitVRLittleEndian, order=">" if syntax == ExplicitVRBigEndian else "<")
    content.dataset(start, len(data))
    return Base(name, data, syntax, (*meta.found, *content.found))


def _bytes(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def _copy(dataset: Dataset) -> Dataset:
    return pydicom.dcmread(io.BytesIO(_bytes(dataset)))


def _as(dataset: Dataset, syntax: UID) -> Dataset:
    copied = _copy(dataset)
    if syntax == ExplicitVRBigEndian:
        copied.PixelData = np.frombuffer(copied.PixelData, "<u2").astype(">u2").tobytes()
    copied.file_meta.TransferSyntaxUID = syntax
    content = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(content, copied, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(content.getvalue()))


def _compress(dataset: Dataset, syntax: UID) -> Dataset:
    copied = _copy(dataset)
    copied.compress(syntax, generate_instance_uid=False)
    return copied


def _jpeg(dataset: Dataset) -> Dataset:
    from PIL import Image

    copied, fragments = _copy(dataset), []
    for frame in dataset.pixel_array:
        content = io.BytesIO()
        Image.fromarray(frame).save(content, "JPEG", quality=95)
        fragments.append(content.getvalue())
    copied.PixelData = encapsulate(fragments)
    copied["PixelData"].VR = "OB"
    copied.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return copied


def _make_enhanced(dataset: Dataset) -> Dataset:
    copied, shared, properties = _copy(dataset), Dataset(), Dataset()
    copied.SOPClassUID = copied.file_meta.MediaStorageSOPClassUID = EnhancedXAImageStorage
    properties.PixelIntensityRelationship, properties.PixelIntensityRelationshipSign = "LIN", 1
    shared.FramePixelDataPropertiesSequence = [properties]
    copied.SharedFunctionalGroupsSequence = [shared]
    copied.PerFrameFunctionalGroupsSequence = [_frame(index) for index in range(SHAPE[0])]
    return copied


def _frame(index: int) -> Dataset:
    group, content = Dataset(), Dataset()
    content.FrameAcquisitionNumber = index + 1
    content.FrameAcquisitionDateTime = f"20200101120000.{index}00000"
    group.FrameContentSequence = [content]
    return group


class Parser:
    """What a well-formed file is made of, outer elements before inner ones, in `found`.

    Args:
        data: the file.
        explicit: whether value representations are written.
        order: "<" or ">".
    """

    def __init__(self, data: bytes, *, explicit: bool, order: str) -> None:
        self.data, self.explicit, self.order = data, explicit, order
        self.found: list[Element] = []

    def dataset(self, at: int, end: int, depth: int = 0, stop: int = 1 << 32) -> int:
        """Read elements from `at` up to `end`, a delimiter, or the tag `stop`; return where they end."""
        while at + 8 <= end:
            tag = self._tag(at)
            if tag >= stop:
                return at
            if tag in (ITEM_END, SEQUENCE_END):
                self._add(Element(tag, at, at + 4, 4, at + 8, at + 8, depth, leaf=True))
                return at + 8
            representation = self.data[at + 4 : at + 6] if self.explicit else b""
            short = self.explicit and representation not in LONG
            length_at = at + (6 if short else 8 if self.explicit else 4)
            value = length_at + (2 if short else 4)
            (length,) = struct.unpack_from(self.order + ("H" if short else "L"), self.data, length_at)
            place, limit = self._add(None), end if length == UNDEFINED else value + length
            nested = representation == b"SQ" or _is_sequence(tag, self.explicit) or length == UNDEFINED
            value_end = self._items(value, limit, depth + 1, holds_elements=tag != PIXEL_DATA) if nested else limit
            self.found[place] = Element(tag, at, length_at, value - length_at, value, value_end, depth, leaf=not nested)
            at = value_end
        return at

    def _items(self, at: int, end: int, depth: int, *, holds_elements: bool) -> int:
        while at + 8 <= end:
            tag, (length,) = self._tag(at), struct.unpack_from(self.order + "L", self.data, at + 4)
            place = self._add(None)
            limit = end if length == UNDEFINED else at + 8 + length
            value_end = self.dataset(at + 8, limit, depth + 1) if tag == ITEM and holds_elements else limit
            self.found[place] = Element(tag, at, at + 4, 4, at + 8, value_end, depth, leaf=not holds_elements)
            at = value_end
            if tag == SEQUENCE_END:
                break
        return at

    def _tag(self, at: int) -> int:
        group, number = struct.unpack_from(self.order + "HH", self.data, at)
        return int(group) << 16 | int(number)

    def _add(self, element: Any) -> int:
        self.found.append(element)
        return len(self.found) - 1


def _is_sequence(tag: int, explicit: bool) -> bool:
    try:
        return not explicit and dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def mutations(good: Sequence[Base], seed: int, files: int) -> list[Mutation]:
    """Return mutations of the good files: every kind, spread over all that there are, filled up with random ones.

    Args:
        good: see `bases`.
        seed: of the choice and of random bytes.
        files: how many, in turn of each kind and base.
    """
    rng = np.random.default_rng(seed)
    structured = [*of_no_base(), *(mutation for one in good for mutation in of_base(one, rng))]
    groups: dict[tuple[str, str], list[Mutation]] = {}
    for index in rng.permutation(len(structured)):
        groups.setdefault((structured[index].base, structured[index].kind), []).append(structured[index])
    rounds = (mutation for each in itertools.zip_longest(*groups.values()) for mutation in each if mutation is not None)
    chosen = list(itertools.islice(rounds, files))
    while len(chosen) < files:
        chosen.append(_random_bytes(good[len(chosen) % len(good)], int(rng.integers(1 << 32))))
    return chosen


def patch_bytes(data: bytes, at: int, new: bytes) -> bytes:
    """Return bytes with other ones from a place on."""
    return data[:at] + new + data[at + len(new) :]


def of_no_base() -> Iterator[Mutation]:
    """Yield files that are no run at all."""
    noise = np.random.default_rng(0).bytes(4096)
    for name, data in {
        "nothing": b"",
        "a preamble": bytes(128),
        "a preamble cut within its mark": bytes(128) + b"DI",
        "a mark alone": bytes(128) + b"DICM",
        "a mark and noise": bytes(128) + b"DICM" + noise,
        "noise": noise,
        "zeros": bytes(4096),
        "a group length of all bytes": bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\xff",
    }.items():
        yield Mutation("no run", "no run", name, "refuse", partial(bytes, data))


def of_base(good: Base, rng: np.random.Generator) -> Iterator[Mutation]:
    """Yield every structured mutation of a good file."""
    yield from _cuts(good)
    yield from _transfer_syntaxes(good)
    if good.syntax == DeflatedExplicitVRLittleEndian:
        yield from _flip_deflated(good)
        return
    yield from _lengths(good)
    yield from _flips(good, rng)
    yield from _numbers(good)
    yield from _nest_sequences(good)
    if len(good.fragments()) > 1:
        yield from _offset_tables(good)
        yield from _fragments(good)
        yield from _codestreams(good)


def _cuts(good: Base) -> Iterator[Mutation]:
    """Cut the file at every boundary of its structure, and one byte before and behind."""
    marks = {
        position for element in good.elements for position in (element.start, element.length_at, element.value, element.end)
    }
    if not good.find("PixelData"):
        marks |= set(range(max(marks), len(good.data), 97))
    for position in sorted({mark + by for mark in marks for by in (-1, 0, 1)}):
        if 0 < position < len(good.data):
            yield Mutation(good.name, "cut", f"byte {position}", "same", partial(bytes, good.data[:position]))


def _transfer_syntaxes(good: Base) -> Iterator[Mutation]:
    """Write another transfer syntax, of the same length, into the file meta information."""
    element = good.element("TransferSyntaxUID")
    length = element.end - element.value
    for uid in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.3", "no syntax", ""):
        new = uid.encode()[:length].ljust(length, b"\0")
        if new.rstrip(b"\0") == good.syntax.encode()[:length]:
            continue
        # Bytes read in another order or as another code give other pixels: what was meant is nowhere in the file.
        yield Mutation(good.name, "transfer syntax", repr(uid), "any", partial(patch_bytes, good.data, element.value, new))


def _flip_deflated(good: Base) -> Iterator[Mutation]:
    start = good.elements[-1].end
    content = zlib.decompress(good.data[start:], -zlib.MAX_WBITS)
    for position in range(start, len(good.data), 61):
        # A flipped bit of deflated bytes may stand for any others: there is no checksum in this transfer syntax.
        flipped = bytes([good.data[position] ^ 0x10])
        yield Mutation(
            good.name, "deflated bytes", f"byte {position}", "any", partial(patch_bytes, good.data, position, flipped)
        )
    long = good.data[:start] + struct.pack("<HH2sHL", 0x0002, 0x0102, b"OB", 0, 1 << 15) + bytes(1 << 15)
    for meta, told in ((good.data[:start], ""), (long, " behind long meta information")):
        for size in (1 << 26, 1 << 27, 1 << 29):
            yield Mutation(good.name, "deflate bomb", f"{size} bytes{told}", "same", partial(_bomb, meta, content, size))
    pixels = content.index(PIXELS_EXPLICIT)
    changed = {"no pixels": content[:pixels], "pixels without a length": content[: pixels + 8]}
    for representation in (b"FD", b"FL", b"UL", b"SQ", b"UT", b"UN", b"XX"):
        name = f"pixels as {representation.decode()}"
        changed[name] = content[: pixels + 4] + representation + content[pixels + 6 :]
    for name, data in changed.items():
        allowed = "same" if name.endswith("UN") else "refuse"
        yield Mutation(good.name, "deflated pixels", name, allowed, partial(_deflate, good.data[:start], data))


def _deflate(meta: bytes, content: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return meta + deflate.compress(content) + deflate.flush()


def _bomb(meta: bytes, content: bytes, size: int) -> bytes:
    """Return a deflated data set that holds `size` zeros in a private element before its pixels."""
    pixels = content.index(PIXELS_EXPLICIT)
    head = content[:pixels] + struct.pack("<HH2sHL", 0x7001, 0x0010, b"OB", 0, size)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    parts = [deflate.compress(head) + deflate.flush(zlib.Z_FULL_FLUSH)]
    # After a full flush nothing depends on what went before: one megabyte's bytes stand for any number of them.
    megabyte = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return meta + b"".join([*parts, megabyte * (size >> 20), deflate.compress(content[pixels:]), deflate.flush()])


def _lengths(good: Base) -> Iterator[Mutation]:
    """Give each element another length."""
    for element in good.elements:
        size = element.length_size
        order = "<" if element.tag >> 16 == 2 else good.order
        true = element.end - element.value
        most = (1 << 8 * size) - 1
        for length in sorted({0, 1, max(true - 1, 0), true + 1, true + 2, true * 2 + 2, most // 2, most - 1, most} - {true}):
            if length > most:
                continue
            new = struct.pack(order + ("H" if size == 2 else "L"), length)
            last = element.tag == PIXEL_DATA and not element.depth and good.syntax in NATIVE
            detail = f"{element.tag:08X} at byte {element.start}: {length} for {true}"
            # Behind a length that is wrong everything may be read as something else; the last element has nothing behind it.
            allowed = "same" if last and length >= true else "refuse" if last else "any"
            yield Mutation(good.name, "length", detail, allowed, partial(patch_bytes, good.data, element.length_at, new))


def _flips(good: Base, rng: np.random.Generator) -> Iterator[Mutation]:
    """Flip bits of tags, representations and lengths; and of values that no pixel depends on."""
    outside = {element.tag for element in good.elements if not element.depth} & PIXEL_TAGS
    holders = [e for e in good.elements if not e.depth and e.tag not in outside]
    for element in good.elements:
        for position in range(element.start, element.value):
            bit = 1 << int(rng.integers(8))
            new = bytes([good.data[position] ^ bit])
            detail = f"{element.tag:08X} at byte {position}, bit {bit}"
            yield Mutation(good.name, "flip of a tag or length", detail, "any", partial(patch_bytes, good.data, position, new))
    for element in holders:
        if not element.leaf or element.tag >> 16 == 2 or element.end == element.value:
            continue
        for _ in range(3):
            position, bit = int(rng.integers(element.value, element.end)), 1 << int(rng.integers(8))
            new = bytes([good.data[position] ^ bit])
            detail = f"{element.tag:08X} at byte {position}, bit {bit}"
            yield Mutation(good.name, "flip of another value", detail, "same", partial(patch_bytes, good.data, position, new))
        junk = rng.bytes(element.end - element.value)
        detail = f"{element.tag:08X}, all {len(junk)} bytes"
        yield Mutation(good.name, "junk as another value", detail, "same", partial(patch_bytes, good.data, element.value, junk))


NUMBERS: dict[str, dict[Any, str]] = {
    "Rows": {0: "refuse", 1: "refuse", 24: "refuse", 47: "told", 49: "refuse", 96: "refuse", 65535: "refuse"},
    "Columns": {0: "refuse", 1: "refuse", 16: "refuse", 33: "refuse", 64: "refuse", 65535: "refuse"},
    "NumberOfFrames": {
        **{"0": "same", "-1": "same", "2": "told", "3": "told", "5": "refuse", "1e9": "refuse", "65536": "refuse"},
        **{
            "2147483647": "refuse",
            "99999999999": "refuse",
            "1\\2": "any",
            "4.5": "any",
            "": "same",
            "nan": "same",
            "x": "same",
        },
    },
    "BitsAllocated": {0: "refuse", 1: "refuse", 12: "refuse", 32: "refuse", 64: "refuse", 65535: "refuse"},
    "BitsStored": {0: "refuse", 17: "refuse", 65535: "refuse"},
    "SamplesPerPixel": {0: "same", 2: "refuse", 3: "refuse", 65535: "refuse"},
    "HighBit": {0: "same", 3: "same", 65535: "same"},
}


def _numbers(good: Base) -> Iterator[Mutation]:
    """Give the numbers that pixels are laid out by other values, in a file that is else as it was."""
    for keyword, changes in NUMBERS.items():
        for number, allowed in changes.items():
            if good.name in ("RLE", "JPEG-LS", "JPEG 2000", "JPEG") and keyword in ("Rows", "Columns"):
                allowed = "refuse"  # the compressed frames have a size of their own
            yield Mutation(
                good.name, f"wrong {keyword}", repr(number), allowed, partial(change_values, good, **{keyword: number})
            )
    for rows, columns, frames in ((65535, 65535, "2147483647"), (65535, 65535, "1"), (4, 4, "2147483647"), (65535, 1, "65535")):
        given = {"Rows": rows, "Columns": columns, "NumberOfFrames": frames}
        yield Mutation(
            good.name, "huge pictures", f"{rows} x {columns} x {frames}", "refuse", partial(change_values, good, **given)
        )


def change_values(good: Base, **changes: Any) -> bytes:
    """Return the file with values of top-level elements changed, whatever their representation would allow."""
    data = good.data
    for keyword, number in changes.items():
        element = good.find(keyword)
        if element is None:
            continue
        value = struct.pack(good.order + "H", number) if isinstance(number, int) else str(number).encode()
        value += b" " * (len(value) % 2)
        length = struct.pack(good.order + ("H" if element.length_size == 2 else "L"), len(value))
        if len(value) != element.end - element.value:
            # Only NumberOfFrames changes its length; it stands before Rows and Columns.
            good = base(good.name, data[: element.length_at] + length + value + data[element.end :])
            data = good.data
        else:
            data = patch_bytes(data, element.value, value)
    return data


def _nest_sequences(good: Base) -> Iterator[Mutation]:
    """Put sequences within sequences into a private element before the pixels."""
    pixels = good.element("PixelData")
    representation = b"" if good.syntax == ImplicitVRLittleEndian else b"SQ\0\0"
    order = good.order
    opening = struct.pack(order + "HH", 0x7001, 0x1001) + representation + struct.pack(order + "L", UNDEFINED)
    opening += struct.pack(order + "HHL", 0xFFFE, 0xE000, UNDEFINED)
    closing = struct.pack(order + "HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    for depth in (1, 20, 200, 2000, 20_000, 200_000):
        for closed in (True, False):
            inserted = opening * depth + (closing * depth if closed else b"")
            detail = f"{depth} deep, {'closed' if closed else 'open'}"
            yield Mutation(good.name, "nested sequences", detail, "same", partial(_insert, good.data, pixels.start, inserted))


def _insert(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at:]


def _item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


def _offset_tables(good: Base) -> Iterator[Mutation]:
    """Write offset tables that are wrong; each frame is one fragment, so that none is needed."""
    table, *items = good.fragments()
    true = [item.start - items[0].start for item in items]
    for name, offsets in {
        "true": true,
        "zeros": [0] * len(items),
        "of all bytes": [UNDEFINED] * len(items),
        "backwards": true[::-1],
        "odd": [offset + 1 for offset in true],
        "too short": true[:1],
        "too long": true * 3,
        "past the end": [offset + 100_000 for offset in true],
    }.items():
        new = _item(struct.pack(f"<{len(offsets)}L", *offsets))
        data = good.data[: table.start] + new + good.data[table.end :]
        yield Mutation(good.name, "offset table", name, "same", partial(bytes, data))
    broken = good.data[: table.start] + _item(b"abc") + good.data[table.end :]
    yield Mutation(good.name, "offset table", "three bytes", "same", partial(bytes, broken))


def _fragments(good: Base) -> Iterator[Mutation]:
    """Break, cut, add, drop and repeat fragments."""
    _, *items = good.fragments()
    values = [good.data[item.value : item.end] for item in items]

    def rebuilt(parts: Sequence[bytes], allowed: str, detail: str) -> Mutation:
        body = b"".join(map(_item, parts))
        data = good.data[: items[0].start] + body + good.data[items[-1].end :]
        return Mutation(good.name, "fragments", detail, allowed, partial(bytes, data))

    for index, value in enumerate(values):
        before, behind = values[:index], values[index + 1 :]
        yield rebuilt([*before, *behind], "refuse", f"without {index}")
        yield rebuilt([*before, b"", *behind], "refuse", f"{index} empty")
        yield rebuilt([*before, b"", value, *behind], "same", f"an empty one before {index}")
        yield rebuilt([*before, value, value, *behind], "told", f"{index} twice")
        yield rebuilt([*before, bytes(len(value)), *behind], "refuse", f"{index} all zero")
        for share in (0.1, 0.5, 0.9):
            size = int(len(value) * share) // 2 * 2
            yield rebuilt([*before, value[:size], *behind], "refuse", f"{index} cut to {size} of {len(value)} bytes")
        yield rebuilt([*before, value[: len(value) // 4 * 2], value[len(value) // 4 * 2 :], *behind], "same", f"{index} in two")
        junk = value[:20] + np.random.default_rng(index).bytes(max(len(value) - 20, 0))
        yield rebuilt([*before, junk, *behind], "any", f"{index} with noise from byte 20")


def _codestreams(good: Base) -> Iterator[Mutation]:
    """Let the headers of compressed frames lie about their size."""
    _, *items = good.fragments()
    item = items[1]
    value = good.data[item.value : item.end]
    if good.name == "RLE":
        for at, number in ((0, 0), (0, 15), (0, 16), (0, UNDEFINED), (4, 0), (4, UNDEFINED), (8, 1), (8, 1 << 31)):
            new = struct.pack("<L", number)
            detail = f"segments or offset at {at}: {number}"
            yield Mutation(good.name, "lying header", detail, "same", partial(patch_bytes, good.data, item.value + at, new))
        return
    start, size = _size_at(value)
    if start is None:
        return
    code = "H" if size == 2 else "L"
    for place in (0, 1):
        at = item.value + start + size * place
        (true,) = struct.unpack_from(f">{code}", good.data, at)
        for number in sorted({0, 1, true // 2, true - 1, true + 1, true * 2, true + 256, 65535, (1 << 8 * size) - 1} - {true}):
            new = struct.pack(f">{code}", number)
            detail = f"{'height' if place == 0 and size == 2 else 'size'} {place}: {number} for {true}"
            yield Mutation(good.name, "lying header", detail, "refuse", partial(patch_bytes, good.data, at, new))


def _size_at(value: bytes) -> tuple[int | None, int]:
    """Return where the two sizes stand in a codestream, and their bytes each: JPEG, JPEG-LS, JPEG 2000."""
    for marker in (b"\xff\xc0", b"\xff\xf7"):
        if (at := value.find(marker)) >= 0:
            return at + 5, 2
    at = value.find(b"\xff\x51")
    return (at + 6, 4) if at >= 0 else (None, 0)


def _random_bytes(good: Base, seed: int) -> Mutation:
    """Change one to eight random bytes behind the preamble."""

    def make() -> bytes:
        rng, data = np.random.default_rng(seed), bytearray(good.data)
        for position in rng.integers(PREAMBLE, len(data), rng.integers(1, 9)):
            data[position] = rng.integers(256)
        return bytes(data)

    return Mutation(good.name, "random bytes", f"seed {seed}", "any", make)
