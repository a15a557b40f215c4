"""What tests ask of NIfTI programs that nobody here wrote."""

import numpy as np

from tests.tools import require_package


def by_simpleitk(path, background):
    """Return the background as SimpleITK moves it for each frame; NaN where that lies outside."""
    require_package("SimpleITK", "benchmark")
    import SimpleITK as sitk  # noqa: N813 (its documentation's own name)

    vectors = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    moving = sitk.GetImageFromArray(np.repeat(background[None], vectors.GetSize()[2], 0).astype(np.float64))
    moving.CopyInformation(vectors)
    field = sitk.DisplacementFieldTransform(vectors)  # takes the image's content
    return sitk.GetArrayFromImage(sitk.Resample(moving, moving, field, sitk.sitkLinear, float("nan")))


def open_by_nibabel(path):
    """Return the image of a file as nibabel opens it."""
    require_package("nibabel", "images")
    import nibabel

    return nibabel.load(path)


def save_nifti(path, array, affine=None):
    require_package("nibabel", "images")
    import nibabel

    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
