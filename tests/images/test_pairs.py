"""Pairs are read and written as VoxelMorph's own functions do."""

import numpy as np
import pytest
from PIL import Image as Picture

from angiomorph.backend import vxm
from angiomorph.errors import InputError
from angiomorph.images.pairs import Image, check_outputs, join_pair, read_image, write_results
from tests.nifti_tools import save_nifti
from tests.runs import moving_frames
from tests.tools import require_package

RNG = np.random.default_rng(1)
MOVING, FIXED = RNG.random((2, 6, 5), np.float32)
WARP = RNG.normal(size=(6, 5, 2)).astype(np.float32)


@pytest.fixture
def pair(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", vol=MOVING)
    np.savez_compressed(tmp_path / "b.npz", vol=FIXED, seg=FIXED > 0)
    return read_image(tmp_path / "a.npz"), read_image(tmp_path / "b.npz")


def test_npz_is_read_as_voxelmorph_does(tmp_path, pair):
    for image in pair:
        np.testing.assert_array_equal(image.values, vxm.py.utils.load_volfile(str(image.path)))


def test_npz_is_written_for_voxelmorph(tmp_path, pair):
    write_results(tmp_path / "moved.npz", MOVING, tmp_path / "warp.npz", WARP, pair)
    np.testing.assert_array_equal(vxm.py.utils.load_volfile(str(tmp_path / "moved.npz")), MOVING)
    np.testing.assert_array_equal(vxm.py.utils.load_volfile(str(tmp_path / "warp.npz")), WARP)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz", "moved.npz", "warp.npz"]


@pytest.mark.parametrize("affine", [None, np.diag([2.0, 3.0, 4.0, 1.0])], ids=["without", "with"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("name", "array"), [("moved", MOVING), ("warp", WARP)])
def test_nifti_is_written_as_voxelmorph_does(tmp_path, ending, affine, name, array):
    require_package("nibabel", "images")
    import nibabel

    images = Image(tmp_path / "a", MOVING), Image(tmp_path / "b", FIXED, affine=affine)
    write_results(tmp_path / f"moved{ending}", MOVING, tmp_path / f"warp{ending}", WARP, images)
    vxm.py.utils.save_volfile(array, str(tmp_path / f"vxm{ending}"), affine)
    found, expected = nibabel.load(tmp_path / f"{name}{ending}"), nibabel.load(tmp_path / f"vxm{ending}")
    np.testing.assert_array_equal(found.get_fdata(), expected.get_fdata())
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert found.header == expected.header


def test_images_of_two_relations_are_no_pair(tmp_path, xa_file):
    frames = moving_frames((1, 6, 5))
    pair = [read_image(xa_file(f"{relation}.dcm", frames=frames, relation=relation)) for relation in ("LIN", "DISP")]
    with pytest.raises(InputError, match=r"DISP\.dcm: expected PixelIntensityRelationship LIN as .*LIN\.dcm, found others"):
        join_pair(*pair)


def test_the_affine_of_nifti_is_kept(tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    save_nifti(tmp_path / "a.nii.gz", MOVING, affine)
    image = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_array_equal(image.values, MOVING)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_png_is_rounded_to_the_moving_images_type(tmp_path, kind):
    images = Image(tmp_path / "a.png", np.ones((2, 2), kind)), Image(tmp_path / "b.png", np.ones((2, 2), kind))
    write_results(tmp_path / "moved.png", np.array([[0.4, 0.6], [-3, 1e9]], np.float32), None, WARP, images)
    found = np.asarray(Picture.open(tmp_path / "moved.png"))
    np.testing.assert_array_equal(found, [[0, 1], [0, np.iinfo(kind).max]])


def test_nothing_is_left_of_what_cannot_be_written(tmp_path):
    images = Image(tmp_path / "a.npy", MOVING), Image(tmp_path / "b.npy", FIXED)
    with pytest.raises(InputError, match="expected 8 or 16 bits for a PNG"):
        write_results(tmp_path / "moved.png", MOVING, tmp_path / "warp.npz", WARP, images)
    assert list(tmp_path.iterdir()) == []


def test_a_dicom_pair_has_its_own_relation(xa_file):
    frames = moving_frames((2, 8, 8))
    images = [read_image(xa_file(f"{index}.dcm", frames=frame[None])) for index, frame in enumerate(frames)]
    run = join_pair(*images)
    np.testing.assert_array_equal(run.frames, frames)
    assert (run.relation, run.bits_stored, run.background_numbers) == ("LIN", 12, (1,))
    with pytest.raises(InputError, match="`relation` DISP: expected none with DICOM"):
        join_pair(*images, "DISP")


def test_a_dicom_run_is_no_image(xa_file):
    with pytest.raises(InputError, match="expected one frame, found a run of 4; give it as RUN"):
        read_image(xa_file())


@pytest.mark.parametrize(("relation", "expected"), [(None, "DISP"), ("LIN", "LIN")])
def test_the_relation_of_images(pair, relation, expected):
    assert join_pair(*pair, relation).relation == expected


def test_images_of_two_sizes_are_no_pair(pair):
    with pytest.raises(InputError, match=r"expected \(6, 5\) as .*a.npz, found \(5, 6\); resample"):
        join_pair(pair[0], Image(pair[1].path, FIXED.T))


def test_an_absent_image(tmp_path):
    with pytest.raises(InputError, match="found none there"):
        read_image(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("moved", "warp", "words"),
    [
        ("c.dcm", None, "`moved` c.dcm: expected a name that ends in .npz or .nii or .nii.gz or .png"),
        ("c.npz", "w.png", "`warp` w.png: expected a name that ends in .npz or .nii or .nii.gz, got"),
        ("c.npz", "c.npz", "expected names of their own"),
        ("a.npz", None, "expected names of their own"),
        ("d.npz", None, "expected a file to write, found a folder"),
    ],
)
def test_names_of_results_are_checked(tmp_path, monkeypatch, moved, warp, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.npz").mkdir()
    a, b, c, w = (name and type(tmp_path)(name) for name in ("a.npz", "b.npz", moved, warp))
    with pytest.raises(InputError) as refused:
        check_outputs(a, b, c, w)
    assert words in str(refused.value)
