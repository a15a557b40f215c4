"""An archive becomes a store: every usable run exactly, nobody's identity, whole or not at all, and gone on with if stopped."""

import csv
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pydicom
import pytest

from angiomorph.archive import prepare as module
from angiomorph.archive.prepare import prepare
from angiomorph.dicom import find_series, write_run
from angiomorph.dicom.find import COPIES, NO_DICOM
from angiomorph.errors import InputError
from angiomorph.preprocessing.resizing import shrink_frames
from angiomorph.storage import store
from tests.runs import moving_frames
from tests.tools import REPOSITORY, shared_data


@pytest.fixture
def archive(tmp_path, xa_file, xa_folder):
    """Return an archive of two usable and two unusable runs in folders that are named like patients."""
    name = "DOE^JANE"
    frames = moving_frames((3, 8, 6))
    xa_file("archive/a_Doe/Doe1.dcm", frames=moving_frames(seed=1), attributes={"MaskFrameNumbers": [2], "PatientName": name})
    xa_file("archive/b_Doe/Doe2.dcm", frames=moving_frames((1, 8, 8)), attributes={"PatientName": name})
    xa_folder(frames, "archive/c_Doe", change=lambda single, index: setattr(single, "PatientName", name))
    broken = xa_file("archive/d_Doe/Doe4.dcm", attributes={"PatientName": name})
    broken.write_bytes(broken.read_bytes()[:-100])
    return tmp_path / "archive"


@pytest.mark.slow
def test_every_usable_run_is_stored_exactly(archive, tmp_path):
    seen = []
    report = prepare([archive], tmp_path / "out" / "s.h5", progress=lambda done, total: seen.append((done, total)))
    assert report.taken == 2
    assert [name for name, _ in report.left_out] == ["Doe2", "Doe4"]
    assert "one single frame" in report.left_out[0][1]
    assert "truncated" in report.left_out[1][1]
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    with store.open_store(tmp_path / "out" / "s.h5") as file:
        assert store.keys(file) == ["run-000001", "run-000003"]
        first, third = (store.read(file, key) for key in store.keys(file))
    np.testing.assert_array_equal(first.frames, moving_frames(seed=1))
    np.testing.assert_array_equal(third.frames, moving_frames((3, 8, 6)))
    assert (first.relation, first.bits_stored, first.background, first.frame_time) == ("LIN", 12, (2,), 40)


@pytest.mark.slow
def test_the_manifest_says_what_was_taken_and_why_not(archive, tmp_path):
    report = prepare([archive], tmp_path / "s.h5")
    uid = pydicom.dcmread(archive / "a_Doe" / "Doe1.dcm").SeriesInstanceUID
    first, second, _, fourth = manifest_of(report)
    assert first == {
        "key": "run-000001",
        "series_sha256": hashlib.sha256(uid.encode()).hexdigest(),
        "frames": "4",
        "rows": "16",
        "columns": "12",
        "relation": "LIN",
        "bits_stored": "12",
        "background": "2",
        "left_out": "",
    }
    assert second["left_out"].startswith("file: expected a run, which needs at least one background and one contrast frame")
    assert (second["key"], second["frames"]) == ("run-000002", "")
    assert "truncated" in fourth["left_out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "s.h5", "s.manifest.csv"]


def manifest_of(report):
    with report.manifest.open(newline="") as file:
        return list(csv.DictReader(file))


IDENTITY = {
    "PatientName": "Quartz^Zebulon",
    "PatientID": "QZ-4711",
    "PatientBirthDate": "19330911",
    "StudyDate": "19870403",
    "AccessionNumber": "ACC0815",
    "InstitutionName": "Saint Elsewhere",
    "OperatorsName": "Fiddler^Otto",
    "SeriesDescription": "left carotid of Zeb",
}


@pytest.mark.slow
def test_nothing_of_a_patient_is_in_any_file(tmp_path, xa_file, xa_folder):
    frames = moving_frames((3, 8, 8))
    whole = xa_file("Lazarett/Zebulon/QZ-4711.dcm", attributes=IDENTITY | {"MaskFrameNumbers": [1]})
    broken = xa_file("Lazarett/Zebulon/Quartz.dcm", attributes=IDENTITY)
    broken.write_bytes(broken.read_bytes()[:-100])
    copies = xa_folder(frames, "Lazarett/loose", lambda single, index: [setattr(single, *pair) for pair in IDENTITY.items()])
    single = pydicom.dcmread(copies / "99.dcm")
    single.SOPInstanceUID, single.InstanceNumber = f"{single.SOPInstanceUID}.7", 2
    single.save_as(copies / "Quartz 19330911.dcm")
    dataset = pydicom.dcmread(whole)
    words = [*IDENTITY.values(), "Zebulon", "Quartz", str(tmp_path), "Lazarett", "loose"]
    words += [str(element.value) for element in dataset.iterall() if element.VR in ("UI", "DA", "TM", "DT", "PN")]
    words = [word.upper().encode() for word in words if len(word) > 3 and word not in str(dataset.SOPClassUID)]
    assert len(words) > 15

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([tmp_path / "Lazarett"], tmp_path / "out" / "s.h5", progress=stop)
    scan(tmp_path / "out", words, 3)
    report = prepare([tmp_path / "Lazarett"], tmp_path / "out" / "s.h5")
    assert (report.taken, len(report.left_out)) == (1, 2)
    scan(tmp_path / "out", words, 2)


def scan(folder, words, count):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == count
    for path in files:
        data = path.read_bytes().upper()
        assert not [word for word in words if word in data or word.decode().encode("utf-16-le") in data]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "SINGLE PLANE", "DSA"]}, "already subtracted"),
        ({"PositionerMotion": "DYNAMIC"}, "expected a resting C-arm"),
        ({"TableMotion": "DYNAMIC"}, "expected a resting table"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "expected grey-scale pixels"),
        ({"MaskFrameNumbers": [1, 2, 3, 4]}, "expected a contrast frame, found every frame named as background"),
    ],
)
def test_unusable_runs_are_left_out_with_their_reason(tmp_path, xa_file, attributes, reason):
    xa_file("archive/a.dcm", attributes=attributes)
    xa_file("archive/b.dcm")
    report = prepare([tmp_path / "archive"], tmp_path / "s.h5")
    assert report.taken == 1
    assert reason in report.left_out[0][1]
    assert manifest_of(report)[0]["left_out"].startswith("file: ")
    assert reason in manifest_of(report)[0]["left_out"]


@pytest.mark.slow
def test_a_number_in_a_reason_is_no_file_name(tmp_path, xa_file):
    xa_file("archive/3", change=lambda dataset: setattr(dataset, "SamplesPerPixel", 13))
    xa_file("archive/b.dcm")
    report = prepare([tmp_path / "archive"], tmp_path / "s.h5")
    assert "found SamplesPerPixel 13," in manifest_of(report)[0]["left_out"]


@pytest.mark.slow
def test_large_frames_shrink_and_keep_their_scale(tmp_path, xa_file):
    large, small = moving_frames((3, 20, 30)), moving_frames((3, 8, 6), bits=8)
    xa_file("archive/large.dcm", frames=large, attributes={"MaskFrameNumbers": [2]})
    xa_file("archive/small.dcm", frames=small)
    report = prepare([tmp_path / "archive"], tmp_path / "s.h5", size=15)
    with store.open_store(tmp_path / "s.h5") as file:
        first, second = (store.read(file, key) for key in store.keys(file))
    np.testing.assert_array_equal(first.frames, shrink_frames(large, 15))
    assert (first.frames.dtype, first.frames.shape, first.bits_stored, first.background) == (np.uint16, (3, 10, 15), 12, (2,))
    np.testing.assert_array_equal(second.frames, small)
    assert [(line["rows"], line["columns"]) for line in manifest_of(report)] == [("10", "15"), ("8", "6")]


def deadly(files, **options):
    """Read a run as ever, unless it is the one whose decoder crashes."""
    if files.name == "Doe2":
        os.kill(os.getpid(), signal.SIGSEGV)
    return module.read_run(files, **options)


@pytest.mark.slow
def test_a_decoder_that_crashes_is_its_runs_error(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "read_run", deadly)
    report = prepare([archive], tmp_path / "s.h5", workers=2)
    assert [name for name, _ in report.left_out] == ["Doe2", "Doe4"]
    assert "the process that decoded them ended with signal SIGSEGV" in manifest_of(report)[1]["left_out"]
    with store.open_store(tmp_path / "s.h5") as file:
        np.testing.assert_array_equal(store.read(file, "run-000003").frames, moving_frames((3, 8, 6)))


def test_a_long_search_is_told(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0)
    said = []
    prepare([archive], tmp_path / "s.h5", say=said.append)
    assert [line for line in said if line.startswith("looking")] == [
        f"looking for runs: {n} files looked at" for n in range(1, 7)
    ]


@pytest.mark.slow
def test_unusable_archive_leaves_nothing(archive, tmp_path):
    with pytest.raises(InputError, match=r"at least one usable run among 1, found none; the first: .*one single frame"):
        prepare([archive / "b_Doe"], tmp_path / "out" / "s.h5")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(InputError, match="`size` 0: expected a whole number from 1, got 0"):
        prepare([archive], tmp_path / "out" / "s.h5", size=0)


@pytest.mark.slow
def test_an_interrupted_preparation_keeps_the_old_store(archive, tmp_path):
    prepare([archive], tmp_path / "s.h5")
    before = (tmp_path / "s.h5").read_bytes()

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare([archive], tmp_path / "s.h5", progress=interrupt)
    assert (tmp_path / "s.h5").read_bytes() == before


def stopped_after(count):
    def stop(done, total):
        if done == count:
            raise KeyboardInterrupt

    return stop


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"size": 4}, {}], ids=["another size", "a touched file"])
def test_other_work_under_the_same_name_is_refused_and_kept(archive, tmp_path, change):
    target, said = tmp_path / "s.h5", []
    with pytest.raises(KeyboardInterrupt):
        prepare([archive], target, progress=stopped_after(3))
    if not change:
        (archive / "b_Doe" / "Doe2.dcm").touch()
    with pytest.raises(
        InputError, match=r"\.s\.h5\.partial: .*found 3 runs of other files, options or version.*remove the folder"
    ):
        prepare([archive], target, **change, say=said.append)
    assert said == []
    with pytest.raises(InputError, match=r"\.s\.h5\.partial"):
        prepare([archive / "a_Doe"], target)


@pytest.mark.slow
def test_a_stop_before_the_first_run_blocks_nobody(archive, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare([archive], tmp_path / "s.h5", progress=stopped_after(0))
    assert prepare([archive / "a_Doe"], tmp_path / "s.h5").taken == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_reasons_survive_a_stop(archive, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare([archive], tmp_path / "s.h5", progress=stopped_after(3))
    said, seen = [], []
    report = prepare([archive], tmp_path / "s.h5", say=said.append, progress=lambda done, total: seen.append(done))
    assert (said, seen) == (["resuming: 3 of 4 runs already there"], [3, 4])
    once = prepare([archive], tmp_path / "once.h5")
    assert [name for name, _ in report.left_out] == [name for name, _ in once.left_out] == ["Doe2", "Doe4"]
    assert str(archive / "b_Doe" / "Doe2.dcm") in report.left_out[0][1]
    assert report.manifest.read_bytes() == once.manifest.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s.manifest.csv", "s.h5"])
def test_a_stop_while_names_are_given_is_made_good(archive, tmp_path, monkeypatch, name):
    once, replace = prepare([archive], tmp_path / "once.h5"), os.replace

    def stop(source, target):
        if target == tmp_path / name:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare([archive], tmp_path / "s.h5")
    said = []
    report = prepare([archive], tmp_path / "s.h5", say=said.append)
    assert said == ["resuming: 4 of 4 runs already there"]
    assert (report.taken, len(report.left_out)) == (once.taken, len(once.left_out))
    assert contents(tmp_path / "s.h5") == contents(tmp_path / "once.h5")
    assert report.manifest.read_bytes() == once.manifest.read_bytes()
    assert not list(tmp_path.glob(".*"))


RUNS = 7


@pytest.fixture(scope="module")
def long_archive(tmp_path_factory):
    """Return an archive of runs that take a while: 6 of 8 MB each and a broken one."""
    folder = tmp_path_factory.mktemp("long")
    for index in range(RUNS):
        write_run(
            folder / f"{index}.dcm", moving_frames((16, 512, 512), seed=index), BitsStored=12, relation="LIN", frame_time=40.0
        )
    with (folder / "4.dcm").open("r+b") as file:
        file.truncate(1 << 20)
    return folder


@pytest.fixture(scope="module")
def expected(long_archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("expected") / "s.h5"
    report = prepare([long_archive], path)
    return contents(path), report.manifest.read_bytes()


def contents(path):
    with h5py.File(path, "r") as file:
        runs = {key: (store.read(file, key).frames.tobytes(), sorted(map(str, file[key].attrs.items()))) for key in file}
        return runs, sorted(file.attrs.items())


def started(archive, target, limit=None):
    def limited():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "angiomorph", "prepare", archive, target, "--workers", "2"]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=limited, cwd=REPOSITORY
    )


def spoil(path):
    """Change a file's pixels, but neither its size nor its time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(bytes(4096))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize(("after", "seconds"), [(0, 0.02), (1, 0), (3, 0.01), (RUNS, 0)])
def test_a_killed_preparation_goes_on_and_reads_nothing_twice(tmp_path, long_archive, expected, after, seconds):
    archive, target = shutil.copytree(long_archive, tmp_path / "archive"), tmp_path / "out" / "s.h5"
    process = started(archive, target)
    for line in process.stderr:
        if line.startswith(f"runs read: {after}/"):
            time.sleep(seconds)
            process.kill()
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    for index in range(after):
        spoil(archive / f"{index}.dcm")
    process = started(archive, target)
    out, err = process.communicate()
    assert process.returncode == 1, err
    assert out == f"{target}: {RUNS - 1} runs taken, 1 left out\n"
    resumed = [int(line.split()[1]) for line in err.splitlines() if line.startswith("resuming: ")]
    assert resumed == [] if after == 0 and not resumed else after <= resumed[0] <= RUNS
    assert contents(target) == expected[0]
    assert (target.parent / "s.manifest.csv").read_bytes() == expected[1]
    assert sorted(path.name for path in target.parent.iterdir()) == ["s.h5", "s.manifest.csv"]


@pytest.mark.slow
def test_a_full_disk_is_said_in_one_line_and_nothing_is_lost(tmp_path, long_archive, expected):
    target = tmp_path / "s.h5"
    process = started(long_archive, target, limit=20 << 20)  # two runs and a half
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    (line,) = (line for line in err.splitlines() if not line.startswith("runs read: "))
    assert line.startswith(f"angiomorph prepare: {target}: expected to write the store, but File too large; ")
    assert not target.exists()
    process = started(long_archive, target)
    _, err = process.communicate()
    assert process.returncode == 1
    assert f"resuming: 2 of {RUNS} runs already there" in err.splitlines()
    assert contents(target) == expected[0]


@pytest.mark.slow
def test_real_archive(tmp_path):
    report = prepare([shared_data("xa/fodicom_HasFragmentSequence.dcm")], tmp_path / "s.h5")
    assert report.taken == 1
    with store.open_store(tmp_path / "s.h5") as file:
        assert store.read(file, "run-000001").frames.shape == (96, 512, 512)
    assert b"Rubo" not in (tmp_path / "s.h5").read_bytes()


@pytest.mark.slow
def test_runs_said_to_be_unsubtracted_are_taken(tmp_path, xa_file):
    words = {"ImageType": ["DERIVED", "PRIMARY", "SINGLE PLANE"], "AcquisitionDeviceProcessingDescription": "DSA 3 f/s"}
    path = xa_file("archive/run.dcm", attributes=words)
    with pytest.raises(InputError, match="already subtracted"):
        prepare([path], tmp_path / "s.h5")
    assert prepare([path], tmp_path / "s.h5", unsubtracted=True).taken == 1


@pytest.mark.parametrize(
    "error", [MemoryError("Doe"), RecursionError("Doe"), TypeError("Doe"), OSError(5, "Input/output error")]
)
def test_whatever_a_run_raises_leaves_out_that_run_alone(archive, monkeypatch, error):
    def failing(files, *, unsubtracted):
        raise error

    monkeypatch.setattr(module, "read_series", failing)
    reason = module.read_run(find_series([archive / "a_Doe"])[0], size=None, unsubtracted=False)
    assert isinstance(reason, str)
    assert reason.startswith(f"{archive / 'a_Doe' / 'Doe1.dcm'}: expected ")
    line = module.manifest_line(0, find_series([archive / "a_Doe"])[0], None, reason)
    assert line["left_out"].startswith("file: expected ")
    assert "Doe" not in line["left_out"]


@pytest.mark.slow
def test_copies_are_not_stored_twice(archive, tmp_path):
    shutil.copytree(archive / "a_Doe", archive / "x_Doe")
    shutil.copytree(archive / "c_Doe", archive / "y_Doe")
    (archive / "Doe.txt").write_text("no picture")
    said = []
    report = prepare([archive], tmp_path / "s.h5", say=said.append)
    assert (report.taken, len(report.left_out)) == (2, 2)
    assert report.passed_over == {COPIES: 4, NO_DICOM: 1}
    passed_over = [(line["key"], line["left_out"]) for line in manifest_of(report)[4:]]
    assert passed_over == [("passed-over", f"{COPIES}: 4"), ("passed-over", f"{NO_DICOM}: 1")]
    assert len(said) == 2
    assert all(line.startswith("warning: ") and "copies of the run's files are left out" in line for line in said)


@pytest.mark.slow
def test_files_passed_over_are_in_the_manifest_once_after_a_stop(archive, tmp_path):
    (archive / "Doe.txt").write_text("no picture")
    once = prepare([archive], tmp_path / "once.h5")
    for count in (0, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            prepare([archive], tmp_path / "s.h5", progress=stopped_after(count))
    report = prepare([archive], tmp_path / "s.h5")
    assert report.manifest.read_bytes() == once.manifest.read_bytes()
    assert len(manifest_of(report)) == 5


@pytest.mark.slow
def test_an_archive_in_a_zip_resumes_and_names_nobody(archive, tmp_path):
    packed = tmp_path / "QZ-Doe.zip"
    shutil.make_archive(str(packed.with_suffix("")), "zip", archive)
    once = prepare([archive], tmp_path / "once.h5")
    with pytest.raises(KeyboardInterrupt):
        prepare([packed], tmp_path / "s.h5", progress=stopped_after(3))
    said = []
    report = prepare([packed], tmp_path / "s.h5", say=said.append)
    assert said == ["resuming: 3 of 4 runs already there"]
    assert contents(tmp_path / "s.h5") == contents(tmp_path / "once.h5")
    assert report.manifest.read_bytes() == once.manifest.read_bytes()
    assert "Doe" not in report.manifest.read_text()
    assert report.left_out[1][1].startswith(f"{packed / 'd_Doe' / 'Doe4.dcm'}: expected ")
