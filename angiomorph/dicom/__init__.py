"""The DICOM edge: the only user of pydicom."""

from angiomorph.dicom.create import write_run

__all__ = ["write_run"]
