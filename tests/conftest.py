"""Fixtures for DICOM tests: real XA files of nobody, written with pydicom and broken where a test needs it."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from angiomorph.dicom import write_run
from angiomorph.dicom.save import derived_uid
from tests.runs import moving_frames

Change = Callable[[pydicom.Dataset], Any]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: the programs that tests interrupt would too
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def xa_file(tmp_path) -> Callable[..., Path]:
    """Return a writer of multi-frame XA files, each name another instance; `change` edits a data set before it is saved."""

    def write(name: str = "run.dcm", change: Change | None = None, frames: np.ndarray | None = None, **options: Any) -> Path:
        path = tmp_path / name
        frames = moving_frames() if frames is None else frames
        bits = 8 if frames.dtype == np.uint8 else 12
        arguments = {"BitsStored": bits, "relation": "LIN", "frame_time": 40.0, "entropy": [name]} | options
        write_run(path, frames, **arguments)
        if change is not None:
            dataset = pydicom.dcmread(path)
            change(dataset)
            dataset.save_as(path)
        return path

    return write


@pytest.fixture
def xa_folder(tmp_path, xa_file) -> Callable[..., Path]:
    """Return a writer of a folder of single-frame XA files, names in another order than the frames."""

    def write(frames: np.ndarray, name: str = "folder", change: Callable[[pydicom.Dataset, int], Any] | None = None) -> Path:
        whole = pydicom.dcmread(xa_file(f"{name}-whole.dcm", frames=frames))
        (tmp_path / f"{name}-whole.dcm").unlink()
        for index, frame in enumerate(frames):
            single = pydicom.dcmread(xa_file(f"{name}/{99 - index}.dcm", frames=frame[None]))
            single.SeriesInstanceUID, single.StudyInstanceUID = whole.SeriesInstanceUID, whole.StudyInstanceUID
            single.SOPInstanceUID = single.file_meta.MediaStorageSOPInstanceUID = derived_uid(whole.SOPInstanceUID, str(index))
            single.InstanceNumber = index + 1
            for keyword in ("NumberOfFrames", "FrameTime", "FrameIncrementPointer"):
                delattr(single, keyword)
            if change is not None:
                change(single, index)
            single.save_as(tmp_path / name / f"{99 - index}.dcm")
        return tmp_path / name

    return write
