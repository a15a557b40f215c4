"""An InVesalius project, made here as InVesalius packs it, becomes a NIfTI file of the same voxels."""

import io
import plistlib
import tarfile

import numpy as np
import pytest

from angiomorph.simulate.scene.nifti import load_nifti
from benchmarks.simulator.skull import main

VALUES = np.random.default_rng(0).integers(-1000, 3000, (4, 5, 6)).astype(np.int16)


def pack(path, values=VALUES, **changed):
    matrix = {"filename": "matrix.dat", "dtype": "int16", "shape": list(VALUES.shape)}
    project = {"matrix": matrix | changed, "spacing": [0.9, 0.8, 1.5]}
    with tarfile.open(path, "w") as tar:
        for name, content in (("main.plist", plistlib.dumps(project)), ("matrix.dat", values.tobytes())):
            member = tarfile.TarInfo(f"tmpabc/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_voxels_and_spacing_are_kept(tmp_path, capsys):
    pack(tmp_path / "a.inv3")
    assert main([str(tmp_path / "a.inv3"), str(tmp_path / "a.nii.gz")]) == 0
    assert "6x5x4 voxels of 0.9x0.8x1.5 mm" in capsys.readouterr().out
    values, spacing, _ = load_nifti(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(values, VALUES)
    assert spacing == pytest.approx((0.9, 0.8, 1.5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.inv3", "a.nii.gz"]


@pytest.mark.parametrize("name", ["short.inv3", "text.inv3", "absent.inv3"])
def test_what_is_no_project_is_refused(tmp_path, capsys, name):
    pack(tmp_path / "short.inv3", VALUES[1:])
    (tmp_path / "text.inv3").write_text("no tar")
    assert main([str(tmp_path / name), str(tmp_path / "a.nii.gz")]) == 2
    assert f"{name}: expected an InVesalius project" in capsys.readouterr().err
    assert not (tmp_path / "a.nii.gz").exists()
