"""A box of bone, sawn open, is filled and covered with water; what lies farther out stays air."""

import nibabel
import numpy as np
import pytest

from angiomorph.simulate.scene.nifti import load_nifti
from benchmarks.simulator.water import WATER, fill_skull, main

AIR, BONE = -1000.0, 800.0
SPACING = (1.0, 1.0, 2.0)


def sawn_box():
    """Return `(Z, Y, X)` HU: walls of a box, 24 mm a side, without its lid, a slit of 2 mm in one wall."""
    values = np.full((20, 40, 40), AIR, np.float32)
    values[4:16, 8:32, 8:32] = BONE
    values[5:16, 9:31, 9:31] = AIR
    values[8, 8, :] = AIR
    values[10, 20, 20] = 300.0  # a block inside stays as it is
    return values


def test_inside_and_skin_become_water():
    values = sawn_box()
    filled = fill_skull(values, SPACING, gap=15.0, skin=4.0)
    assert (filled[values > WATER] == values[values > WATER]).all()
    assert (filled[5:15, 10:30, 10:30][values[5:15, 10:30, 10:30] == AIR] == WATER).all()
    assert filled[10, 5, 20] == WATER  # 3 mm in front of the wall
    assert filled[10, 3, 20] == AIR  # 5 mm
    assert filled[2, 20, 20] == AIR  # 4 mm below the floor, the skin's end
    assert filled[3, 20, 20] == WATER


@pytest.mark.slow
def test_a_file_is_filled_as_its_values_are(tmp_path, capsys):
    values = sawn_box()
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([*SPACING, 1.0])), tmp_path / "dry.nii.gz")
    assert main([str(tmp_path / "dry.nii.gz"), str(tmp_path / "wet.nii.gz")]) == 0
    assert "40x40x20 voxels of 1x1x2 mm" in capsys.readouterr().out
    found, spacing, _ = load_nifti(tmp_path / "wet.nii.gz")
    np.testing.assert_array_equal(found, fill_skull(values, spacing))


def test_a_ct_without_bone_is_refused(tmp_path, capsys):
    soft = np.random.default_rng(0).uniform(-100, 100, (4, 4, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(soft, np.eye(4)), tmp_path / "soft.nii.gz")
    assert main([str(tmp_path / "soft.nii.gz"), str(tmp_path / "wet.nii.gz")]) == 2
    assert "soft.nii.gz: expected a skull with bone above 200 HU" in capsys.readouterr().err
