from itertools import pairwise

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.simulate.scene.anatomy import (
    elastic_control,
    load_ct,
    prolong,
    sharpen_bone,
    thin_out,
    vary_anatomy,
)  # fmt: skip
from angiomorph.simulate.scene.phantom import procedural_head
from angiomorph.simulate.scene.volume import BONE, BONE_OVER_WATER, Volume, attenuation_from_hu, materials


@pytest.fixture(scope="module")
def head():
    return procedural_head(1)


def save(path, values, affine=None):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.eye(4) if affine is None else affine), path)
    return path


def block():
    """HU of a block of water with a corner of bone, in air; axes x, y, z."""
    hu = np.full((12, 14, 16), -1000.0)
    hu[2:-2, 2:-2, :-2] = 0
    hu[2:4, 2:4, 0:4] = 1000
    return hu


def test_attenuation_of_air_water_and_bone():
    values = attenuation_from_hu(np.array((-1024.0, -1000.0, -890.0, 0.0, 100.0, 1100.0)))
    np.testing.assert_allclose(values, (0, 0, 0.11, 1, 1.1, 2.1), rtol=1e-6)


def test_materials_reproduce_the_ct_number():
    """Cortical bone: 1.92 * 0.2616 / 0.1937 = 2.5930, so 1593 HU; half way from 1.1 to it, 0.55 of tissue and 0.96 of bone."""
    attenuation = np.array((0.0, 0.4, 1.0, 1.1, 1.8465, 2.5930, 4.1, 31.0), np.float32).reshape(2, 2, 2)
    tissue, bone = materials(Volume(attenuation, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))).reshape(8, 2).T
    np.testing.assert_allclose(tissue, (0, 0.4, 1, 1.1, 0.55, 0, 0, 0), atol=1e-4)
    np.testing.assert_allclose(bone[:6], (0, 0, 0, 0, 0.96, 1.92), atol=1e-4)
    np.testing.assert_allclose(tissue + 0.2616 / 0.1937 * bone, attenuation.ravel(), rtol=1e-6)
    assert pytest.approx(1.35, abs=0.005) == BONE_OVER_WATER


def test_a_ct_is_read_in_ras_and_its_cut_end_prolonged(tmp_path):
    affine = np.diag((-4.0, 3.0, 3.0, 1.0))
    affine[:3, 3] = (44.0, -7.0, 5.0)
    volume = load_ct(save(tmp_path / "ct.nii.gz", block()[::-1], affine))
    assert volume.spacing == (4.0, 3.0, 3.0)
    assert volume.attenuation.shape == (16 + 20, 14, 12)
    assert volume.origin == (0.0, -7.0, 5.0 - 60)
    bone = volume.attenuation[20:24, 2:4, 2:4]
    np.testing.assert_allclose(bone, 2, rtol=0.05)
    assert bone.mean() == pytest.approx(attenuation_from_hu(np.array(1000.0)))
    assert volume.attenuation[22, 8, 6] == 1
    np.testing.assert_array_equal(volume.attenuation[0], volume.attenuation[20])


def test_values_from_0_to_1_are_scaled_hu(tmp_path):
    scaled = load_ct(save(tmp_path / "scaled.nii", (block() + 1000) / 2900))
    plain = load_ct(save(tmp_path / "plain.nii", block()))
    np.testing.assert_allclose(scaled.attenuation, plain.attenuation, atol=1e-6)


def test_a_scan_that_ends_in_air_is_not_prolonged():
    volume = Volume(np.zeros((4, 4, 4), np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert prolong(volume) is volume


def test_a_scan_cut_at_the_top_is_prolonged_upwards():
    attenuation = np.zeros((6, 10, 10), np.float32)
    attenuation[:, 3:7, 3:7] = np.arange(1, 7, dtype=np.float32)[:, None, None]
    longer = prolong(Volume(attenuation, (1.0, 1.0, 2.0), (0.0, 0.0, 7.0)), 4.0)
    np.testing.assert_array_equal(longer.attenuation[:, 5, 5], (1, 1, 1, 2, 3, 4, 5, 6, 6, 6))
    assert longer.origin == (0.0, 0.0, 3.0)


def test_a_very_large_volume_is_averaged_to_0_9_mm():
    """A plane a = 2 x + 3 y + z keeps its values where voxels are joined in threes; uneven joints keep the mean."""
    z, y, x = np.meshgrid(np.arange(5) * 2.0, np.arange(39) * 0.3, np.arange(30) * 0.75, indexing="ij")
    volume = Volume((2 * x + 3 * y + z).astype(np.float32), (0.75, 0.3, 2.0), (0.0, 0.0, 0.0))
    assert thin_out(volume, 5850) is volume
    thin = thin_out(volume, 5849)
    np.testing.assert_allclose(thin.spacing, (0.9, 0.9, 2.0), rtol=1e-6)
    assert thin.attenuation.mean() == pytest.approx(volume.attenuation.mean(), rel=1e-5)
    z, y = np.arange(5) * 2.0, thin.origin[1] + np.arange(13) * 0.9
    np.testing.assert_allclose(thin.attenuation.mean(axis=2), 2 * x.mean() + 3 * y + z[:, None], rtol=1e-5)


def oblique(degrees):
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = (np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))
    return affine


@pytest.fixture(scope="module")
def bad_volumes(tmp_path_factory):
    """Return a folder of volumes that are no CT."""
    folder = tmp_path_factory.mktemp("bad_volumes")
    (folder / "text.nii").write_text("not a volume")
    whole = save(folder / "whole.nii.gz", np.random.default_rng(0).random((20, 20, 20))).read_bytes()
    (folder / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    save(folder / "four.nii", np.zeros((4, 4, 4, 2)))
    save(folder / "constant.nii", np.zeros((4, 4, 4)))
    save(folder / "oblique.nii", block(), oblique(12))
    flat = save(folder / "flat.nii", block()).read_bytes()
    (folder / "flat.nii").write_bytes(flat[:280] + bytes(16) + flat[296:])  # srow_x, so that no voxel has a width
    save(folder / "air.nii", np.where(block() > 500, -900.0, -1000.0))
    nibabel.save(nibabel.Nifti1Image(block().astype(np.float32), None), folder / "bare.nii")
    nibabel.save(nibabel.MGHImage(block().astype(np.float32), np.eye(4)), folder / "other.mgz")
    return folder


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("text.nii", "NIfTI"),
        ("four.nii", "3-D"),
        ("constant.nii", "varying"),
        ("oblique.nii", "oblique"),
        ("flat.nii", "voxel sizes above 0 mm"),
        ("air.nii", "air"),
        ("bare.nii", "voxel size"),
        ("other.mgz", "found MGHImage"),
        ("cut.nii.gz", "cannot be read"),
        ("absent.nii", "absent"),
    ],
)
def test_bad_volumes_are_refused_with_the_reason(bad_volumes, name, told):
    with pytest.raises(InputError, match=told) as error:
        load_ct(bad_volumes / name)
    assert name in str(error.value)


def test_a_slightly_oblique_volume_is_taken(tmp_path):
    assert load_ct(save(tmp_path / "nearly.nii", block(), oblique(3))).attenuation.shape == block().T.shape


@pytest.mark.slow
def test_variations_differ_and_repeat_with_their_seed(head):
    one, again, other = (vary_anatomy(head, np.random.default_rng(seed), 3.0) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.attenuation, again.attenuation)
    assert np.abs(one.attenuation - other.attenuation).mean() > 5e-3
    assert (one.attenuation > 0.5).sum() == pytest.approx((head.attenuation > 0.5).sum(), rel=0.3)
    assert one.attenuation[head.attenuation > BONE].mean() > one.attenuation[head.attenuation < BONE].mean()


def test_no_deformation_leaves_all_but_bone_and_side(head):
    plain = vary_anatomy(head, np.random.default_rng(3), 0.0).attenuation
    mirrored = head.attenuation[:, :, ::-1]
    original = min(head.attenuation, mirrored, key=lambda volume: np.abs(volume - plain).sum())
    soft = original <= BONE
    np.testing.assert_allclose(plain[soft], original[soft], atol=1e-6)


def plate():
    """Two tables of bone with marrow between them within tissue, voxels of 1 mm, sharp and as a CT shows them."""
    profile = np.ones(24, np.float32)
    profile[9:15] = 2.4, 2.4, 1.5, 1.5, 2.4, 2.4
    sharp = np.tile(profile[:, None, None], (1, 20, 20))
    return sharp, ndimage.gaussian_filter(sharp, 0.55)


def test_sharpening_undoes_part_of_the_blur_of_bone():
    sharp, blurred = plate()
    once = sharpen_bone(Volume(blurred, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))).attenuation
    bone = blurred > BONE
    np.testing.assert_array_equal(once[~bone], blurred[~bone])
    assert once[bone].min() > BONE
    assert once[bone].mean() == pytest.approx(blurred[bone].mean(), rel=1e-5)
    assert np.ptp(once[9:15, 10, 10]) > 1.2 * np.ptp(blurred[9:15, 10, 10])
    assert np.ptp(once[9:15, 10, 10]) < 1.1 * np.ptp(sharp[9:15, 10, 10])


def test_a_filling_does_not_ring():
    _, blurred = plate()
    filled = blurred.copy()
    filled[10, 10, 10] = 20
    near, far = (sharpen_bone(Volume(v, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))).attenuation for v in (filled, blurred))
    assert near[10, 10, 10] > 19
    near[10, 10, 10] = far[10, 10, 10]
    assert np.abs(near - far).max() < 0.1


def bone_density(spacing, seed=4):
    """Relative density over that of 1750 HU of a block of solid bone, as large as the texture's tile."""
    block = Volume(np.full((108, 120, 125), 2.75, np.float32), spacing, (0.0, 0.0, 0.0))
    return (vary_anatomy(block, np.random.default_rng(seed), 0.0).attenuation - BONE) / (2.75 - BONE)


def test_the_texture_of_bone_keeps_its_density_and_is_fractal():
    """The power of its shadow, as of the block's slice through the origin, falls as frequency^-2.6 up to 0.4 cycles a mm."""
    density = bone_density((1.0, 1.0, 1.0))
    assert density.min() > 0
    assert 0.85 < density.mean() < 1.25
    assert 0.1 < density.std() / density.mean() < 0.5
    power = np.abs(np.fft.fft2(density.sum(axis=0))) ** 2
    frequency = np.hypot(np.fft.fftfreq(120)[:, None], np.fft.fftfreq(125))
    edges = np.geomspace(0.12, 0.4, 9)
    means = [np.log(power[(frequency > a) & (frequency < b)].mean()) for a, b in pairwise(edges)]
    slope = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), means, 1)[0]
    assert slope == pytest.approx(-2.6, abs=0.4)


def test_the_texture_of_bone_is_alike_along_all_axes_in_mm():
    """Its correlation over 2 mm: 4 voxels of 0.5 mm along x, one of 2 mm along z."""
    density = bone_density((0.5, 1.0, 2.0)) - 1
    over = [np.corrcoef(np.delete(density, np.s_[-n:], axis).ravel(), np.delete(density, np.s_[:n], axis).ravel())[0, 1]
            for axis, n in ((0, 1), (1, 2), (2, 4))]  # fmt: skip
    assert min(over) > 0.15
    assert max(over) - min(over) < 0.05


def test_the_elastic_field_has_its_size_and_is_smooth():
    fields = np.stack([elastic_control(np.random.default_rng(seed), 3.0) for seed in range(10)])
    assert fields.shape == (10, 3, 24, 24, 24)
    assert 1.5 < fields.std() < 4
    assert np.abs(np.diff(fields, axis=2)).std() < 0.4 * fields.std()


@pytest.mark.slow
def test_the_procedural_head_repeats_with_its_seed(head):
    np.testing.assert_array_equal(procedural_head(1).attenuation, head.attenuation)
    assert np.abs(procedural_head(2).attenuation - head.attenuation).max() > 0.5
