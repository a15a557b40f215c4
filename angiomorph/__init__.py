"""Motion-free background-subtraction angiography with unsupervised deformable registration.

Read a run, register it, look at it, write it:

    >>> import angiomorph as am
    >>> run = am.read_series("data/example_run.dcm")
    >>> model = am.Model.load()
    >>> result = model.register(run, am.RegistrationOptions(levels=1))
    >>> result.bsa.shape, result.warp.shape
    ((8, 512, 512), (8, 512, 512, 2))
    >>> result.save("out/example", kinds=("dicom", "png"))
    [PosixPath('out/example_bsa.dcm'), PosixPath('out/example_bsa.png')]

Runs:
    read_series          read one DICOM run, as a Series
    read_images          read one run of PNG, TIFF, video, NumPy or NIfTI files, as a Series
    find_series          find all DICOM runs in folders and archives
    Series               one run: frames, headers, times
    ImageOptions         what images do not say of themselves

Registration:
    Model                a trained network: Model.load reads it, Model.register registers a run
    Registration         a registered run: arrays and figures; it shows itself in a notebook and saves files
    register_runs        register many runs, and write files of each
    Registrar            register frames one by one as they arrive
    sweep                try many λ on a few frames
    show                 show a run in a notebook, with a slider for λ
    RegistrationOptions  how a run is registered
    OutputOptions        which files are written, and how
    SweepOptions         which λ and frames are tried
    EngineOptions        what computes the network: TensorFlow or OpenVINO

Training:
    prepare              turn an archive into a training store
    train                turn stores into a model
    TrainingConfig       everything that decides a training
    Sampling             how pairs of frames and λ are drawn
    Augmentation         how far pairs are varied
    AngioMorph           the Keras network
    losses               its losses, a module

Known truth:
    simulate             make runs from a CT, with their truth
    SimulationSettings   what these runs are drawn from
    read_truth           read the truth of a simulated run
    evaluate             score models on runs
    Score                the figures of merit of one run

Many processes or machines:
    open_cluster         connect to a cluster, or start worker processes here
    Cluster              what prepare, register_runs and simulate take to use it

Errors:
    InputError           says what is wrong with an input, what was expected, and what to do

`help(am.train)` says more of one name. Wherever paths are taken, a single path means one source.
Importing this module imports nothing else: TensorFlow comes with the first name that needs it. Research use only.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from angiomorph.archive.prepare import prepare as prepare
    from angiomorph.dicom import Series as Series
    from angiomorph.dicom import find_series as find_series
    from angiomorph.dicom import read_series as read_series
    from angiomorph.errors import InputError as InputError
    from angiomorph.evaluation.evaluate import evaluate as evaluate
    from angiomorph.evaluation.score import Score as Score
    from angiomorph.images import ImageOptions as ImageOptions
    from angiomorph.images import read_images as read_images
    from angiomorph.networks import AngioMorph as AngioMorph
    from angiomorph.networks import losses as losses
    from angiomorph.registration.model import Model as Model
    from angiomorph.registration.notebook import show as show
    from angiomorph.registration.options import EngineOptions as EngineOptions
    from angiomorph.registration.options import OutputOptions as OutputOptions
    from angiomorph.registration.options import RegistrationOptions as RegistrationOptions
    from angiomorph.registration.options import SweepOptions as SweepOptions
    from angiomorph.registration.registrar import Registrar as Registrar
    from angiomorph.registration.result import Registration as Registration
    from angiomorph.registration.runs import register_runs as register_runs
    from angiomorph.registration.sweep import sweep as sweep
    from angiomorph.simulate.settings import SimulationSettings as SimulationSettings
    from angiomorph.simulate.write import simulate as simulate
    from angiomorph.storage.truth import read_truth as read_truth
    from angiomorph.training.config import Augmentation as Augmentation
    from angiomorph.training.config import Sampling as Sampling
    from angiomorph.training.config import TrainingConfig as TrainingConfig
    from angiomorph.training.train import train as train
    from angiomorph.workers import Cluster as Cluster
    from angiomorph.workers import open_cluster as open_cluster

__version__ = "0.1.0"

PLACES = {
    "AngioMorph": "networks",
    "Augmentation": "training.config",
    "Cluster": "workers",
    "EngineOptions": "registration.options",
    "ImageOptions": "images",
    "InputError": "errors",
    "Model": "registration.model",
    "OutputOptions": "registration.options",
    "Registrar": "registration.registrar",
    "Registration": "registration.result",
    "RegistrationOptions": "registration.options",
    "Sampling": "training.config",
    "Score": "evaluation.score",
    "Series": "dicom",
    "SimulationSettings": "simulate.settings",
    "SweepOptions": "registration.options",
    "TrainingConfig": "training.config",
    "evaluate": "evaluation.evaluate",
    "find_series": "dicom",
    "losses": "networks",
    "open_cluster": "workers",
    "prepare": "archive.prepare",
    "read_images": "images",
    "read_series": "dicom",
    "read_truth": "storage.truth",
    "register_runs": "registration.runs",
    "show": "registration.notebook",
    "simulate": "",  # a package that can be called, see there
    "sweep": "registration.sweep",
    "train": "training.train",
}

if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name == "__all__" and not _is_asked_by_help():
            return list(PLACES)
        if name not in PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(PLACES)}")
        place = PLACES[name]
        if not place:
            return importlib.import_module(f"{__name__}.{name}")
        found = getattr(importlib.import_module(f"{__name__}.{place}"), name)
        globals()[name] = found
        return found

    def _is_asked_by_help() -> bool:
        """Return whether `help` asks: it prints each class of `__all__` whole, Keras's thousand lines of AngioMorph too."""
        return sys._getframe(2).f_code.co_name == "docmodule"  # of pydoc, which is __main__ under `python -m pydoc`


def __dir__() -> list[str]:
    return sorted([*PLACES, "__version__"])
