"""From an archive of DICOM files to a training store."""
