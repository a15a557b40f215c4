"""`angiomorph info`: what is told of each kind of file, for people and as JSON, without TensorFlow."""

import hashlib
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from angiomorph import networks
from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.storage import store
from angiomorph.storage.inspection import describe
from tests.runs import SIZE, TINY, phantom, save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5", training={"lr": 0.1}, versions={"tensorflow": "2"})


def test_a_model_by_architecture_parameters_and_training(model):
    found = describe(model)
    network = networks.AngioMorph.load(model)
    assert found["kind"] == "model"
    assert found["class"] == "AngioMorph"
    assert found["architecture"]["nb_unet_features"] == TINY["nb_unet_features"]
    assert found["architecture"]["inshape"] == [SIZE, SIZE]
    assert found["parameters"] == network.count_params()
    assert found["hypernetwork_parameters"] == (1 + 1) * 4 + (4 + 1) * 8
    assert found["metadata"]["lambda"] == 0.6
    assert found["training"] == {"lr": 0.1}
    assert found["versions"]["tensorflow"] == "2"
    assert found["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert found["bytes"] == model.stat().st_size


@pytest.mark.slow
def test_baked_models_and_weights(tmp_path, model):
    network = networks.AngioMorph.load(model)
    plain = networks.bake(network, 0.5)
    networks.save(plain, tmp_path / "baked.h5")
    found = describe(tmp_path / "baked.h5")
    assert (found["class"], found["parameters"], found["hypernetwork_parameters"]) == ("VxmDense", plain.count_params(), 0)
    network.save_weights(tmp_path / "weights.h5")
    found = describe(tmp_path / "weights.h5")
    assert (found["kind"], found["parameters"]) == ("weights", network.count_params())


def test_a_store_by_runs_frames_and_sizes(tmp_path):
    path = tmp_path / "store.h5"
    with store.create(path) as file:
        store.append(file, "run-1", store.StoredRun(phantom((5, 64, 48)), "LIN", 12, background=(1, 2)))
        store.append(file, "run-2", store.StoredRun(phantom((3, 64, 48)), "DISP", 12))
        store.append(file, "run-3", store.StoredRun(phantom((4, 32, 32), bits=8), "LIN", 8))
    found = describe(path)
    assert found == {
        "file": "store.h5",
        "kind": "store",
        "bytes": path.stat().st_size,
        "runs": 3,
        "frames": 12,
        "frames_per_run": {"least": 3, "most": 5},
        "sizes": {"32 x 32": 1, "64 x 48": 2},
        "relations": {"DISP": 1, "LIN": 2},
        "bits_stored": {"12": 2, "8": 1},
        "runs_with_named_background": 1,
    }


def test_arrays_are_described(tmp_path):
    store.write_arrays(tmp_path / "bsa.h5", {"bsa": np.zeros((2, 3, 4), np.float32)}, {"lambda": 0.5, "units": "ln"})
    found = describe(tmp_path / "bsa.h5")
    assert (found["kind"], found["arrays"]) == ("arrays", {"bsa": "float32 2 x 3 x 4"})
    assert found["attributes"] == {"lambda": 0.5, "units": "ln"}


@pytest.mark.parametrize(
    ("name", "words"),
    [("text.h5", "cannot be opened as HDF5"), ("absent.h5", "found no such file"), ("empty.h5", "found none of them")],
)
def test_a_file_of_no_kind_is_refused(tmp_path, name, words):
    (tmp_path / "text.h5").write_text("hello")
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(InputError, match=f"{name}: expected .*{words}"):
        describe(tmp_path / name)


def test_the_command_tells_people_and_programs(model, capsys):
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out.splitlines()
    assert "kind: model" in text
    assert "  lambda: 0.6" in text
    assert main(["info", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe(model)
    assert main(["info", str(model) + ".absent"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_no_tensorflow_is_loaded(model):
    code = f"import sys; from angiomorph.cli import main; main(['info', {str(model)!r}]); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def damaged(path, rng):
    """Write a file in which a few bytes in a row are others."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(len(content) - 8))
    content[place : place + 8] = rng.bytes(8)
    changed = path.with_name(f"damaged-{path.name}")
    changed.write_bytes(content)
    return changed


@pytest.mark.parametrize("kind", ["arrays", "store"])
def test_a_damaged_file_is_described_or_refused_in_one_line(tmp_path, kind):
    path, frames, rng = tmp_path / f"{kind}.h5", phantom((2, 16, 12)), np.random.default_rng(0)
    if kind == "arrays":
        store.write_arrays(path, {"bsa": frames, "background": np.arange(3)}, {"lambda": 0.7, "units": "ln"})
    else:
        with store.create(path) as file:
            store.append(file, "run-1", store.StoredRun(frames, "LIN", 12))
    refused = []
    for _ in range(150):
        try:
            describe(damaged(path, rng))
        except InputError as error:
            refused.append(str(error))
    assert 0 < len(refused) < 150
    assert [message for message in refused if "\n" in message or f"damaged-{kind}.h5: expected " not in message] == []
