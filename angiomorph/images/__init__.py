"""Runs and pairs of images that are not DICOM: pictures, TIFF, video, NumPy and NIfTI."""

from angiomorph.images.find import find_image_runs, find_pairs
from angiomorph.images.options import ImageOptions, choose_kinds
from angiomorph.images.runs import read_image_run, read_images

__all__ = ["ImageOptions", "choose_kinds", "find_image_runs", "find_pairs", "read_image_run", "read_images"]
