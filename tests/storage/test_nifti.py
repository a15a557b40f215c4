"""Subtracted runs and warps as NIfTI images: SimpleITK moves the background by them as we do."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.storage.nifti import write_bsa_image, write_warp
from tests.nifti_tools import by_simpleitk, open_by_nibabel
from tests.tools import require_package

SHAPE = (3, 20, 30)


def smooth_warp(seed=0):
    rng = np.random.default_rng(seed)
    return (3 * ndimage.zoom(rng.normal(size=(3, 2, 3, 2)), (1, 10, 10, 1), order=1)).astype(np.float32)


@pytest.mark.parametrize("spacing", [(0.3, 0.4), None])
def test_simpleitk_resamples_to_moved(tmp_path, spacing):
    warp, background = smooth_warp(), np.random.default_rng(1).normal(size=SHAPE[1:])
    write_warp(tmp_path / "warp.nii.gz", warp, spacing)
    found = by_simpleitk(tmp_path / "warp.nii.gz", background)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE[1:]), indexing="ij"), -1)
    place = grid + warp.astype(np.float64)
    expected = np.stack([ndimage.map_coordinates(background, frame.transpose(2, 0, 1), order=1) for frame in place])
    inside = np.all((place >= 0) & (place <= np.array(SHAPE[1:]) - 1), axis=-1)
    assert 0.6 < inside.mean() < 1
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-5)
    assert np.abs(found - background)[inside].max() > 0.5


def test_geometry_and_vectors_by_hand(tmp_path):
    require_package("SimpleITK", "benchmark")
    import SimpleITK as sitk  # noqa: N813 (its documentation's own name)

    warp = np.zeros((*SHAPE, 2), np.float32)
    warp[1, 4, 7] = 2, -5  # down, right
    write_warp(tmp_path / "warp.nii.gz", warp, (0.5, 0.25))
    image = sitk.ReadImage(str(tmp_path / "warp.nii.gz"))
    assert image.GetSize() == (30, 20, 3)
    assert image.GetSpacing() == (0.25, 0.5, 1)
    assert image.GetOrigin() == pytest.approx((0, 0, 0))
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))
    assert image[7, 4, 1] == (-1.25, 1.0, 0.0)
    assert np.count_nonzero(sitk.GetArrayFromImage(image)) == 2


@pytest.mark.parametrize("spacing", [(0.3, 0.4), None])
def test_the_subtracted_run_lies_where_its_warp_does(tmp_path, spacing):
    require_package("SimpleITK", "benchmark")
    import SimpleITK as sitk  # noqa: N813 (its documentation's own name)

    bsa = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    write_bsa_image(tmp_path / "bsa.nii.gz", bsa, spacing, "ln(intensity)")
    write_warp(tmp_path / "warp.nii.gz", smooth_warp(), spacing)
    image, vectors = (sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")) for name in ("bsa", "warp"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), bsa)
    assert image.GetSpacing() == pytest.approx((0.4, 0.3, 1) if spacing else (1, 1, 1))
    assert image.IsSameImageGeometryAs(vectors)


@pytest.mark.parametrize(
    ("spacing", "unit", "description"),
    [
        ((0.3, 0.4), "mm", "BSA, ln(intensity), mm at the detector, LPS"),
        (None, "unknown", "BSA, ln(intensity), pixels, LPS; no ImagerPixelSpacing"),
    ],
)
def test_nibabel_reads_the_subtracted_run(tmp_path, spacing, unit, description):
    bsa = np.random.default_rng(3).normal(size=SHAPE)
    write_bsa_image(tmp_path / "bsa.nii.gz", bsa[:, ::-1], spacing, "ln(intensity)")
    image = open_by_nibabel(tmp_path / "bsa.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), bsa[:, ::-1].astype(np.float32).transpose(2, 1, 0))
    assert image.header.get_xyzt_units()[0] == unit
    assert image.header["descrip"].item().decode() == description


def test_the_same_warp_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_warp(tmp_path / name, smooth_warp(), (0.3, 0.3))
    content = (tmp_path / "a.nii.gz").read_bytes()
    assert content == (tmp_path / "b.nii.gz").read_bytes()
    assert len(gzip.decompress(content)) == 352 + 4 * 3 * np.prod(SHAPE)


def test_sizes_that_nifti_cannot_say_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"at most 32767 frames, rows and columns for NIfTI, got \(1, 1, 32768\)"):
        write_warp(tmp_path / "warp.nii.gz", np.zeros((1, 1, 1 << 15, 2), np.float32), None)
    with pytest.raises(InputError, match=r"bsa.nii.gz: expected at most 32767 .* got \(1, 32768, 1\); use h5"):
        write_bsa_image(tmp_path / "bsa.nii.gz", np.zeros((1, 1 << 15, 1), np.float32), None, "stored value")
    assert list(tmp_path.iterdir()) == []
