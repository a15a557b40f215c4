"""Arrays in files of other formats than DICOM; from anyone, so that sizes are checked before memory is taken."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from angiomorph.errors import InputError

MOST_BYTES = 2**31  # of one file's pixels: 1,000 frames of 1024 x 1024 at 16 bits
MOST_SIDE = 8192  # pixels

STILLS = (".png", ".jpg", ".jpeg", ".bmp")
TIFF = (".tif", ".tiff")
VIDEO = (".avi", ".mp4", ".mov", ".mkv")
NUMPY = (".npy", ".npz")
NIFTI = (".nii", ".nii.gz")
DEFLATE = (8, 32946)  # TIFF's numbers of compressions
BOUNDED = (1, 5, 7, *DEFLATE, 32773)  # whose decoders stop at the size that is announced
PLAIN = ("L", "LA", "I;16", "I;16B", "I", "F", "RGB", "RGBA")  # Pillow's modes whose values are the file's
ENDINGS = (*STILLS, *TIFF, *VIDEO, *NUMPY, *NIFTI)


def ending_of(path: Path) -> str:
    """Return which of `ENDINGS` a file's name has, in lower case; "" for none."""
    name = path.name.lower()
    return max((ending for ending in ENDINGS if name.endswith(ending)), key=len, default="")


def read_frames(path: Path) -> np.ndarray:
    """Return the frames of one file as they are stored.

    The frames of a NIfTI image (x, y, frame) are turned so that rows are y. An array `(H, W)` is one frame.

    Args:
        path: a file whose name has one of `ENDINGS`; an `.npz` holds one array, or one called "vol".

    Returns:
        `(T, H, W)`, any type of number.

    Raises:
        InputError: the file is absent, damaged, of another format, in colour, larger than 2 GiB of pixels, or not of two
            or three axes; the package that reads its format is not installed.
    """
    array = _read(path)
    if ending_of(path) in NIFTI:
        array = array.T
    return array[None] if array.ndim == 2 else array


def read_volume(path: Path) -> np.ndarray:
    """Return one image `(H, W)` as VoxelMorph's `load_volfile` does: axes as they are stored, those of length 1 left out.

    Raises:
        InputError: as `read_frames`, or the file holds several images.
    """
    array = np.squeeze(_read(path))
    if array.ndim != 2:
        raise InputError(f"{path}: expected one image (H, W), found shape {array.shape}; give one 2D image in a file")
    return array


def count_pages(path: Path) -> int:
    """Return the number of images in a TIFF, by its header alone.

    Raises:
        InputError: no TIFF.
    """
    import tifffile

    with _refuse_damaged(path, "TIFF"), tifffile.TiffFile(path) as file:
        return len(file.pages)


def read_affine(path: Path) -> np.ndarray | None:
    """Return the affine matrix of a NIfTI image, None for a file of another format."""
    if ending_of(path) not in NIFTI:
        return None
    nibabel = import_nibabel(path)
    with _refuse_damaged(path, "NIfTI"):
        return np.asarray(nibabel.load(path).affine)


def _read(path: Path) -> np.ndarray:
    reader = next((reader for endings, reader in READERS if ending_of(path) in endings), None)
    if reader is None:
        raise InputError(f"{path}: expected an image or a run of them ({' '.join(ENDINGS)}), found another ending; convert it")
    if not path.is_file():
        raise InputError(f"{path}: expected an image file, found none there; check the path")
    array = reader(path)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "buif":
        raise InputError(
            f"{path}: expected one image (H, W) or a run (T, H, W) of numbers, found shape {array.shape} of {array.dtype}; "
            "save one channel of one run"
        )
    return array


@contextmanager
def _refuse_damaged(path: Path, format_name: str) -> Iterator[None]:
    """Turn whatever a reader raises of a file into an InputError: damaged files bring out a dozen kinds."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: expected a run that fits into memory, found a larger one; give fewer frames") from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path}: expected {format_name}, but it cannot be read: {reason}; export it again") from error


def _check_size(path: Path, shape: Sequence[int], itemsize: int) -> None:
    """Refuse what would take more memory than any run does, by what a header says."""
    if math.prod(shape) * itemsize > MOST_BYTES or max(shape[-2:], default=0) > MOST_SIDE:
        raise InputError(
            f"{path}: expected at most {MOST_BYTES / 2**30:.0f} GiB of pixels, {MOST_SIDE} a side, found shape "
            f"{tuple(shape)} of {itemsize} bytes each; give fewer frames, or shrink them"
        )


def _read_still(path: Path) -> np.ndarray:
    from PIL import Image

    # Opening reads the header alone; the formats are named, so that no other decoder meets an untrusted file.
    with _refuse_damaged(path, "a picture (PNG, JPEG, BMP)"), Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
        _check_size(path, (image.height, image.width), 4 * len(image.getbands()))
        grey = image if image.mode in PLAIN else image.convert("RGB")
        return _one_channel(path, np.asarray(grey))


def _one_channel(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return grey pixels `(H, W)`; of several channels those that are equal, opacity left out."""
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., : 1 if pixels.shape[-1] < 3 else 3]
    if (colours != colours[..., :1]).any():
        raise InputError(f"{path}: expected a grey image, found colour; save it as grey values")
    return np.ascontiguousarray(colours[..., 0])


def _read_tiff(path: Path) -> np.ndarray:
    import tifffile

    with _refuse_damaged(path, "TIFF (LZW, JPEG and others need the package imagecodecs)"), tifffile.TiffFile(path) as file:
        kinds = {(part.shape, part.dtype) for part in file.series}
        if len(kinds) > 1:
            raise InputError(f"{path}: expected images of one size and type, found {len(kinds)} kinds; save them apart")
        first = file.series[0]
        _check_size(path, (len(file.series), *first.shape), np.dtype(first.dtype).itemsize)
        _check_segments(path, file)
        array = np.squeeze(np.stack([part.asarray() for part in file.series]))
        if "S" not in first.axes:
            return array
        if not first.axes.endswith("S"):
            raise InputError(f"{path}: expected grey images, found colours in planes; save them as grey values")
        return np.stack([_one_channel(path, page) for page in array.reshape(-1, *array.shape[-3:])])


def _check_segments(path: Path, file: Any) -> None:
    """Refuse compressed parts that inflate to more than their pixels, and compressions for which nobody can tell."""
    for page in file.pages:
        if page.compression not in BOUNDED:
            raise InputError(
                f"{path}: expected TIFF with no compression, Deflate, PackBits, LZW or JPEG, found "
                f"{getattr(page.compression, 'name', page.compression)}; save it with one of these"
            )
        if page.compression not in DEFLATE:
            continue
        most = math.prod(page.chunks) * np.dtype(page.dtype).itemsize
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.filehandle.seek(offset)
            if len(zlib.decompressobj().decompress(file.filehandle.read(size), most + 1)) > most:
                raise InputError(f"{path}: expected parts of {most:,} bytes, found one that inflates to more; export it again")


def _read_video(path: Path) -> np.ndarray:
    try:
        import av
    except ImportError as error:
        raise InputError(f"{path}: expected PyAV, which reads videos; pip install 'angiomorph[images]'") from error
    frames: list[np.ndarray] = []
    with _refuse_damaged(path, "a video"), av.open(str(path)) as container:
        stream = container.streams.video[0]
        _check_size(path, (stream.height, stream.width), 1)
        for frame in container.decode(stream):
            _check_size(path, (len(frames) + 1, frame.height, frame.width), 1)
            if frames and (frame.height, frame.width) != frames[0].shape:
                raise InputError(f"{path}: expected frames of one size, found others; export it again")
            frames.append(frame.to_ndarray(format="gray"))
        if not frames:
            raise InputError(f"{path}: expected a video, found no frame in it; export it again")
        return np.stack(frames)


def _read_numpy(path: Path) -> np.ndarray:
    with _refuse_damaged(path, "an array of NumPy without pickled objects"):
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                _check_array(path, file, path.stat().st_size)
            return np.load(path, allow_pickle=False)
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            name = names[0] if len(names) == 1 else "vol.npy"
            if name not in names:
                raise InputError(
                    f"{path}: expected one array, or one called vol, found {', '.join(names) or 'none'}; save it as "
                    "np.savez(FILE, vol=array)"
                )
            _check_size(path, (archive.getinfo(name).file_size, 1, 1), 1)
            with archive.open(name) as member:
                _check_array(path, member, archive.getinfo(name).file_size)
            with archive.open(name) as member:
                return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _check_array(path: Path, file: BinaryIO | Any, size: int) -> None:
    """Refuse an array that is larger than its file's bytes, whatever its header says."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    _check_size(path, shape, dtype.itemsize)
    if math.prod(shape) * dtype.itemsize > size:
        raise InputError(f"{path}: expected a whole array, found shape {shape} in {size:,} bytes; copy the file again")


def _read_nifti(path: Path) -> np.ndarray:
    nibabel = import_nibabel(path)
    with _refuse_damaged(path, "NIfTI"):
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise InputError(f"{path}: expected NIfTI, found {type(image).__name__}; convert it")
        _check_size(path, [image.shape[axis] for axis in (*range(2, len(image.shape)), 0, 1)], 8)
        if (
            path.name.lower().endswith(".nii")
            and math.prod(image.shape) * image.get_data_dtype().itemsize > path.stat().st_size
        ):
            raise InputError(
                f"{path}: expected a whole image, found {image.shape} in {path.stat().st_size:,} bytes; copy it again"
            )
        return np.squeeze(np.asarray(image.dataobj))


def import_nibabel(path: Path) -> Any:
    """Return nibabel.

    Raises:
        InputError: it is not installed.
    """
    try:
        import nibabel
    except ImportError as error:
        raise InputError(f"{path}: expected nibabel, which reads NIfTI; pip install 'angiomorph[images]'") from error
    return nibabel


READERS: tuple[tuple[tuple[str, ...], Callable[[Path], np.ndarray]], ...] = (
    (STILLS, _read_still),
    (TIFF, _read_tiff),
    (VIDEO, _read_video),
    (NUMPY, _read_numpy),
    (NIFTI, _read_nifti),
)
