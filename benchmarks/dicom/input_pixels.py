"""Rows of `benchmarks.dicom.inputs`: pixels in every encoding, and their fragments."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.uid import (
    HEVCMP51,
    MPEG2MPML,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.dicom.input_tools import RUN, Expected, Row, a_run, compressed, encode, fragments, noise, save

ENCODINGS, FRAGMENTS, SIZES = "encoding of pixels", "fragments", "sizes"
SMOOTH = (np.indices((8, 48, 40)).sum(0) * 2 + 20).astype(np.uint8)
Table = Callable[[list[int]], Sequence[int]]
TABLES: dict[str, Table] = {
    "no table": lambda starts: (),
    "a table 10 bytes late": lambda starts: [starts[0], *(start + 10 for start in starts[1:])],
    "a table one frame late": lambda starts: [starts[0], *starts[2:], starts[-1] + 100],
    "a table of one entry": lambda starts: starts[:1],
    "a table of places in the file": lambda starts: [start + 2000 for start in starts],
}


def _encoded(syntax: UID, frames: np.ndarray = RUN, bits: int = 0) -> Row:
    def make(folder: Path) -> Expected:
        return Expected(save(encode(a_run(frames, bits=bits), syntax), folder / "run.dcm", syntax), (frames,))

    return Row(ENCODINGS, f"{syntax.name}, {bits or (8 if frames.dtype == np.uint8 else 12)} bits", "read", make)


def _in_fragments(words: str, syntax: UID, table: Table, *, split: int = 0, extra: Sequence[bytes] = ()) -> Row:
    def make(folder: Path) -> Expected:
        dataset, items, starts = compressed(syntax)
        parts = [[part] if not split else [part[at : at + split] for at in range(0, len(part), split)] for part in items]
        if split:
            starts = [sum(8 + len(piece) for frame in parts[:index] for piece in frame) for index in range(len(parts))]
        pieces = [piece for frame in parts for piece in frame]
        return Expected(save(fragments(dataset, [*pieces, *extra], table(starts)), folder / "run.dcm", syntax))

    return Row(FRAGMENTS, f"{syntax.name}: {words}", "read", make)


def _without_end(folder: Path) -> Expected:
    dataset, items, _ = compressed(RLELossless)
    path = save(fragments(dataset, items), folder / "run.dcm", RLELossless)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\xfe\xff\xdd\xe0")])
    return Expected(path)


def _jpeg(folder: Path) -> Expected:
    items = []
    for frame in SMOOTH:
        content = io.BytesIO()
        Image.fromarray(frame).save(content, "JPEG", quality=95)
        items.append(content.getvalue() + b"\0" * (len(content.getvalue()) % 2))
    path = save(fragments(a_run(SMOOTH), items), folder / "run.dcm", JPEGBaseline8Bit)
    return Expected(path, (SMOOTH,), tolerance=4)


def _jpeg_2000(precision: int, kind: type[np.generic]) -> Row:
    def make(folder: Path) -> Expected:
        items = [
            encode_array(frame.astype(kind), bits_stored=precision, photometric_interpretation=2, use_mct=False)
            for frame in RUN
        ]
        items = [part + b"\0" * (len(part) % 2) for part in items]
        return Expected(save(fragments(a_run(), items), folder / "run.dcm", JPEG2000Lossless))

    return Row(ENCODINGS, f"JPEG 2000 of precision {precision} as {kind.__name__}, 12 bits stored", "read", make)


def _video(syntax: UID) -> Row:
    def make(folder: Path) -> Expected:
        dataset = fragments(a_run(noise(8)), [bytes(range(256)) * 20])
        return Expected(save(dataset, folder / "run.dcm", syntax), (), refused="expected pictures, found video")

    return Row(ENCODINGS, f"video: {syntax.name}", "refused as video", make)


def _truncated(folder: Path) -> Expected:
    path = save(a_run(), folder / "run.dcm")
    path.write_bytes(path.read_bytes()[:-2000])
    return Expected(path, (), refused="truncated or damaged")


def _huge(folder: Path) -> Expected:
    dataset = encode(a_run(), RLELossless)
    dataset.Rows = dataset.Columns = 65535
    return Expected(save(dataset, folder / "run.dcm", RLELossless), (), refused="cannot hold them")


def _sized(words: str, frames: np.ndarray) -> Row:
    return Row(SIZES, words, "read", lambda folder: Expected(save(a_run(frames), folder / "run.dcm"), (frames,)))


def _bomb(folder: Path) -> Expected:
    dataset = a_run()
    dataset.add_new(0xFFFCFFFC, "OB", bytes(200 << 20))
    path = save(dataset, folder / "run.dcm", DeflatedExplicitVRLittleEndian)
    return Expected(path, (), refused="dcmconv +te")


def _of_the_end(folder: Path) -> Expected:
    """Two more bytes behind deflated ones that inflate to whole parts."""
    dataset = a_run()
    content = save(dataset, folder / "run.dcm").read_bytes()
    data_set = len(content) - 144 - int.from_bytes(content[140:144], "little")
    dataset.add_new(0xFFFCFFFC, "OB", bytes((1 << 21) - data_set - 12))
    path = save(dataset, folder / "run.dcm", DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes() + bytes(2))
    return Expected(path)


ROWS: tuple[Row, ...] = (
    _encoded(ImplicitVRLittleEndian),
    _encoded(ExplicitVRBigEndian),
    _encoded(ExplicitVRBigEndian, noise(8)),
    _encoded(DeflatedExplicitVRLittleEndian),
    _encoded(RLELossless),
    _encoded(JPEGLSLossless),
    _encoded(JPEGLSLossless, noise(16), 16),
    _encoded(JPEG2000Lossless),
    _encoded(JPEG2000Lossless, noise(8)),
    Row(ENCODINGS, f"{JPEGBaseline8Bit.name}, 8 bits", "read", _jpeg),
    _jpeg_2000(16, np.uint16),
    _jpeg_2000(16, np.int16),
    *(_video(syntax) for syntax in (MPEG2MPML, MPEG4HP41, HEVCMP51)),
    *(
        _in_fragments(words, syntax, table)
        for words, table in TABLES.items()
        for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless)
    ),
    _in_fragments("pieces, no table", JPEGLSLossless, TABLES["no table"], split=512),
    _in_fragments("pieces, a table", JPEGLSLossless, lambda starts: starts, split=512),
    _in_fragments("an empty fragment at the end", RLELossless, TABLES["no table"], extra=[b""]),
    _in_fragments("an empty fragment at the end", JPEGLSLossless, TABLES["no table"], extra=[b""]),
    Row(FRAGMENTS, "RLE without the mark of the end", "read", _without_end),
    _sized("two frames", noise(12, (2, 48, 40))),
    _sized("1000 frames", noise(12, (1000, 8, 8))),
    _sized("7 frames of 41 x 37, 8 bits: an odd length", noise(8, (7, 41, 37))),
    Row(SIZES, "cut in the last frame", "refused", _truncated),
    Row(SIZES, "RLE that says 65535 x 65535", "refused", _huge),
    Row(SIZES, "deflated, inflates to 200 MiB", "refused with a remedy", _bomb),
    Row(SIZES, "deflated, with bytes behind the end", "read", _of_the_end),
)
