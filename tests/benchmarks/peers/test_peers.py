"""The comparison: who is run on what, what is kept, and what the pictures show."""

import itertools
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from skimage.color import rgb2lab

from angiomorph.errors import InputError
from angiomorph.evaluation import tables
from angiomorph.evaluation.score import Score
from benchmarks import source
from benchmarks.peers import command, peers, pictures
from benchmarks.peers.scores import FIGURES, JUDGES, ScoreFile
from tests.benchmarks.made import SIDE, make_run
from tests.runs import save_tiny_model
from tests.tools import REPOSITORY


class Shift:
    """Finds the same shift everywhere, and counts how often it is asked."""

    def __init__(self, down: float, right: float) -> None:
        self.shift, self.asked = np.float32([down, right]), []

    def __call__(self, sample):
        self.asked.append(len(sample.frames))
        return np.broadcast_to(self.shift, (len(sample.frames), SIDE, SIDE, 2)).copy(), 0.25


def shift(name, down, right):
    return peers.Method(name, {"down": down, "right": right}, Shift(down, right), ("tests.benchmarks.peers.test_peers",))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    shifts = {"a": (3, -2), "b": (3, -2), "c": (0, 0)}
    return [make_run(folder / f"{name}.dcm", shift, seed) for seed, (name, shift) in enumerate(shifts.items())]


@pytest.fixture
def compared(paths, tmp_path) -> dict[str, list[Score]]:
    methods = [shift("none", 0, 0), shift("exact", 3, -2)]
    return peers.compare(paths, methods, ScoreFile(tmp_path / "scores.csv"), 2, 1)


def test_methods_are_scored_on_each_run_in_turn(compared):
    assert [score.artefact_left for score in compared["exact"][:2]] == pytest.approx([0, 0], abs=1e-5)
    assert [score.artefact_left for score in compared["none"][:2]] == pytest.approx([1, 1])
    assert [score.runs == "still" for score in compared["none"]] == [False, False, True]
    assert compared["none"][2].harm == pytest.approx(0, abs=1e-6)
    assert compared["exact"][2].harm > 1
    assert compared["exact"][0].ms_per_frame == pytest.approx(250)


def test_first_call_is_not_scored_and_nothing_is_run_twice(paths, tmp_path):
    method = shift("exact", 3, -2)
    scores = ScoreFile(tmp_path / "scores.csv")
    peers.compare(paths[:2], [method], scores, 2, 1)
    assert method.warps.asked == [1, 2, 2]  # the first with one frame, to warm up
    again = shift("exact", 3, -2)
    peers.compare(paths, [again], ScoreFile(tmp_path / "scores.csv"), 2, 1)
    assert again.warps.asked == [1, 2]  # the third run alone
    changed = shift("exact", 3, -1)
    peers.compare(paths[:1], [changed], ScoreFile(tmp_path / "scores.csv"), 2, 1)
    assert changed.warps.asked == [1, 2]


@pytest.fixture
def model(tmp_path):
    from angiomorph.registration.model import Model

    return Model(save_tiny_model(tmp_path / "tiny.h5"))


@pytest.mark.slow
def test_ours_is_what_register_series_gives_of_the_same_frames(paths, model):
    from angiomorph.registration.options import RegistrationOptions
    from benchmarks.peers.runs import read_sample

    sample = read_sample(paths[0], 2)
    (method,) = peers.methods(["AngioMorph, network alone"], model)
    warps, seconds = method.warps(sample)
    alone = model.register(sample.series, RegistrationOptions(refine=0, guard=False))
    np.testing.assert_array_equal(warps, alone.warp[list(sample.frames)])
    assert seconds > 0
    assert method.parameters["model"] == model.sha256


@pytest.mark.slow
@pytest.mark.parametrize(("image_loss", "rounds", "steps"), [("truth", 1, 0), ("vle", 0, 40)])
def test_refined_is_a_round_of_truth_and_steps_of_others(tmp_path, image_loss, rounds, steps):
    from angiomorph.registration.model import Model

    model = Model(save_tiny_model(tmp_path / "tiny.h5", image_loss=image_loss))
    alone, refined, default = (method.parameters for method in peers.methods(list(peers.OURS), model))
    assert (alone["rounds"], alone["refine"], alone["guard"]) == (0, 0, False)
    assert (refined["rounds"], refined["refine"], refined["guard"]) == (rounds, steps, False)
    assert (default["rounds"], default["refine"], default["guard"]) == (0, None, True)


@pytest.mark.slow
def test_every_method_names_the_code_that_its_scores_depend_on(model):
    own = {method.name: set(method.modules) for method in peers.methods(peers.NAMES, model)}
    assert own["DIS flow"] == {"benchmarks.peers.methods"}
    assert own["AngioMorph, network alone"] >= {
        "angiomorph.registration.series",
        "angiomorph.registration.refinement",
        "angiomorph.networks.losses",
    }
    digests = {name: source.digest(*JUDGES, *modules) for name, modules in own.items()}
    assert len(set(digests.values())) == 3
    assert own[peers.FLOOR] > own["AngioMorph, network alone"]


def test_other_background_than_the_peers_is_refused(paths, model, monkeypatch):
    from angiomorph.preprocessing.background import Background
    from benchmarks.peers.runs import read_sample

    sample = read_sample(paths[0], 1)
    monkeypatch.setattr("angiomorph.registration.inputs.choose_background", lambda *_, **__: Background((1,), "number"))
    (method,) = peers.methods(["AngioMorph, network alone"], model)
    with pytest.raises(InputError, match="expected the same background frames"):
        method.warps(sample)


@pytest.mark.slow
def test_all_methods_come_peers_first(model):
    known = [name for name in peers.NAMES if name != peers.SUBTRACTION]  # which needs a network of its own
    assert [method.name for method in peers.methods(peers.NAMES, model)] == known
    assert peers.NAMES[0] == "none"


def test_names_of_methods_are_checked():
    assert command.chosen(["b", "a"], ["a", "b", "c"]) == ["a", "b"]
    assert command.chosen(None, ["a", "b"]) == ["a", "b"]
    with pytest.raises(InputError, match=r"--methods: expected of 'a', 'b', got 'd'"):
        command.chosen(["d"], ["a", "b"])


def test_pictured_are_moving_runs_by_error_and_a_still_one(compared, paths):
    shown = pictures.choose_runs(paths, compared)
    assert set(shown) == set(paths)
    assert list(shown)[-1] == paths[2]
    assert shown[paths[1]] == {"none": compared["none"][1], "exact": compared["exact"][1]}


def test_panels_are_a_row_a_run_and_a_column_a_method(paths, compared, tmp_path):
    methods = [shift("none", 0, 0), shift("exact", 3, -2)]
    shown = pictures.choose_runs(paths[:2], {name: scores[:2] for name, scores in compared.items()})
    pictures.panels(shown, methods, 2, tmp_path / "peers.png")
    picture = imread(tmp_path / "peers.png")[..., 0]
    rows, columns = picture.shape
    assert columns == pictures.LEFT + 4 * (SIDE + pictures.GAP)
    assert rows == pictures.HEAD + 2 * (SIDE + pictures.FOOT)
    top = rows - pictures.FOOT - SIDE
    lefts = [pictures.LEFT + number * (SIDE + pictures.GAP) for number in (1, 2, 3)]
    truth, none, exact = (picture[top + 8 : top + SIDE - 8, left + 8 : left + SIDE - 8] for left in lefts)
    assert np.abs(exact - truth).mean() < 0.25 * np.abs(none - truth).mean()


def test_captions_fit_their_panels():
    score = Score(**dict.fromkeys(FIGURES, 10.123) | {"harm": math.nan})
    below = [pictures.write_figures(score), pictures.write_figures(replace(score, harm=-10.123))]
    drawing = Figure(figsize=(4, 4), dpi=pictures.DPI)
    renderer = FigureCanvasAgg(drawing).get_renderer()
    captions = [(pictures.write_heading(name), {**pictures.HEAD_FONT, "weight": "bold"}, pictures.HEAD) for name in peers.NAMES]
    captions += [(text, pictures.FOOT_FONT, pictures.FOOT) for text in below]
    for text, font, height in captions:
        extent = drawing.text(0.5, 0.5, text, **font).get_window_extent(renderer)
        assert extent.width < pictures.SIDE
        assert extent.height < height


def test_below_a_panel_stands_harm_where_nothing_moved(compared):
    assert pictures.write_figures(compared["none"][0]).startswith("artefact left 1.000\ncontrast kept ")
    assert pictures.write_figures(compared["none"][2]).startswith("harm 0.000\ncontrast kept ")


def test_square_of_artefact_and_vessels_is_found():
    artefact, vessel = np.zeros((2, 512, 512), np.float32)
    artefact[300:320, 60:90] = 1
    vessel[330:340, 100:120] = -1
    rows, columns = pictures.find_square(artefact, vessel, np.ones((512, 512), bool))
    assert rows.stop - rows.start == columns.stop - columns.start == pictures.SIDE
    assert rows.start <= 300 < 340 <= rows.stop
    assert columns.start <= 60 < 120 <= columns.stop


def test_tradeoff_is_drawn(compared, tmp_path):
    named = {"none": compared["none"], "AngioMorph (default)": compared["exact"]}
    pictures.tradeoff(tables.lines(named), tmp_path / "tradeoff.png")
    assert imread(tmp_path / "tradeoff.png").std() > 0.05


def test_every_method_has_a_marker_of_its_own():
    assert set(pictures.STYLES) == set(peers.NAMES)
    assert len({str(style.marker) for style in pictures.STYLES.values()}) == len(peers.NAMES)


# Linear RGB as seen without long-, middle- or short-wave cones: Machado et al., IEEE TVCG 15, 2009, severity 1.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("eye", SEEN)
def test_colour_blind_readers_tell_all_methods_apart(eye):
    def seen(colour: str) -> np.ndarray:
        value = np.array(to_rgb(colour))
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        mixed = np.clip(np.array(SEEN[eye]) @ linear, 0, 1)
        return rgb2lab(np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055))

    (ours,) = {pictures.STYLES[name].colour for name in peers.OURS}
    others = [seen(pictures.STYLES[name].colour) for name in peers.NAMES if name not in peers.OURS]
    # CIE76; 2.3 is just noticeable.
    assert min(np.linalg.norm(seen(ours) - other) for other in others) > 25
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(others, 2)) > 5


@pytest.mark.parametrize("module", ["peers", "peers.tune"])
def test_help_is_instant_and_names_the_options(module):
    code = [sys.executable, "-m", f"benchmarks.{module}", "--help"]
    text = subprocess.run(code, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=20).stdout
    assert "--frames-per-run" in text
    assert "--vessels" in text
