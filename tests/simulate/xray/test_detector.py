from dataclasses import replace

import numba
import numpy as np
import pytest
from scipy import ndimage

from angiomorph.errors import InputError
from angiomorph.simulate.settings import SimulationSettings
from angiomorph.simulate.xray import detector
from angiomorph.simulate.xray.aperture import Aperture
from angiomorph.simulate.xray.detector import Detector, Encoding
from angiomorph.simulate.xray.spectrum import Beam, make_beam

MONO = Beam(70.0, np.array([55.0]), np.ones(1), np.array([[0.2], [0.4], [10.0], [2.0]]))
LIN12 = Encoding("LIN", 12)
LOG12 = Encoding("LOG", 12, -6.0, 0.5)
DISP10 = Encoding("DISP", 10, -4.0, 0.0, 2.0, 0.3)


def make_detector(size=256, **changes):
    values = {
        "beam": MONO, "photons": 4000.0, "scatter": 0.0, "blur": 0.0, "electronic": 0.0, "exposure": 3000.0,
        "encoding": LIN12, "stored_per_ln": 1.0, "aperture": Aperture(np.ones((size, size), np.float32)), "gain": np.ones(3),
    }  # fmt: skip
    return Detector(**(values | changes))


def water(integral):
    """Paths of water alone whose mono-energetic line integral is given."""
    paths = np.zeros((4, *np.shape(integral)), np.float32)
    paths[0] = np.asarray(integral) / 0.2
    return paths


def stored(integral, camera, frame=0, seed=0):
    return detector.measure(detector.expose(water(integral), camera), camera, frame, np.random.default_rng(seed))


def flat(integral, size=256):
    return np.full((size, size), integral, np.float32)


def test_transmission_is_the_weighted_sum_of_exponentials():
    rng = np.random.default_rng(0)
    spectrum = make_beam(80.0, 0.1)
    paths = rng.random((4, 20, 24)).astype(np.float32) * np.array([20, 3, 0.05, 0.2], np.float32)[:, None, None]
    paths[2:, :10] = 0
    paths[:, 0, 0] = 0
    exponent = np.tensordot(spectrum.coefficients, paths.astype(np.float64), axes=(0, 0))
    expected = np.tensordot(spectrum.weights, np.exp(-exponent), axes=1)
    np.testing.assert_allclose(detector.transmission(paths, spectrum), expected, rtol=1e-5)
    assert detector.transmission(paths, spectrum)[0, 0] == 1


def test_the_number_of_threads_changes_no_bit():
    paths = np.random.default_rng(1).random((4, 40, 40), np.float32)
    before, images = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        images.append(detector.transmission(paths, make_beam(75.0, 0.0)))
    np.testing.assert_array_equal(*images)


def test_without_scatter_and_blur_the_signal_is_exponential():
    integral = np.linspace(0, 4, 64 * 64, dtype=np.float32).reshape(64, 64)
    camera = make_detector(64, gain=np.array((1.0, 0.5)))
    values = detector.expect_signal(detector.expose(water(integral), camera), camera, 1)
    np.testing.assert_allclose(values, 1500 * np.exp(-integral), rtol=1e-5)


def test_values_saturate_at_the_stored_bits():
    integral = np.repeat(np.array((0.0, 12.0), np.float32), 32).reshape(2, 32).repeat(16, axis=0)
    camera = make_detector(32, exposure=9000.0, encoding=Encoding("LIN", 10))
    signal = detector.expect_signal(detector.expose(water(integral), camera), camera, 0)
    ln = detector.to_ln_units(signal, camera)
    assert ln.max() == pytest.approx(np.log(1023))
    assert ln.min() == 0
    np.testing.assert_array_equal(detector.find_unsaturated(signal, camera), False)
    frame = stored(integral, camera)
    assert frame.dtype == np.uint16
    assert frame.max() == 1023
    assert stored(integral, make_detector(32, encoding=Encoding("LIN", 8))).dtype == np.uint8


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_logarithmic_encoding_is_a_straight_line_in_ln(bits):
    encoding = Encoding("LOG", bits, -6.0, 0.5)
    signal = np.exp(np.linspace(-5.9, 0.4, 64, dtype=np.float32))[None]
    values = detector.encode(signal, encoding)
    np.testing.assert_allclose(np.diff(values[0]) / np.diff(np.log(signal[0])), (2**bits - 1) / 6.5, rtol=2e-3)
    back = detector.modality_lut(encoding)[np.rint(values).astype(int)] / 65535 * np.exp(0.5)
    assert len(detector.modality_lut(encoding)) == 2**bits
    step = 6.5 / (2**bits - 1)
    assert np.abs(np.log(back[0][back[0] > 0.01] / signal[0][back[0] > 0.01])).max() < step / 2 + 0.002
    assert detector.encode(np.array([[-1.0, 9.0]], np.float32), encoding).tolist() == [[0, 2**bits - 1]]


def test_a_display_encoding_rises_and_is_steepest_in_the_middle():
    plain = replace(DISP10, sharpening=0.0)
    values = [float(detector.encode(np.full((8, 8), np.exp(u), np.float32), plain)[4, 4]) for u in np.linspace(-4, 0, 41)]
    slopes = np.diff(values)
    assert slopes.min() > 0
    assert (values[0], values[-1]) == pytest.approx((0, 1023), abs=0.01)
    assert slopes[20] > 1.5 * max(slopes[0], slopes[-1])


def test_sharpening_overshoots_at_an_edge_only():
    step = np.full((32, 64), np.exp(-2.5), np.float32)
    step[:, 32:] = np.exp(-1.5)
    plain, sharp = (detector.encode(step, replace(DISP10, sharpening=k)) for k in (0.0, 0.5))
    assert sharp[16, 31] < plain[16, 31] - 5
    assert sharp[16, 32] > plain[16, 32] + 5
    np.testing.assert_allclose(sharp[:, (0, -1)], plain[:, (0, -1)], atol=0.5)


def test_compression_evens_out_what_varies_slowly():
    """By a nearly straight curve: shadows half the span apart keep 1 - 0.4 of it, stripes of 8 pixels all of theirs."""
    signal = np.full((64, 512), -2.5, np.float32)
    signal[:, 256:] = -0.5
    signal += 0.1 * np.where(np.arange(512) // 4 % 2, 1, -1).astype(np.float32)
    straight = Encoding("DISP", 12, -4.0, 0.0, 1e-3)
    plain, even = (detector.encode(np.exp(signal), replace(straight, compression=k)) / 4095 for k in (0.0, 0.4))
    far = [even[32, columns].mean() for columns in (slice(16, 32), slice(480, 496))]
    assert far[1] - far[0] == pytest.approx(0.6 * 0.5, abs=0.005)
    assert far[1] == pytest.approx(1 - 0.6 * 0.125, abs=0.005)
    np.testing.assert_allclose(np.ptp(even[:, 16:32], axis=1), 0.05, atol=0.004)
    np.testing.assert_allclose(np.ptp(plain[:, 16:32], axis=1), 0.05, atol=0.001)


@pytest.mark.parametrize(
    ("encoding", "exposure", "per_ln", "bound"),
    [
        (LIN12, 3000.0, 1.0, 0.002),
        (LOG12, 1.0, 4095 / 6.5, 0.002),
        (DISP10, 1.0, 300.0, 0.004),
        (replace(DISP10, compression=0.5), 1.0, 300.0, 0.004),
    ],
)
def test_frames_have_the_truth_in_expectation(encoding, exposure, per_ln, bound):
    """Over 200 x 200 pixels and 5 frames, but for the known -sigma^2/2 of a logarithm (and DISP's bend)."""
    integral = flat(1.5, 200) + np.linspace(0, 0.5, 200, dtype=np.float32)
    options = {"photons": 2e5, "electronic": 30.0, "exposure": exposure, "blur": 0.7}
    camera = make_detector(200, encoding=encoding, stored_per_ln=per_ln, **options)
    truth = detector.to_ln_units(detector.expect_signal(detector.expose(water(integral), camera), camera, 0), camera)
    frames = np.stack([stored(integral, camera, seed=seed) for seed in range(5)]).astype(np.float64)
    seen = np.log(frames) if encoding.relation == "LIN" else frames / per_ln
    inside = (slice(None), slice(10, -10), slice(10, -10))
    assert abs((seen - truth)[inside].mean()) < bound
    assert (seen - truth)[inside].std() > 0.002


def test_noise_in_ln_units_is_that_of_the_photons():
    """Behind an integral of 2, N = 40000 e^-2 = 5413 photons: sigma of ln = 1 / sqrt(N) = 0.0136."""
    frame = stored(flat(2.0), make_detector(photons=40000.0, exposure=4000.0), seed=1).astype(float)
    rounding = 1 / 12 / (4000 * np.exp(-2)) ** 2
    assert np.log(frame).std() == pytest.approx(np.sqrt(np.exp(2) / 40000 + rounding), rel=0.02)
    assert frame.mean() == pytest.approx(4000 * np.exp(-2), rel=1e-3)


def test_blur_correlates_and_lowers_the_noise():
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1
    kernel = ndimage.gaussian_filter(impulse, 0.8)
    frame = stored(flat(0.0), make_detector(photons=1e4, exposure=4000.0, blur=0.8), seed=2).astype(float) / 4000
    assert frame.var() == pytest.approx((kernel**2).sum() / 1e4, rel=0.03)
    lag = np.mean((frame[:, 1:] - 1) * (frame[:, :-1] - 1)) / frame.var()
    assert lag == pytest.approx((kernel[:, 1:] * kernel[:, :-1]).sum() / (kernel**2).sum(), abs=0.02)


def test_electronic_noise_adds_its_variance():
    camera = make_detector(photons=1000.0, exposure=4000.0, electronic=20.0)
    frame = stored(flat(1.0), camera, seed=3).astype(float) / 4
    assert frame.var() == pytest.approx(1000 * np.exp(-1) + 400, rel=0.03)


def test_scatter_adds_its_share_and_is_smooth():
    integral = flat(2.0, 128)
    camera = make_detector(128, scatter=0.4)
    np.testing.assert_allclose(detector.expose(water(integral), camera), 1.4 * np.exp(-2), rtol=1e-5)
    integral[60:68, 60:68] = 30
    behind_lead = detector.expose(water(integral), camera)[62:66, 62:66]
    assert 0.2 * np.exp(-2) < behind_lead.mean() < 0.4 * np.exp(-2)
    assert np.ptp(behind_lead) < 0.02 * np.exp(-2)


def test_gain_stays_near_one_and_its_ramp_is_over_in_ten_frames():
    gains = np.array([detector.draw_gain(np.random.default_rng(seed), 30) for seed in range(60)])
    assert gains[:, 10:].min() > 0.95
    assert gains.max() < 1.05
    assert gains[:, 0].min() < 0.9


def head_paths(size=96):
    """A disc of 16 cm water with 1 cm bone in air."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    disc = np.clip(0.4 * size - np.hypot(x, y), 0, 1).astype(np.float32)
    return np.stack([16 * disc, 1.9 * disc, 0 * disc, 0 * disc])


@pytest.mark.parametrize("relation", ["LIN", "LOG", "DISP"])
@pytest.mark.parametrize("seed", range(5))
def test_a_drawn_detector_exposes_the_patient_well(relation, seed):
    settings = SimulationSettings(relations=(relation,), collimated=0.0)
    paths = head_paths()
    camera = detector.draw_detector(paths, 2.0, settings, np.random.default_rng(seed))
    frame = detector.measure(detector.expose(paths, camera), camera, settings.frames - 1, np.random.default_rng(0))
    inside = paths[0] > 15
    middle = np.median(frame[inside]) / camera.encoding.top
    assert (0.06 if relation == "LIN" else 0.3) < middle < (0.35 if relation == "LIN" else 0.9)
    assert 68 <= camera.beam.kv <= 100
    assert len(camera.gain) == settings.frames
    signal = detector.expect_signal(detector.expose(paths, camera), camera, settings.frames - 1)
    assert detector.find_unsaturated(signal, camera)[inside].mean() > 0.95


def test_the_slope_of_display_values_is_the_patients():
    settings = SimulationSettings(relations=("DISP",), collimated=0.0, bits_stored=(12,))
    paths = head_paths()
    camera = detector.draw_detector(paths, 2.0, settings, np.random.default_rng(2))
    plain = replace(camera, encoding=replace(camera.encoding, sharpening=0.0), gain=np.ones(1), blur=0.0)
    inside = paths[0] > 15
    assert plain.encoding.compression > 0.2
    detail = np.where(np.indices(inside.shape).sum(axis=0) % 2, 0.025, -0.025).astype(np.float32)
    dark, light = (paths + np.stack([sign * detail, *np.zeros((3, *detail.shape), np.float32)]) for sign in (1, -1))
    dark, light = (detector.expect_signal(detector.expose(p, plain), plain, 0) for p in (dark, light))
    rise = detector.encode(light, plain.encoding) - detector.encode(dark, plain.encoding)
    slope = (rise / np.log(light / dark))[inside]
    assert slope.mean() == pytest.approx(camera.stored_per_ln, rel=0.1)


def test_a_field_of_air_is_refused():
    with pytest.raises(InputError, match="found air only"):
        detector.draw_detector(0 * head_paths(), 2.0, SimulationSettings(), np.random.default_rng(0))
