"""OpenVINO's warps are TensorFlow's, whatever the frames' size."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

import angiomorph as am
from angiomorph.errors import InputError
from angiomorph.inference.engine import OpenVinoEngine
from angiomorph.networks.warp import warp_frames
from angiomorph.registration.engines import check_engine
from angiomorph.registration.options import OPENVINO
from tests.runs import save_tiny_model
from tests.tools import REPOSITORY, require_package

BY_OPENVINO = am.EngineOptions(engine=OPENVINO)
CLOSE = 5e-4  # pixels
# One level; two levels, halved, not halved, and padded; enlarged to the finest level.
SHAPES = [(32, 32), (20, 31), (128, 128), (101, 70), (64, 60), (40, 36)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    require_package("openvino", "openvino")
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5", flow_sigma=0.2, levels=2, size=32)


@pytest.fixture(scope="module")
def predictors(path):
    """Return what finds warps by OpenVINO, and by TensorFlow."""
    return tuple(am.Model(path, engine).predictor for engine in (BY_OPENVINO, am.EngineOptions()))


def test_half_precision_needs_a_processor_that_has_it(path, monkeypatch):
    import openvino

    monkeypatch.setattr(openvino.Core, "get_property", lambda core, device, name: ["FP32"])
    with pytest.raises(InputError, match="`mixed_precision`: expected a CPU with bfloat16, found none; leave it out"):
        OpenVinoEngine(path, mixed_precision=True)


def make_frames(shape, count=3):
    texture = ndimage.gaussian_filter(np.random.default_rng(1).random([side + 8 for side in shape]), 2)
    texture = ((texture - texture.min()) / np.ptp(texture)).astype(np.float32)
    return np.stack([texture[4 + step : 4 + step + shape[0], 4 : 4 + shape[1]] for step in range(count)])


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "levels", "rounds"), [*((shape, None, 0) for shape in SHAPES), ((101, 70), 3, 1)], ids=str)
def test_warps_are_those_of_tensorflow(predictors, shape, levels, rounds):
    frames = make_frames(shape)
    own, expected = (np.concatenate(list(each.warps(frames[0], frames, 0.3, 2, levels, rounds))) for each in predictors)
    np.testing.assert_allclose(own, expected, rtol=0, atol=CLOSE)
    assert np.abs(expected).max() > 0.1


def test_a_frames_warp_is_the_same_in_any_batch(predictors):
    frames = make_frames((48, 48), 5)
    one, all_five = (np.concatenate(list(predictors[0].warps(frames[0], frames, 0.3, size))) for size in (1, 5))
    np.testing.assert_array_equal(one, all_five)


def test_a_frame_at_another_hyper_is_as_in_a_batch(predictors):
    frames = make_frames((48, 48), 3)
    single = {hyper: np.concatenate(list(predictors[0].warps(frames[0], frames[2:], hyper))) for hyper in (0.2, 0.6, 0.9)}
    for hyper, warp in single.items():
        (batch,) = predictors[0].warps(frames[0], frames[1:], hyper, 2)
        np.testing.assert_allclose(batch[1:], warp, atol=1e-6)
    assert np.abs(single[0.2] - single[0.9]).max() > 1e-3


def test_each_hyper_has_its_own_warps(predictors):
    frames = make_frames((48, 48), 2)
    find = {hyper: predictors[0].warps_of(frames[0], hyper)(frames[1:]) for hyper in (0.0, 1.0)}
    assert np.abs(find[0.0] - find[1.0]).max() > 1e-2
    np.testing.assert_array_equal(predictors[0].warps_of(frames[0], 0.0)(frames[1:]), find[0.0])


@pytest.mark.parametrize("shape", [(24, 40), (1, 9)], ids=str)
def test_images_move_as_by_tensorflow(predictors, shape):
    rng = np.random.default_rng(3)
    image = rng.random(shape, np.float32)
    warp = (8 * rng.standard_normal((*shape, 2))).astype(np.float32)  # much of it leads beyond the border
    np.testing.assert_allclose(predictors[0].move(image, warp), warp_frames(image[None], warp[None])[0], atol=2e-5)


def test_half_precision_is_near_or_refused(path):
    from angiomorph.inference.backend import openvino

    frames = make_frames((64, 64), 2)
    half = am.EngineOptions(engine=OPENVINO, mixed_precision=True)
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(InputError, match="`mixed_precision`: expected a CPU with bfloat16"):
            am.Model(path, half)
        return
    full, rounded = (am.Model(path, how).predictor.warps_of(frames[0], 0.3)(frames[1:]) for how in (BY_OPENVINO, half))
    assert 0 < np.abs(full - rounded).max() < 0.2


def test_it_is_refused_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"`engine` openvino: expected the package openvino, .* 'angiomorph\[openvino\]'"):
        check_engine(BY_OPENVINO)


@pytest.mark.slow
def test_nothing_is_reported_over_the_network(path):
    """OpenVINO's converter, once imported, would: the next lines would then find its telemetry."""
    script = (
        "import socket, sys; socket.socket.connect = socket.getaddrinfo = lambda *given: sys.exit('connected'); "
        "import angiomorph as am; from pathlib import Path; "
        f"am.Model(Path({str(path)!r}), am.EngineOptions(engine='openvino')); "
        "assert 'openvino' in sys.modules; "
        "assert not [name for name in sys.modules if 'telemetry' in name]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)


def test_it_takes_no_gpu():
    require_package("openvino", "openvino")
    with pytest.raises(InputError, match="`gpu` 0: expected none with engine openvino, which computes on the CPU"):
        check_engine(BY_OPENVINO, "0")


@pytest.mark.slow
def test_a_run_is_registered_without_tensorflow(tmp_path):
    """The command line's frames are those of TensorFlow, to what the places of pixels differ by."""
    require_package("openvino", "openvino")
    script = (
        "import sys; from angiomorph.cli import main; "
        f"out = {str(tmp_path)!r}; "
        "state = main(['register', 'data/example_run.dcm', '--out', out, '--engine', 'openvino', '--save', 'h5']); "
        "assert 'openvino' in sys.modules and 'tensorflow' not in sys.modules; sys.exit(state)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPOSITORY)
    from angiomorph.storage.store import read_arrays

    arrays, attributes = read_arrays(tmp_path / "example_run_bsa.h5")
    expected = am.Model.load().register(am.read_series(REPOSITORY / "data" / "example_run.dcm"))
    np.testing.assert_allclose(arrays["warp"], expected.warp, rtol=0, atol=2e-3)
    np.testing.assert_allclose(arrays["bsa"], expected.bsa, rtol=0, atol=1e-3)
    assert attributes["lambda"] == expected.hyper
