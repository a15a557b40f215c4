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

Runs: `read_series` reads one `Series`; `find_series` finds all in folders and archives.

Registration: `Model.load` and `Model.register` with `RegistrationOptions` give a `Registration`, which holds arrays and
figures, shows itself in a notebook, and saves files. `show` shows a run in a notebook, with a slider for λ. `sweep` tries
many λ on a few frames, with `SweepOptions`. `register_runs` registers many runs and writes what `OutputOptions` say.
`Registrar` registers frames one by one as they arrive.

Training: `prepare` turns an archive into a store. `train` turns stores into a model, with `TrainingConfig`, `Sampling` and
`Augmentation`. `AngioMorph` is the Keras network, `losses` are its losses.

Known truth: `simulate` makes runs from a CT with `SimulationSettings`; `read_truth` reads what is known of them. `evaluate`
scores models, a `Score` a run.

Errors: `InputError` says what is wrong with an input, what was expected, and what to do.

Importing this module imports nothing else: TensorFlow comes with the first name that needs it. Research use only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from angiomorph.archive.prepare import prepare as prepare
    from angiomorph.dicom import Series as Series
    from angiomorph.dicom import find_series as find_series
    from angiomorph.dicom import read_series as read_series
    from angiomorph.errors import InputError as InputError
    from angiomorph.evaluation.evaluate import evaluate as evaluate
    from angiomorph.evaluation.score import Score as Score
    from angiomorph.networks import AngioMorph as AngioMorph
    from angiomorph.networks import losses as losses
    from angiomorph.registration.model import Model as Model
    from angiomorph.registration.notebook import show as show
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

__version__ = "0.1.0"

PLACES = {
    "AngioMorph": "networks",
    "Augmentation": "training.config",
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
    "prepare": "archive.prepare",
    "read_series": "dicom",
    "read_truth": "storage.truth",
    "register_runs": "registration.runs",
    "show": "registration.notebook",
    "simulate": "",  # a package that can be called, see there
    "sweep": "registration.sweep",
    "train": "training.train",
}
__all__ = [
    "AngioMorph",
    "Augmentation",
    "InputError",
    "Model",
    "OutputOptions",
    "Registrar",
    "Registration",
    "RegistrationOptions",
    "Sampling",
    "Score",
    "Series",
    "SimulationSettings",
    "SweepOptions",
    "TrainingConfig",
    "evaluate",
    "find_series",
    "losses",
    "prepare",
    "read_series",
    "read_truth",
    "register_runs",
    "show",
    "simulate",
    "sweep",
    "train",
]

if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name not in PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
        place = PLACES[name]
        if not place:
            return importlib.import_module(f"{__name__}.{name}")
        found = getattr(importlib.import_module(f"{__name__}.{place}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
