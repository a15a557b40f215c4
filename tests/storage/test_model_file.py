"""Model files that would run code, read other files or take memory: refused by every verb before anything of them is built."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from angiomorph import networks
from angiomorph.backend import tf, vxm
from angiomorph.cli import main
from angiomorph.errors import InputError
from angiomorph.networks import initial_weights
from angiomorph.registration.model_defaults import SHIPPED
from angiomorph.storage import model_file, store
from angiomorph.storage.inspection import describe
from angiomorph.training import checkpoints
from tests.runs import phantom

pytestmark = pytest.mark.slow

TINY = ["--size", "32", "--enc", "4", "4", "--dec", "4", "4", "4", "--hyp-units", "4", "8", "--lr", "0.001", "--gpu", "-1"]
ONE = ["--epochs", "1", "--steps-per-epoch", "1", "--batch-size", "1"]
FLOW = "model_weights/angiomorph_flow/angiomorph_flow"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a training store `store.h5` and a model directory `m` of one step."""
    folder = tmp_path_factory.mktemp("trained")
    with store.create(folder / "store.h5") as file:
        store.append(file, "run-000001", store.StoredRun(phantom((4, 32, 32)), "LIN", 12))
    assert main(["train", str(folder / "store.h5"), "--model-dir", str(folder / "m"), *TINY, *ONE]) == 0
    return folder


@pytest.fixture
def good(trained):
    """Return a checkpoint that the program wrote, which is a model too."""
    return trained / "m" / "checkpoints" / "00000001.h5"


def lambda_layers(marker):
    """Return the class and configuration of a Keras model whose only layer makes the file `marker` when it is built."""
    path = str(marker)
    given = tf.keras.Input((1,))
    model = tf.keras.Model(given, tf.keras.layers.Lambda(lambda x: (open(path, "w").close(), x)[1])(given))
    marker.unlink()
    return json.loads(model.to_json())


class Payload:
    """What makes the file `marker` when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return Path.touch, (Path(self.marker),)


def described(change):
    """Return a change of a file's model_config."""

    def apply(path, marker):
        with h5py.File(path, "a") as file:
            found = json.loads(file.attrs["model_config"])
            file.attrs["model_config"] = json.dumps(change(found, marker))

    return apply


def swapped(found, marker):
    model = lambda_layers(marker)
    return {"class_name": model["class_name"], "config": model["config"]}


def nested(found, marker):
    found["config"]["metadata"] = {**lambda_layers(marker), "__passive_serialization__": True}
    return found


def deep(found, marker):
    found["config"]["metadata"]["training"] = {"lr": [{"rate": lambda_layers(marker)}]}
    return found


def voxelmorph(found, marker):
    found["class_name"] = "VxmDense"
    found["config"]["hyp_model"] = {**lambda_layers(marker), "__passive_serialization__": True}
    return found


def importing(found, marker):
    (marker.parent / "payload_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nAngioMorph = None\n")
    return {**found, "module": "payload_module", "registered_name": "AngioMorph"}


def wide(found, marker):
    found["config"]["nb_unet_features"][0][1] = 50_000
    return found


def large(found, marker):
    found["config"]["inshape"] = [1 << 20, 1 << 20]
    return found


def argument(found, marker):
    found["config"]["hyp_model"] = "angiomorph>VLE"
    return found


def nothing_but_a_pickle(path, marker):
    path.write_bytes(pickle.dumps(Payload(marker)))


def a_pickled_array(path, marker):
    with h5py.File(path, "a") as file:
        del file[f"{FLOW}/bias:0"]
        file[f"{FLOW}/bias:0"] = np.void(pickle.dumps(Payload(marker)))


def a_soft_link(path, marker):
    with h5py.File(path, "a") as file:
        file.move(f"{FLOW}/bias:0", "elsewhere")
        file[f"{FLOW}/bias:0"] = h5py.SoftLink("/elsewhere")


def an_external_link(path, marker):
    with h5py.File(path, "a") as file:
        del file[f"{FLOW}/bias:0"]
        file[f"{FLOW}/bias:0"] = h5py.ExternalLink(str(marker), "/secret")


def an_array_in_another_file(path, marker):
    with h5py.File(path, "a") as file:
        del file[f"{FLOW}/bias:0"]
        file[FLOW].create_dataset("bias:0", (2,), "f4", external=[("/dev/zero", 0, 8)])


def a_loop(path, marker):
    with h5py.File(path, "a") as file:
        file[f"{FLOW}/again"] = file["model_weights"]


def a_huge_array(path, marker):
    with h5py.File(path, "a") as file:
        del file[f"{FLOW}/bias:0"]
        file[FLOW].create_dataset("bias:0", (10**6, 10**6), "f4", chunks=(1000, 1000))


def a_bomb(path, marker):
    with h5py.File(path, "a") as file:
        del file[f"{FLOW}/bias:0"]
        file[FLOW].create_dataset("bias:0", data=np.zeros((1000, 1000), "f4"), compression="gzip")


def a_folder(path, marker):
    path.unlink()
    given = tf.keras.Input((1,))
    where = str(marker)
    model = tf.keras.Model(given, tf.keras.layers.Lambda(lambda x: (open(where, "w").close(), x)[1])(given))
    model.compile("sgd", "mse")
    model.save(path.with_suffix(""), save_format="tf")
    path.with_suffix("").rename(path)
    marker.unlink(missing_ok=True)


MALICIOUS = {
    "another class": (described(swapped), "found 'Functional'"),
    "a Lambda in an object that Keras revives": (described(nested), "an object of class 'Functional'"),
    "a Lambda deep in the configuration": (described(deep), "an object of class"),
    "a Lambda in VoxelMorph's hypernetwork": (described(voxelmorph), ("found 'VxmDense'", "a layer of class 'Lambda'")),
    "a module to import": (described(importing), "'AngioMorph' with class_name, config, module, registered_name"),
    "another argument": (described(argument), "found hyp_model"),
    "wider features than weights": (
        described(wide),
        "expected angiomorph_unet_enc_conv_1_0/hyperkernel_kernel of shape (8, 1800000)",
    ),
    "a huge frame": (described(large), "inshape of whole numbers from 1 to 4096, found [1048576, 1048576]"),
    "a pickle": (nothing_but_a_pickle, "cannot be"),
    "a pickled array": (a_pickled_array, "objects are not read"),
    "a soft link": (a_soft_link, "a soft link to '/elsewhere' at /model_weights/angiomorph_flow"),
    "an external link": (an_external_link, "an external link to"),
    "an array in another file": (an_array_in_another_file, "an array kept in another file"),
    "a loop": (a_loop, "twice"),
    "a huge array": (a_huge_array, "4,000,000,"),
    "a bomb": (a_bomb, "compressed arrays are not read"),
    "a folder": (a_folder, "cannot be"),
}


def with_model(*verb):
    return lambda path, folder, run: main([*map(str, verb), str(path), str(folder / "out.h5")])


def train_from(path, folder, run):
    return main(
        ["train", str(run.parent / "store.h5"), "--model-dir", str(folder / "n"), *TINY, *ONE, "--load-weights", str(path)]
    )


VERBS = {
    "bake": lambda path, folder, run: main(["bake", str(path), str(folder / "out.h5"), "--lambda", "0.5"]),
    "compact": with_model("compact"),
    "evaluate": lambda path, folder, run: main(["evaluate", str(run), "--model", str(path)]),
    "import-weights": with_model("import-weights"),
    "info": lambda path, folder, run: main(["info", str(path)]),
    "register": lambda path, folder, run: main(["register", str(run), "--model", str(path), "--out", str(folder / "out")]),
    "train": train_from,
}


@pytest.fixture
def bad(tmp_path, good, monkeypatch):
    """Return a maker of a malicious file of a kind at a path, and the marker that its code would make."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    marker = tmp_path / "the code ran"

    def make(kind, path):
        if path != good:
            shutil.copy(good, path)
        MALICIOUS[kind][0](path, marker)
        assert not marker.exists()
        return marker

    return make


def refused(capsys, status, path, words):
    said = capsys.readouterr().err
    assert status == 2
    assert len(said.splitlines()) == 1, said
    assert str(path) in said
    assert any(word in said for word in ([words] if isinstance(words, str) else words)), said


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", MALICIOUS)
def test_no_verb_builds_what_a_file_of_anyone_describes(tmp_path, trained, xa_file, bad, capsys, kind, verb):
    run = xa_file("run.dcm", frames=phantom((3, 64, 64)))
    shutil.copy(trained / "store.h5", tmp_path)
    path = tmp_path / "bad.h5"
    marker = bad(kind, path)
    capsys.readouterr()
    status = VERBS[verb](path, tmp_path, run)
    assert not marker.exists()
    refused(capsys, status, path, MALICIOUS[kind][1])
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("kind", MALICIOUS)
def test_resuming_builds_nothing_of_a_strange_checkpoint(tmp_path, trained, bad, capsys, kind):
    shutil.copytree(trained / "m", tmp_path / "m")
    path = tmp_path / "m" / "checkpoints" / "00000001.h5"
    marker = bad(kind, path)
    capsys.readouterr()
    options = [*TINY, "--steps-per-epoch", "1", "--batch-size", "1", "--epochs", "2", "--resume"]
    status = main(["train", str(trained / "store.h5"), "--model-dir", str(tmp_path / "m"), *options])
    assert not marker.exists()
    refused(capsys, status, path, MALICIOUS[kind][1])


def a_function(where):
    return {"module": "payload_module", "class_name": "function", "config": where, "registered_name": where}


@pytest.mark.parametrize(
    ("attribute", "change", "words"),
    [
        ("training_config", {"loss": [a_function("loss")]}, "the loss one of angiomorph>"),
        (
            "training_config",
            {"loss": {"class_name": "angiomorph>VLE", "config": {"image_sigma": a_function("x")}}},
            "plain numbers",
        ),
        ("training_config", {"metrics": [a_function("metric")]}, "no metrics"),
        ("training_config", {"optimizer_config": a_function("optimizer")}, "the optimizer one of GuardedAdam"),
        (
            "training_config",
            {"optimizer_config": {"class_name": "GuardedAdam", "config": {"learning_rate": a_function("rate")}}},
            "plain numbers as arguments of GuardedAdam",
        ),
        ("progress", {"step": -1}, "found {'step': -1"),
        ("progress", {"unknown": 1}, "expected a model file with progress of best, metrics, since_best, step"),
    ],
)
def test_optimizer_losses_and_progress_of_a_checkpoint(tmp_path, good, monkeypatch, attribute, change, words):
    marker = tmp_path / "the code ran"
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "payload_module", raising=False)
    (tmp_path / "payload_module.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nloss = metric = optimizer = rate = x = print\n"
    )
    path = shutil.copy(good, tmp_path / "00000001.h5")
    with h5py.File(path, "a") as file:
        file.attrs[attribute] = json.dumps({**json.loads(file.attrs[attribute]), **change})
    with pytest.raises(InputError) as raised:
        checkpoints.load(path)
    assert not marker.exists()
    assert words in str(raised.value)
    assert str(path) in str(raised.value)


def configured(**changed):
    return lambda described: described["config"].update(changed)


def with_metadata(**changed):
    return lambda described: described["config"].update(metadata=changed)


ODD = {
    "another class with keys of Keras 3": (
        lambda described: described.update(class_name="Other", module="keras"),
        "a model \\(.h5\\) of class AngioMorph, found 'Other'",
    ),
    "a class that is no name": (lambda described: described.update(class_name=3), "class_name and config alone, found 3 with"),
    "arguments in a list": (
        lambda described: described.update(config=[1]),
        "constructor arguments of AngioMorph, found a list",
    ),
    "features of the encoder alone": (configured(nb_unet_features=[[4, 4]]), "nb_unet_features of encoder and decoder"),
    "features as a number": (configured(nb_unet_features=4), "nb_unet_features of encoder and decoder, found 4;"),
    "a decoder too short": (
        configured(nb_unet_features=[[4, 4], [4]]),
        "as long as the encoder, of 1 to 12 levels, found 2, 1;",
    ),
    "no level": (configured(nb_unet_features=[[], [4]]), "as long as the encoder, of 1 to 12 levels, found 0, 1;"),
    "a name that is a path": (configured(name="../a"), "a name of letters and digits, found '../a'"),
    "metadata in a list": (configured(metadata=[1]), "metadata as a JSON object, found a list"),
    "a size in words": (with_metadata(size="64"), r"size of whole numbers from 1 to 65536, found \['64'\]"),
    "a negative lambda": (with_metadata(**{"lambda": -1}), "lambda as a number from 0, found -1;"),
    "a lambda that is none": (with_metadata(**{"lambda": float("nan")}), "lambda as a number from 0, found nan;"),
    "a loss as a number": (with_metadata(image_loss=3), "image_loss as a word, found 3;"),
}


@pytest.mark.parametrize(("change", "words"), ODD.values(), ids=ODD)
def test_what_is_described_in_another_form_is_refused(tmp_path, good, change, words):
    path = shutil.copy(good, tmp_path / "odd.h5")
    with h5py.File(path, "a") as file:
        found = json.loads(file.attrs["model_config"])
        change(found)
        file.attrs["model_config"] = json.dumps(found)
    with (
        pytest.raises(InputError, match=f"odd.h5: expected .*{words}"),
        model_file.open_model_file(path, model_file.OWN, "a model (.h5)"),
    ):
        pass


def no_object(file):
    file.attrs["model_config"] = "[]"


def a_group_for_an_array(file):
    del file[f"{FLOW}/bias:0"]
    file.create_group(f"{FLOW}/bias:0")


def no_optimizer(file):
    del file.attrs["training_config"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_object, "a JSON object as model_config, found a list"),
        (a_group_for_an_array, "an array of weights at angiomorph_flow/angiomorph_flow/bias:0, found a group"),
        (no_optimizer, "an optimizer in the checkpoint, found none"),
    ],
)
def test_what_a_checkpoint_lacks_is_told(tmp_path, good, change, words):
    path = shutil.copy(good, tmp_path / "00000001.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(InputError, match=f"00000001.h5: expected a model file with {words}"):
        checkpoints.load(path)


def test_a_model_without_progress_is_no_checkpoint(tmp_path, good):
    networks.save(networks.AngioMorph.load(good), tmp_path / "00000001.h5")
    with pytest.raises(InputError, match=r"expected a checkpoint .*, found a model without its progress"):
        checkpoints.load(tmp_path / "00000001.h5")


def test_a_model_without_metadata_is_taken(tmp_path, good):
    path = shutil.copy(good, tmp_path / "plain.h5")
    with h5py.File(path, "a") as file:
        described = json.loads(file.attrs["model_config"])
        del described["config"]["metadata"]
        file.attrs["model_config"] = json.dumps(described)
    with model_file.open_model_file(path, model_file.OWN, "a model") as found:
        assert "metadata" not in found.config


def test_info_tells_a_checkpoint_by_its_progress(good):
    found = describe(good)
    assert (found["kind"], found["progress"]["step"], set(found["progress"])) == (
        "checkpoint",
        1,
        {"step", "best", "since_best"},
    )


@pytest.mark.parametrize("kind", ["checkpoint", "saved", "shipped"])
def test_what_the_program_writes_is_taken(tmp_path, good, kind):
    paths = {"checkpoint": good, "saved": tmp_path / "model.h5", "shipped": SHIPPED}
    model, progress = checkpoints.load(good)
    assert progress.step == 1
    networks.save(model, paths["saved"])
    with model_file.open_model_file(paths[kind], model_file.OWN, "a model") as found:
        assert found.kind == "AngioMorph"
        assert (found.progress is None) == (kind != "checkpoint")


def test_a_compact_model_is_taken(tmp_path, good):
    networks.save(networks.compact(networks.AngioMorph.load(good), 2), tmp_path / "small.h5")
    assert networks.AngioMorph.load(tmp_path / "small.h5").get_config()["hyp_rank"] == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hyp_rank": 3},
        {"hyp_units": []},
        {"nb_unet_features": [[2], [3]]},
        {"nb_unet_features": [[2, 3, 4], [5, 6, 7, 8, 9]]},
        {"int_steps": 5, "svf_resolution": 2, "nb_unet_features": [[2, 3, 4], [5, 6, 7, 8]]},
        {"int_steps": 5, "svf_resolution": 4, "nb_unet_features": [[2, 3, 4], [5, 6, 7, 8]], "name": "mine"},
    ],
)
def test_shapes_of_weights_are_those_of_voxelmorphs_network(options):
    given = {"inshape": (32, 32), "nb_unet_features": [[4, 4], [4, 4, 4]], "hyp_units": [4, 8], **options}
    built = {weight.name.split(":")[0]: tuple(weight.shape) for weight in networks.AngioMorph(**given).weights}
    assert {f"{layer}/{part}": shape for layer, part, shape in model_file.weight_shapes(given)} == built


@pytest.mark.parametrize("name", ["VxmDense", "HyperVxmDense"])
def test_voxelmorphs_own_models_are_accepted(tmp_path, name):
    hyper = {
        "VxmDense": {"hyp_model": networks.hypernetwork([4, 8])},
        "HyperVxmDense": {"nb_hyp_layers": 1, "nb_hyp_units": 8},
    }
    model = getattr(vxm.networks, name)((32, 32), nb_unet_features=[[4, 4], [4, 4, 4]], int_steps=0, **hyper[name])
    networks.save(model, tmp_path / "theirs.h5")
    target = networks.AngioMorph((32, 32), [[4, 4], [4, 4, 4]], [4, 8])
    assert f"({name}): taken 6 of 6 convolutions" in initial_weights.load(target, tmp_path / "theirs.h5")


@pytest.mark.parametrize("shipped", [True, False])
def test_models_of_the_program_open_in_stock_keras_as_before(good, shipped):
    model = tf.keras.models.load_model(SHIPPED if shipped else good, compile=False)
    assert isinstance(model, networks.AngioMorph)
