"""The DICOM edge: the only user of pydicom."""

from angiomorph.dicom.anonymize import anonymize
from angiomorph.dicom.compress import check_encoding
from angiomorph.dicom.create import write_run
from angiomorph.dicom.find import find_series, say_passed_over
from angiomorph.dicom.header import imager_spacing
from angiomorph.dicom.key_frame import write_key_frame
from angiomorph.dicom.naming import ANONYMOUS, check_pattern, name_run
from angiomorph.dicom.plain_dsa import check_dsa_run, check_dsa_state, write_dsa_run, write_dsa_state
from angiomorph.dicom.read import open_series, read_series
from angiomorph.dicom.series import Series, SeriesFiles
from angiomorph.dicom.shift_state import check_shift_state, write_shift_state
from angiomorph.dicom.write import write_bsa
from angiomorph.dicom.write_enhanced import check_save_class

__all__ = [
    "ANONYMOUS",
    "Series",
    "SeriesFiles",
    "anonymize",
    "check_dsa_run",
    "check_dsa_state",
    "check_encoding",
    "check_pattern",
    "check_save_class",
    "check_shift_state",
    "find_series",
    "imager_spacing",
    "name_run",
    "open_series",
    "read_series",
    "say_passed_over",
    "write_bsa",
    "write_dsa_run",
    "write_dsa_state",
    "write_key_frame",
    "write_run",
    "write_shift_state",
]
