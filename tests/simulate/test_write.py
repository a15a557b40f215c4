import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pydicom
import pytest

from angiomorph.errors import InputError
from angiomorph.simulate import write
from angiomorph.simulate.write import simulate
from angiomorph.storage import store
from angiomorph.storage.truth import ARRAYS
from angiomorph.workers import Died
from tests.simulate.settings import SETTINGS
from tests.tools import REPOSITORY, require_tool, shared_data

pytestmark = pytest.mark.slow


def test_writes_dicom_truth_and_store_that_agree(tmp_path):
    simulate(tmp_path / "out", runs=2, seed=5, settings=SETTINGS, store=tmp_path / "store.h5")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "run-000001.dcm", "run-000001_truth.h5", "run-000002.dcm", "run-000002_truth.h5",
    ]  # fmt: skip
    dataset = pydicom.dcmread(tmp_path / "out" / "run-000002.dcm")
    with store.open_store(tmp_path / "store.h5") as training:
        assert store.keys(training) == ["run-000001", "run-000002"]
        kept = store.read(training, "run-000002")
    np.testing.assert_array_equal(dataset.pixel_array, kept.frames)
    assert (kept.relation, kept.bits_stored, kept.background) == ("LIN", 12, (1, 2))
    assert list(dataset.MaskSubtractionSequence[0].MaskFrameNumbers) == [1, 2]
    truth, attributes = store.read_arrays(tmp_path / "out" / "run-000002_truth.h5")
    assert set(truth) == set(ARRAYS)
    assert json.loads(attributes["settings"])["size"] == 64
    assert list(attributes["seed"]) == [5, 2]
    arm = json.loads(attributes["arm"])
    assert float(dataset.PositionerPrimaryAngle) == pytest.approx(arm["primary"])
    assert float(dataset.ImagerPixelSpacing[0]) == pytest.approx(arm["pixel_spacing"])
    np.testing.assert_allclose(kept.clean, np.exp(truth["background"]), atol=0.5 + 1e-3)
    noise = np.log(np.maximum(kept.frames, 1)) - truth["background"] - truth["vessel"]
    assert abs(np.median(noise[truth["anatomy"]])) < 0.02


def test_worker_processes_change_no_bit(tmp_path):
    for workers in (1, 2):
        simulate(None, runs=2, seed=5, settings=SETTINGS, store=tmp_path / f"{workers}.h5", workers=workers)
    with h5py.File(tmp_path / "1.h5") as one, h5py.File(tmp_path / "2.h5") as two:
        for name in ("run-000001", "run-000002"):
            np.testing.assert_array_equal(one[name]["frames"], two[name]["frames"])


def test_ctrl_c_is_one_line_and_leaves_whole_runs(tmp_path):
    """It reaches all processes of the terminal."""
    flags = ["--runs", "6", "--size", "64", "--frames", "3", "--background", "1", "--workers", "2"]
    command = [sys.executable, "-m", "angiomorph", "simulate", "--out", tmp_path / "out", "--store", tmp_path / "s.h5", *flags]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    with subprocess.Popen(command, **given, start_new_session=True) as process:
        assert process.stderr.readline().startswith("runs made: 1/6")
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()
    assert (process.returncode, *said) == (130, "", "angiomorph simulate: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    runs = {name.partition(".")[0].partition("_")[0] for name in names}
    assert "run-000001" in runs
    assert names == {f"{run}{ending}" for run in runs for ending in (".dcm", "_truth.h5")}


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_dciodvfy_finds_no_error(tmp_path, bits):
    program = require_tool("dciodvfy")
    simulate(tmp_path, runs=1, seed=bits, settings=replace(SETTINGS, frames=2, bits_stored=(bits,)))
    done = subprocess.run([program, str(tmp_path / "run-000001.dcm")], capture_output=True, text=True, check=False)
    report = (done.stdout + done.stderr).splitlines()
    assert "XAImage" in report
    assert not [line for line in report if line.startswith("Error")]


def test_progress_is_told_after_each_run(tmp_path):
    told = []
    simulate(tmp_path, runs=2, seed=0, settings=replace(SETTINGS, frames=1, background=1), progress=lambda *a: told.append(a))
    assert told == [(1, 2), (2, 2)]


def test_a_real_head_and_real_vessels_project(tmp_path):
    files = {
        "ct": shared_data("ct/mricrogl_head_ct_1mm.nii.gz"),
        "vessels": shared_data("ct/niivue_CT_AVM_bone_removed_cta.nii.gz"),
    }
    simulate(tmp_path, runs=1, seed=2, settings=replace(SETTINGS, grown=0.0), **files)
    truth, _ = store.read_arrays(tmp_path / "run-000001_truth.h5")
    assert truth["vessel"][:2].min() == 0
    assert truth["vessel"][-1].min() < -0.1
    assert truth["anatomy"].mean() > 0.3


def test_a_worker_that_dies_is_told_by_its_run(tmp_path, monkeypatch):
    def die_at_each(make, numbers, workers, cluster):
        yield from (Died(-signal.SIGKILL) for _ in numbers)

    monkeypatch.setattr(write, "map_tasks", die_at_each)
    with pytest.raises(InputError, match="run-000001: expected a run, but the process that made it ended with signal SIGKILL"):
        simulate(tmp_path / "out", runs=2, seed=5, settings=SETTINGS, workers=2)


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"seed": -1}, {"workers": 0}])
def test_impossible_counts_are_refused(tmp_path, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(InputError, match=f"`{name}` {value}: expected a whole number from {value + 1}, got {value}"):
        simulate(tmp_path, **({"runs": 1, "seed": 0} | arguments))


def test_nowhere_to_write_is_refused():
    with pytest.raises(InputError, match="neither"):
        simulate(None, runs=1, seed=0)


def test_an_unusable_ct_leaves_nothing_behind(tmp_path):
    (tmp_path / "ct.nii").write_bytes(b"no volume")
    with pytest.raises(InputError, match="NIfTI"):
        simulate(tmp_path / "out", runs=1, seed=0, ct=tmp_path / "ct.nii", store=tmp_path / "store.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii"]


@pytest.mark.parametrize("relation", ["LOG", "DISP"])
def test_clean_frames_are_in_stored_units(tmp_path, relation):
    settings = replace(SETTINGS, relations=(relation,))
    simulate(tmp_path, runs=1, seed=3, settings=settings, store=tmp_path / "store.h5")
    truth, attributes = store.read_arrays(tmp_path / "run-000001_truth.h5")
    with store.open_store(tmp_path / "store.h5") as training:
        kept = store.read(training, "run-000001")
    assert kept.clean.dtype == kept.frames.dtype
    scale = float(attributes["stored_per_ln"])
    np.testing.assert_allclose(kept.clean, truth["background"] * scale, atol=0.51)
    quiet = truth["anatomy"] & ~truth["vessel_mask"]
    assert abs(np.median((kept.frames.astype(float) - kept.clean)[quiet])) < 0.05 * scale
