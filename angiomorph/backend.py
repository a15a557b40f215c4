"""TensorFlow, VoxelMorph and neurite, set up the one way in which VoxelMorph 0.2 runs on today's Python and TensorFlow.

    from angiomorph.backend import tf, vxm, ne

VoxelMorph 0.2 and neurite 0.2 are written for Keras 2 and call a function that Python 3.11 removed. This module alone
selects Keras 2 (`TF_USE_LEGACY_KERAS=1`) and the TensorFlow backends, supplies `inspect.getargspec`, and only then imports
them. TensorFlow's start-up chatter is dropped, unless the user has set `TF_CPP_MIN_LOG_LEVEL`.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from angiomorph.errors import InputError

__all__ = ["BackendError", "configure_gpu", "ne", "tf", "vxm", "without_remapper"]

_QUIET = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "2"  # errors only, unless the user has chosen
# TensorFlow heeds that level only once it is set up. Dropped: information (with the line that goes on from it), and errors
# that only say that the machine has no NVIDIA driver (303) or that XLA met itself twice.
_CHATTER = re.compile(
    rb"^I\d{4} .*|^To enable the following instructions: .*|^WARNING: All log messages before absl.*|"
    rb".*cuInit.*\(303\)|.*Unable to register cu\w+ factory.*"
)


class BackendError(InputError, ImportError):
    """TensorFlow cannot serve VoxelMorph 0.2 in this process or installation; the message holds the remedy."""


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what the block writes to file descriptor 2, then pass on all of it but TensorFlow's chatter."""
    if not _QUIET:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _CHATTER.match(line)))


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """Silence Python warnings and TensorFlow's logger while other projects' modules are imported."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _getargspec(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return (args, varargs, varkw, defaults), as `inspect.getargspec` did until Python 3.10, annotations allowed."""
    return tuple(inspect.getfullargspec(function)[:4])


def _minor(version: str) -> str:
    """Return the first two numbers of a version: "2.21.0" gives "2.21"."""
    return ".".join(version.split(".")[:2])


def _tf_keras_version() -> str:
    """Return the version of the installed tf-keras.

    Raises:
        BackendError: tf-keras is not installed.
    """
    try:
        return metadata.version("tf-keras")
    except metadata.PackageNotFoundError:
        raise BackendError(
            "tf-keras: expected this package (Keras 2, which VoxelMorph 0.2 needs) beside TensorFlow, found none; "
            'install it with: pip install "tf-keras>=2.16,<2.22"'
        ) from None


def _check(tensorflow: Any, tf_keras_version: str) -> None:
    """Check that TensorFlow and Keras 2 fit each other and that this process uses them.

    Raises:
        BackendError: tf-keras is of another minor version than TensorFlow, or TensorFlow was imported with Keras 3.
    """
    minor = _minor(tensorflow.__version__)
    if _minor(tf_keras_version) != minor:
        raise BackendError(
            f"tf-keras: expected {minor}.*, the minor version of TensorFlow {tensorflow.__version__}, found "
            f'{tf_keras_version}; install the matching one with: pip install "tf-keras=={minor}.*"'
        )
    # `tf.keras` is resolved at its first use, `import tensorflow.keras` when TensorFlow is imported: both have to be Keras 2.
    for keras in (tensorflow.keras, importlib.import_module("tensorflow.keras")):
        if not keras.Model.__module__.startswith("tf_keras."):
            raise BackendError(
                "TensorFlow: expected Keras 2 (tf-keras), but this process imported tensorflow with Keras 3 before angiomorph; "
                "import angiomorph.backend first, or set the environment variable TF_USE_LEGACY_KERAS=1 before Python starts"
            )


def _import_neurite() -> Any:
    """Import and return neurite without scikit-learn, which only its tools for variational autoencoders use.

    scikit-learn takes a tenth of the start; neurite goes on where it is missing.
    """
    name = "sklearn.decomposition"
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's way to make an import fail
    try:
        return importlib.import_module("neurite")
    finally:
        if sys.modules[name] is None:
            del sys.modules[name]


def _load() -> tuple[Any, Any, Any]:
    """Import and return TensorFlow, VoxelMorph and neurite.

    Raises:
        BackendError: as `_tf_keras_version` and `_check` say.
    """
    os.environ.update(TF_USE_LEGACY_KERAS="1", NEURITE_BACKEND="tensorflow", VXM_BACKEND="tensorflow")
    vars(inspect)["getargspec"] = _getargspec  # neurite.tf.modelio calls it for each model class
    tf_keras_version = _tf_keras_version()
    with _without_deprecations(), _without_chatter():
        import tensorflow

        _check(tensorflow, tf_keras_version)
        neurite = _import_neurite()
        import voxelmorph

        tensorflow.config.list_physical_devices("GPU")  # the first look, at which the driver's absence is told
    if _QUIET:
        # VoxelMorph and neurite 0.2 pass tf.map_fn an argument by its old name, on which TensorFlow comments at each start.
        logging.getLogger("tensorflow").addFilter(lambda record: "map_fn_v2" not in record.getMessage())
    return tensorflow, voxelmorph, neurite


tf, vxm, ne = _load()


def configure_gpu(gpu: str | None = None) -> int:
    """Choose the GPUs of this process, before TensorFlow first computes, and let each take memory as it needs it.

    Args:
        gpu: as VoxelMorph's --gpu: GPU numbers from 0, separated by commas ("0", "0,1"); "-1": none, the CPU;
            None: every GPU there is, or the CPU.

    Returns:
        how many GPUs TensorFlow will use; 0 is the CPU.

    Raises:
        InputError: `gpu` is not such a list, names a GPU that is not there, or comes after TensorFlow's first computation.
    """
    found = tf.config.list_physical_devices("GPU")
    chosen = found if gpu is None else _choose_devices(gpu, found)
    try:
        tf.config.set_visible_devices(chosen, "GPU")
        for device in chosen:
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError as error:
        raise InputError(f"`gpu` {gpu}: expected before TensorFlow's first computation, found after it: {error}") from error
    return len(chosen)


def _choose_devices(gpu: str, found: list[Any]) -> list[Any]:
    """Return the devices of `found` that `gpu` names (see `configure_gpu`)."""
    if gpu.strip() == "-1":
        return []
    numbers = [part.strip() for part in gpu.split(",")]
    present = {str(number): device for number, device in enumerate(found)}
    if not all(number in present for number in numbers):
        raise InputError(
            f"`gpu` {gpu}: expected -1 for the CPU or numbers of GPUs that TensorFlow finds here (found: "
            f"{', '.join(present) or 'none'}); leave `gpu` out to use what there is, or check the driver with nvidia-smi and "
            'install the CUDA libraries with: pip install "tensorflow[and-cuda]"'
        )
    return [present[number] for number in numbers]


@contextmanager
def without_remapper() -> Iterator[None]:
    """Let TensorFlow fuse no operations of the graphs that the block runs first.

    TensorFlow 2.21's remapper fails at convolutions beside their gradients: it prints an error of its own, and fuses nothing.
    """
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})
