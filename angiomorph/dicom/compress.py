"""Lossless compression of written runs: which coder does it, and whether it is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.pixels import get_encoder
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from angiomorph.dicom.encoding import CLASSES, COMPRESSIONS, DEPTHS, Encoding
from angiomorph.errors import InputError


@dataclass(frozen=True)
class Coder:
    """What compresses into one transfer syntax.

    Args:
        syntax: transfer syntax.
        plugin: pydicom's name of the coder.
        packages: as pip calls them.
    """

    syntax: UID
    plugin: str
    packages: str


CODERS: Mapping[str, Coder] = {
    "rle": Coder(RLELossless, "gdcm", "python-gdcm"),  # pydicom's own takes ten times as long
    "jpeg-ls": Coder(JPEGLSLossless, "pyjpegls", "pyjpegls"),
    "j2k": Coder(JPEG2000Lossless, "pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"),
}


def check_encoding(encoding: Encoding) -> None:
    """Raise where runs cannot be stored as asked, before any work is done.

    Raises:
        InputError: a depth, compression or class that is not known, or one whose coder is not installed.
    """
    if encoding.pixel_depth not in DEPTHS:
        raise InputError(f"`pixel_depth` {encoding.pixel_depth}: expected {' or '.join(map(str, DEPTHS))} bits")
    if encoding.compress not in COMPRESSIONS:
        raise InputError(f"`compress` {encoding.compress}: expected one of {', '.join(COMPRESSIONS)}")
    if encoding.save_class not in CLASSES:
        raise InputError(f"`save_class` {encoding.save_class}: expected {' or '.join(CLASSES)}")
    coder = CODERS.get(encoding.compress)
    if coder is not None and coder.plugin not in get_encoder(coder.syntax).available_plugins:
        raise InputError(
            f"`compress` {encoding.compress}: expected its coder, which is not installed or does not load; "
            f"run pip install {coder.packages}, or write without `compress`"
        )


def compress(dataset: Dataset, name: str) -> None:
    """Compress a data set's pixels without loss; its UIDs stay, since the picture does.

    Args:
        dataset: complete, uncompressed, with `file_meta`.
        name: of `COMPRESSIONS`; "none" leaves it as it is.
    """
    if coder := CODERS.get(name):
        dataset.compress(coder.syntax, encoding_plugin=coder.plugin, generate_instance_uid=False)
