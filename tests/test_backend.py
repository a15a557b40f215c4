"""The set-up of TensorFlow, each case in a process of its own: what is imported first decides."""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from angiomorph.backend import configure_gpu, ne, tf, vxm, without_remapper
from angiomorph.errors import InputError
from tests.tools import REPOSITORY

pytestmark = pytest.mark.slow

SETTINGS = ("TF_USE_LEGACY_KERAS", "NEURITE_BACKEND", "VXM_BACKEND", "TF_CPP_MIN_LOG_LEVEL")
WITHOUT_TENSORFLOW = "import sys; heavy = {'tensorflow', 'keras', 'tf_keras', 'voxelmorph', 'neurite'} & set(sys.modules)"


def run_python(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the environment of a user who has set nothing but `settings`, the repository importable."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"PYTHONPATH": str(REPOSITORY)} | settings
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def installation(tmp_path):
    """Return a folder with links to all that is installed here except tf-keras' metadata, and Python's option to use it."""
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if not entry.name.startswith(("tf_keras-", "__editable__", "__pycache__")) and entry.suffix != ".pth":
                (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def import_from(installation: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installation), str(REPOSITORY)])
    return run_python("-S", "-c", "import angiomorph.backend", PYTHONPATH=path)


def test_a_clean_import_is_keras_2_and_silent():
    code = (
        "from angiomorph.backend import tf, vxm, ne; "
        "vxm.layers.VecInt(int_steps=2)(tf.zeros((1, 4, 4, 2))); "
        "print(tf.keras.Model.__module__, vxm.__version__, ne.__version__)"
    )
    result = run_python("-c", code)
    assert result.stdout.split() == ["tf_keras.src.engine.training", "0.2", "0.2"], result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize(("before", "found"), [("", "False True"), ("import sklearn.decomposition; ", "True True")])
def test_scikit_learn_is_left_to_the_user(before, found):
    code = f"{before}import sys, angiomorph.backend; print('sklearn' in sys.modules, end=' '); "
    result = run_python("-c", code + "from sklearn.decomposition import PCA; print(callable(PCA))")
    assert result.stdout.strip() == found, result.stderr


def test_log_level_of_the_user_is_heeded():
    result = run_python("-c", "import angiomorph.backend", TF_CPP_MIN_LOG_LEVEL="0")
    assert result.returncode == 0
    assert "oneDNN" in result.stderr


def test_other_backends_in_the_environment_are_overruled():
    code = "from angiomorph.backend import vxm, ne; print(vxm.backend, ne.backend)"
    result = run_python("-c", code, VXM_BACKEND="pytorch", NEURITE_BACKEND="pytorch", TF_USE_LEGACY_KERAS="0")
    assert result.stdout.split() == ["tensorflow", "tensorflow"], result.stderr


def test_tensorflow_may_come_first_with_keras_2():
    code = "import tensorflow as first; from angiomorph.backend import tf; print(tf is first)"
    assert run_python("-c", code, TF_USE_LEGACY_KERAS="1").stdout.strip() == "True"


@pytest.mark.parametrize("before", ["import tensorflow", "import keras"])
def test_keras_3_imported_before_is_named_with_the_remedy(before):
    result = run_python("-c", f"{before}\ntry:\n    import angiomorph.backend\nexcept ImportError as error:\n    print(error)")
    assert result.stdout.strip() == (
        "TensorFlow: expected Keras 2 (tf-keras), but this process imported tensorflow with Keras 3 before angiomorph; "
        "import angiomorph.backend first, or set the environment variable TF_USE_LEGACY_KERAS=1 before Python starts"
    ), result.stderr


def test_missing_tf_keras_is_named_with_the_remedy(installation):
    (installation / "tf_keras").unlink()
    result = import_from(installation)
    assert result.stderr.splitlines()[-1] == (
        "angiomorph.backend.BackendError: tf-keras: expected this package (Keras 2, which VoxelMorph 0.2 needs) beside "
        'TensorFlow, found none; install it with: pip install "tf-keras>=2.16,<2.22"'
    )


def test_another_minor_tf_keras_is_named_with_the_remedy(installation):
    metadata = installation / "tf_keras-2.15.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: tf_keras\nVersion: 2.15.1\n")
    minor = ".".join(tf.__version__.split(".")[:2])
    assert import_from(installation).stderr.splitlines()[-1] == (
        f"angiomorph.backend.BackendError: tf-keras: expected {minor}.*, the minor version of TensorFlow {tf.__version__}, "
        f'found 2.15.1; install the matching one with: pip install "tf-keras=={minor}.*"'
    )


def test_an_installation_of_links_works_when_complete(installation):
    version = importlib.metadata.version("tf-keras")
    metadata = installation / f"tf_keras-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: tf_keras\nVersion: {version}\n")
    result = import_from(installation)
    assert result.returncode == 0, result.stderr


def test_neurite_remembers_annotated_and_keyword_arguments():
    # Python 3.10's own getargspec raises ValueError on annotations.
    class Remembering:
        @ne.modelio.store_config_args
        def __init__(self, size: int, scale: float = 2.0) -> None:
            pass

    remembered = Remembering(3).config.params
    assert (remembered["size"], remembered["scale"]) == (3, 2.0)


@pytest.mark.parametrize("int_steps", [0, 7])
def test_voxelmorph_trains_saves_and_loads(tmp_path, int_steps):
    model = vxm.networks.VxmDense((16, 16), [[4, 4], [4, 4]], int_steps=int_steps)
    model.compile(optimizer="adam", loss=["mse", "mse"])
    images = [tf.random.stateless_uniform((2, 16, 16, 1), (seed, 0)) for seed in (1, 2)]
    flow = tf.zeros((2, *model.outputs[1].shape[1:]))
    history = model.fit(images, [images[1], flow], epochs=1, verbose=0)
    assert 0 < history.history["loss"][0] < 1
    model.save(tmp_path / "model.h5")
    loaded = vxm.networks.VxmDense.load(str(tmp_path / "model.h5"))
    for before, after in zip(model(images), loaded(images), strict=True):
        tf.debugging.assert_equal(before, after)


def test_configure_gpu_without_a_choice_takes_what_there_is():
    assert configure_gpu() == len(tf.config.list_physical_devices("GPU"))


@pytest.mark.parametrize("gpu", ["99", "0,99", "gpu", "", "-2"])
def test_configure_gpu_names_a_gpu_that_is_not_there(gpu):
    with pytest.raises(InputError, match=rf"^`gpu` {gpu}: expected -1 for the CPU or numbers of GPUs .* leave `gpu` out"):
        configure_gpu(gpu)


def test_data_modules_import_no_tensorflow():
    modules = "angiomorph.storage.store, angiomorph.preprocessing.intensity, angiomorph.dicom, angiomorph.simulate"
    result = run_python("-c", f"import {modules}; {WITHOUT_TENSORFLOW}; print(heavy)")
    assert result.stdout.strip() == "set()", result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["register", "--help"], ["prepare", "--help"]])
def test_help_imports_no_tensorflow(arguments):
    code = "import sys, atexit; from angiomorph.cli import main\n"
    code += f"atexit.register(lambda: exec({WITHOUT_TENSORFLOW + '; print(heavy)'!r}))\nsys.exit(main({arguments!r}))"
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: angiomorph")
    assert result.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("program", [["-m", "angiomorph", "register"], [str(REPOSITORY / "register.py")]])
def test_programs_are_the_command_line(program):
    result = run_python(*program, "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: angiomorph register")
    assert result.stderr == ""


def test_the_remapper_is_off_within_the_block_only():
    with without_remapper():
        assert tf.config.optimizer.get_experimental_options()["remapping"] is False
    assert tf.config.optimizer.get_experimental_options().get("remapping", True) is True
