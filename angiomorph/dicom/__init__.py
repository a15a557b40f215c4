"""The DICOM edge: the only user of pydicom."""

from angiomorph.dicom.create import write_run
from angiomorph.dicom.find import find_series, passed_over_line
from angiomorph.dicom.read import read_series
from angiomorph.dicom.series import Series, SeriesFiles
from angiomorph.dicom.write import write_bsa

__all__ = ["Series", "SeriesFiles", "find_series", "passed_over_line", "read_series", "write_bsa", "write_run"]
