"""XA files changed and written by hand: what several modules of DICOM tests do to a header."""

import numpy as np
import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from angiomorph.dicom import write_bsa
from angiomorph.preprocessing.intensity import LN, to_domain

SHA = "0123456789abcdef" * 4


def item(**attributes):
    dataset = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def setting(**attributes):
    def change(dataset):
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


def deleting(*keywords):
    def change(dataset):
        for keyword in keywords:
            delattr(dataset, keyword)

    return change


def reencoded(path, transfer_syntax):
    dataset = pydicom.dcmread(path)
    if pydicom.uid.UID(transfer_syntax).is_compressed and transfer_syntax != DeflatedExplicitVRLittleEndian:
        dataset.compress(transfer_syntax)
        dataset.save_as(path)
        return path
    if transfer_syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    little, implicit = transfer_syntax != ExplicitVRBigEndian, transfer_syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, dataset, little_endian=little, implicit_vr=implicit, force_encoding=True)
    return path


def write(path, series, bsa=None, **options):
    arguments = {"units": LN, "model_name": "reg-vle", "model_sha256": SHA, "hyper": 0.7, "background_numbers": [1]} | options
    values = to_domain(series.frames, "log")
    write_bsa(path, series, values - values[:1] if bsa is None else bsa, **arguments)
    return pydicom.dcmread(path)
