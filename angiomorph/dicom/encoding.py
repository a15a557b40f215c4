"""How written runs are stored: the options, without pydicom, so that the command line has them at once."""

from __future__ import annotations

from dataclasses import dataclass

DEPTHS = (12, 16)
COMPRESSIONS = ("none", "rle", "jpeg-ls", "j2k")
CLASSES = ("classic", "enhanced")


@dataclass(frozen=True)
class Encoding:
    """How a written run is stored.

    Args:
        pixel_depth: bits of a value, of `DEPTHS`.
        compress: lossless compression, of `COMPRESSIONS`.
        save_class: class of the subtracted run, one of `CLASSES`: X-Ray Angiographic Image, or Enhanced XA Image.
    """

    pixel_depth: int = 12
    compress: str = "none"
    save_class: str = "classic"

    @property
    def offset(self) -> int:
        """Return the stored value that stands for 0, in the middle of the range."""
        return 1 << (self.pixel_depth - 1)


USUAL = Encoding()
