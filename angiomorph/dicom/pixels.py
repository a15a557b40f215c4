"""Pixels: where a file's frames lie and how they are encoded, checked before an array is made; decoding frame by frame."""

from __future__ import annotations

import importlib
import importlib.util
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from angiomorph.dicom.attributes import find_numbers, label, number, require_number, show_values, text, without_warnings
from angiomorph.dicom.header import PIXEL_DATA, UNDEFINED_LENGTH, Header
from angiomorph.dicom.streams import (
    CODINGS,
    JPEG,
    JPEG_2000,
    Stream,
    holds_rle,
    is_whole_scan,
    read_stream,
    without_applications,
)
from angiomorph.errors import InputError

OPENJPEG = "pylibjpeg pylibjpeg-openjpeg"
DECODERS = {
    "baseline": "pillow",
    "extended": "python-gdcm",
    "lossless": "python-gdcm",
    "JPEG-LS": "pyjpegls",
    "JPEG 2000": OPENJPEG,
    "HTJ2K": OPENJPEG,
}
PACKAGES = {syntax: package for coding, package in DECODERS.items() for syntax in CODINGS[coding]}
BY_GDCM = (*CODINGS["baseline"], *CODINGS["lossless"])
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
COMPRESSED = tuple(dict.fromkeys(syntax for syntaxes in CODINGS.values() for syntax in syntaxes))
ITEM, SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
LARGEST_FRAME = 1 << 26  # pixels of a compressed frame: 8192 x 8192, more than any detector has
RLE_RATIO = 64  # two bytes stand for 128 at most
PEEK = 1 << 16  # bytes of a compressed frame that hold its header; of padding that are looked at together

Span = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """How one frame's values lie in memory: Rows, Columns, BitsAllocated, BitsStored, HighBit, PixelRepresentation."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        """Return the length of one uncompressed frame, bytes."""
        return self.rows * self.columns * self.allocated // 8

    @property
    def dtype(self) -> np.dtype:
        """Return the type of decoded values."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")


@dataclass(frozen=True, eq=False)
class Pixels:
    """A file's frames, found and checked, but not yet decoded.

    Args:
        header: the file's header.
        layout: layout of each frame.
        syntax: encoding of the pixels, whatever the file says.
        frames: where each frame's bytes are: one span (start, length), or several of a compressed frame in fragments.
        inflated: the pixels of a deflated file; None where the spans are places in the file.
        warnings: warnings for the user, without patient identity.
    """

    header: Header
    layout: Layout
    syntax: UID
    frames: tuple[tuple[Span, ...], ...]
    inflated: bytes | None = None
    warnings: tuple[str, ...] = ()


def find_pixels(header: Header) -> Pixels:
    """Find a file's frames and check their number and size against the bytes there are.

    A frame of its own in each fragment needs no offset table. Where frames have several fragments, the marks with which they
    begin are believed, else a table that names their starts.

    Raises:
        InputError: naming the file, the tag, what was expected and found, and the remedy: no pixels, none of 8 or 16 bits,
            fewer than the header says, as many as other Rows or Columns would need, a NumberOfFrames of 1 with pixels for more,
            a transfer syntax that is none or not that of the pixels, a decoder that is not installed.

    Source: DICOM PS3.3 C.7.6.3; PS3.5 A.4 (encapsulation).
    """
    _check_there(header)
    layout = _layout(header)
    if header.inflated:
        data = _inflate(header)
        frames, told = _native_frames(header, layout, BytesIO(data), 0, len(data))
        return Pixels(header, layout, ExplicitVRLittleEndian, frames, data, told)
    start = header.pixel_offset or 0
    with header.path.open("rb") as file:
        size = file.seek(0, 2) - start
        if header.encapsulated:
            return _find_compressed(header, layout, file)
        _check_native_syntax(header, layout, size)
        frames, told = _native_frames(header, layout, file, start, min(size, header.pixel_length))
    syntax = ExplicitVRLittleEndian if header.little_endian else ExplicitVRBigEndian
    return Pixels(header, layout, syntax, frames, None, (*told, *_tell_syntax(header, header.announced_syntax in NATIVE)))


def decode(pixels: Pixels) -> Iterator[np.ndarray]:
    """Yield a file's frames, `(H, W)` uint8 or uint16, or int8 or int16 where signed, without the bits that hold no value.

    Args:
        pixels: result of `find_pixels`.

    Raises:
        InputError: a frame that does not decode, or has another size than the header says.
    """
    with pixels.header.path.open("rb") if pixels.inflated is None else BytesIO(pixels.inflated) as file:
        for count in range(1, len(pixels.frames) + 1):
            yield _decode_frame(pixels, file, count)


def is_plain(pixels: Pixels) -> bool:
    """Return whether a frame by itself is read from its file as fast as it can be, and cannot turn out to be unusable."""
    return pixels.syntax in NATIVE and pixels.inflated is None and not pixels.layout.signed


def decode_frame(pixels: Pixels, count: int) -> np.ndarray:
    """Return one frame of a file, see `decode`; the file is open no longer than that.

    Args:
        pixels: result of `find_pixels`.
        count: number of the frame in the file, from 1.

    Raises:
        InputError: as of `decode`, or the file is gone or cut since it was found.
    """
    try:
        with pixels.header.path.open("rb") if pixels.inflated is None else BytesIO(pixels.inflated) as file:
            return _decode_frame(pixels, file, count)
    except OSError as error:
        raise InputError(
            f"{pixels.header.path}: frame {count}: expected to read it, but: {error.strerror or type(error).__name__}; "
            "leave the run where it is until it is registered, and try again"
        ) from error


def _decode_frame(pixels: Pixels, file: BinaryIO, count: int) -> np.ndarray:
    layout = pixels.layout
    data = b"".join(_bytes(file, *span) for span in pixels.frames[count - 1])
    precision = None
    if pixels.syntax not in NATIVE:
        frame, precision = _decode_stream(pixels, data, count)
    elif len(data) < layout.frame_bytes:
        raise _refuse_truncated(pixels.header, f"{layout.frame_bytes} bytes for frame {count}", f"{len(data)} bytes")
    else:
        dtype = layout.dtype.newbyteorder(">" if pixels.syntax == ExplicitVRBigEndian else "<")
        frame = np.frombuffer(data, dtype, layout.rows * layout.columns)
    frame = frame.reshape(layout.rows, layout.columns).astype(layout.dtype)
    return _low_bits(frame, layout, aligned=precision == layout.stored)


def _bytes(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _low_bits(frame: np.ndarray, layout: Layout, *, aligned: bool) -> np.ndarray:
    """Change values to have no bits above them, moved down from HighBit unless they are `aligned` to the low bits."""
    high = layout.stored - 1 if aligned else layout.high
    unused, spare = layout.allocated - 1 - high, layout.allocated - layout.stored
    if spare:
        frame <<= unused
        frame >>= spare  # of signed values, shifting back repeats the sign
    return frame


def _check_there(header: Header) -> None:
    if header.pixel_offset is None and not header.inflated:
        raise _without_pixels(header)


def _without_pixels(header: Header) -> InputError:
    return InputError(
        f"{header.path}: expected pixels, found no top-level {label('PixelData')}; "
        "fetch the file again with its pixels (an icon or a reference is no picture)"
    )


def _inflate(header: Header) -> bytes:
    """Return the pixels of a deflated file, whose header alone has been read until now."""
    try:
        with without_warnings():
            found = dcmread(header.path).get(PIXEL_DATA)
    except Exception as error:  # pydicom's parser raises a dozen kinds on broken bytes
        raise InputError(
            f"{header.path}: expected deflated pixels, but they are malformed ({type(error).__name__}); "
            "fetch the file again from its archive"
        ) from error
    if found is None:
        raise _without_pixels(header)
    if not isinstance(found.value, bytes) or found.is_undefined_length:
        raise InputError(
            f"{header.path}: expected {label('PixelData')} of uncompressed bytes, found {show_values([found.VR])} of another "
            "kind; fetch the file again from its archive"
        )
    return found.value


def _layout(header: Header) -> Layout:
    path, dataset = header.path, header.dataset
    keywords = ("Rows", "Columns", "BitsAllocated", "BitsStored")
    rows, columns, allocated, stored = (require_number(path, dataset, keyword) for keyword in keywords)
    high = int(number(dataset, "HighBit") or stored - 1)
    if allocated not in (8, 16) or not stored - 1 <= high < allocated:
        raise InputError(
            f"{path}: expected {label('BitsAllocated')} 8 or 16 with HighBit from BitsStored - 1 to BitsAllocated - 1, found "
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}. Convert the file to a legal image"
        )
    return Layout(rows, columns, allocated, stored, high, bool(number(dataset, "PixelRepresentation")))


def _native_frames(
    header: Header, layout: Layout, file: BinaryIO, start: int, found: int
) -> tuple[tuple[tuple[Span, ...], ...], tuple[str, ...]]:
    size = layout.frame_bytes
    there, rest = divmod(found, size)
    count, told = _count(header, there, exact=rest < 2)
    if there < count:
        raise _refuse_truncated(header, f"{count * size} bytes ({count} frames)", f"{found} bytes")
    used = count * size
    if count > 1 and there > count and there % count == 0 and not _is_padding(file, start + used, found - used):
        times = there // count
        raise InputError(
            f"{header.path}: expected {label('NumberOfFrames')} {there}, or {label('Rows')} {layout.rows * times}, or "
            f"{label('Columns')} {layout.columns * times}, found {count}, {layout.rows}, {layout.columns}. There are "
            f"pixels for {times} times of that; correct it, or fetch the file again from its archive"
        )
    of_surplus = _weigh_surplus(header, layout, file, (start + used, found - used), count)
    return tuple(((start + frame * size, size),) for frame in range(count)), (*told, *of_surplus)


def _weigh_surplus(header: Header, layout: Layout, file: BinaryIO, surplus: Span, count: int) -> tuple[str, ...]:
    """Return what is to be told of bytes behind the last frame; refuse them where other Rows or Columns would need them."""
    start, length = surplus
    if length < 2 or length % layout.frame_bytes == 0:
        return ()  # the byte that makes a length even; whole frames, of which `_count` tells
    value_bytes = layout.allocated // 8
    more_rows, no_rows = divmod(length, count * layout.columns * value_bytes)
    more_columns, no_columns = divmod(length, count * layout.rows * value_bytes)
    fitting = []
    if not no_rows:
        fitting.append(f"{label('Rows')} {layout.rows + more_rows}")
    if not no_columns:
        fitting.append(f"{label('Columns')} {layout.columns + more_columns}")
    found = f"{label('PixelData')} has {length} bytes behind the last frame"
    if _is_padding(file, start, length):
        return (f"{found}, all alike, taken as padding; or it has {' or '.join(fitting)}",) if fitting else ()
    if fitting and count > 1:
        raise InputError(
            f"{header.path}: expected {' or '.join(fitting)}, as each of {count} frames has pixels for it, found "
            f"{layout.rows} x {layout.columns}; correct it, or fetch the file again from its archive"
        )
    return (f"{found}, which are no padding, as they differ; not read: see whether the pictures are as they should be",)


def _is_padding(file: BinaryIO, start: int, length: int) -> bool:
    """Return whether bytes are all alike."""
    file.seek(start)
    first = file.read(1)
    length -= 1
    while length > 0 and (part := file.read(min(length, PEEK))):
        if part.count(first) < len(part):
            return False
        length -= len(part)
    return True


def _count(header: Header, there: int, *, exact: bool) -> tuple[int, tuple[str, ...]]:
    """Return how many frames to read of those that are there, and what is to be told of it."""
    announced, name = number(header.dataset, "NumberOfFrames"), label("NumberOfFrames")
    if announced is None and there > 1 and exact:
        absent = find_numbers(header.dataset, "NumberOfFrames").unusable or f"{name} is absent"
        return there, (f"{absent}; taken as {there}, for so many there are pixels",)
    count = int(announced or 1)
    if count == 1 and there > 1 and exact:
        raise InputError(
            f"{header.path}: expected {name} {there}, for so many frames there are pixels, found 1; "
            "correct it, or fetch the file again from its archive"
        )
    if there > count and announced is not None and count > 1:
        return count, (f"{name} is {count}, but there are pixels for {there} frames; the first {count} are read",)
    return count, ()


def _check_native_syntax(header: Header, layout: Layout, size: int) -> None:
    syntax = header.announced_syntax
    if syntax and syntax not in (*NATIVE, *COMPRESSED):
        raise _unknown_syntax(header)
    if syntax in COMPRESSED and min(size, header.pixel_length) < layout.frame_bytes:
        raise InputError(
            f"{header.path}: expected fragments of {syntax.name} (TransferSyntaxUID (0002,0010)), found "
            f"{header.pixel_length} bytes in one piece, fewer than a frame has; fetch the file again from its archive"
        )


def _unknown_syntax(header: Header) -> InputError:
    syntax = header.announced_syntax
    named = show_values([syntax]) if syntax.name == syntax else f"{syntax} ({syntax.name})"
    if "MPEG" in named or "HEVC" in named:
        return InputError(
            f"{header.path}: expected pictures, found video: TransferSyntaxUID (0002,0010) {named}; "
            "export the run as acquired, not as a video, from the archive"
        )
    return InputError(
        f"{header.path}: expected a TransferSyntaxUID (0002,0010) of DICOM for pictures, found {named}; "
        "have the archive export the run as Explicit VR Little Endian"
    )


def _tell_syntax(header: Header, right: bool, syntax: UID | None = None) -> tuple[str, ...]:
    if right:
        return ()
    announced = header.announced_syntax
    found = f"read as {syntax.name}" if syntax else "read as uncompressed"
    said = f"says {show_values([announced.name])}, which the pixels are not" if announced else "is absent"
    return (f"TransferSyntaxUID (0002,0010) {said}; {found}",)


def _find_compressed(header: Header, layout: Layout, file: BinaryIO) -> Pixels:
    table, fragments = _fragments(header, file)
    filled = [span for span in fragments if span[1]]
    if not filled:
        raise _refuse_truncated(header, "frames", "no bytes")
    first = read_stream(_bytes(file, filled[0][0], min(filled[0][1], PEEK)))
    syntax = _syntax(header, first)
    frames, told = _find_frames(header, file, table, fragments, filled, syntax)
    _check_size(header, layout, first, syntax, sum(length for _, length in frames[0]))
    _check_decoder(header, syntax, first)
    return Pixels(
        header, layout, syntax, frames, None, (*told, *_tell_syntax(header, syntax == header.announced_syntax, syntax))
    )


def _fragments(header: Header, file: BinaryIO) -> tuple[list[int], list[Span]]:
    """Return the offset table and every fragment's place and length; the last one must be whole, its end mark may lack."""
    start = header.pixel_offset or 0
    size = file.seek(0, 2)
    file.seek(start)
    spans: list[Span] = []
    while len(item := file.read(8)) == 8:
        group, element, length = struct.unpack("<HHL", item)
        if group << 16 | element == SEQUENCE_END:
            break
        if group << 16 | element != ITEM or length == UNDEFINED_LENGTH or file.tell() + length > size:
            found = f"its end or broken bytes within frame fragment {len(spans) + 1}, {size - start} bytes from the start"
            raise _refuse_truncated(
                header, f"whole frame fragments for {int(number(header.dataset, 'NumberOfFrames') or 1)} frames", found
            )
        spans.append((file.tell(), length))
        file.seek(length, 1)
    if not spans:
        return [], []
    place, length = spans[0]  # the offset table comes first
    table = _bytes(file, place, length - length % 4)
    return list(struct.unpack(f"<{len(table) // 4}L", table)), spans[1:]


def _syntax(header: Header, stream: Stream | None) -> UID:
    """Return what the pixels are encoded in: as announced, unless the first frame shows another coding."""
    announced = header.announced_syntax
    if announced and announced not in (*NATIVE, *COMPRESSED):
        raise _unknown_syntax(header)
    if stream is not None and announced not in CODINGS[stream.coding]:
        return CODINGS[stream.coding][0]
    if announced not in COMPRESSED:
        said = show_values([announced.name]) if announced else "none"
        raise InputError(
            f"{header.path}: expected the TransferSyntaxUID (0002,0010) of compressed pixels, found {said}, and the pixels "
            "show no known coding; fetch the file again from its archive"
        )
    return announced


def _find_frames(
    header: Header, file: BinaryIO, table: list[int], fragments: list[Span], filled: list[Span], syntax: UID
) -> tuple[tuple[tuple[Span, ...], ...], tuple[str, ...]]:
    announced = number(header.dataset, "NumberOfFrames")
    if len(filled) == (announced or 1) or syntax == RLELossless:  # RLE has a fragment a frame by definition
        groups = [[span] for span in filled]
    else:
        groups = _by_marks(file, filled) or _by_table(table, fragments) or [filled]
    count, told = _count(header, len(groups), exact=True)
    if len(groups) < count:
        raise _refuse_truncated(header, f"{count} frames ({label('NumberOfFrames')})", f"{len(groups)} frames")
    return tuple(tuple(group) for group in groups[:count]), told


def _by_table(table: list[int], fragments: list[Span]) -> list[list[Span]]:
    """Return the fragments of each frame by the offset table; nothing if it names places that are no fragment's start."""
    if not table or not fragments:
        return []
    starts = [place - fragments[0][0] for place, _ in fragments]
    if table[0] != 0 or table != sorted(set(table)) or not set(table) <= set(starts):
        return []
    groups: list[list[Span]] = []
    for start, span in zip(starts, fragments, strict=True):
        if start in table:
            groups.append([])
        if span[1]:
            groups[-1].append(span)
    return [group for group in groups if group]


def _by_marks(file: BinaryIO, filled: Sequence[Span]) -> list[list[Span]]:
    """Return the fragments of each frame by the marks with which compressed frames begin; nothing if the first has none."""
    groups: list[list[Span]] = []
    for span in filled:
        if _bytes(file, span[0], 4).startswith((JPEG, JPEG_2000)):
            groups.append([])
        if not groups:
            return []
        groups[-1].append(span)
    return groups


def _check_size(header: Header, layout: Layout, stream: Stream | None, syntax: UID, length: int) -> None:
    """Refuse a frame that says another size than the header, or a size that its bytes cannot hold."""
    wanted = (layout.rows, layout.columns)
    if stream is not None and stream.shape not in (None, wanted):
        raise InputError(
            f"{header.path}: expected frames of {wanted} pixels (Rows, Columns), found compressed ones of {stream.shape}; "
            "fetch the file again from its archive"
        )
    if stream is not None and (stream.precision or 0) > layout.allocated:
        raise InputError(
            f"{header.path}: expected values of at most {layout.allocated} bits ({label('BitsAllocated')}), found compressed "
            f"ones of {stream.precision}; fetch the file again from its archive"
        )
    too_small = syntax == RLELossless and layout.frame_bytes > RLE_RATIO * length
    if too_small or layout.rows * layout.columns > LARGEST_FRAME:
        raise InputError(
            f"{header.path}: expected frames of {wanted} pixels (Rows, Columns), found {length} bytes for the first, which "
            "cannot hold them. The header is damaged; fetch the file again from its archive"
        )


def _is_12_bit(stream: Stream | None) -> bool:
    return stream is not None and stream.coding == "extended" and stream.precision != 8


def _check_decoder(header: Header, syntax: UID, stream: Stream | None) -> None:
    # Of 12 bits pydicom counts decoders that can only do 8.
    if not (importlib.util.find_spec("gdcm") if _is_12_bit(stream) else get_decoder(syntax).is_available):
        raise InputError(
            f"{header.path}: its pixels are compressed with {syntax.name}, for which no decoder is installed; "
            f"pip install {PACKAGES[syntax]}"
        )


def _decode_stream(pixels: Pixels, data: bytes, count: int) -> tuple[np.ndarray, int | None]:
    """Return a compressed frame's values and its precision, bits."""
    header, layout = pixels.header, pixels.layout
    stream = read_stream(data)
    _check_size(header, layout, stream, pixels.syntax, len(data))
    if pixels.syntax in BY_GDCM:
        # GDCM would end the process at a wrong mark.
        if stream is None or pixels.syntax not in CODINGS[stream.coding] or not is_whole_scan(data, stream):
            raise InputError(
                f"{header.path}: frame {count}: expected pixels in {pixels.syntax.name}, but their marks are damaged; "
                "fetch the file again from its archive"
            )
        data = without_applications(data, stream)
    if pixels.syntax == RLELossless and not holds_rle(data, layout.allocated // 8, layout.rows, layout.columns):
        raise InputError(
            f"{header.path}: frame {count}: expected {layout.allocated // 8} segments of RLE for "
            f"{layout.rows} x {layout.columns} values (Rows, Columns), found others; fetch the file again from its archive"
        )
    try:
        with without_warnings():
            frame = _decode_by_gdcm(layout, data) if _is_12_bit(stream) else _decode_by_pydicom(pixels, data)
    except Exception as error:  # each decoder raises kinds of its own
        remedy = ""
        if package := PACKAGES.get(pixels.syntax):
            remedy = f"; if other frames of this kind fail too: pip install {package}"
        raise InputError(
            f"{header.path}: frame {count}: expected pixels in {pixels.syntax.name}, but they do not decode "
            f"({type(error).__name__}); fetch the file again from its archive{remedy}"
        ) from error
    if frame.shape != (layout.rows, layout.columns):
        raise InputError(
            f"{header.path}: frame {count}: expected {(layout.rows, layout.columns)} pixels (Rows, Columns), decoded "
            f"{frame.shape}; fetch the file again from its archive"
        )
    return frame, stream.precision if stream else None


def _decode_by_pydicom(pixels: Pixels, data: bytes) -> np.ndarray:
    layout = pixels.layout
    options: Any = {  # pydicom types them wrongly
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": text(pixels.header.dataset, "PhotometricInterpretation") or "MONOCHROME2",
        "pixel_representation": int(layout.signed),
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,  # left-aligned values need them
    }
    frame, _ = get_decoder(pixels.syntax).as_array(encapsulate([data], has_bot=False), index=0, raw=True, **options)
    return frame


def _decode_by_gdcm(layout: Layout, data: bytes) -> np.ndarray:
    """Return a frame of JPEG extended with 12 bits, which GDCM decodes and pydicom does not ask it to."""
    gdcm = importlib.import_module("gdcm")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data + b"\0" * (len(data) % 2))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, int(layout.signed)))
    values = image.GetBuffer().encode("utf-8", "surrogateescape")  # GDCM returns bytes as text
    return np.frombuffer(values, "<u2").reshape(layout.rows, layout.columns)


def _refuse_truncated(header: Header, expected: str, found: str) -> InputError:
    return InputError(
        f"{header.path}: expected {label('PixelData')} of {expected}, found {found}; the file is truncated or damaged: "
        "fetch it again from its archive"
    )
