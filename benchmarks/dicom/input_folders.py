"""Rows of `benchmarks.dicom.inputs`: single frames, folders, archives, names, enhanced objects."""

from __future__ import annotations

import gzip
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedXAImageStorage, MediaStorageDirectoryStorage

from benchmarks.dicom.input_files import bare
from benchmarks.dicom.input_tools import (
    FRAME_TIME,
    OTHER,
    RUN,
    SHAPE,
    Expected,
    Row,
    a_run,
    change,
    item,
    patch,
    save,
    save_all,
    single_frames,
)

SINGLE, FOLDERS, NAMES, ENHANCED, ELSEWHERE = (
    "single frames",
    "folders and archives",
    "names",
    "enhanced objects",
    "masks elsewhere",
)
Edit = Callable[[int, Dataset], None]


def _frames(words: str, expected: str, edit: Edit, *, name: Callable[[int], str] = "{:03d}.dcm".format, **given: Any) -> Row:
    """Return a row of eight single frames, each edited by its index."""

    def make(folder: Path) -> Expected:
        datasets = single_frames()
        for index, dataset in enumerate(datasets):
            edit(index, dataset)
        path = save_all(datasets, folder / "in", name)
        frames = () if given.get("refused") else (RUN,)
        return Expected(path, **({"frames": frames} | given))

    return Row(SINGLE, words, expected, make)


def _set(**attributes: Callable[[int], Any]) -> Edit:
    def edit(index: int, dataset: Dataset) -> None:
        change(dataset, **{keyword: value(index) for keyword, value in attributes.items()})

    return edit


def _midnight(index: int, dataset: Dataset) -> None:
    day, time = divmod(86_399_500 + 250 * index, 86_400_000)
    dataset.AcquisitionDate = dataset.ContentDate = f"2020010{2 + day}"
    seconds, milliseconds = divmod(time, 1000)
    clock = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.{milliseconds:03d}"
    dataset.AcquisitionTime = dataset.ContentTime = clock


def _mask_of_all(index: int, dataset: Dataset) -> None:
    dataset.MaskSubtractionSequence = [item(MaskOperation="AVG_SUB", MaskFrameNumbers=2)]


def _circle_but_first(index: int, dataset: Dataset) -> None:
    if index:
        change(dataset, ShutterShape="CIRCULAR", CenterOfCircularShutter=[24, 20], RadiusOfCircularShutter=15)


def _subtracted_half(index: int, dataset: Dataset) -> None:
    if index >= 4:
        change(dataset, ImageType=["DERIVED", "PRIMARY", "SINGLE PLANE"], PixelIntensityRelationship="DISP")


def _biplane(folder: Path) -> Expected:
    for plane, frames, angle in (("A", RUN, "0"), ("B", OTHER, "90")):
        datasets = single_frames(frames, name=plane, ImageType=["ORIGINAL", "PRIMARY", f"BIPLANE {plane}"])
        for index, dataset in enumerate(datasets):
            change(
                dataset, InstanceNumber=2 * index + 1 + (plane == "B"), PositionerPrimaryAngle=angle, SeriesInstanceUID="1.2.3"
            )
        save_all(datasets, folder / "in", (plane + "{:03d}.dcm").format)
    return Expected(folder / "in", (RUN, OTHER))


def _copied(folder: Path) -> Expected:
    path = save_all(single_frames(), folder / "in")
    shutil.copy(path / "004.dcm", path / "004 (1).dcm")
    return Expected(path, told="copies of")


def _run_copied(folder: Path) -> Expected:
    path = save(a_run(), folder / "in" / "run.dcm")
    shutil.copy(path, path.with_name("run (1).dcm"))
    return Expected(path.parent, told="copies of")


def _directory(folder: Path) -> None:
    """Write a DICOMDIR of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    records = [item(DirectoryRecordType="IMAGE", ReferencedFileID=list(path.relative_to(folder).parts)) for path in files]
    directory = item(DirectoryRecordSequence=records, SOPClassUID=MediaStorageDirectoryStorage, SOPInstanceUID="1.2.3")
    directory.file_meta = FileMetaDataset()
    save(directory, folder / "DICOMDIR")


def _medium(given: str, folder: Path) -> Expected:
    save_all(single_frames(), folder / "in" / "DICOM", "IM{:06d}".format)
    _directory(folder / "in")
    return Expected(folder / "in" / given, times=FRAME_TIME)


def _zip(folder: Path) -> Expected:
    path = save(a_run(), folder / "run.dcm")
    with zipfile.ZipFile(folder / "in.zip", "w") as archive:
        archive.write(path, "run.dcm")
    return Expected(folder / "in.zip")


def _zip_in_a_folder(folder: Path) -> Expected:
    (folder / "in").mkdir()
    shutil.move(_zip(folder).path, folder / "in")
    return Expected(folder / "in", (), refused="give the archive by its name")


def _gz(folder: Path) -> Expected:
    path = save(a_run(), folder / "run.dcm")
    packed = folder / "run.dcm.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return Expected(packed)


def _mixture(folder: Path) -> Expected:
    save(a_run(), folder / "in" / "run.dcm")
    save(a_run(RUN[:1], name="photo", NumberOfFrames=None), folder / "in" / "photo.dcm")
    (folder / "in" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 100)
    return Expected(folder / "in", told="no DICOM", refused="found one single frame")


def _two_runs(folder: Path) -> Expected:
    save(a_run(), folder / "in" / "1.dcm")
    save(a_run(OTHER, name="other", InstanceNumber=2), folder / "in" / "2.dcm")
    return Expected(folder / "in", (RUN, OTHER))


def _beside(make: Callable[[Path], Any], folder: Path) -> Expected:
    """Put something beside a good run, which is read with it."""
    save(a_run(OTHER, name="good"), folder / "in" / "good.dcm")
    make(folder / "in")
    return Expected(folder / "in", (RUN, OTHER))


def _of_unknown_times(folder: Path) -> None:
    path = save(a_run(FrameTime=None, FrameTimeVector=[0] + [250] * 7, FrameIncrementPointer=0x00181065), folder / "bad.dcm")
    patch(path, "FrameTimeVector", b"\\250" * 7)


def _of_textual_masks(folder: Path) -> None:
    mask = item(MaskOperation="AVG_SUB")
    mask.add_new("MaskFrameNumbers", "LO", "second")
    save(a_run(MaskSubtractionSequence=[mask]), folder / "bad.dcm")


def _of_no_class(folder: Path) -> None:
    patch(save(a_run(), folder / "bad.dcm"), "SOPClassUID", None)


def _named(name: bytes | str, words: str = "") -> Row:
    def make(folder: Path) -> Expected:
        path = save(a_run(), folder / "run.dcm")
        new = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(new), exist_ok=True)
        os.rename(os.fsencode(path), new)
        return Expected(Path(os.fsdecode(new)))

    return Row(NAMES, words or f"file {name!r}", "read", make)


def _truncated_of_a_latin_name(folder: Path) -> Expected:
    path = save(a_run(), folder / "run.dcm")
    path.write_bytes(path.read_bytes()[:-2000])
    new = os.path.join(os.fsencode(folder), b"M\xfcller.dcm")
    os.rename(os.fsencode(path), new)
    return Expected(Path(os.fsdecode(new)), (), refused="truncated or damaged")


def enhanced(
    frames: np.ndarray = RUN,
    order: Sequence[int] = range(SHAPE[0]),
    *,
    content: Callable[[int], dict[str, Any]] = lambda frame: {},
    group: Callable[[int], dict[str, Any]] = lambda frame: {},
    shared: dict[str, Any] | None = None,
    relation: str = "LIN",
    **attributes: Any,
) -> Dataset:
    """Return an enhanced run whose frames are stored in some order; `content` and `group` say something of each frame."""
    of_classic: dict[str, Any] = dict.fromkeys(
        ("PixelIntensityRelationship", "PositionerMotion", "FrameTime", "FrameIncrementPointer")
    )
    dataset = a_run(frames, **(of_classic | {"SOPClassUID": EnhancedXAImageStorage}))
    properties = item(PixelIntensityRelationship=relation, PixelIntensityRelationshipSign=1)
    dataset.SharedFunctionalGroupsSequence = [item(**({"FramePixelDataPropertiesSequence": [properties]} | (shared or {})))]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(FrameContentSequence=[item(FrameAcquisitionNumber=frame + 1, **content(frame))], **group(frame)) for frame in order
    ]
    change(dataset, **attributes)
    return dataset


def _clock(frame: int) -> dict[str, Any]:
    return {
        "FrameAcquisitionDateTime": f"202001021011{12 + frame // 4:02d}.{25 * (frame % 4):02d}0000",
        "FrameAcquisitionDuration": 8.0,
    }


def _enhanced(words: str, expected: str, *, told: str = "", refused: str = "", **given: Any) -> Row:
    known = {key: given.pop(key) for key in ("masks", "steps", "times", "exposed") if key in given}

    def make(folder: Path) -> Expected:
        path = save(enhanced(**given), folder / "run.dcm")
        return Expected(path, () if refused else (RUN,), told=told, refused=refused, **known)

    return Row(ENHANCED, words, expected, make)


SHUFFLED = (3, 0, 7, 1, 6, 2, 5, 4)
PROPERTIES = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}
GEOMETRY = {
    "XRayGeometrySequence": [item(DistanceSourceToDetector="1200")],
    "FieldOfViewSequence": [item(FieldOfViewShape="RECTANGLE", FieldOfViewDimensionsInFloat=[300.0, 300.0])],
}


def _shuffled(folder: Path) -> Expected:
    dataset = enhanced(
        RUN[list(SHUFFLED)], SHUFFLED, content=lambda frame: {"TemporalPositionIndex": frame + 1} | _clock(frame)
    )
    return Expected(save(dataset, folder / "run.dcm"), told="frames are put in order", times=FRAME_TIME)


def _exposed_square() -> np.ndarray:
    field = np.zeros(SHAPE[1:], bool)
    field[4:44, 3:36] = True  # the edges, counted from 1, are exposed
    return field


SQUARE = item(
    ShutterShape="RECTANGULAR",
    ShutterLeftVerticalEdge=4,
    ShutterRightVerticalEdge=36,
    ShutterUpperHorizontalEdge=5,
    ShutterLowerHorizontalEdge=44,
)


def _concatenated(parts: Sequence[int], folder: Path) -> Expected:
    for number in parts:
        start = 4 * number - 4
        dataset = enhanced(
            RUN[start : start + 4],
            range(start, start + 4),
            content=_clock,
            ConcatenationUID="1.2.3.9",
            InConcatenationNumber=number,
            InConcatenationTotalNumber=2,
            ConcatenationFrameOffsetNumber=start,
            SOPInstanceUID=f"1.2.3.9.{number}",
            SeriesInstanceUID="1.2.3",
        )
        save(dataset, folder / "in" / f"{number}.dcm")
    if len(parts) == 2:
        return Expected(folder / "in", times=FRAME_TIME, told="the parts of a concatenation, are read as one run")
    return Expected(folder / "in", (), refused="expected all parts of a concatenation")


def _two_planes(folder: Path) -> Expected:
    for plane, frames in (("A", RUN), ("B", OTHER)):
        dataset = enhanced(frames, content=_clock, ImageType=["ORIGINAL", "PRIMARY", f"BIPLANE {plane}", "NONE"])
        dataset.SOPInstanceUID = f"1.2.3.{ord(plane)}"
        save(dataset, folder / "in" / f"{plane}.dcm")
    return Expected(folder / "in", (RUN, OTHER))


def _purpose_mask(uid: str, **attributes: Any) -> Dataset:
    purpose = item(CodeValue="121321", CodingSchemeDesignator="DCM", CodeMeaning="Mask image")
    classes = {"ReferencedSOPClassUID": a_run().SOPClassUID, "ReferencedSOPInstanceUID": uid}
    return item(PurposeOfReferenceCodeSequence=[purpose], **classes, **attributes)


def _mask_beside(folder: Path, *, given: str = "", subfolder: str = "", **of_mask: Any) -> Expected:
    mask = a_run(OTHER[:3], name="mask", **of_mask)
    save(mask, folder / "in" / subfolder / "mask.dcm")
    reference = _purpose_mask(mask.SOPInstanceUID)
    save(a_run(ReferencedImageSequence=[reference], PositionerPrimaryAngle="0"), folder / "in" / "run.dcm")
    if of_mask:
        return Expected(folder / "in" / given, told="that does not serve", masks=())
    frames = np.concatenate([OTHER[:3], RUN])
    return Expected(folder / "in" / given, (frames,), told="put before the run's own", masks=(1, 2, 3), times=FRAME_TIME)


def _mask_absent(folder: Path) -> Expected:
    dataset = a_run(ReferencedImageSequence=[_purpose_mask("1.2.3")])
    return Expected(save(dataset, folder / "run.dcm"), told="in another image that is not here", masks=())


ROWS: tuple[Row, ...] = (
    _frames("eight single frames", "in order", lambda index, dataset: None, times=FRAME_TIME),
    _frames(
        "no InstanceNumber, 8.dcm to 15.dcm", "by time", _set(InstanceNumber=lambda index: None), name=lambda n: f"{n + 7}.dcm"
    ),
    _frames(
        "no InstanceNumber, names in another order",
        "by time",
        _set(InstanceNumber=lambda index: None),
        name=lambda number: f"1.2.826.{number * 3 % 8:02d}.dcm",
        times=FRAME_TIME,
    ),
    _frames("InstanceNumber 1 in all", "by time", _set(InstanceNumber=lambda index: 1)),
    _frames(
        "AcquisitionNumber 1 to 8", "one run, told", _set(AcquisitionNumber=lambda index: index + 1), told="AcquisitionNumber"
    ),
    _frames(
        "InstanceNumber against the time", "by time, told", _set(InstanceNumber=lambda index: 8 - index), told="runs against"
    ),
    _frames(
        "eight projections",
        "refused by name",
        _set(PositionerPrimaryAngle=lambda index: str(10 * index)),
        refused="PositionerPrimaryAngle (0018,1510) from 0 to 70",
    ),
    _frames("half of them subtracted", "refused by name", _subtracted_half, refused="ImageType (0008,0008)"),
    _frames("over midnight", "in order", _midnight, times=FRAME_TIME),
    _frames("MaskFrameNumbers 2 in each", "frame 2, told", _mask_of_all, masks=(2,), told="taken as InstanceNumber"),
    _frames("a circular shutter in all but the first", "read", _circle_but_first),
    _frames("names without ending", "in order", lambda index, dataset: None, name="IM{:06d}".format, times=FRAME_TIME),
    Row(SINGLE, "planes A and B of one series", "two runs", _biplane),
    Row(SINGLE, "one of them twice", "left out, told", _copied),
    Row(FOLDERS, "a run twice", "left out, told", _run_copied),
    Row(FOLDERS, "a folder with a DICOMDIR", "read", partial(_medium, "")),
    Row(FOLDERS, "a DICOMDIR", "read", partial(_medium, "DICOMDIR")),
    Row(FOLDERS, "a zip", "read", _zip),
    Row(FOLDERS, "a folder with a zip", "refused with a remedy", _zip_in_a_folder),
    Row(FOLDERS, "a gz", "read", _gz),
    Row(FOLDERS, "a run, a single frame, another file", "the run is read, the others told", _mixture),
    Row(FOLDERS, "two runs of one series", "both are read", _two_runs),
    Row(FOLDERS, "a run with a broken FrameTimeVector beside a good one", "both are read", partial(_beside, _of_unknown_times)),
    Row(FOLDERS, "a run with textual masks beside a good one", "both are read", partial(_beside, _of_textual_masks)),
    Row(FOLDERS, "a run without SOPClassUID beside a good one", "both are read", partial(_beside, _of_no_class)),
    Row(
        FOLDERS,
        "a bare run beside a good one",
        "both are read",
        partial(_beside, lambda folder: bare(a_run(), folder / "bare")),
    ),
    _named("\u00c4rzte & Co/M\u00fcller \u8840\u7ba1 run #1.dcm"),
    _named(b"M\xfcller.dcm", "file of a name in Latin-1"),
    _named("n" * 247 + ".dcm", "file of a name of 251 letters"),
    _named("a\nb.dcm"),
    _named("-run.dcm"),
    Row(NAMES, "a truncated file of a name in Latin-1", "refused", _truncated_of_a_latin_name),
    _enhanced("FrameAcquisitionDateTime", "250 ms", content=_clock, times=FRAME_TIME),
    _enhanced(
        "the pulse's width alone",
        "unknown, told",
        content=lambda frame: {"FrameAcquisitionDuration": 8.0},
        times=0,
        told="time",
    ),
    Row(ENHANCED, "stored in another order", "in order of time, told", _shuffled),
    _enhanced(
        "an angle that changes",
        "refused by name",
        group=lambda frame: {"PositionerPositionSequence": [item(PositionerPrimaryAngle=10.0 * frame)]},
        refused="PositionerPrimaryAngle (0018,1510) 0 to 70",
    ),
    _enhanced(
        "a table that moves",
        "refused by name",
        group=lambda frame: {"TablePositionSequence": [item(TableTopLateralPosition=10.0 * frame)]},
        refused="TableTopLateralPosition",
    ),
    _enhanced("relation LOG", "read", relation="LOG", content=_clock, times=FRAME_TIME),
    _enhanced(
        "the relation in each frame",
        "read",
        shared={"FramePixelDataPropertiesSequence": None},
        group=lambda frame: {"FramePixelDataPropertiesSequence": [item(**PROPERTIES)]},
    ),
    _enhanced(
        "a shutter in the groups", "honoured", shared={"FrameDisplayShutterSequence": [SQUARE]}, exposed=_exposed_square()
    ),
    _enhanced("geometry in the groups", "read", shared=GEOMETRY, content=_clock, times=FRAME_TIME),
    _enhanced("a mask", "frame 2", MaskSubtractionSequence=[item(MaskOperation="AVG_SUB", MaskFrameNumbers=2)], masks=(2,)),
    Row(ENHANCED, "a concatenation", "one run, told", partial(_concatenated, (1, 2))),
    Row(ENHANCED, "a part of a concatenation", "refused by name", partial(_concatenated, (2,))),
    Row(ENHANCED, "planes A and B of one series", "two runs", _two_planes),
    Row(ELSEWHERE, "an image of masks in the folder", "before the run, told", _mask_beside),
    Row(
        ELSEWHERE,
        "an image of masks in another folder of the tree",
        "before the run, told",
        partial(_mask_beside, subfolder="1"),
    ),
    Row(ELSEWHERE, "an image of masks beside the file given", "before the run, told", partial(_mask_beside, given="run.dcm")),
    Row(ELSEWHERE, "an image of masks of another projection", "told", partial(_mask_beside, PositionerPrimaryAngle="30")),
    Row(ELSEWHERE, "an image of masks that is not there", "told", _mask_absent),
)
