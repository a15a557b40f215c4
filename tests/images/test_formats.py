"""Files that programs nobody here wrote are read as they were written; others are refused before memory is taken."""

import struct
import sys
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from angiomorph.errors import InputError
from angiomorph.images.formats import count_pages, ending_of, read_affine, read_frames, read_volume
from tests.nifti_tools import save_nifti
from tests.tools import require_package

RUN = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5) * 997


def save_npz(path, **named):
    np.savez_compressed(path, **named)


WRITERS = {
    "run.npy": np.save,
    "run.npz": lambda path, array: save_npz(path, vol=array),
    "one.npz": lambda path, array: save_npz(path, anything=array),
    "several.npz": lambda path, array: save_npz(path, other=array[0], vol=array),
    "pages.tif": lambda path, array: tifffile.imwrite(path, array, photometric="minisblack"),
    "plain.tif": lambda path, array: tifffile.imwrite(path, array, photometric="minisblack", metadata=None),
    "imagej.tif": lambda path, array: tifffile.imwrite(path, array, imagej=True),
    "deflated.tiff": lambda path, array: tifffile.imwrite(path, array, compression="zlib", photometric="minisblack"),
    "apart.tif": lambda path, array: [tifffile.imwrite(path, page, append=True) for page in array],
    "run.nii": lambda path, array: save_nifti(path, array.T),
    "RUN.NII.GZ": lambda path, array: save_nifti(path, array.T),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_run_is_read_as_it_was_written(tmp_path, name):
    WRITERS[name](tmp_path / name, RUN)
    found = read_frames(tmp_path / name)
    assert found.dtype == RUN.dtype
    np.testing.assert_array_equal(found, RUN)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.npy", "a.nii"])
def test_an_image_is_a_run_of_one_frame(tmp_path, name):
    image = RUN[0].astype(np.uint8)
    if name.endswith(".nii"):
        save_nifti(tmp_path / name, image.T)
    elif name.endswith(".npy"):
        np.save(tmp_path / name, image)
    else:
        Image.fromarray(image).save(tmp_path / name)
    np.testing.assert_array_equal(read_frames(tmp_path / name), image[None])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(image=arrays.arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(2, 9), st.integers(2, 9))))
def test_png_round_trip(tmp_path, image):
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png"), image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_channels_is_one_channel(tmp_path, mode):
    image = RUN[0].astype(np.uint8)
    Image.fromarray(image).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png"), image)


def test_grey_in_channels_of_a_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.repeat(RUN.astype(np.uint8)[..., None], 3, -1), photometric="rgb")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.tif"), RUN.astype(np.uint8))


def test_colour_is_refused(tmp_path):
    Image.fromarray(np.eye(9, dtype=np.uint8).reshape(3, 9, 3)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png: expected a grey image, found colour"):
        read_frames(tmp_path / "a.png")


def test_jpeg_is_close(tmp_path):
    image = np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 6
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_volume(tmp_path / "a.jpg").astype(int) - image).max() <= 4


@pytest.mark.parametrize(("name", "codec", "error"), [("a.avi", "ffv1", 0), ("a.mp4", "mpeg4", 12)])
def test_videos_are_read_frame_by_frame(tmp_path, name, codec, error):
    require_package("av", "images")
    import av

    frames = np.stack([np.add.outer(np.arange(32), np.arange(48)) * 3 + 5 * t for t in range(4)]).astype(np.uint8)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "gray" if codec == "ffv1" else "yuv420p"
        stream.bit_rate = 10**7
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode())
    found = read_frames(tmp_path / name)
    assert (found.shape, found.dtype) == (frames.shape, np.uint8)
    assert np.abs(found.astype(int) - frames).max() <= error


def test_axes_of_one_image_stay_as_voxelmorph_reads_them(tmp_path):
    save_nifti(tmp_path / "a.nii.gz", RUN[0][:, :, None])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz"), RUN[0])


def test_the_affine_of_nifti_alone(tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    save_nifti(tmp_path / "a.nii.gz", RUN[0], affine)
    np.save(tmp_path / "a.npy", RUN[0])
    np.testing.assert_array_equal(read_affine(tmp_path / "a.nii.gz"), affine)
    assert read_affine(tmp_path / "a.npy") is None


def test_several_images_are_no_volume(tmp_path):
    np.save(tmp_path / "a.npy", RUN)
    with pytest.raises(InputError, match=r"expected one image \(H, W\), found shape \(3, 4, 5\)"):
        read_volume(tmp_path / "a.npy")


def test_pages_are_counted(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RUN, photometric="minisblack")
    assert count_pages(tmp_path / "a.tif") == 3


@pytest.mark.parametrize(("name", "ending"), [("a.nii.gz", ".nii.gz"), ("A.PNG", ".png"), ("a.gz", ""), ("png", "")])
def test_endings(tmp_path, name, ending):
    assert ending_of(tmp_path / name) == ending


def png_of(rows, columns):
    """Return the bytes of a PNG that says so many rows and columns and holds next to nothing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


def npy_of(shape, descr="<f4"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def zip_of(path, content, name="vol.npy"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def planes(path):
    """Write a TIFF of three colour planes, one behind the other."""
    tifffile.imwrite(path, RUN.astype(np.uint8), photometric="rgb", planarconfig="separate")


def of_two_kinds(path):
    tifffile.imwrite(path, RUN[0], photometric="minisblack")
    tifffile.imwrite(path, RUN[0, :2], photometric="minisblack", append=True)


def save_cifti(path):
    """Write values at places of a brain, which are no image though they stand in a NIfTI file."""
    require_package("nibabel", "images")
    from nibabel import cifti2

    places = cifti2.BrainModelAxis.from_mask(np.ones((2, 2, 2)), affine=np.eye(4))
    cifti2.Cifti2Image(np.zeros((1, 8), np.float32), (cifti2.ScalarAxis(["a"]), places)).to_filename(path)


def save_sound(path):
    """Write a film without a picture: the header of a stream and nothing in it."""
    require_package("av", "images")
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "gray"
        container.start_encoding()


def save_pickle(path):
    np.save(path, np.array([{"a": 1}], object), allow_pickle=True)


def nifti_of(path, shape):
    save_nifti(path, np.zeros((2, 2, 2), np.float32))
    content = bytearray(path.read_bytes())
    content[40:48] = struct.pack("<4h", 3, *shape)
    path.write_bytes(content)


def tiff_bomb(path):
    """Write a TIFF of 4 x 5 pixels whose only strip inflates to 10 MB."""
    bomb = zlib.compress(bytes(10**7))
    entries = [(256, 4, 5), (257, 4, 4), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8), (278, 4, 4), (279, 4, len(bomb))]
    content = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(bomb))
    path.write_bytes(start + bomb + struct.pack("<H", len(entries)) + content + bytes(4))


BROKEN = {
    "side.png": (lambda path: path.write_bytes(png_of(9000, 9)), "8192 a side"),
    "bomb.png": (lambda path: path.write_bytes(png_of(60000, 60000)), "cannot be read"),
    "cut.png": (lambda path: path.write_bytes(png_of(9, 9)[:50]), "cannot be read"),
    "no.png": (lambda path: path.write_bytes(b"no picture"), "expected a picture"),
    "gif.png": (lambda path: Image.fromarray(RUN[0].astype(np.uint8)).save(path, "GIF"), "expected a picture"),
    "no.tif": (lambda path: path.write_bytes(b"no picture"), "expected TIFF"),
    "bomb.tif": (tiff_bomb, "expected parts of 20 bytes, found one that inflates to more"),
    "planes.tif": (planes, "found colours in planes"),
    "kinds.tif": (of_two_kinds, "expected images of one size and type, found 2 kinds"),
    "lzma.tif": (lambda path: tifffile.imwrite(path, RUN[0], compression="lzma"), "found LZMA"),
    "pickle.npy": (save_pickle, "without pickled objects"),
    "pickle.npz": (lambda path: save_npz(path, vol=np.array([{"a": 1}], object)), "without pickled objects"),
    "large.npy": (lambda path: path.write_bytes(npy_of((10**5, 10**3, 10**3))), "2 GiB of pixels"),
    "short.npy": (lambda path: path.write_bytes(npy_of((100, 100, 100))), "found shape (100, 100, 100) in 128 bytes"),
    "large.npz": (lambda path: zip_of(path, npy_of((10**5, 10**3, 10**3))), "2 GiB of pixels"),
    "short.npz": (lambda path: zip_of(path, npy_of((100, 100, 100))), "found shape (100, 100, 100) in 128 bytes"),
    "two.npz": (lambda path: save_npz(path, a=RUN, b=RUN), "one called vol, found a.npy, b.npy"),
    "no.npz": (lambda path: path.write_bytes(b"no zip"), "expected an array of NumPy"),
    "words.npy": (lambda path: np.save(path, np.array([["a"]])), "of numbers"),
    "complex.npy": (lambda path: np.save(path, RUN.astype(complex)), "of numbers"),
    "deep.npy": (lambda path: np.save(path, RUN[None, :, :, :, None]), "found shape (1, 3, 4, 5, 1)"),
    "empty.npy": (lambda path: np.save(path, RUN[:0]), "found shape (0, 4, 5)"),
    "short.nii": (lambda path: nifti_of(path, (999, 999, 99)), "expected a whole image"),
    "large.nii": (lambda path: nifti_of(path, (8000, 8000, 99)), "2 GiB of pixels"),
    "a.dscalar.nii": (save_cifti, "expected NIfTI, found Cifti2Image; convert it"),
    "no.nii": (lambda path: path.write_bytes(b"no image"), "expected NIfTI"),
    "none.avi": (save_sound, "expected a video"),
    "no.avi": (lambda path: path.write_bytes(b"no video"), "expected a video"),
    "a.txt": (lambda path: path.write_bytes(b"a"), "found another ending"),
    "absent.png": (lambda path: None, "found none there"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_refused_and_why(tmp_path, name):
    if name.endswith(".avi"):
        require_package("av", "images")
    make, words = BROKEN[name]
    make(tmp_path / name)
    with pytest.raises(InputError) as refused:
        read_frames(tmp_path / name)
    assert str(refused.value).startswith(str(tmp_path / name))
    assert words in str(refused.value)


def test_frames_of_two_sizes_are_no_video(tmp_path, monkeypatch):
    require_package("av", "images")
    import av

    class Container:
        """A video whose pictures change their size, as some streams of the web do."""

        streams = SimpleNamespace(video=[SimpleNamespace(height=4, width=5)])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def decode(self, stream):
            return [av.VideoFrame.from_ndarray(np.zeros(shape, np.uint8), format="gray") for shape in ((4, 6), (4, 8))]

    (tmp_path / "a.avi").touch()
    monkeypatch.setattr(av, "open", lambda path: Container())
    with pytest.raises(InputError, match=r"a\.avi: expected frames of one size, found others; export it again"):
        read_frames(tmp_path / "a.avi")


@pytest.mark.parametrize(
    ("package", "name", "words"), [("av", "a.avi", "PyAV, which reads"), ("nibabel", "a.nii", "nibabel, wh")]
)
def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch, package, name, words):
    (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{name}: expected {words}.*pip install 'angiomorph\[images\]'"):
        read_frames(tmp_path / name)


def test_a_run_larger_than_memory_is_told(tmp_path, monkeypatch):
    def fail(path):
        raise MemoryError

    (tmp_path / "a.tif").touch()
    monkeypatch.setattr(tifffile, "TiffFile", fail)
    with pytest.raises(
        InputError, match=r"a\.tif: expected a run that fits into memory, found a larger one; give fewer frames"
    ):
        read_frames(tmp_path / "a.tif")
