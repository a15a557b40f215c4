"""Options of a registration: the same on the command line and in the library, and refused at once where they are wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from angiomorph.cli import main, parser
from angiomorph.cli.arguments import read_options
from angiomorph.dicom import read_series
from angiomorph.errors import InputError
from angiomorph.registration.engines import load_predictor
from angiomorph.registration.model_defaults import read_model_defaults
from angiomorph.registration.options import ENDINGS, EngineOptions, OutputOptions, RegistrationOptions
from angiomorph.storage import store
from tests.runs import save_tiny_model
from tests.tools import REPOSITORY

EXAMPLE = REPOSITORY / "data" / "example_run.dcm"


@pytest.mark.parametrize(
    ("verb", "kind"),
    [("register", RegistrationOptions), ("register", OutputOptions), ("evaluate", RegistrationOptions)],
)
def test_the_command_line_has_the_librarys_defaults(verb, kind):
    assert read_options(parser().parse_args([verb, "run.dcm"]), kind) == kind()


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (RegistrationOptions, {"hyper": 1.1}, "`hyper` 1.1: expected a number from 0 to 1, got 1.1"),
        (RegistrationOptions, {"levels": 0}, "`levels` 0: expected a whole number from 1, got 0"),
        (RegistrationOptions, {"rounds": -1}, "`rounds` -1: expected a whole number from 0, got -1"),
        (RegistrationOptions, {"refine": -1}, "`refine` -1: expected a whole number from 0, got -1"),
        (RegistrationOptions, {"background": "middle"}, "`background` middle: expected auto, tag"),
        (RegistrationOptions, {"intensity": "loud"}, "`intensity` loud: expected one of auto, log, linear, got loud"),
        (OutputOptions, {"kinds": ("dicom", "tiff")}, "`kinds` dicom,tiff: expected some of dicom,h5,png,.*, got tiff"),
        (
            OutputOptions,
            {"kinds": ()},
            f"expected some of {','.join(ENDINGS)}, got none",
        ),
        (OutputOptions, {"compress": "gif"}, "`compress` gif: expected one of none, rle, jpeg-ls, j2k"),
        (OutputOptions, {"pixel_depth": 14}, "`pixel_depth` 14: expected one of 12, 16"),
        (OutputOptions, {"save_class": "legacy"}, "`save_class` legacy: expected one of classic, enhanced"),
        (OutputOptions, {"keep_frames": "few"}, "`keep_frames` few: expected all, contrast, a frame number N"),
        (OutputOptions, {"name": "{PatientID}"}, "`name` {PatientID}: expected some of SeriesNumber, .* may hold identity"),
        (OutputOptions, {"name": "{stem}", "anonymize": True}, "{stem} is the file's name, which may be the patient's"),
        (OutputOptions, {"frame": 0}, "`frame` 0: expected a whole number from 1, got 0"),
    ],
)
def test_wrong_options_are_refused_when_they_are_made(kind, given, message):
    with pytest.raises(InputError, match=message):
        kind(**given)


def test_a_model_completes_what_nobody_named():
    defaults = read_model_defaults("truth")
    complete = defaults.complete(RegistrationOptions(levels=1))
    assert (complete.hyper, complete.levels, complete.refine) == (defaults.hyper, 1, 0)


CASES = {
    "no run": ["absent.dcm"],
    "no model": [str(EXAMPLE), "--model", "absent.h5"],
    "no number": [str(EXAMPLE), "--rounds", "-1"],
    "no background": [str(EXAMPLE), "--background", "soon"],
    "no refinement": [str(EXAMPLE), "--refine", "3"],
    "no folder": [str(EXAMPLE), "--out", str(EXAMPLE)],
}
REFUSED = {f"{verb}: {name}": [verb, *words] for verb in ("register", "evaluate") for name, words in CASES.items()}
REFUSED["register: no kind"] = ["register", str(EXAMPLE), "--save", "tiff"]
FILES = {
    "bake": ["bake", "absent.h5", "out.h5", "--lambda", "0.5"],
    "compact": ["compact", "absent.h5", "out.h5"],
    "export": ["export", "absent.h5", "out.onnx"],
    "import-weights": ["import-weights", "absent.h5", "out.h5"],
    "train: no weights": ["train", str(EXAMPLE), "--load-weights", "absent.h5", "--gpu", "-1"],
    "train: no validation": ["train", str(EXAMPLE), "--validation", "absent.h5", "--gpu", "-1"],
    "train: nothing to resume": ["train", str(EXAMPLE), "--model-dir", "absent.h5", "--resume", "--gpu", "-1"],
    "train: no store": ["train", "absent.h5", "--gpu", "-1"],
}
REFUSED |= FILES
SLOW = ("tensorflow", "matplotlib", "skimage")  # what takes longer to import than all checks together


@pytest.fixture(scope="module")
def refused():
    """Return by case the exit status, and what had been imported until then; all in one process."""
    code = f"""
import json, sys
from angiomorph.cli import main
found = {{}}
for name, words in json.loads(sys.argv[1]).items():
    try:
        status = main(words)
    except SystemExit as stopped:
        status = stopped.code
    found[name] = [status, [name for name in {SLOW} if name in sys.modules]]
print(json.dumps(found))
"""
    command = [sys.executable, "-c", code, json.dumps(REFUSED)]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_words_are_refused_before_tensorflow_is_imported(refused, case):
    assert refused[case] == [2, []]


@pytest.mark.parametrize("verb", FILES)
def test_a_file_that_is_not_there_is_named(capsys, verb):
    assert main(FILES[verb]) == 2
    error = capsys.readouterr().err
    assert f"angiomorph {FILES[verb][0]}: absent.h5: expected " in error
    assert any(words in error for words in ("found no such file", "found nothing there", "to resume from, found none"))


@pytest.mark.slow
def test_the_command_line_registers_as_the_library_does(tmp_path):
    """All defaults, all frames of the example, by the shipped model."""
    from angiomorph.registration.model import Model

    assert main(["register", str(EXAMPLE), "--out", str(tmp_path), "--save", "h5", "--quiet"]) == 0
    arrays, attributes = store.read_arrays(tmp_path / "example_run_bsa.h5")
    result = Model.load().register(read_series(EXAMPLE))
    for name in ("bsa", "warp"):
        same = [np.array_equal(*pair) for pair in zip(arrays[name], getattr(result, name), strict=True)]
        assert same == [True] * len(result.bsa), name
    assert result.warp.any()
    assert tuple(arrays["background"]) == result.background.numbers
    assert (attributes["lambda"], attributes["levels"]) == (result.hyper, result.levels)


@pytest.mark.slow
@pytest.mark.parametrize("image_loss", ["dice", ""])
def test_a_model_of_another_loss_is_refused(tmp_path, image_loss):
    path = save_tiny_model(tmp_path / "tiny.h5", image_loss=image_loss)
    with pytest.raises(
        InputError, match=rf"tiny\.h5: expected image_loss .* in the model, found '{image_loss}'; train it again"
    ):
        read_model_defaults(path)


@pytest.mark.slow
def test_a_model_that_keras_cannot_build_is_refused(tmp_path, monkeypatch):
    def fail(path):
        raise ValueError("Shapes differ\nand more")

    path = save_tiny_model(tmp_path / "tiny.h5")
    monkeypatch.setattr("angiomorph.networks.baked.load_any", fail)
    with pytest.raises(
        InputError, match=r"tiny\.h5: expected a whole model \(\.h5\), but it cannot be rebuilt: Shapes differ; copy"
    ):
        load_predictor(path, EngineOptions())
