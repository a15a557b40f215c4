import json
import subprocess
from dataclasses import replace

import h5py
import numba
import numpy as np
import pydicom
import pytest

from angiomorph import store
from angiomorph.errors import InputError
from angiomorph.simulate.phantom import procedural_head
from angiomorph.simulate.run import SimulationSettings, simulate, simulate_run
from tests.tools import require_tool, shared_data

SETTINGS = SimulationSettings(size=64, frames=6, background=2, collimated=0.0, bits_stored=((12, 1.0),))
TRUTH = ("background", "vessel", "vessel_mask", "anatomy", "pose")


@pytest.fixture(scope="module")
def head():
    return procedural_head(7)


@pytest.fixture(scope="module")
def run(head):
    return simulate_run(head, None, replace(SETTINGS, size=128, still=0.0, motion_mm=(3, 5)), 11)


def test_shapes_types_and_ranges(run):
    assert run.frames.shape == run.background.shape == run.vessel.shape == run.anatomy.shape == (6, 128, 128)
    assert run.frames.dtype == np.uint16
    assert run.background.dtype == run.vessel.dtype == np.float32
    assert run.frames.max() < 4096
    assert run.vessel.max() == 0
    np.testing.assert_array_equal(run.vessel_mask, run.vessel < -0.02)
    assert 0.2 < run.anatomy.mean() < 1


def test_contrast_arrives_after_the_background_frames(run):
    assert run.vessel[:2].min() == 0
    assert run.vessel[-1].min() < -0.15
    assert 0.003 < run.vessel_mask[-1].mean() < 0.6


def test_frames_are_background_and_vessel_and_noise_alone(run):
    """Noise averages out within the anatomy, in frames without and with contrast agent and inside vessels."""
    noise = np.log(np.maximum(run.frames, 1)) - run.background - run.vessel
    for frame in (0, 5):
        inside = run.anatomy[frame] & (run.background[frame] > np.log(100))
        deviation = noise[frame][inside].std()
        assert 0.002 < deviation < 0.2
        assert abs(noise[frame][inside].mean()) < 5 * deviation / np.sqrt(inside.sum()) + deviation**2
    vessel = run.vessel_mask[5] & run.anatomy[5] & (run.background[5] > np.log(100))
    assert abs(noise[5][vessel].mean()) < 5 * noise[5][vessel].std() / np.sqrt(vessel.sum()) + noise[5][vessel].var()


def test_the_background_moves_with_the_pose(run, head):
    still = simulate_run(head, None, replace(SETTINGS, size=128, still=1.0, motion_mm=(3, 5)), 11)
    assert np.abs(run.pose[1:]).max() > 0
    np.testing.assert_array_equal(still.pose, 0)
    gain = np.median(still.background - still.background[0], axis=(1, 2))
    artefact = np.abs(still.background - still.background[0] - gain[:, None, None])[still.anatomy].max()
    assert artefact < 1e-3
    moved = np.abs(run.background - run.background[0])[run.anatomy]
    assert np.percentile(moved, 99) > 0.05


def test_the_same_seed_gives_the_same_bits_whatever_the_threads(head):
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    one = simulate_run(head, None, SETTINGS, (3, 1))
    numba.set_num_threads(before)
    again, other = (simulate_run(head, None, SETTINGS, seed) for seed in ((3, 1), (3, 2)))
    np.testing.assert_array_equal(one.frames, again.frames)
    for name in TRUTH:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    assert one.arm == again.arm != other.arm


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_the_size_is_the_mean_of_two_by_two_pixels_in_signal_and_noise(head, seed):
    settings = replace(SETTINGS, frames=2, background=2, still=1.0, dose=(1e3, 1e3))
    full, half = (simulate_run(head, None, replace(settings, size=size), seed) for size in (512, 256))
    binned = np.exp(full.background).reshape(2, 256, 2, 256, 2).mean(axis=(2, 4))
    inside = half.anatomy & (half.background > np.log(30))
    assert np.median(np.abs(np.log(binned) - half.background)[inside]) < 0.01
    noise = full.frames.reshape(2, 256, 2, 256, 2).mean(axis=(2, 4)) / binned - 1
    other = half.frames / np.exp(half.background) - 1
    assert other[inside].std() == pytest.approx(noise[inside].std(), rel=0.1)


def test_writes_dicom_truth_and_store_that_agree(tmp_path):
    simulate(tmp_path / "out", runs=2, seed=5, settings=SETTINGS, store=tmp_path / "store.h5")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "run-000001.dcm", "run-000001_truth.h5", "run-000002.dcm", "run-000002_truth.h5",
    ]  # fmt: skip
    dataset = pydicom.dcmread(tmp_path / "out" / "run-000002.dcm")
    with store.reading(tmp_path / "store.h5") as training:
        assert store.keys(training) == ["run-000001", "run-000002"]
        kept = store.read(training, "run-000002")
    np.testing.assert_array_equal(dataset.pixel_array, kept.frames)
    assert (kept.relation, kept.bits_stored, kept.background) == ("LIN", 12, (1, 2))
    assert list(dataset.MaskSubtractionSequence[0].MaskFrameNumbers) == [1, 2]
    truth, attributes = store.read_arrays(tmp_path / "out" / "run-000002_truth.h5")
    assert set(truth) == set(TRUTH)
    assert json.loads(attributes["settings"])["size"] == 64
    assert list(attributes["seed"]) == [5, 2]
    arm = json.loads(attributes["arm"])
    assert float(dataset.PositionerPrimaryAngle) == pytest.approx(arm["primary"])
    assert float(dataset.ImagerPixelSpacing[0]) == pytest.approx(arm["pixel_spacing"])
    noise = np.log(np.maximum(kept.frames, 1)) - truth["background"] - truth["vessel"]
    assert abs(np.median(noise[truth["anatomy"]])) < 0.02


def test_worker_processes_change_no_bit(tmp_path):
    for workers in (1, 2):
        simulate(None, runs=2, seed=5, settings=SETTINGS, store=tmp_path / f"{workers}.h5", workers=workers)
    with h5py.File(tmp_path / "1.h5") as one, h5py.File(tmp_path / "2.h5") as two:
        for name in ("run-000001", "run-000002"):
            np.testing.assert_array_equal(one[name]["frames"], two[name]["frames"])


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_dciodvfy_finds_no_error(tmp_path, bits):
    program = require_tool("dciodvfy")
    simulate(tmp_path, runs=1, seed=bits, settings=replace(SETTINGS, frames=2, bits_stored=((bits, 1.0),)))
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


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"motion_mm": (5.0, 1.0)}, "motion_mm"),
        ({"dose": (-1.0, 1.0)}, "dose"),
        ({"size": 8}, "size"),
        ({"background": 20}, "background"),
        ({"background": 0}, "background"),
        ({"views": ("sideways",)}, "sideways"),
        ({"views": ()}, "frontal"),
    ],
)
def test_impossible_settings_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        SimulationSettings(**changes)


@pytest.mark.parametrize("arguments", [{"runs": 0}, {"seed": -1}, {"workers": 0}])
def test_impossible_counts_are_refused(tmp_path, arguments):
    with pytest.raises(InputError, match="expected runs >= 1"):
        simulate(tmp_path, **({"runs": 1, "seed": 0} | arguments))


def test_nowhere_to_write_is_refused():
    with pytest.raises(InputError, match="neither"):
        simulate(None, runs=1, seed=0)


def test_an_unusable_ct_leaves_nothing_behind(tmp_path):
    (tmp_path / "ct.nii").write_bytes(b"no volume")
    with pytest.raises(InputError, match="NIfTI"):
        simulate(tmp_path / "out", runs=1, seed=0, ct=tmp_path / "ct.nii", store=tmp_path / "store.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii"]
