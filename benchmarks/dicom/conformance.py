"""Written runs before programs that nobody here wrote: each is valid to them, and the same picture.

    python -m benchmarks.dicom.conformance
    python -m benchmarks.dicom.conformance --standard ~/dicom-validator    # asks dicom-validator too

Small runs of every kind that is read are written in every way that is offered. Each is looked at by dicom3tools' `dciodvfy` (no
line "Error"), dcmtk's `dcmdump` (its frames), `dcm2pnm` and `dcml2pnm` (the picture in its window), SimpleITK (every
pixel), and goes over the network of this machine alone, from `storescu` to `storescp`, and to an Orthanc that is started for
it, whose REST API gives it back (every attribute and pixel). Counts are printed, then each fault; the exit status is 1 if
there is any.
"""

from __future__ import annotations

import argparse
import collections
import io
import itertools
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    XRayAngiographicImageStorage,
)

from angiomorph.dicom import Series, anonymize, find_series, read_series, write_bsa, write_run
from angiomorph.dicom.encoding import CLASSES, COMPRESSIONS, DEPTHS, Encoding
from angiomorph.errors import InputError
from angiomorph.preprocessing.intensity import LN, STORED
from benchmarks.dicom import orthanc, samples, standard

SHAPE = (3, 48, 32)  # the least that JPEG 2000 encodes
SOURCES = ("classic", "enhanced", "single frames", "captured")
SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)
BITS = (8, 10, 12, 16)
RENDERERS = {"none": "dcm2pnm", "rle": "dcm2pnm", "jpeg-ls": "dcml2pnm"}  # dcmtk decodes no JPEG 2000
PROPOSALS = {"none": "-xe", "rle": "-xr", "jpeg-ls": "-xt", "j2k": "-xv"}  # of storescu
PROGRAMS = ("dciodvfy", "dcmdump", "dcm2pnm", "dcml2pnm", "storescu", "storescp")
CHECKS = ("dciodvfy", "dcmdump", "picture", "SimpleITK", "storescu to storescp", "Orthanc")
OF_STANDARD = "dicom-validator"
PER_LN = {12: (1000, 2048), 16: (8000, 32768)}  # k and offset, as docs/dicom.md says
SECONDS = 60


@dataclass(frozen=True)
class ConformanceCase:
    """A source and how it is written.

    Args:
        number: of the case; its seed.
        source: of `SOURCES`.
        plane: third value of ImageType.
        photometric: PhotometricInterpretation of the source.
        syntax: transfer syntax of the source.
        bits: BitsStored of the source.
        relation: PixelIntensityRelationship of the source.
        encoding: what is written.
        invert: iodine bright.
        shutter: whether the source has a display shutter.
        kept: frames that are written; none for all.
        anonymous: whether identity is taken out.
    """

    number: int
    source: str
    plane: str
    photometric: str
    syntax: UID
    bits: int
    relation: str
    encoding: Encoding
    invert: bool
    shutter: bool
    kept: tuple[int, ...]
    anonymous: bool

    @property
    def name(self) -> str:
        """Return what the case is, in words."""
        written = f"{self.encoding.save_class}, {self.encoding.pixel_depth} bits, {self.encoding.compress}"
        options = {"inverted": self.invert, "anonymous": self.anonymous, f"frames {self.kept}": bool(self.kept)}
        written += "".join(f", {option}" for option, given in options.items() if given)
        source = f"{self.source}, {self.plane}, {self.photometric}, {self.syntax.name}, {self.bits} bits, {self.relation}"
        return f"{self.number}: {source}{', shutter' if self.shutter else ''} -> {written}"


def cases() -> list[ConformanceCase]:
    """Return all combinations of source, plane, polarity, class, depth and compression; everything else in turn."""
    planes, polarities = ("SINGLE PLANE", "BIPLANE A"), ("MONOCHROME2", "MONOCHROME1")
    product = itertools.product(SOURCES, planes, polarities, CLASSES, DEPTHS, COMPRESSIONS)
    chosen = [options for options in product if options[0] != "captured" or options[3] == "classic"]
    found = []
    for number, (source, plane, photometric, save_class, depth, compress) in enumerate(chosen):
        turn = number + number // 4 + number // 16
        found.append(
            ConformanceCase(
                number,
                source,
                plane,
                photometric,
                SYNTAXES[number % len(SYNTAXES)],
                BITS[turn % len(BITS)],
                ("LIN", "DISP")[number % 11 < 4],
                Encoding(depth, compress, save_class),
                number % 5 == 0,
                turn % 3 == 0,
                ((), (2, 3), (3,))[number % 13 % 3],
                turn % 4 == 1,
            )
        )
    return found


def make_source(case: ConformanceCase, folder: Path) -> Series:
    """Write a case's source run, and read it again."""
    rng = np.random.default_rng(case.number)
    frames = rng.integers(1 << (case.bits - 1), 1 << case.bits, SHAPE).astype(np.uint8 if case.bits == 8 else np.uint16)
    attributes = {"MaskFrameNumbers": [1], "ImagerPixelSpacing": [0.3, 0.3], "KVP": 80}
    attributes |= {"PositionerPrimaryAngle": 10, "PositionerSecondaryAngle": -5, "RecommendedDisplayFrameRate": 2}
    if case.shutter:
        edges = ("ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge")
        attributes |= {"ShutterShape": "RECTANGULAR", **dict(zip(edges, (3, 30, 5), strict=True))}
        attributes |= {"ShutterLowerHorizontalEdge": 44}
    path = folder / "whole.dcm"
    write_run(
        path,
        frames,
        BitsStored=case.bits,
        relation=case.relation,
        frame_time=samples.FRAME_TIME,
        attributes=attributes,
        entropy=[str(case.number)],
    )
    whole = pydicom.dcmread(path)
    path.unlink()
    whole.BurnedInAnnotation = "NO"
    convert = {"enhanced": samples.enhanced, "single frames": samples.single_frames}.get(case.source, samples.classic)
    for name in convert(whole, folder / "run"):
        _encode(folder / name, case)
    (files,) = find_series([folder / ("run" if case.source == "single frames" else "run.dcm")])
    return read_series(files)


def _encode(path: Path, case: ConformanceCase) -> None:
    """Write a file of the source anew, as the case has it."""
    dataset = pydicom.dcmread(path)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", case.plane]
    if case.plane != "SINGLE PLANE":
        other = Dataset()
        other.ReferencedSOPClassUID, other.ReferencedSOPInstanceUID = XRayAngiographicImageStorage, "1.2.3"
        dataset.ReferencedImageSequence = [other]
    dataset.PhotometricInterpretation = case.photometric
    if case.source == "captured":
        byte, word = MultiFrameGrayscaleByteSecondaryCaptureImageStorage, MultiFrameGrayscaleWordSecondaryCaptureImageStorage
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = byte if case.bits == 8 else word
    if case.syntax.is_compressed and not case.syntax.is_deflated:
        dataset.compress(case.syntax, generate_instance_uid=False)
    elif case.syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, f"u{dataset.BitsAllocated // 8}").byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = case.syntax
    content = io.BytesIO()
    little, implicit = case.syntax != ExplicitVRBigEndian, case.syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(content, dataset, little_endian=little, implicit_vr=implicit, force_encoding=True)
    path.write_bytes(content.getvalue())


def write(case: ConformanceCase, folder: Path, path: Path) -> np.ndarray:
    """Write a case's run and return the stored values that belong there, by the formula of docs/dicom.md."""
    series = make_source(case, folder)
    series = anonymize(series) if case.anonymous else series
    per_ln, offset = PER_LN[case.encoding.pixel_depth]
    units, reach = (LN, 2.5) if case.relation == "LIN" else (STORED, float(1 << case.bits))
    k = per_ln if units == LN else offset / (1 << case.bits)
    bsa = np.random.default_rng(case.number).normal(0, reach / 4, SHAPE).astype(np.float32)
    write_bsa(
        path,
        series,
        bsa,
        units=units,
        model_name="any",
        model_sha256="0" * 64,
        hyper=0.5,
        background_numbers=[1],
        invert=case.invert,
        kept=case.kept,
        encoding=case.encoding,
    )
    bsa = bsa[np.array(case.kept) - 1] if case.kept else bsa
    return np.clip(np.rint((-k if case.invert else k) * bsa.astype(np.float64)) + offset, 0, 2 * offset - 1)


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, errors="replace", check=False, timeout=SECONDS
    )


def check_file(path: Path, case: ConformanceCase, stored: np.ndarray) -> dict[str, str]:
    """Return what each program that looks at a file finds wrong with it; "" for nothing.

    Args:
        path: the written run.
        case: of it.
        stored: `(T, H, W)` what its pixels have to be.
    """
    found = {"dciodvfy": _invalid(path), "dcmdump": _check_dump(path, len(stored)), "SimpleITK": _other_pixels(path, stored)}
    if renderer := RENDERERS.get(case.encoding.compress):
        found["picture"] = _other_picture(path, renderer, stored)
    return found


def _invalid(path: Path) -> str:
    done = _run("dciodvfy", path)
    lines = (done.stdout + done.stderr).splitlines()
    if not any(line.endswith("Image") for line in lines):
        return f"names no class: {lines[:1]}"
    return "; ".join(line for line in lines if line.startswith("Error"))


def _check_dump(path: Path, frames: int) -> str:
    done = _run("dcmdump", "+P", "NumberOfFrames", path)
    return "" if done.returncode == 0 and f"[{frames}]" in done.stdout else done.stderr.strip() or "other number of frames"


def _other_pixels(path: Path, stored: np.ndarray) -> str:
    import SimpleITK as sitk  # noqa: N813 (its documentation's own name)

    try:
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    except RuntimeError as error:
        return str(error).splitlines()[-1]
    return "" if np.array_equal(pixels, stored) else "other pixels"


def _other_picture(path: Path, renderer: str, stored: np.ndarray) -> str:
    picture = path.with_suffix(".pgm")
    try:
        window, options = _window(path)
    except InvalidDicomError as error:
        return str(error)
    done = _run(renderer, "--frame", str(len(stored)), *options, path, picture)
    if done.returncode:
        return done.stderr.strip() or "no picture"
    _, rows, columns = SHAPE
    shown = np.frombuffer(picture.read_bytes()[-rows * columns :], np.uint8).reshape(rows, columns).astype(float)
    center, width = window[0] - 0.5, window[1] - 1
    expected = np.clip((stored[-1] - center) / width + 0.5, 0, 1) * 255  # DICOM PS3.3 C.11.2.1.2.1
    most = np.abs(shown - expected).max()
    return "" if most <= 1.5 else f"grey values differ by up to {most:.0f}"


def _window(path: Path) -> tuple[tuple[float, float], list[str]]:
    """Return a file's window, centre and width, and dcmtk's options for it, which does not know those of functional groups."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if "WindowCenter" in header:
        return (float(header.WindowCenter), float(header.WindowWidth)), ["--use-window", "1"]
    framed = header.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    window = (float(framed.WindowCenter), float(framed.WindowWidth))
    return window, ["--set-window", *(f"{part:g}" for part in window)]


@contextmanager
def _receiver(folder: Path) -> Iterator[str]:
    """Run storescp on a free port of this machine alone, and yield the port."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = ["storescp", "+xa", "+B", "-od", str(folder), "-ts", "20", "-ta", "20", "-td", "20", port]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port)
        yield port
    finally:
        process.terminate()
        process.wait(SECONDS)


def _await(port: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", int(port)), 1)):
            return
        time.sleep(0.05)
    raise InputError(f"storescp: expected it to listen on port {port} within 20 s; try again")


def send(written: Mapping[Path, ConformanceCase], folder: Path) -> dict[Path, str]:
    """Send every file from storescu to storescp; return what came over otherwise, "" for the very same.

    Args:
        written: path to the case of each file.
        folder: where storescp writes; empty.
    """
    with _receiver(folder) as port:
        _store(written, port)
        received = {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, folder.iterdir())}
    return {path: find_change(pydicom.dcmread(path), received) for path in written}


def archive(written: Mapping[Path, ConformanceCase]) -> dict[Path, str]:
    """Send every file from storescu to an Orthanc; return what its REST API gives back otherwise, "" for the very same.

    Raises:
        InputError: Orthanc is not installed, or does not answer in time.
    """
    found = {}
    with orthanc.running() as server:
        _store(written, str(server.dicom))
        for path in written:
            sent = pydicom.dcmread(path)
            content = server.fetch(str(sent.SOPInstanceUID))
            given = {str(sent.SOPInstanceUID): pydicom.dcmread(io.BytesIO(content))} if content else {}
            found[path] = find_change(sent, given)
    return found


def _store(written: Mapping[Path, ConformanceCase], port: str) -> None:
    for compress, proposal in PROPOSALS.items():
        paths = [path for path, case in written.items() if case.encoding.compress == compress]
        if paths:
            _run("storescu", proposal, "-nh", "-to", "20", "-ta", "20", "-td", "20", "127.0.0.1", port, *paths)


def find_change(sent: Dataset, received: Mapping[str, pydicom.FileDataset]) -> str:
    arrived = received.get(str(sent.SOPInstanceUID))
    if arrived is None:
        return "did not arrive"
    if arrived.file_meta.TransferSyntaxUID != sent.file_meta.TransferSyntaxUID:
        return f"arrived as {arrived.file_meta.TransferSyntaxUID.name}"
    if arrived.PixelData != sent.PixelData or not np.array_equal(arrived.pixel_array, sent.pixel_array):
        return "other pixels"
    return "" if arrived == sent else "other attributes"


def check(
    chosen: Sequence[ConformanceCase], folder: Path, by_standard: Callable[[Path], str] | None = None
) -> list[tuple[ConformanceCase, dict[str, str]]]:
    """Write every case's run in `folder` and return what each check finds wrong with it, "" for nothing.

    Args:
        chosen: cases.
        folder: where runs are written; empty.
        by_standard: see `standard.load_validator`; None leaves this check out.
    """
    written: dict[Path, ConformanceCase] = {}
    found: dict[Path, dict[str, str]] = {}
    for case in chosen:
        path = folder / f"{case.number}.dcm"
        with TemporaryDirectory() as source:
            stored = write(case, Path(source), path)
        written[path] = case
        found[path] = check_file(path, case, stored)
        if by_standard is not None:
            found[path][OF_STANDARD] = by_standard(path)
    (folder / "received").mkdir()
    for name, sent in ((CHECKS[-2], send(written, folder / "received")), (CHECKS[-1], archive(written))):
        for path, wrong in sent.items():
            found[path][name] = wrong
    return [(written[path], wrong) for path, wrong in found.items()]


def table(found: Sequence[tuple[ConformanceCase, dict[str, str]]]) -> str:
    """Return the counts of runs that pass each check, by source and by what is written, as Markdown."""
    counts: dict[str, collections.Counter[str]] = {}
    for case, wrong in found:
        depth, save_class = f"{case.encoding.pixel_depth} bits", f"written {case.encoding.save_class}"
        for group in (case.source, save_class, depth, case.encoding.compress, "all"):
            count = counts.setdefault(group, collections.Counter())
            count["runs"] += 1
            count.update({f"of {name}": 1 for name in wrong})
            count.update({name: 1 for name, fault in wrong.items() if not fault})
    groups = [*SOURCES, *(f"written {each}" for each in CLASSES), *(f"{depth} bits" for depth in DEPTHS), *COMPRESSIONS, "all"]
    checks = [*CHECKS, *([OF_STANDARD] if any(OF_STANDARD in wrong for _, wrong in found) else [])]
    lines = [f"| written runs | | {' | '.join(checks)} |", f"| --- | --- |{' --- |' * len(checks)}"]
    for group in filter(counts.__contains__, groups):
        count = counts[group]
        cells = (f"{count[name]} of {count[f'of {name}']}" if count[f"of {name}"] else "none" for name in checks)
        lines.append(f"| {group} | {count['runs']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def faults(found: Sequence[tuple[ConformanceCase, dict[str, str]]]) -> list[str]:
    """Return a line for everything that a check found wrong."""
    return [f"FAULT {case.name}: {name}: {fault}" for case, wrong in found for name, fault in wrong.items() if fault]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.dicom.conformance", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth run (default: 1)")
    parser.add_argument("--standard", type=Path, metavar="DIR", help="folder of dicom-validator that holds an edition")
    given = parser.parse_args(arguments)
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    missing += [orthanc.PROGRAM] if orthanc.find_program() is None else []
    try:
        if missing:
            raise InputError(f"expected dicom3tools, dcmtk and orthanc, found no {', '.join(missing)}; install them")
        by_standard = None if given.standard is None else standard.load_validator(given.standard)
        with TemporaryDirectory() as folder:
            found = check(cases()[:: given.every], Path(folder), by_standard)
    except InputError as error:
        print(f"benchmarks.dicom.conformance: {error}", file=sys.stderr)
        return 2
    print(table(found))
    wrong = faults(found)
    print("\n".join(wrong) if wrong else f"{len(found)} runs without fault")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
