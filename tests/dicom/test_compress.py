"""Coders: each is here, or its absence is told before any work."""

from __future__ import annotations

import pytest
from pydicom.pixels.encoders import JPEGLSLosslessEncoder

from angiomorph.dicom import check_encoding
from angiomorph.dicom.compress import CODERS
from angiomorph.dicom.encoding import COMPRESSIONS, DEPTHS, Encoding
from angiomorph.errors import InputError


def test_every_compression_has_its_coder_here():
    assert ("none", *CODERS) == COMPRESSIONS
    for compress in COMPRESSIONS:
        for depth in DEPTHS:
            check_encoding(Encoding(depth, compress))


def test_unknown_encodings_and_absent_coders_are_refused(monkeypatch):
    with pytest.raises(InputError, match="`compress` zip: expected one of none, rle, jpeg-ls, j2k"):
        check_encoding(Encoding(compress="zip"))
    with pytest.raises(InputError, match="`pixel_depth` 8: expected 12 or 16 bits"):
        check_encoding(Encoding(8))
    monkeypatch.setattr(JPEGLSLosslessEncoder, "_available", {})
    with pytest.raises(InputError, match=r"`compress` jpeg-ls: expected its coder, .*; run pip install pyjpegls, or"):
        check_encoding(Encoding(compress="jpeg-ls"))
    check_encoding(Encoding(compress="j2k"))
