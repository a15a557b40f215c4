"""The peers: registrations that nobody here wrote, each as a function of a pair of frames, with its tuned parameters.

Each function takes `moving` and `fixed`, `(H, W)` float32 in [0, 1], and its parameters by name, and returns the warp,
`(H, W, 2)` float32, pixels, ij order, on the fixed grid: moved(x) = moving(x + warp(x)), VoxelMorph's convention and ITK's.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft, ndimage

MODULES = ("benchmarks.peers.methods",)  # whose code makes the peers' warps
BLADE_MARGIN = 4  # pixels


@dataclass(frozen=True)
class Peer:
    """A registration and the parameters that it is run with.

    Args:
        name: in tables and pictures.
        register: (moving, fixed, **parameters) -> warp.
        parameters: of `register`.
        package: what must be installed for it, as pip names it.
    """

    name: str
    register: Callable[..., np.ndarray]
    parameters: Mapping[str, Any]
    package: str

    def warps(self, moving: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the warps of frames and the mean seconds that one took.

        Args:
            moving: `(H, W)` float32, [0, 1].
            fixed: `(F, H, W)` float32, [0, 1].

        Returns:
            `(F, H, W, 2)` float32, pixels, ij order, and seconds.
        """
        start = time.perf_counter()
        warps = np.stack([self.register(moving, frame, **self.parameters) for frame in fixed])
        return warps, (time.perf_counter() - start) / len(fixed)


def set_threads(count: int) -> None:
    """Let every library use so many threads; call it before any of them computes.

    Args:
        count: threads, >= 1.
    """
    # ITK, SimpleITK and ANTs, which each bring an ITK of their own, read it when they are first used.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(count)
    os.environ["OMP_NUM_THREADS"] = str(count)
    import cv2

    from angiomorph.backend import tf

    cv2.setNumThreads(count)
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


def none(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Return the zero warp: plain DSA."""
    return np.zeros((*fixed.shape, 2), np.float32)


def pixel_shift(moving: np.ndarray, fixed: np.ndarray, *, smoothing: float, reach: int) -> np.ndarray:
    """Return one translation for the whole frame, by phase correlation to a fraction of a pixel.

        r = IFFT(G * F_moving * conj(F_fixed) / |F_moving * F_fixed|), the shift is where r peaks

    with the frames tapered to their edges (Hann), and the spectrum G of a Gaussian, which leaves out the frequencies of noise
    and gives the peak its shape, so that a parabola through the logarithm of its neighbours finds its top.

    Args:
        moving: background.
        fixed: contrast frame.
        smoothing: standard deviation of the Gaussian, pixels.
        reach: largest shift along an axis, pixels.

    Source: Kuglin and Hines, IEEE Conf. on Cybernetics and Society 1975; the pixel shift of angiography suites, DICOM
    MaskSubPixelShift.
    """
    taper = np.multiply.outer(*(np.hanning(side + 2)[1:-1] for side in fixed.shape))
    spectra = [fft.rfft2(taper * (frame - np.mean(frame))) for frame in (moving, fixed)]
    cross = spectra[0] * np.conj(spectra[1])
    rows, columns = fixed.shape
    down, right = np.meshgrid(fft.fftfreq(rows), fft.rfftfreq(columns), indexing="ij")
    weight = np.exp(-2 * (np.pi * smoothing) ** 2 * (down**2 + right**2))
    response = fft.irfft2(weight * cross / np.maximum(np.abs(cross), 1e-12 * np.abs(cross).max()), fixed.shape)
    near = np.fft.fftshift(response)[tuple(slice(side // 2 - reach - 1, side // 2 + reach + 2) for side in fixed.shape)]
    row, column = np.unravel_index(np.argmax(near[1:-1, 1:-1]), (2 * reach + 1, 2 * reach + 1))
    around = near[row : row + 3, column : column + 3]
    shift = [row - reach + _top(around[:, 1]), column - reach + _top(around[1])]
    return np.broadcast_to(np.array(shift, np.float32), (*fixed.shape, 2)).copy()


def _top(values: np.ndarray) -> float:
    """Return where, from the middle of three values, the parabola through their logarithms has its top; 0 without one."""
    before, at, after = np.log(np.maximum(values, 1e-12))
    curvature = before - 2 * at + after
    return float(np.clip(0.5 * (before - after) / curvature, -1, 1)) if curvature < 0 else 0.0


def elastix(
    moving: np.ndarray,
    fixed: np.ndarray,
    *,
    transforms: tuple[str, ...],
    iterations: int,
    samples: int,
    bins: int,
    resolutions: int,
    masked: bool,
    spacing: float = 0,
    bending: float = 0,
) -> np.ndarray:
    """Return the warp of elastix: mutual information (Mattes), adaptive stochastic gradient descent, a pyramid.

    Args:
        moving: background.
        fixed: contrast frame.
        transforms: one after the other, of "rigid", "affine", "bspline".
        iterations: a resolution.
        samples: pixels drawn anew each iteration.
        bins: of the joint histogram.
        resolutions: levels of the pyramid.
        masked: draw samples away from collimator blades only.
        spacing: of the B-spline's control points at the finest level, pixels.
        bending: weight of the B-spline's bending energy beside the metric's 1; 0 for none.

    Source: Klein et al., IEEE TMI 29, 2010; itk-elastix.
    """
    import itk

    parameters = itk.ParameterObject.New()
    for transform in transforms:
        chosen = itk.ParameterObject.GetDefaultParameterMap(transform, resolutions, spacing or 16.0)
        chosen["MaximumNumberOfIterations"] = [str(iterations)]
        chosen["NumberOfSpatialSamples"] = [str(samples)]
        chosen["NumberOfHistogramBins"] = [str(bins)]
        chosen["ResampleInterpolator"] = ["FinalNearestNeighborInterpolator"]
        chosen["WriteResultImage"] = ["false"]
        if transform == "bspline" and bending:
            chosen["Metric1Weight"] = [str(bending)]
        elif transform == "bspline":
            chosen["Metric"] = ["AdvancedMattesMutualInformation"]
            chosen["Registration"] = ["MultiResolutionRegistration"]
        parameters.AddParameterMap(chosen)
    images = [itk.image_from_array(np.ascontiguousarray(frame, np.float32)) for frame in (fixed, moving)]
    mask = {"fixed_mask": itk.image_from_array(lit(fixed).astype(np.uint8))} if masked else {}
    # Its argument number_of_threads is left alone: with two metrics elastix then crashes; ITK's own number counts.
    found = itk.elastix_registration_method(*images, parameter_object=parameters, log_to_console=False, **mask)[1]
    with tempfile.TemporaryDirectory() as folder:
        field = itk.transformix_deformation_field(images[1], found, output_directory=folder)
        return _flip(itk.array_from_image(field))


def lit(frame: np.ndarray) -> np.ndarray:
    """Return where a normalised frame is exposed: away from collimator blades, which are 0 in it, `(H, W)` bool."""
    blades = ndimage.binary_opening(frame <= 0, iterations=BLADE_MARGIN)
    inside = ~ndimage.binary_dilation(blades, iterations=2 * BLADE_MARGIN)
    return inside if inside.any() else np.ones_like(inside)


def syn(
    moving: np.ndarray,
    fixed: np.ndarray,
    *,
    metric: str,
    sampling: int,
    iterations: tuple[int, ...],
    step: float,
    flow_sigma: float,
    total_sigma: float,
    masked: bool,
) -> np.ndarray:
    """Return the warp of ANTs: affine by mutual information, then symmetric diffeomorphic normalisation (SyN).

    Args:
        moving: background.
        fixed: contrast frame.
        metric: of SyN, "CC" or "mattes".
        sampling: radius of CC in pixels, or bins of mattes.
        iterations: a level of the pyramid, the coarsest first; 0 leaves a level out.
        step: of the gradient.
        flow_sigma: smoothing of each update, pixels.
        total_sigma: smoothing of the whole field, pixels.
        masked: look away from collimator blades only.

    Source: Avants et al., Medical Image Analysis 12, 2008; antspyx.
    """
    import ants

    images = {name: ants.from_numpy(frame.astype(np.float32)) for name, frame in (("fixed", fixed), ("moving", moving))}
    mask = {"mask": ants.from_numpy(lit(fixed).astype(np.float32)), "mask_all_stages": True} if masked else {}
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            **images,
            **mask,
            type_of_transform="SyN",
            # The frames lie on each other but for the motion; centres of mass would follow the iodine.
            initial_transform="Identity",
            outprefix=f"{folder}/",
            syn_metric=metric,
            syn_sampling=sampling,
            reg_iterations=iterations,
            grad_step=step,
            flow_sigma=flow_sigma,
            total_sigma=total_sigma,
            random_seed=1,
        )
        whole = ants.apply_transforms(**images, transformlist=found["fwdtransforms"], compose=f"{folder}/whole")
        return np.ascontiguousarray(ants.image_read(whole).numpy(), np.float32)


def demons(
    moving: np.ndarray,
    fixed: np.ndarray,
    *,
    iterations: tuple[int, ...],
    sigma: float,
    update_sigma: float,
    matched: bool,
) -> np.ndarray:
    """Return the warp of symmetric-forces demons on a pyramid.

    Args:
        moving: background.
        fixed: contrast frame.
        iterations: a level of the pyramid, the coarsest first; each level halves the one below.
        sigma: smoothing of the whole field after each iteration, pixels of the level.
        update_sigma: smoothing of each update, pixels of the level; 0 for none.
        matched: give the moving frame the fixed frame's histogram; else its level only.

    Source: Vercauteren et al., NeuroImage 45, 2009; SimpleITK's FastSymmetricForcesDemonsRegistrationFilter.
    """
    import SimpleITK as sitk  # noqa: N813 (its documentation's own name)

    fixed_image = sitk.GetImageFromArray(fixed.astype(np.float32))
    if matched:
        moving_image = sitk.HistogramMatching(sitk.GetImageFromArray(moving.astype(np.float32)), fixed_image, 256, 15, True)
    else:
        moving_image = sitk.GetImageFromArray(level_frame(moving, fixed))
    filter_ = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    filter_.SetStandardDeviations(sigma)
    filter_.SetSmoothDisplacementField(sigma > 0)
    filter_.SetUpdateFieldStandardDeviations(update_sigma)
    filter_.SetSmoothUpdateField(update_sigma > 0)
    field = None
    for level, count in enumerate(iterations):
        factor = 2 ** (len(iterations) - 1 - level)
        small_fixed, small_moving = (_shrunk(image, factor) for image in (fixed_image, moving_image))
        # Standard deviations are in pixels of the level, as the filter takes them.
        start = (
            sitk.Image(small_fixed.GetSize(), sitk.sitkVectorFloat64, 2) if field is None else sitk.Resample(field, small_fixed)
        )
        start.CopyInformation(small_fixed)
        filter_.SetNumberOfIterations(count)
        field = filter_.Execute(small_fixed, small_moving, start)
    return _flip(sitk.GetArrayFromImage(field))


def _shrunk(image: Any, factor: int) -> Any:
    import SimpleITK as sitk  # noqa: N813 (its documentation's own name)

    return image if factor == 1 else sitk.BinShrink(image, [factor, factor])


def level_frame(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Return the moving frame plus the median difference to the fixed one: what exposure and gain change between them."""
    return (moving + np.median(fixed - moving)).astype(np.float32)


def dis_flow(
    moving: np.ndarray,
    fixed: np.ndarray,
    *,
    preset: str,
    alpha: float,
    smoothing: float,
    finest: int,
) -> np.ndarray:
    """Return the dense inverse search optical flow.

    Args:
        moving: background.
        fixed: contrast frame.
        preset: "ULTRAFAST", "FAST" or "MEDIUM".
        alpha: weight of smoothness in the variational refinement; OpenCV's own is 20.
        smoothing: standard deviation of the Gaussian that the flow is smoothed with afterwards, pixels; 0 for none.
        finest: level of the pyramid at which patches are matched last; 0 for full size.

    Source: Kroeger et al., ECCV 2016; cv2.DISOpticalFlow, which takes 8 bits.
    """
    import cv2

    method = cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset}"))
    method.setVariationalRefinementAlpha(alpha)
    method.setFinestScale(finest)
    frames = [np.rint(255 * np.clip(frame, 0, 1)).astype(np.uint8) for frame in (fixed, level_frame(moving, fixed))]
    return _smooth(_flip(method.calc(*frames, None)), smoothing)


def tv_l1_flow(
    moving: np.ndarray,
    fixed: np.ndarray,
    *,
    attachment: float,
    scales: int,
    warps: int,
    inner: int,
    outer: int,
    smoothing: float,
) -> np.ndarray:
    """Return the TV-L1 optical flow.

    Args:
        moving: background.
        fixed: contrast frame.
        attachment: weight of the frames' agreement, lambda; OpenCV's own is 0.15, smaller is smoother.
        scales: levels of the pyramid, each 0.8 of the one below.
        warps: a level.
        inner: iterations between two median filterings of the flow.
        outer: median filterings a warp.
        smoothing: standard deviation of the Gaussian that the flow is smoothed with afterwards, pixels; 0 for none.

    Source: Zach et al., DAGM 2007; cv2.optflow.DualTVL1OpticalFlow.
    """
    import cv2

    method = cv2.optflow.DualTVL1OpticalFlow_create(
        lambda_=attachment, nscales=scales, warps=warps, innnerIterations=inner, outerIterations=outer
    )
    flow = method.calc(fixed.astype(np.float32), level_frame(moving, fixed), None)
    return _smooth(_flip(flow), smoothing)


def deep_flow(moving: np.ndarray, fixed: np.ndarray, *, blur: float, smoothing: float) -> np.ndarray:
    """Return the optical flow of DeepFlow's energy, without its matched descriptors, which OpenCV leaves out.

    Args:
        moving: background.
        fixed: contrast frame.
        blur: standard deviation of the Gaussian that both frames are smoothed with before, pixels; 0 for none.
        smoothing: standard deviation of the Gaussian that the flow is smoothed with afterwards, pixels; 0 for none.

    Source: Weinzaepfel et al., ICCV 2013; cv2.optflow.createOptFlow_DeepFlow, whose own parameters cannot be set from Python.
    """
    import cv2

    frames = [ndimage.gaussian_filter(frame, blur, mode="nearest") for frame in (fixed, level_frame(moving, fixed))]
    flow = cv2.optflow.createOptFlow_DeepFlow().calc(*(np.float32(255) * frame for frame in frames), None)
    return _smooth(_flip(flow), smoothing)


def _smooth(warp: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(warp, (sigma, sigma, 0), mode="nearest") if sigma else warp


def _flip(field: np.ndarray) -> np.ndarray:
    """Return a field (right, down) as (down, right), float32."""
    return np.ascontiguousarray(field[..., ::-1], np.float32)


# The best of its grid on the development set: `python -m benchmarks.peers.tune --ct CT --vessels CTA --out DIR` prints them.
PEERS = (
    Peer("none", none, {}, "numpy"),
    Peer("pixel shift", pixel_shift, {"smoothing": 16.0, "reach": 32}, "scipy"),
    Peer(
        "elastix rigid",
        elastix,
        {"transforms": ("rigid",), "iterations": 256, "samples": 2048, "bins": 32, "resolutions": 4, "masked": True},
        "itk-elastix",
    ),
    Peer(
        "elastix affine",
        elastix,
        {"transforms": ("affine",), "iterations": 256, "samples": 2048, "bins": 64, "resolutions": 4, "masked": True},
        "itk-elastix",
    ),
    Peer(
        "elastix B-spline",
        elastix,
        {
            "transforms": ("affine", "bspline"),
            "iterations": 256,
            "samples": 2048,
            "bins": 64,
            "resolutions": 4,
            "masked": True,
            "spacing": 16.0,
            "bending": 3e3,
        },
        "itk-elastix",
    ),
    Peer(
        "ANTs SyN",
        syn,
        {
            "metric": "CC",
            "sampling": 4,
            "iterations": (40, 20, 0),
            "step": 0.2,
            "flow_sigma": 6.0,
            "total_sigma": 1.0,
            "masked": True,
        },
        "antspyx",
    ),
    Peer(
        "symmetric demons",
        demons,
        {"iterations": (40, 30, 20, 10), "sigma": 6.0, "update_sigma": 0.0, "matched": False},
        "SimpleITK",
    ),
    Peer(
        "DIS flow",
        dis_flow,
        {"preset": "MEDIUM", "alpha": 100.0, "smoothing": 0.0, "finest": 0},
        "opencv-contrib-python-headless",
    ),
    Peer(
        "TV-L1 flow",
        tv_l1_flow,
        {"attachment": 0.06, "scales": 12, "warps": 10, "inner": 10, "outer": 2, "smoothing": 0.0},
        "opencv-contrib-python-headless",
    ),
    Peer("DeepFlow", deep_flow, {"blur": 1.0, "smoothing": 0.0}, "opencv-contrib-python-headless"),
)
