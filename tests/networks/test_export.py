"""Exported models, run by programs that nobody here wrote, give the warps that `register` gives."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from angiomorph import networks
from angiomorph.backend import tf
from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.networks.export import METADATA, build_registration, export_onnx, export_saved_model
from angiomorph.networks.warp import warp_frames
from angiomorph.registration.model_defaults import SHIPPED
from angiomorph.registration.pyramid import Predictor
from angiomorph.registration.tensorflow_engine import TensorFlowEngine
from tests.runs import TINY, save_tiny_model
from tests.tools import REPOSITORY, require_package, require_tool

pytestmark = pytest.mark.slow

HYPER = 0.3
SHAPES = [(48, 48), (70, 101), (20, 31)]  # two that go through all levels, the second padded at each; one that has one level
CLOSE = 1e-4  # pixels


def make_pair(shape, batch):
    """Return a background `(H, W)` and frames `(B, H, W)` shifted by a pixel: too little for a rigid start."""
    texture = ndimage.gaussian_filter(np.random.default_rng(7).random([side + 8 for side in shape]), 2)
    texture = ((texture - texture.min()) / np.ptp(texture)).astype(np.float32)
    rows, columns = shape
    fixed = [texture[4 + frame % 2 :, 5 - frame // 2 :][:rows, :columns] for frame in range(batch)]
    return np.ascontiguousarray(texture[4:-4, 4:-4]), np.stack(fixed)


def warps_of(predictor, shape, batch, hyper=HYPER):
    moving, fixed = make_pair(shape, batch)
    return moving, fixed, np.concatenate(list(predictor.warps(moving, fixed, hyper)))


def run_onnx(path, moving, fixed):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["warp"], {"moving": moving.reshape(-1, *fixed.shape[1:], 1), "fixed": fixed[..., None]})[0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5", flow_sigma=0.2, levels=2, size=32)


@pytest.fixture(scope="module")
def predictor(tiny):
    return Predictor(TensorFlowEngine(networks.AngioMorph.load(tiny)))


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    """Return the ONNX file that the command line writes."""
    for name in ("tf2onnx", "onnx"):
        require_package(name, "export")
    require_package("onnxruntime", "test")
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    assert main(["export", str(tiny), str(path), "--lambda", str(HYPER), "--licence", "MIT"]) == 0
    return path


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_onnxruntime_gives_the_warps_of_register(exported, predictor, shape, batch):
    moving, fixed, expected = warps_of(predictor, shape, batch)
    assert np.abs(expected).max() > 1
    found = run_onnx(exported, moving, fixed)
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)
    each = np.repeat(moving[None], batch, 0)  # a background for each frame, rather than one for all
    np.testing.assert_array_equal(run_onnx(exported, each, fixed), found)


def test_the_file_says_what_it_is(exported, tiny):
    import onnx

    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["lambda"] == "0.3"
    assert said["sha256"] == networks.sha256(tiny)
    assert (said["source"], said["licence"], said["intensity"]) == ("tiny.h5", "MIT", "auto")
    assert (said["size"], said["levels"]) == ("32", "2")
    assert said["warp"].startswith("pixels of the given frames, (row, column)")
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 18
    assert [given.name for given in model.graph.input] == ["moving", "fixed"]
    # What opset 13 took out, and what few programs run.
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert resizes
    assert not any(b"tf_half_pixel_for_nn" in given.s for node in resizes for given in node.attribute)
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in model.graph.node}


def test_the_shipped_model(tmp_path):
    require_package("onnxruntime", "test")
    model = networks.AngioMorph.load(SHIPPED)
    export_onnx(model, tmp_path / "shipped.onnx", 0.2)
    moving, fixed, expected = warps_of(Predictor(TensorFlowEngine(model)), (150, 140), 1, 0.2)
    found = run_onnx(tmp_path / "shipped.onnx", moving, fixed)
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)
    assert np.abs(expected).max() > 0.5


def test_a_saved_model_gives_them_too(tmp_path, tiny, predictor, capsys):
    assert main(["export", str(tiny), str(tmp_path / "saved")]) == 0
    assert "saved: lambda 0.6, of tiny.h5" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    moving, fixed, expected = warps_of(predictor, SHAPES[1], 2, 0.6)
    run = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    found = run(moving=tf.constant(moving[None, ..., None]), fixed=tf.constant(fixed[..., None]))["warp"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)
    said = json.loads((tmp_path / "saved" / METADATA).read_text())
    assert (said["lambda"], said["levels"], said["licence"]) == (0.6, 2, "not stated")


def test_a_program_in_javascript_runs_it(tmp_path, exported, predictor):
    """The example, with the package that a user's npm would bring; nothing but the registry is asked."""
    node, npm = require_tool("node"), require_tool("npm")
    install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "onnxruntime-node@1"]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    moving, fixed, expected = warps_of(predictor, SHAPES[1], 1)
    for name, frame in (("moving.f32", moving), ("fixed.f32", fixed[0])):
        (tmp_path / name).write_bytes(frame.astype("<f4").tobytes())
    command = [
        node,
        str(REPOSITORY / "examples" / "warp_pair.mjs"),
        str(exported),
        "moving.f32",
        "fixed.f32",
        "70",
        "101",
        "out.f32",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"warp 1 x 70 x 101 x 2: {min(expected.min(), 0):.2f} to {max(expected.max(), 0):.2f} pixels\n"
    moved = np.frombuffer((tmp_path / "out.f32").read_bytes(), "<f4").reshape(SHAPES[1])
    np.testing.assert_allclose(moved, warp_frames(moving[None], expected)[0], rtol=0, atol=1e-4)


def test_a_graph_is_refused_where_the_flow_is_integrated():
    network = networks.AngioMorph((32, 32), **TINY, int_steps=3)
    with pytest.raises(InputError, match=r"int_steps 0 for a graph of any size, found 3; use `angiomorph bake"):
        build_registration(network, HYPER)


def test_nothing_is_written_where_something_is(tmp_path, tiny, capsys):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "mine.txt").write_text("mine")
    assert main(["export", str(tiny), str(tmp_path / "saved")]) == 2
    assert "saved: cannot be read or written: File exists" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["saved", "mine.txt"]


@pytest.mark.parametrize("missing", ["tf2onnx.convert", "onnx"])
def test_a_missing_package_is_one_line(tmp_path, tiny, monkeypatch, capsys, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["export", str(tiny), str(tmp_path / "a.onnx")]) == 2
    said = capsys.readouterr().err
    assert f"expected the package {missing.split('.')[0]}" in said
    assert "pip install 'angiomorph[export]'" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.h5", "b.keras"])
def test_other_formats_names_are_refused(tmp_path, tiny, capsys, name):
    assert main(["export", str(tiny), str(tmp_path / name)]) == 2
    assert "expected a name that ends in .onnx, or a folder's" in capsys.readouterr().err


def test_a_failure_leaves_no_folder(tmp_path, predictor, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_saved_model(networks.AngioMorph((32, 32), **TINY), tmp_path / "saved", HYPER)
    assert list(tmp_path.iterdir()) == []
