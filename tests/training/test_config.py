"""Options of a training: the same by command line and library, checked at once and without TensorFlow."""

import dataclasses
import subprocess
import sys

import pytest

from angiomorph.cli import main, parser
from angiomorph.cli.train import read_training_config
from angiomorph.errors import InputError
from angiomorph.training.config import Augmentation, Sampling, TrainingConfig
from tests.tools import REPOSITORY

GIVEN = {  # other than every default
    TrainingConfig: {
        **{"image_loss": "truth", "image_sigma": 0.2, "contrast_weight": 3.0, "epochs": 4, "steps_per_epoch": 7, "lr": 0.5},
        **{"final_lr": 0.25, "enc": (8, 9), "dec": (4, 5, 6), "int_steps": 5, "int_downsize": 4, "hyp_units": (3,)},
        **{"hyp_rank": 2, "init": "voxelmorph", "hyper": 0.3, "levels": 2, "load_weights": "m.h5", "initial_epoch": 1},
        **{"checkpoint_steps": 10, "keep": 9, "on_nan": "skip", "validation_steps": 8, "patience": 6},
        **{"mixed_precision": "auto", "best_by": "artefact"},
    },
    Sampling: {
        **{"frames_per_series": 20, "background_frames": 2, "batch_size": 6, "series_per_batch": 3, "size": 64, "finer": True},
        **{"oversample_rate": 0.2, "lambda_sampling": "ends", "intensity": "log", "seed": 5},
    },
    Augmentation: {"flip": 0.5, "rotate": 10.0, "zoom": 0.1, "gamma": 0.2, "noise": 0.005},
}


def read(*options):
    return read_training_config(parser().parse_args(["train", "x.h5", *map(str, options)]))


def spell(name, value):
    """Return an option as a user types it."""
    flag = "--lambda" if name == "hyper" else "--" + name.replace("_", "-")
    if value is True or name == "mixed_precision":
        return [flag]
    return [flag, *map(str, value if isinstance(value, tuple) else [value])]


def test_lists_of_features_are_taken_too():
    assert TrainingConfig(enc=[8, 9], dec=[4, 5], hyp_units=[3]) == TrainingConfig(enc=(8, 9), dec=(4, 5), hyp_units=(3,))


def test_only_these_options_may_change_on_resume():
    assert [part.name for part in dataclasses.fields(TrainingConfig) if part.metadata["resumable"]] == [
        *("epochs", "lr", "final_lr", "hyper", "levels", "load_weights", "initial_epoch"),
        *("checkpoint_steps", "keep", "on_nan", "patience"),
    ]


def test_the_command_lines_defaults_are_the_librarys():
    assert read() == TrainingConfig()


def test_the_command_line_takes_every_option():
    given = [word for options in GIVEN.values() for name, value in options.items() for word in spell(name, value)]
    augmentation = Augmentation(**GIVEN[Augmentation])
    sampling = Sampling(**GIVEN[Sampling], augmentation=augmentation)
    assert read(*given) == TrainingConfig(**GIVEN[TrainingConfig], sampling=sampling)


@pytest.mark.parametrize("options", GIVEN, ids=lambda options: options.__name__)
def test_no_option_is_left_out_of_these_tests(options):
    assert {part.name for part in dataclasses.fields(options)} - {"sampling", "augmentation"} == GIVEN[options].keys()


def test_the_papers_preset_holds_every_number_of_the_paper():
    sampling = Sampling(frames_per_series=50, background_frames=3, batch_size=1, size=512, intensity="linear", seed=0)
    assert read("--preset", "paper") == TrainingConfig(
        image_loss="vle",
        image_sigma=0.3,
        sampling=sampling,
        epochs=10,
        steps_per_epoch=None,
        lr=1e-4,
        enc=(16, 32, 32, 32),
        dec=(32, 32, 32, 32, 32, 16, 16),
        int_steps=0,
        hyp_units=(32, 64, 128, 128),
        hyp_rank=None,
        init="voxelmorph",
    )


def test_a_users_option_wins_over_the_preset():
    config = read("--preset", "paper", "--lr", "3e-4", "--size", "256", "--intensity", "auto")
    assert (config.lr, config.sampling.size, config.sampling.intensity) == (3e-4, 256, "auto")
    assert (config.epochs, config.init) == (10, "voxelmorph")


@pytest.mark.parametrize(("image_loss", "expected"), [("mse", 0.7), ("minmax", 0.5), ("vle", 0.7), ("truth", 0.5)])
def test_lambda_to_register_with(image_loss, expected):
    assert TrainingConfig(image_loss=image_loss).default_hyper == expected
    assert TrainingConfig(image_loss=image_loss, hyper=0.0).default_hyper == 0.0


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        (Sampling, {"batch_size": 0}, "`batch_size` 0: expected a whole number from 1"),
        (Sampling, {"size": 2.5}, "`size` 2.5: expected a whole number from 1"),
        (Sampling, {"seed": -1}, "`seed` -1: expected a whole number from 0"),
        (Sampling, {"intensity": "loud"}, "`intensity` loud: expected one of auto, log, linear"),
        (Sampling, {"batch_size": 6, "series_per_batch": 4}, "`series_per_batch` 4: expected a divisor of `batch_size` 6"),
        (
            Sampling,
            {"oversample_rate": 0.2, "lambda_sampling": "beta"},
            "`oversample_rate` 0.2: expected `lambda_sampling` ends with it, got beta",
        ),
        (Augmentation, {"flip": 1.5}, "`flip` 1.5: expected a number from 0 to 1"),
        (TrainingConfig, {"image_loss": "ncc"}, "`image_loss` ncc: expected one of mse, minmax, vle, truth"),
        (TrainingConfig, {"image_sigma": 0}, "`image_sigma` 0: expected a number above 0"),
        (TrainingConfig, {"contrast_weight": 5.0}, "`contrast_weight` 5.0: expected `image_loss` truth with it, got vle"),
        (
            TrainingConfig,
            {"contrast_weight": float("inf"), "image_loss": "truth"},
            "`contrast_weight` inf: expected a number from 0",
        ),
        (TrainingConfig, {"enc": (8, 0)}, "`enc` 8,0: expected a whole number from 1"),
        (TrainingConfig, {"dec": (4,)}, "`dec`: expected at least one feature, and as many as in `enc`, got 1 and 4"),
        (TrainingConfig, {"sampling": Sampling(size=100)}, "`size` 100: expected a multiple of 16, as `enc` halves"),
        (TrainingConfig, {"mixed_precision": "float8"}, "`mixed_precision` float8: expected one of auto, float16, bfloat16"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(options, given, message):
    with pytest.raises(InputError) as error:
        options(**given)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--oversample-rate", "0.2", "--lambda-sampling", "beta"],
            "--oversample-rate 0.2: expected --lambda-sampling ends with it, got beta",
        ),
        (["--contrast-weight", "5"], "--contrast-weight 5.0: expected --image-loss truth with it, got vle"),
        (["--patience", "1"], "--patience: expected --validation STORE with it, found none"),
        (["--best-by", "artefact"], "--best-by: expected --validation STORE with it, found none"),
        (["--validation-steps", "1"], "--validation-steps: expected --validation STORE with it, found none"),
    ],
)
def test_the_command_line_names_the_flags(options, message, capsys, tmp_path):
    assert main(["train", "x.h5", "--model-dir", str(tmp_path / "m"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("value", ["-1", "nan", "much"])
def test_argparse_says_what_an_option_takes(value, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["train", "x.h5", f"--contrast-weight={value}"])
    assert f"argument --contrast-weight: expected a number from 0, got {value}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [["--help"], ["--size", "100"], ["--epochs", "0"], []], ids=["help", "size", "epochs", "path"]
)
def test_neither_help_nor_refusal_imports_tensorflow(options, tmp_path):
    code = (
        "import sys\nfrom angiomorph.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\nexcept SystemExit as end:\n    status = end.code\n"
        "sys.exit(100 if 'tensorflow' in sys.modules else status)"
    )
    command = [sys.executable, "-c", code, "train", str(tmp_path / "absent.h5"), "--model-dir", str(tmp_path / "m"), *options]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True).returncode == (0 if options == ["--help"] else 2)
