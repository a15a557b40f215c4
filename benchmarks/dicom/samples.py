"""Make the sample runs of `data/`: small simulated angiograms with shutter and mask tags, and their truth.

    python -m benchmarks.dicom.samples ct.nii.gz data

Each is of 6 frames of 256 by 256 pixels, of which the first two show no contrast agent. The same CT gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.uid import EnhancedXAImageStorage

from angiomorph.dicom.save import derived_uid, save
from angiomorph.dicom.shutter import find_exposed
from angiomorph.errors import InputError
from angiomorph.simulate.run import SimulatedRun, simulate_run
from angiomorph.simulate.scene import anatomy
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.write import write_simulated_run
from angiomorph.storage.atomic import replace_file
from angiomorph.storage.store import write_arrays
from angiomorph.storage.truth import truth_path

SEED = 21
SHUTTER = (
    *("ShutterShape", "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", "ShutterUpperHorizontalEdge"),
    *("ShutterLowerHorizontalEdge", "CenterOfCircularShutter", "RadiusOfCircularShutter", "VerticesOfThePolygonalShutter"),
)
ACQUISITION = {  # nominal: the simulator draws photons at the detector, no current and no pulse
    "RadiationSetting": "GR",
    "RadiationMode": "PULSED",
    "AveragePulseWidth": 10.0,
    "PositionerType": "CARM",
    "CArmPositionerTabletopRelationship": "NO",
    "XRayTubeCurrentInmA": 100.0,
    "ExposureTimeInms": 10.0,
    "AcquiredImageAreaDoseProduct": None,
}
COLLIMATOR = (
    *("CollimatorShape", "CollimatorLeftVerticalEdge", "CollimatorRightVerticalEdge", "CollimatorUpperHorizontalEdge"),
    *("CollimatorLowerHorizontalEdge", "CenterOfCircularCollimator", "RadiusOfCircularCollimator"),
    "VerticesOfThePolygonalCollimator",
)
TABLE = ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition", "TableHorizontalRotationAngle")
TILTS = ("TableHeadTiltAngle", "TableCradleTiltAngle")
# Beginnings of the keywords that an Enhanced XA Image has as the classic one.
KEPT = (
    *("Patient", "Study", "Series", "Accession", "Referring", "Manufacturer", "Modality", "Instance", "SOPInstance", "Content"),
    *("Rows", "Columns", "SamplesPerPixel", "Bits", "HighBit", "PixelRepresentation", "Photometric", "NumberOfFrames"),
)
FRAME_TIME = 500.0  # ms; a whole number of frames a second, which is all that Enhanced XA has a tag for


@dataclass(frozen=True)
class Sample:
    """A sample run.

    Args:
        name: of its files.
        number: of the run within the seed; it decides view, collimator and motion.
        relation: PixelIntensityRelationship.
        bits: BitsStored.
        convert: makes its files of the classic multi-frame one: data set and final path without ending, to file names.
    """

    name: str
    number: int
    relation: str
    bits: int
    convert: Callable[[Dataset, Path], list[str]]

    def settings(self) -> SimulationSettings:
        """Return what the run is drawn from."""
        return SimulationSettings(
            size=256,
            frames=6,
            background=2,
            still=0.0,
            collimated=1.0,
            iodine=(150.0, 180.0),
            motion_mm=(1.0, 3.0),
            motion_deg=(0.5, 2.0),
            frame_time=(FRAME_TIME, FRAME_TIME),
            relations=(self.relation,),
            bits_stored=(self.bits,),
        )


def classic(dataset: Dataset, path: Path) -> list[str]:
    """Write a multi-frame X-Ray Angiographic Image."""
    save(dataset, path.with_suffix(".dcm"))
    return [f"{path.name}.dcm"]


def single_frames(dataset: Dataset, path: Path) -> list[str]:
    """Write a folder of one X-Ray Angiographic Image a frame; they have no mask tags, which belong to multi-frame images."""
    names, frames = [], dataset.pixel_array
    for index, frame in enumerate(frames):
        single = Dataset()
        single.update({element.tag: element for element in dataset})
        for keyword in (
            "NumberOfFrames",
            "FrameTime",
            "FrameIncrementPointer",
            "MaskSubtractionSequence",
            "RecommendedViewingMode",
        ):
            if keyword in single:
                del single[keyword]
        single.SOPInstanceUID = derived_uid(dataset.SOPInstanceUID, str(index))
        single.InstanceNumber = index + 1
        single.AcquisitionDate = dataset.ContentDate
        single.AcquisitionTime = single.ContentTime = _time(index)
        single.add_new("PixelData", dataset["PixelData"].VR, frame.astype(frame.dtype.newbyteorder("<")).tobytes())
        names.append(f"{path.name}/frame-{index + 1}.dcm")
        save(single, path / f"frame-{index + 1}.dcm")
    return names


def _time(index: int) -> str:
    seconds = index * FRAME_TIME / 1000
    return f"1200{int(seconds):02d}.{round(seconds % 1 * 1e6):06d}"


def enhanced(dataset: Dataset, path: Path) -> list[str]:
    """Write an Enhanced XA Image: the same pixels, with times, shutter and geometry in functional groups.

    Source: DICOM PS3.3 A.47 and C.8.19.
    """
    made = Dataset()
    for element in dataset:
        if element.keyword.startswith(KEPT) or element.keyword in ("PixelData", "StudyID"):
            made.add(element)
    del made.PatientOrientation  # in Enhanced XA it is of a frame
    made.SOPClassUID = EnhancedXAImageStorage
    _set(
        made,
        ImageType=["ORIGINAL", "PRIMARY", "SINGLE PLANE", "NONE"],
        DeviceSerialNumber="1",
        SoftwareVersions="1",
        AcquisitionDateTime=f"{dataset.ContentDate}120000",
        PlanesInAcquisition="MONOPLANE",
        ContentQualification="RESEARCH",
        AcquisitionContextSequence=[],
        BurnedInAnnotation="NO",
        LossyImageCompression="00",
        PresentationLUTShape="IDENTITY",
        PlaneIdentification="MONOPLANE",
        **ACQUISITION,
        KVP=dataset.KVP,
        AcquisitionDuration=FRAME_TIME * int(dataset.NumberOfFrames) / 1000,
        DistanceReceptorPlaneToDetectorHousing=None,
        RecommendedDisplayFrameRate=round(1000 / FRAME_TIME),
        RecommendedViewingMode="SUB",
        MaskSubtractionSequence=[_set(Dataset(), **_values(dataset.MaskSubtractionSequence[0]))],
    )
    made.SharedFunctionalGroupsSequence = [_shared(dataset)]
    made.PerFrameFunctionalGroupsSequence = [_frame(dataset, index) for index in range(int(dataset.NumberOfFrames))]
    save(made, path.with_suffix(".dcm"))
    return [f"{path.name}.dcm"]


def _set(dataset: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _values(dataset: Dataset) -> dict[str, Any]:
    return {element.keyword: element.value for element in dataset}


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _set(Dataset(), CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _shared(dataset: Dataset) -> Dataset:
    """Return what all frames have in common."""
    shutter = {keyword: dataset[keyword].value for keyword in SHUTTER if keyword in dataset}
    head = _code("69536005", "SCT", "Head")
    return _set(
        Dataset(),
        FrameAnatomySequence=[_set(Dataset(), FrameLaterality="U", AnatomicRegionSequence=[head])],
        FramePixelDataPropertiesSequence=[
            _set(
                Dataset(),
                FrameType=["ORIGINAL", "PRIMARY", "SINGLE PLANE", "NONE"],
                PixelIntensityRelationship=dataset.PixelIntensityRelationship,
                PixelIntensityRelationshipSign=1,
                GeometricalProperties="UNIFORM",
                ImagerPixelSpacing=dataset.ImagerPixelSpacing,
                ImageProcessingApplied="NONE",
            )
        ],
        FrameVOILUTSequence=[_set(Dataset(), WindowCenter=dataset.WindowCenter, WindowWidth=dataset.WindowWidth)],
        FrameDisplayShutterSequence=[_set(Dataset(), **shutter, ShutterPresentationValue=0)],
        IrradiationEventIdentificationSequence=[
            _set(Dataset(), IrradiationEventUID=derived_uid(dataset.SOPInstanceUID, "irradiation event"))
        ],
        CollimatorShapeSequence=[_set(Dataset(), **{name: dataset[name].value for name in COLLIMATOR if name in dataset})],
        TablePositionSequence=[_set(Dataset(), **dict.fromkeys((*TABLE, *TILTS), 0.0))],
        PositionerPositionSequence=[
            _set(
                Dataset(),
                PositionerPrimaryAngle=float(dataset.PositionerPrimaryAngle),
                PositionerSecondaryAngle=float(dataset.PositionerSecondaryAngle),
            )
        ],
    )


def _frame(dataset: Dataset, index: int) -> Dataset:
    content = _set(
        Dataset(),
        FrameAcquisitionNumber=index + 1,
        FrameReferenceDateTime=f"{dataset.ContentDate}{_time(index)}",
        FrameAcquisitionDateTime=f"{dataset.ContentDate}{_time(index)}",
        FrameAcquisitionDuration=10.0,
    )
    return _set(Dataset(), FrameContentSequence=[content])


PRECISION = np.float32(2**-13)  # ln units, of truth: finer than values of 12 bits, and half the size of all digits
SAMPLES = (
    Sample("sample_lin", 1, "LIN", 12, classic),
    Sample("sample_disp", 4, "DISP", 8, classic),
    Sample("sample_enhanced", 10, "LIN", 12, enhanced),
    Sample("sample_single_frames", 7, "LIN", 10, single_frames),
)


def truth(dataset: Dataset, run: SimulatedRun, files: Sequence[str]) -> dict[str, Any]:
    """Return what a reader has to find in a sample, in plain values.

    Args:
        dataset: of the classic multi-frame file.
        run: the simulated run.
        files: names of the sample's files.
    """
    multi_frame = len(files) == 1
    return {
        "files": list(files),
        "shape": list(run.frames.shape),
        "bits_stored": int(dataset.BitsStored),
        "relation": str(dataset.PixelIntensityRelationship),
        "frames_sha256": hashlib.sha256(run.frames.astype("<u2").tobytes()).hexdigest(),
        "frame_times_ms": [index * FRAME_TIME for index in range(len(run.frames))],
        "mask_frames": list(range(1, run.background_frames + 1)) if multi_frame else [],
        "frames_without_contrast": list(range(1, run.background_frames + 1)),
        "shutter": {keyword: simplify(dataset[keyword].value) for keyword in SHUTTER if keyword in dataset},
    }


def simplify(value: Any) -> Any:
    return value if isinstance(value, str | int) else [int(item) for item in value]


def make(sample: Sample, ct: anatomy.Volume, out: Path) -> dict[str, Any]:
    """Write a sample and its `<name>_truth.h5`, and return its truth in plain values.

    Raises:
        InputError: the run's header is silent about its collimator.
    """
    settings = sample.settings()
    run = simulate_run(ct, None, settings, (SEED, sample.number))
    with TemporaryDirectory() as folder:
        write_simulated_run(run, Path(folder), sample.name, settings)
        dataset = pydicom.dcmread(Path(folder, f"{sample.name}.dcm"))
    if "ShutterShape" not in dataset:
        raise InputError(f"{sample.name}: expected a display shutter, found none in run {sample.number}; choose another")
    files = sample.convert(dataset, out / sample.name)
    rounded = {name: np.round(getattr(run.truth, name) / PRECISION) * PRECISION for name in ("background", "vessel")}
    arrays = {**run.truth.arrays(), **rounded, "shutter": find_exposed(dataset, *run.frames.shape[1:])}
    write_arrays(truth_path(out / sample.name), arrays, {"stored_per_ln": run.truth.stored_per_ln})
    return truth(dataset, run, files)


def main(argv: Sequence[str] | None = None) -> int:
    """Make all samples, `samples.json` with their truth, and print what `sha256sum` would."""
    parser = argparse.ArgumentParser(prog="benchmarks.dicom.samples", description="Make the sample runs of data/.")
    parser.add_argument("ct", type=Path, metavar="CT", help="head CT (NIfTI)")
    parser.add_argument("out", type=Path, metavar="DIR", help="where to write")
    arguments = parser.parse_args(argv)
    try:
        ct = anatomy.load_ct(arguments.ct)
        made = {sample.name: make(sample, ct, arguments.out) for sample in SAMPLES}
    except InputError as error:
        print(f"benchmarks.dicom.samples: {error}", file=sys.stderr)
        return 2
    with replace_file(arguments.out / "samples.json") as partial:
        partial.write_text(json.dumps(made, indent=2) + "\n")
    names = [*(name for sample in made.values() for name in sample["files"]), *(f"{name}_truth.h5" for name in made)]
    for name in [*names, "samples.json"]:
        print(f"{hashlib.sha256((arguments.out / name).read_bytes()).hexdigest()}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
