"""Many runs in one go: whole results or none, and every error before any run where it can be."""

import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedXAImageStorage

from angiomorph.errors import InputError
from angiomorph.registration import result
from angiomorph.registration.model import Model
from angiomorph.registration.options import ENDINGS, OutputOptions, RegistrationOptions, list_endings
from angiomorph.registration.outputs import write_together
from angiomorph.registration.runs import Outcome, name_results, register_runs
from angiomorph.storage import store
from angiomorph.storage.atomic import replace_file
from tests.dicom_tools import dciodvfy_errors
from tests.nifti_tools import by_simpleitk, open_by_nibabel
from tests.runs import phantom, save_tiny_model

pytestmark = pytest.mark.slow

ALL = tuple(ENDINGS)
OF_OUTPUT = {part.name for part in fields(OutputOptions)}


def options(**given):
    """Return the options of a registration, and those of what is written."""
    output = {name: given.pop(name) for name in OF_OUTPUT & set(given)}
    return RegistrationOptions(**given), OutputOptions(**output)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


@pytest.fixture
def run_path(xa_file):
    return str(xa_file("in/run.dcm", frames=phantom((3, 64, 64))))


def files_in(folder):
    return (
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    )


def test_what_is_written_and_told(tmp_path, model_path, run_path):
    (outcome,) = register_runs(
        [run_path], tmp_path / "out", model_path, *options(kinds=ALL, background="1-2", frame=3, save_moved=True)
    )
    endings = sorted(ending.removeprefix("_") for ending in list_endings(ALL).values())
    assert files_in(tmp_path / "out") == [f"run_{ending}" for ending in endings]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files_in(tmp_path / "out")
    assert (outcome.name, outcome.error) == ("run", "")
    arrays, attributes = store.read_arrays(tmp_path / "out" / "run_bsa.h5")
    assert {name: array.shape for name, array in arrays.items()} == {
        "bsa": (3, 64, 64), "moved": (3, 64, 64), "warp": (3, 64, 64, 2), "background": (2,),
        "background_image": (1, 64, 64), "frame_times": (3,),
    }  # fmt: skip
    np.testing.assert_allclose(arrays["bsa"], np.log(phantom((3, 64, 64)).astype(np.float32)) - arrays["moved"], atol=1e-6)
    assert attributes["format_version"] == 3
    assert (attributes["lambda"], attributes["units"], attributes["relation"]) == (0.6, "ln(intensity)", "LIN")
    assert outcome.summary["background"] == [1, 2]
    state = pydicom.dcmread(tmp_path / "out" / "run_shift_state.dcm")
    (mask,) = state.MaskSubtractionSequence
    shifts = [item.RegionPixelShiftSequence[0].MaskSubPixelShift for item in mask.PixelShiftSequence]
    np.testing.assert_allclose(np.array(shifts) * [-1, 1], arrays["warp"].mean(axis=(1, 2)), atol=1e-5)
    key = pydicom.dcmread(tmp_path / "out" / "run_key.dcm")
    assert key.SourceImageSequence[0].ReferencedFrameNumber == 3
    np.testing.assert_allclose((key.pixel_array - 2048.0) / 1000, arrays["bsa"][2], atol=0.001)
    assert outcome.summary["largest_shift"] == pytest.approx(np.linalg.norm(arrays["warp"], axis=-1).max(), rel=1e-5)
    assert outcome.line().startswith(f"{run_path}: 3 frames of 64x64, background 1-2 (by number; no iodine seen), lambda 0.60")
    seconds = outcome.summary["seconds"]
    assert f"{seconds['all']:.1f} s to read, register and write" in outcome.line()
    assert 0 < seconds["read"] + seconds["register"] + seconds["write"] <= seconds["all"]
    assert sorted(outcome.summary["outputs"]) == [str(tmp_path / "out" / name) for name in files_in(tmp_path / "out")]
    assert set(outcome.summary["stages"]) == {"read", "network", "subtract", "write"}
    assert outcome.summary["peak_memory"] is None or outcome.summary["peak_memory"] > 1e8
    assert outcome.report()["source"] == run_path
    assert outcome.report()["series_uid"] == pydicom.dcmread(run_path).SeriesInstanceUID


GIVEN = {
    "frames": 9,
    "rows": 8,
    "columns": 8,
    "background_choice": "tag",
    "background_sure": True,
    "iodine_from": 8,
    "background": [1],
    "background_steps": [],
    "lambda": 0.5,
    "ms_per_frame": 1.0,
    "seconds": {"all": 2.0},
    "outputs": ["out/run_bsa.dcm"],
}
FIGURES = {"largest_shift": 0.0, "folding": 0.0, "unwarped": 0, "partly_warped": 0}
FIGURES |= dict.fromkeys(("residue_dsa", "residue_bsa", "residue_dsa_percent", "residue_bsa_percent"), 0.0)


def test_simpleitk_moves_the_background_as_we_do(tmp_path, model_path, xa_file):
    frames = phantom((3, 64, 64))
    run = str(xa_file("in/run.dcm", frames=frames, attributes={"ImagerPixelSpacing": [0.3, 0.2]}))
    chosen = options(kinds=("h5", "nifti"), background="1", guard=False, refine=0, save_moved=True)
    next(register_runs([run], tmp_path, model_path, *chosen))
    arrays, _ = store.read_arrays(tmp_path / "run_bsa.h5")
    assert np.abs(arrays["warp"]).max() > 1e-3
    found = by_simpleitk(tmp_path / "run_warp.nii.gz", np.log(frames[0].astype(np.float64)))
    inside = np.isfinite(found)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(found[inside], arrays["moved"][inside], atol=1e-4)
    subtracted = open_by_nibabel(tmp_path / "run_bsa.nii.gz").get_fdata(dtype=np.float32).transpose(2, 1, 0)
    np.testing.assert_array_equal(subtracted, arrays["bsa"])


@pytest.mark.parametrize(("numbers", "shown"), [([4], "4"), ([4, 5, 6], "4-6"), ([1, 7], "1, 7")])
def test_background_frames_with_a_gap_are_listed(numbers, shown):
    outcome = Outcome("run", "", (), {**GIVEN, **FIGURES, "background": numbers})
    assert f"background {shown} (by tag; iodine from frame 8)" in outcome.line()


def name_two_masks(dataset):
    """Have a run's frames 1 and 2 name frame 1 as their mask, its frames 3 to 6 frame 4."""
    items = []
    for number, limits in ((1, [1, 2]), (4, [3, 6])):
        item = pydicom.Dataset()
        item.MaskOperation, item.MaskFrameNumbers, item.ApplicableFrameRange = "AVG_SUB", number, limits
        items.append(item)
    dataset.MaskSubtractionSequence = items


def test_frames_of_several_masks_are_written_with_their_own(tmp_path, model_path, xa_file):
    run = str(xa_file("in/run.dcm", frames=phantom((6, 64, 64)), change=name_two_masks))
    (outcome,) = register_runs([run], tmp_path, model_path, output=OutputOptions(kinds=("h5", "dsa")))
    assert outcome.summary["background"] == [1, 4]
    assert outcome.summary["background_steps"] == [
        {"background": [1], "frames": [1, 2]},
        {"background": [4], "frames": [3, 4, 5, 6]},
    ]
    assert "background 1 of frames 1-2, 4 of frames 3-6 (by tag; " in outcome.line()
    arrays, _ = store.read_arrays(tmp_path / "run_bsa.h5")
    np.testing.assert_array_equal(arrays["background"], [1, 4])
    np.testing.assert_array_equal(arrays["background_of_frame"], [(1, 1), (2, 1), (3, 4), (4, 4), (5, 4), (6, 4)])
    masks = pydicom.dcmread(tmp_path / "run_dsa.dcm").MaskSubtractionSequence
    assert [(mask.MaskFrameNumbers, list(mask.ApplicableFrameRange)) for mask in masks] == [(1, [1, 2]), (4, [3, 6])]
    assert dciodvfy_errors(tmp_path / "run_dsa.dcm") == []
    (refused,) = register_runs([run], tmp_path, model_path, output=OutputOptions(kinds=("dsa-state",)))
    assert (
        "expected a multi-frame run with UIDs and one mask for `kinds` dsa-state, got a run of several masks" in refused.error
    )
    output = OutputOptions(kinds=("h5", "dsa-state"))
    next(register_runs([run], tmp_path, model_path, RegistrationOptions(background="2"), output))
    assert "background_of_frame" not in store.read_arrays(tmp_path / "run_bsa.h5")[0]


@pytest.mark.parametrize(
    ("iodine_from", "sure", "said"),
    [
        (None, True, "by tag; no iodine seen"),
        (4, True, "by tag; iodine from frame 4"),
        (2, False, "iodine from frame 2, not sure"),
    ],
)
def test_the_line_tells_where_iodine_begins_and_how_sure_that_is(iodine_from, sure, said):
    told = {**GIVEN, **FIGURES, "iodine_from": iodine_from, "background_sure": sure, "unwarped": 2, "partly_warped": 3}
    line = Outcome("run", "", (), told).line()
    assert f"{said})" in line
    assert "frames left unwarped: 2, warped in part: 3;" in line


@pytest.mark.parametrize(("after", "told"), [(0.1, "75% less"), (0.4, "0% less"), (0.5, "25% more")])
def test_residue_that_became_more_is_told_as_more(after, told):
    outcome = Outcome("run", "", (), {**GIVEN, **FIGURES, "residue_dsa": 0.4, "residue_bsa": after})
    assert f"in BSA, {told};" in outcome.line()


def test_bright_residue_is_a_share_of_the_range_in_any_encoding(tmp_path, model_path, xa_file):
    """The same frames with ten times the contrast, or with another level: other raw figures, the same share."""
    rng = np.random.default_rng(3)
    shape = np.clip(rng.normal(0, 1, (3, 64, 64)), -3, 3)
    runs = {"low": 500 + 30 * shape, "high": 2000 + 300 * shape}
    paths = [
        str(xa_file(f"in/{name}.dcm", frames=np.rint(frames).astype(np.uint16), relation="DISP"))
        for name, frames in runs.items()
    ]
    chosen = options(kinds=("h5",), background="1", refine=0, guard=False)
    high, low = (one.summary for one in register_runs(sorted(paths), tmp_path / "out", model_path, *chosen))
    assert high["units"] == low["units"] == "stored value"
    assert high["residue_dsa"] == pytest.approx(10 * low["residue_dsa"], rel=0.02)
    assert high["residue_dsa_percent"] == pytest.approx(low["residue_dsa_percent"], rel=0.02)
    dsa = np.rint(runs["high"])[1:] - np.rint(runs["high"])[0]
    lighter = np.maximum(dsa - np.median(dsa, (1, 2), keepdims=True), 0)
    reach = np.subtract(*np.percentile(np.rint(runs["high"]), [99.5, 0.5]))
    assert high["exposed_range"] == pytest.approx(reach)
    assert high["residue_dsa_percent"] == pytest.approx(100 * np.sqrt(np.mean(lighter**2)) / reach, rel=1e-4)
    assert high["residue_bsa_percent"] == pytest.approx(100 * high["residue_bsa"] / reach)


def test_the_line_tells_the_share_and_not_the_raw_figure():
    figures = {"residue_dsa": 317.0, "residue_bsa": 158.5, "residue_dsa_percent": 8.126, "residue_bsa_percent": 4.063}
    line = Outcome("run", "", (), {**GIVEN, **FIGURES, **figures}).line()
    assert "bright residue (motion and noise) 8.13% of the run's range in plain DSA, 4.06% in BSA, 50% less; " in line
    assert "317" not in line


def test_a_constant_run_has_no_residue(tmp_path, model_path, xa_file):
    path = xa_file("flat.dcm", frames=np.full((3, 64, 64), 700, np.uint16), relation="DISP")
    (outcome,) = register_runs([str(path)], tmp_path / "out", model_path, *options(kinds=("h5",), background="1", refine=0))
    figures = [outcome.summary[name] for name in ("exposed_range", "residue_dsa", "residue_dsa_percent")]
    assert figures == [0, 0, 0]


def unwarping(monkeypatch, frames):
    """Let the registration leave frames, indices from 0, unwarped and no other one."""
    register = Model.register

    def changed(model, run, how, spooling, hypers):
        found = register(model, run, replace(how, guard=False), spooling, hypers)
        warp = np.ones(found.warp.shape, np.float32)
        warp[frames] = 0
        return replace(found, warp=warp, figures=())

    monkeypatch.setattr(Model, "register", changed)


def test_unwarped_frames_are_named_but_for_the_background(tmp_path, model_path, run_path, monkeypatch):
    unwarping(monkeypatch, [0, 2])
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *options(kinds=("h5",), background="1", refine=0))
    assert (outcome.summary["unwarped"], outcome.summary["unwarped_frames"]) == (1, [3])
    assert "picture_frame" not in outcome.summary
    json.dumps(outcome.summary)
    (outcome,) = register_runs([run_path], tmp_path / "all", model_path, *options(kinds=("h5",), background="1-3", refine=0))
    assert (outcome.summary["unwarped"], outcome.summary["unwarped_frames"]) == (0, [])


@pytest.mark.parametrize(
    ("frame", "number", "titles"),
    [
        (1, 1, ["frame 1", "plain DSA", "BSA, registered (λ 0.60)"]),
        (2, 2, ["background frame 2", "plain DSA", "BSA, registered (λ 0.60)"]),
        (3, 3, ["contrast frame 3", "plain DSA", "BSA, left unwarped"]),
        (None, 1, ["frame 1", "plain DSA", "BSA, registered (λ 0.60)"]),
    ],
)
def test_the_picture_says_what_it_shows(tmp_path, model_path, run_path, monkeypatch, frame, number, titles):
    unwarping(monkeypatch, [2])
    drawn = []
    monkeypatch.setattr(result, "side_by_side", lambda panels, path: drawn.extend(panels))
    chosen = options(kinds=("png",), background="2", frame=frame, refine=0)
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *chosen)
    assert outcome.error == ""
    assert [panel.title for panel in drawn] == titles
    assert outcome.summary["picture_frame"] == number


def test_a_bad_model_is_refused_before_any_run_is_read(tmp_path, run_path):
    with pytest.raises(InputError, match=r"absent\.h5: expected a model"):
        register_runs(
            [run_path, run_path],
            tmp_path / "out",
            str(tmp_path / "absent.h5"),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["", "deeper/still"])
def test_an_out_path_that_is_a_file_is_refused_early(tmp_path, model_path, run_path, inside):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"`out` .*: expected a folder or a name for a new one, found the file .*file;"):
        register_runs([run_path], tmp_path / "file" / inside, model_path)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def little_room():
    """Let no file of this process grow beyond 60 kB, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_is_written_whole_or_not_at_all(tmp_path, model_path, run_path, little_room):
    """The DICOM file of 26 kB would fit, the h5 of more than 60 kB does not."""
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *options(kinds=ALL, background="1"))
    assert outcome.error == (
        f"{tmp_path / 'out'}: expected room there for temporary files of the run, but: File too large; make room, or name "
        "another folder with `out`"
    )
    assert files_in(tmp_path / "out") == []


def test_a_folder_of_the_results_name_is_left_alone(tmp_path, model_path, run_path):
    (tmp_path / "out" / "run_bsa.h5").mkdir(parents=True)
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *options(background="1"))
    assert "run: expected to write the results there, but: a folder has that name" in outcome.error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run_bsa.h5"]


def test_a_frame_that_is_not_there_is_an_error_of_its_run(tmp_path, model_path, xa_file, run_path):
    longer = str(xa_file("in/longer.dcm", frames=phantom((5, 64, 64))))
    bad, good = register_runs(
        [run_path, longer], tmp_path / "out", model_path, *options(frame=4, kinds=("png",), background="1")
    )
    assert bad.error == "run: `frame` 4: expected a frame number from 1 to 3, the run's last"
    assert good.error == ""
    assert files_in(tmp_path / "out") == ["longer_bsa.png"]


def test_warnings_of_the_run_are_passed_on(tmp_path, model_path, xa_file):
    path = xa_file("burnt.dcm", frames=phantom((3, 64, 64)), attributes={"BurnedInAnnotation": "YES"})
    (outcome,) = register_runs([str(path)], tmp_path / "out", model_path, *options(kinds=("h5",), background="1"))
    assert len(outcome.warnings) == 1
    assert "burnt-in text" in outcome.warnings[0]
    assert outcome.summary["warnings"] == list(outcome.warnings)


def test_a_run_of_background_alone_has_picture_and_figures(tmp_path, model_path, run_path):
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *options(background="1-3", kinds=("png",)))
    assert outcome.error == ""
    assert np.isfinite(outcome.summary["residue_bsa"])


def filled_run(arrival: int) -> np.ndarray:
    """Return `(T, H, W)` stored values: a still phantom whose forked vessel fills from frame index `arrival` on."""
    rng = np.random.default_rng(0)
    vessel = np.zeros((128, 128))
    vessel[30:110, 60:64] = vessel[60:64, 20:100] = 1
    fill = np.clip(0.25 * (np.arange(8) - arrival + 1), 0, 1)
    still = phantom((1, 128, 128))[0] / 2
    frames = np.stack([still * np.exp(-0.3 * part * vessel) for part in fill]) + rng.normal(0, 4, (8, 128, 128))
    return np.clip(frames, 1, 4095).astype(np.uint16)


@pytest.mark.parametrize(("arrival", "sure"), [(5, True), (1, False)])
def test_a_background_that_may_hold_iodine_is_told_or_refused(tmp_path, model_path, xa_file, arrival, sure):
    path = str(xa_file("filled.dcm", frames=filled_run(arrival)))

    def register(**given):
        return next(register_runs([path], tmp_path / "out", model_path, *options(refine=0, kinds=("h5",), **given)))

    told, strict, named = register(), register(require_clean=True), register(background="7")
    assert told.summary["iodine_from"] == arrival + 1
    assert told.summary["background_sure"] is sure
    assert bool(told.warnings) is not sure
    assert ("expected a background without iodine" in strict.error) is not sure
    assert named.summary["background_shows_iodine"]
    assert "background frame 7, chosen by number, shows iodine" in named.warnings[0]


def test_a_source_that_a_kind_does_not_allow_fails_early(tmp_path, model_path, xa_folder, monkeypatch):
    monkeypatch.setattr(Model, "register", lambda *_, **__: pytest.fail("registered"))
    folder = str(xa_folder(phantom((3, 64, 64))))
    (outcome,) = register_runs([folder], tmp_path / "out", model_path, *options(kinds=("dicom", "dsa-state")))
    assert "multi-frame run with UIDs and one mask for `kinds` dsa-state, got single frames" in outcome.error
    assert files_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keep_frames": "2-4"}, "`keep_frames` 2-4: expected frame numbers from 1 to 3"),
        ({"save_class": "enhanced"}, "leave `save_class` out"),
    ],
)
def test_output_that_a_run_does_not_allow_fails_early(tmp_path, model_path, xa_file, monkeypatch, given, message):
    run = str(xa_file("in/run.dcm", frames=phantom((3, 64, 64)), attributes={"BurnedInAnnotation": "YES"}))
    monkeypatch.setattr(Model, "register", lambda *_, **__: pytest.fail("registered"))
    (outcome,) = register_runs([run], tmp_path / "out", model_path, *options(**given))
    assert message in outcome.error


def test_kept_frames_and_the_enhanced_class_are_written(tmp_path, model_path, run_path):
    stored = {"pixel_depth": 16, "compress": "rle", "save_class": "enhanced", "keep_frames": "contrast"}
    (outcome,) = register_runs([run_path], tmp_path, model_path, *options(background="1", **stored))
    assert outcome.error == ""
    written = pydicom.dcmread(tmp_path / "run_bsa.dcm")
    assert (written.NumberOfFrames, written.BitsStored, written.SOPClassUID) == (2, 16, EnhancedXAImageStorage)
    bsa = store.read_arrays(tmp_path / "run_bsa.h5")[0]["bsa"]
    np.testing.assert_allclose((written.pixel_array.astype(float) - 32768) / 8000, bsa[1:], atol=1 / 8000)


def test_nothing_of_an_anonymous_run_names_the_patient(tmp_path, model_path, xa_file):
    marks = {"PatientName": "Qzfamily^Wxgiven", "PatientID": "QZ-4711", "AccessionNumber": "QZA1", "StudyDate": "19530607"}
    path = xa_file("in/Qzfamily/Qzfamily.dcm", frames=phantom((3, 64, 64)), attributes=marks)
    original = str(pydicom.dcmread(path).SOPInstanceUID)
    given = options(kinds=ALL, background="1", anonymize=True)
    outcomes = [next(register_runs([str(tmp_path / "in")], tmp_path / out, model_path, *given)) for out in ("out", "again")]
    assert [outcome.error for outcome in outcomes] == ["", ""]
    name = outcomes[0].summary["result"]
    assert re.fullmatch(r"XA_1-[0-9a-f]{8}", name)
    assert files_in(tmp_path / "out") == sorted(f"{name}{ending}" for ending in list_endings(ALL).values())
    for file in files_in(tmp_path / "out"):
        content = (tmp_path / "out" / file).read_bytes()
        assert not [
            mark for mark in ("Qzfamily", "Wxgiven", "QZ-4711", "QZA1", "19530607", original) if mark.encode() in content
        ]
        if file.endswith(".dcm"):
            assert content == (tmp_path / "again" / file).read_bytes()


def test_runs_of_one_name_do_not_overwrite_each_other(tmp_path, model_path, xa_file):
    frames = phantom((3, 64, 64))
    paths = [str(xa_file(f"in/{number}.dcm", frames=frames + number)) for number in range(2)]
    same = {"entropy": ["same"], "attributes": {"SeriesDescription": "one"}}
    paths += [str(xa_file(f"in/{name}.dcm", frames=frames, **same)) for name in ("a", "b")]
    changed = pydicom.dcmread(paths[-1])
    changed.PixelData = (frames + 5).tobytes()
    changed.save_as(paths[-1])
    given = options(kinds=("h5",), background="1", name="{SeriesNumber}_{stem}")
    names = [outcome.summary["result"] for outcome in register_runs(paths, tmp_path / "out", model_path, *given)]
    assert [name.partition("-")[0] for name in names] == ["1_0", "1_1", "1_a", "1_b"]
    given = options(kinds=("h5",), background="1", name="{SeriesNumber}")
    again = [outcome.summary["result"] for outcome in register_runs(paths, tmp_path / "out", model_path, *given)]
    assert again[3] == f"{again[2]}-2"
    assert len({*names, *again}) == len(files_in(tmp_path / "out")) == 8


def test_results_by_a_pattern_are_skipped_where_they_are_there(tmp_path, model_path, run_path):
    given = [run_path], tmp_path / "out", model_path, *options(kinds=("h5",), background="1", refine=0, name="{stem}")
    (first,), (again,) = (list(register_runs(*given, skip_existing=True)) for _ in range(2))
    assert (first.error, first.skipped) == ("", "")
    assert (again.error, again.skipped) == ("", "its results are there")


def test_long_names_are_cut_so_that_files_can_have_them(tmp_path):
    assert name_results("run") == "run"
    names = ["n" * 247, "n" * 246 + "m", "ü" * 120, os.fsdecode(b"M\xfcller" * 40)]
    stems = [name_results(name) for name in names]
    assert len(set(stems)) == len(names)
    for stem in stems:
        with write_together(tmp_path / stem, list_endings(ALL)) as paths:
            for path in paths.values():
                with replace_file(path) as partial:
                    partial.write_bytes(b"x")
    assert len(list(tmp_path.iterdir())) == len(names) * len(list_endings(ALL))


@pytest.mark.parametrize(
    "error", [MemoryError("Doe"), RecursionError("Doe"), ValueError("Doe\nJane"), OSError(5, "Doe's disk")]
)
def test_an_error_of_a_run_is_its_own_and_the_next_goes_on(tmp_path, model_path, xa_file, monkeypatch, error):
    paths = [str(xa_file(f"in/{name}.dcm", frames=phantom((3, 64, 64)))) for name in ("bad", "good")]

    register = Model.register

    def failing(model, series, *given):
        if series.name == "bad":
            raise error
        return register(model, series, *given)

    monkeypatch.setattr(Model, "register", failing)
    bad, good = register_runs(paths, tmp_path / "out", model_path, *options(kinds=("h5",), background="1", refine=0))
    assert bad.error.startswith(f"{paths[0]}: expected ")
    assert "\n" not in bad.error
    assert "Jane" not in bad.error
    assert good.error == ""
    assert files_in(tmp_path / "out") == ["good_bsa.h5"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_batch(tmp_path, model_path, run_path, monkeypatch, error):
    def interrupted(*given):
        raise error

    monkeypatch.setattr(Model, "register", interrupted)
    with pytest.raises(error):
        next(register_runs([run_path], tmp_path / "out", model_path))


def test_a_header_beyond_memory_is_that_runs_failure(tmp_path, model_path, xa_file, run_path):
    def huge(dataset):
        dataset.compress("1.2.840.10008.1.2.5")
        dataset.Rows = dataset.Columns = 65535

    bad, good = register_runs(
        [str(xa_file("in/huge.dcm", change=huge)), run_path],
        tmp_path / "out",
        model_path,
        *options(kinds=("h5",), background="1", refine=0),
    )
    assert "huge.dcm: expected" in bad.error
    assert good.error == ""


def register_once(paths, out, model, **given):
    chosen = options(**{"kinds": ("dicom", "h5"), "background": "1", "refine": 0, **given})
    return [outcome.skipped for outcome in register_runs(paths, out, model, *chosen, skip_existing=True)]


def change_options(folder, run, model):
    return {"hyper": 0.3}


def change_output(folder, run, model):
    return {"kinds": ("dicom",)}


def touch_source(folder, run, model):
    os.utime(run, ns=(1, 1))
    return {}


def remove_result(folder, run, model):
    (folder / "run_bsa.h5").unlink()
    return {}


def cut_result(folder, run, model):
    with (folder / "run_bsa.dcm").open("r+b") as file:
        file.truncate(100)
    return {}


def damage_record(folder, run, model):
    (folder / ".run_bsa.json").write_text("[]")
    return {}


@pytest.mark.parametrize(
    "change",
    [change_options, change_output, touch_source, remove_result, cut_result, damage_record],
    ids=lambda each: each.__name__,
)
def test_whole_results_are_skipped_until_something_changes(tmp_path, model_path, run_path, change):
    out = tmp_path / "out"
    assert register_once([run_path], out, model_path) == [""]
    assert register_once([run_path], out, model_path) == ["its results are there"]
    again = change(out, run_path, model_path)
    assert register_once([run_path], out, model_path, **again) == [""]
    assert register_once([run_path], out, model_path, **again) == ["its results are there"]


def test_another_model_registers_anew(tmp_path, model_path, run_path):
    other = str(save_tiny_model(tmp_path / "other.h5", image_sigma=0.2))
    found = [register_once([run_path], tmp_path / "out", path) for path in (model_path, other, other)]
    assert found == [[""], [""], ["its results are there"]]


def test_without_the_option_nothing_is_skipped_or_kept_for_it(tmp_path, model_path, run_path):
    register_once([run_path], tmp_path / "out", model_path)
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *options(background="1", refine=0))
    assert outcome.skipped == ""
    next(register_runs([run_path], tmp_path / "other", model_path, *options(background="1", refine=0)))
    assert files_in(tmp_path / "other") == ["run_bsa.dcm", "run_bsa.h5"]


def test_a_run_that_another_process_registers_is_skipped(tmp_path, model_path, run_path):
    program = (
        "import sys; from pathlib import Path; from angiomorph.storage.hold import hold_name\n"
        "with hold_name(Path(sys.argv[1])) as held: print(held, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out" / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        (outcome,) = register_runs([run_path], tmp_path / "out", model_path)
        assert outcome.skipped == "another process is registering it"
        assert outcome.line() == f"{run_path}: skipped, another process is registering it"
        assert files_in(tmp_path / "out") == [".run.lock"]
        other.kill()
    (outcome,) = register_runs([run_path], tmp_path / "out", model_path, *options(background="1", refine=0))
    assert (outcome.skipped, outcome.error) == ("", "")
    assert files_in(tmp_path / "out") == ["run_bsa.dcm", "run_bsa.h5"]


def test_progress_counts_every_run(tmp_path, model_path, run_path):
    told = []
    runs = [run_path, str(tmp_path / "in")]
    chosen = options(background="1", refine=0, kinds=("dicom",))
    outcomes = list(register_runs(runs, tmp_path / "out", model_path, *chosen, progress=lambda *counts: told.append(counts)))
    assert told == [(done, len(outcomes)) for done in range(len(outcomes) + 1)]
