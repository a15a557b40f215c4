"""What a compressed frame says of itself: its coding, size and precision, read from its first bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

CODINGS: dict[str, tuple[UID, ...]] = {  # the transfer syntaxes of each coding, the one that decodes all of them first
    "baseline": (JPEGBaseline8Bit, JPEGExtended12Bit),
    "extended": (JPEGExtended12Bit,),
    "lossless": (JPEGLossless, JPEGLosslessSV1),
    "JPEG-LS": (JPEGLSLossless, JPEGLSNearLossless),
    "JPEG 2000": (JPEG2000, JPEG2000Lossless),
    "HTJ2K": (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL),
    "RLE": (RLELossless,),
}
START_OF_FRAME = {0xC0: "baseline", 0xC1: "extended", 0xC3: "lossless", 0xF7: "JPEG-LS"}
HUFFMAN_TABLES, START_OF_SCAN, QUANTISATION = 0xC4, 0xDA, 0xDB
MARK, FIRST_RESTART, LAST_RESTART, END = 0xFF, 0xD0, 0xD7, 0xD9
APPLICATIONS, COMMENT = range(0xE0, 0xF0), 0xFE
# What may stand before a scan; of those without a name here, restart interval and JPEG-LS parameters.
MARKERS = {*START_OF_FRAME, HUFFMAN_TABLES, START_OF_SCAN, QUANTISATION, 0xDD, 0xF8, *APPLICATIONS, COMMENT}
PRECISIONS = {"baseline": (8,), "extended": (8, 12), "lossless": range(2, 17), "JPEG-LS": range(2, 17)}
QUANTISED = ("baseline", "extended")
ONE_SCAN, PREDICTORS = 6, 7  # length of a scan's header with one component; selection values of lossless JPEG
JPEG, JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
HIGH_THROUGHPUT = 0x4000  # of JPEG 2000's capabilities
RLE_HEADER = struct.Struct("<16L")
MOST_SEGMENTS = 15


@dataclass(frozen=True)
class Stream:
    """What a compressed frame says of itself.

    Args:
        coding: one of `CODINGS`.
        shape: rows and columns; None where it does not say.
        precision: bits of a value; None where it does not say.
        scan: where a JPEG's coded values begin, bytes; 0 of others.
    """

    coding: str
    shape: tuple[int, int] | None = None
    precision: int | None = None
    scan: int = 0


def read_stream(data: bytes) -> Stream | None:
    """Return what a compressed frame says of itself, or None where its coding is none of `CODINGS`."""
    try:
        if data.startswith(JPEG):
            return _read_jpeg(data)
        if data.startswith(JPEG_2000):
            return _read_jpeg_2000(data)
        return Stream("RLE") if _is_rle(data) else None
    except (struct.error, IndexError):  # ends within its header
        return None


def _read_jpeg(data: bytes) -> Stream | None:
    """Return what a JPEG says of itself; None unless its segments follow each other without a gap up to one grey scan."""
    stream: Stream | None = None
    place, component, wanted = 2, -1, -1
    tables, quantisations = set[int](), set[int]()
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        length = int(struct.unpack_from(">H", data, place + 2)[0])
        body = data[place + 4 : place + 2 + length]
        if marker not in MARKERS or len(body) != length - 2:
            return None
        if marker == QUANTISATION:
            quantisations |= _quantisations(body)
        if marker == HUFFMAN_TABLES:
            tables |= _tables(body)
        if marker == START_OF_SCAN:
            whole = stream and _is_scan(body, stream.coding, component, tables)
            if not stream or not whole or (stream.coding in QUANTISED and wanted not in quantisations):
                return None
            return replace(stream, scan=place + 2 + length)
        if coding := START_OF_FRAME.get(marker):
            precision, rows, columns, components, component, _, wanted = struct.unpack_from(">BHHBBBB", body)
            right = components == 1 and precision in PRECISIONS[coding]
            stream = Stream(coding, (rows, columns) if rows else None, precision) if right else None
        place += 2 + length
    return None


def is_whole_scan(data: bytes, stream: Stream) -> bool:
    """Return whether no mark but that of the end, or of a restart, stands among a JPEG's coded values."""
    values = np.frombuffer(data, np.uint8, offset=stream.scan)
    marks = values[1:][values[:-1] == MARK]
    others = marks[(marks != 0) & (marks != MARK) & ((marks < FIRST_RESTART) | (marks > LAST_RESTART))]
    return not len(others) or int(others[0]) == END


def without_applications(data: bytes, stream: Stream) -> bytes:
    """Return a JPEG without applications' segments and comments, which say nothing of grey values."""
    place, kept = 2, [data[:2]]
    while place < stream.scan:
        length = 1 if data[place + 1] == MARK else 2 + int(struct.unpack_from(">H", data, place + 2)[0])
        if data[place + 1] not in (*APPLICATIONS, COMMENT):
            kept.append(data[place : place + length])
        place += length
    return b"".join([*kept, data[stream.scan :]])


def _tables(body: bytes) -> set[int]:
    """Return the Huffman tables of a segment: class (0 of differences, 1 of the others) in the high, number in the low bits.

    Raises:
        IndexError: the segment is not made of whole tables: a number, 16 counts, and as many symbols.
    """
    place, found = 0, set[int]()
    while place < len(body):
        counts = body[place + 1 : place + 17]
        if not _is_code(counts):
            raise IndexError
        found.add(body[place])
        place += 17 + sum(counts)
    if place != len(body):
        raise IndexError
    return found


def _quantisations(body: bytes) -> set[int]:
    """Return the numbers of a segment's quantisation tables: 64 values each, of two bytes where the high bits are 1."""
    place, found = 0, set[int]()
    while place < len(body):
        found.add(body[place] & 0x0F)
        place += 1 + 64 * (1 + (body[place] >> 4))
    return found if place == len(body) else set()


def _is_scan(body: bytes, coding: str, component: int, tables: set[int]) -> bool:
    """Return whether a scan's header is of the one component, with tables that are there and parameters of its coding."""
    if len(body) != ONE_SCAN:
        return False
    count, selected, chosen, first, last, approximation = body
    if count != 1 or selected != component:
        return False
    if coding == "JPEG-LS":
        return True
    if coding == "lossless":
        return chosen >> 4 in tables and 1 <= first <= PREDICTORS and last == 0 and approximation < 16
    used = {chosen >> 4, 0x10 | chosen & 0x0F}
    return used <= tables and (first, last, approximation) == (0, 63, 0)


def _is_code(counts: bytes) -> bool:
    """Return whether codes of so many of 1, 2, ... 16 bits fit beside each other."""
    return len(counts) == 16 and sum(count << (16 - bits) for bits, count in enumerate(counts, 1)) <= 1 << 16


def _read_jpeg_2000(data: bytes) -> Stream:
    capabilities, right, bottom, left, top = struct.unpack_from(">H4L", data, 6)
    precision = (data[42] & 0x7F) + 1
    coding = "HTJ2K" if capabilities & HIGH_THROUGHPUT else "JPEG 2000"
    return Stream(coding, (bottom - top, right - left), precision)


def _is_rle(data: bytes) -> bool:
    segments, first, *_ = RLE_HEADER.unpack_from(data)
    return 1 <= segments <= MOST_SEGMENTS and first == RLE_HEADER.size


def holds_rle(data: bytes, segments: int, rows: int, columns: int) -> bool:
    """Return whether a frame of RLE has its segments one behind the other, each of as many bytes as the frame has values.

    Some writers let the last packet run on: fewer bytes than a row or a column has may be too many.

    Args:
        data: the frame's bytes.
        segments: one a byte of a value.
        rows: number of the frame's rows.
        columns: number of the frame's columns.

    Source: DICOM PS3.5 G.3 to G.5.
    """
    if len(data) < RLE_HEADER.size:
        return False
    count, *offsets = RLE_HEADER.unpack_from(data)
    if count != segments or offsets[0] != RLE_HEADER.size:
        return False
    bounds = [*offsets[:segments], len(data)]
    if any(end <= start for start, end in pairwise(bounds)):
        return False
    surplus = (_unpacked_length(data, *bound) - rows * columns for bound in pairwise(bounds))
    return all(0 <= length < min(rows, columns) for length in surplus)


def _unpacked_length(data: bytes, place: int, end: int) -> int:
    """Return how many bytes the packets of a segment stand for."""
    length = 0
    while place < end - 1:  # a single byte at the end makes the length even
        packet = data[place]
        if packet < 128:
            length += min(packet + 1, end - place - 1)
            place += packet + 2
        elif packet > 128:
            length += 257 - packet
            place += 2
        else:
            place += 1
    return length
