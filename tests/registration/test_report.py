"""The report of a registered run: what it says, what it must not say, and how it opens in a browser."""

import re
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from angiomorph.dicom import read_series
from angiomorph.preprocessing.background import Background, Step
from angiomorph.preprocessing.lazy_frames import LazyFrames
from angiomorph.registration.figures import describe_frames
from angiomorph.registration.model_card import read_excerpt
from angiomorph.registration.model_defaults import MODELS
from angiomorph.registration.report import MOST_FRAMES
from angiomorph.storage.digest import sha256
from tests.browser import open_browser, read_complaints
from tests.html_reader import Reader
from tests.registration.registrations import registered
from tests.runs import phantom

PATIENT = {"PatientName": "Quartz^Zebulon", "PatientID": "QZ-4711", "PatientBirthDate": "19330911", "StudyDate": "20240229"}
PATIENT |= {"InstitutionName": "Basalt Hospital", "SeriesDescription": "left ICA Quartz", "AccessionNumber": "AC5533771"}
FACTS = {"image_loss": "vle", "size": 128, "lambda": 0.7, "data": {"runs": 469, "frames": 4690}, "epochs": 24, "steps": 24000}
SECTIONS = ["Plain DSA beside BSA", "Summary", "Frames that were not warped whole", "Figures over time, without truth"]
SECTIONS += ["Frame 6 at 0.50 s, the most iodine", "The same frame at other λ", "Parameters", "Model"]
WIDE = "return document.documentElement.scrollWidth > innerWidth"


def run(count=6, side=64, **changed):
    """Return a registered run whose iodine grows from the third frame on, beside an edge that moved."""
    shape = (count, side, side)
    bsa = np.zeros(shape, np.float32)
    for index in range(2, count):
        bsa[index, :, 20:24] = -index / count
    dsa = bsa.copy()
    dsa[2:, :8] = 0.3
    warp = np.zeros((*shape, 2), np.float32)
    warp[2:, ..., 1] = 2.5
    given = {
        "dsa": dsa,
        "warp": warp,
        "model_name": "tiny",
        "model_facts": FACTS,
        "background": Background((1, 2), "arrival", 3),
    }
    return registered(bsa, **given | changed)


def save(result, folder):
    (path,) = result.save(folder / "run", ("html",))
    assert path.name == "run_report.html"
    return path


def read(path):
    page = Reader(path.read_text(encoding="utf-8"))
    return page, " ".join(text for tag, text in page.texts if tag not in ("script", "style"))


def test_a_report_says_what_was_done(tmp_path):
    page, text = read(save(run(), tmp_path))
    assert page.said("h1") == ["Registered run"]
    assert page.said("h2") == SECTIONS
    assert "6 frames of 64 by 64 pixels over 0.5 s. Times count from the first frame." in text
    assert "Registered at λ 0.50 by the model tiny. λ weighs" in text
    assert "Research use only; not a medical device." in text
    assert page.said("i") == [
        words
        for number, part in enumerate(["plain DSA, background"] * 2 + ["plain DSA"] * 4)
        for words in (f"{part} at 0.{number}0 s", f"BSA (λ 0.50) at 0.{number}0 s")
    ]
    assert "the mean of frames 1-2 (the last ones before iodine arrives)" in text
    assert "Iodine is seen from frame 3 on." in text
    assert "in BSA: 100% less" in text
    assert "Of 4 frames beside the background, 4 were warped whole, 0 in part, and 0 left unwarped." in text
    assert "The largest shift is 2.5 pixels." in text
    assert "None: every frame beside the background was warped whole." in text
    assert "469 runs, 4690 frames" in text
    assert "0" * 64 in text
    assert "angiomorph sweep RUN" in text  # no other λ were asked for
    assert len(page.find("svg")) == 4
    assert len([each for each in page.find("div") if "data-number" in each]) == 6


def test_frames_that_were_not_warped_whole_are_listed_with_why(tmp_path):
    weights = np.array([0, 0, 0, 0, 0.4, 1])
    warp = np.zeros((6, 64, 64, 2), np.float32)
    warp[4] = 1
    page, text = read(save(run(weights=weights, warp=warp), tmp_path))
    rows = [words for words in page.said("td") if "guard" in words or "warp" in words]
    assert [re.split("[:,]", words)[0] for words in rows] == [
        "no sure sign that something moves",
        "warped by 40%",
        "the warp found is zero",
    ]
    assert {"3-4", "5", "6"} <= set(page.said("th"))
    assert "0 were warped whole, 1 in part, and 3 left unwarped." in text


def test_several_backgrounds_and_doubts_are_told(tmp_path):
    steps = (Step((1,), (1, 2, 3)), Step((4,), (4, 5, 6)))
    _, text = read(save(run(background=Background((1, 4), "tag", None, True, steps)), tmp_path))
    assert "Background frames: 1 for 1-3; 4 for 4-6 (named by the run's own file). No iodine was seen." in text
    doubtful = run(background=Background((1,), "arrival", 2, False), guard=False)
    page, text = read(save(doubtful, tmp_path))
    assert "That is not sure: iodine may have been there from the first frame on." in text
    assert "The guard was off." in text
    assert any("name another with background N" in said for said in page.said("p"))


def test_refinement_is_told(tmp_path):
    _, text = read(save(run(refine=40), tmp_path))
    assert "Registered at λ 0.50 by the model tiny, and refined by 40 steps." in text
    assert "Registered at λ 0.50. λ weighs" in read(save(run(model_name=""), tmp_path))[1]


def test_a_run_without_times_has_none(tmp_path):
    timed = run()
    page, text = read(save(replace(timed, series=replace(timed.series, frame_times=np.zeros(6))), tmp_path))
    assert "6 frames of 64 by 64 pixels." in text
    assert "Frame 6, the most iodine" in page.said("h2")
    assert set(page.said("i")) == {"plain DSA, background", "plain DSA", "BSA (λ 0.50)"}


@pytest.mark.parametrize("name", MODELS)
def test_a_report_quotes_the_card_of_its_model(name, tmp_path):
    digest = sha256(MODELS[name])
    page, text = read(save(run(model_sha256=digest), tmp_path))
    assert "says in short" in text
    assert [said for said in page.said("p") if said in read_excerpt(digest)] == read_excerpt(digest)
    assert "Research software; not a medical device." in text
    _, text = read(save(run(model_facts=FACTS | {"source_sha256": digest}), tmp_path / "baked"))
    assert "It was baked at one λ from a model whose card" in text


def test_a_report_says_that_other_models_have_no_card(tmp_path):
    _, text = read(save(run(), tmp_path))
    assert "AngioMorph has no card of this model" in text
    assert "says in short" not in text


def test_the_montage_shows_each_lambda(tmp_path):
    result = run()
    montage = {hyper: result.bsa[5] * (1 - hyper) for hyper in (0.0, 0.5, 1.0)}
    page, _ = read(save(run(montage=montage), tmp_path))
    names = ["plain DSA", "BSA, λ 0.00", "BSA, λ 0.50, as registered", "BSA, λ 1.00"]
    assert [said for said in page.said("figcaption") if said in names] == ["plain DSA", "plain DSA", *names]
    assert [each["alt"] for each in page.find("img") if each["alt"]][2:] == names


def test_nothing_of_the_patient_is_in_a_report(tmp_path, xa_file):
    path = xa_file("Quartz-Zebulon.dcm", frames=phantom((6, 64, 64)), attributes={**PATIENT, "BurnedInAnnotation": "YES"})
    result = run(series=read_series(path))
    text = save(result, tmp_path).read_text(encoding="utf-8")
    shown = re.sub(r"base64,[\w+/=]+", "", text)
    dataset = pydicom.dcmread(path)
    known = ("Modality", "FrameTime", "Rows", "Columns", "NumberOfFrames", "PhotometricInterpretation")
    values = [str(each.value) for each in dataset.iterall() if each.keyword not in known and each.VR not in ("OB", "OW", "SQ")]
    secrets = {part for value in values for part in re.split(r"[\\^\s'\[\],]+", value) if len(part) >= 5}
    assert {"Quartz", "QZ-4711", "20240229", "AC5533771", str(dataset.SOPInstanceUID)} <= secrets
    common = {"angiomorph", "Simulated"}  # who wrote the file, and a word of the model's card
    assert [secret for secret in secrets - common if secret.lower() in shown.lower()] == []
    assert str(tmp_path) not in text
    assert "Reading the run gave" in text  # its warnings name the file, and are counted only


def test_a_long_run_is_written_a_frame_at_a_time(tmp_path):
    """Of arrays that hold no run, single frames alone can be asked."""
    count = 300
    whole = run(count, 32)

    def lazy(array):
        return LazyFrames(array.shape, array.dtype, array.__getitem__)

    figures = describe_frames(whole.bsa, whole.dsa, whole.warp, whole.field)
    result = replace(whole, bsa=lazy(whole.bsa), dsa=lazy(whole.dsa), warp=lazy(whole.warp), figures=figures)
    page, text = read(save(result, tmp_path))
    shown = [each for each in page.find("div") if "data-number" in each]
    assert len(shown) == MOST_FRAMES
    assert (shown[0]["data-number"], shown[-1]["data-number"]) == ("1", "300")
    assert sum(float(each["data-milliseconds"]) for each in shown) == 300 * 100  # a second lasts a second
    assert f"{MOST_FRAMES} of 300 frames, evenly spaced" in text


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080)])
def test_a_report_opens_from_disk(tmp_path, width, height):
    result = run(side=256)
    path = save(run(side=256, montage={0.0: result.bsa[5], 0.5: result.bsa[5]}), tmp_path)
    with open_browser(tmp_path, width, height) as browser:
        browser.get(path.as_uri())
        browser.execute_async_script(
            "const [done] = arguments; (function ask() { document.body.dataset.ready ? done() : setTimeout(ask, 20); })()"
        )
        assert not browser.execute_script(WIDE)
        sections = browser.find_elements("tag name", "section")
        assert len(sections) == len(SECTIONS)
        assert all(section.is_displayed() for section in sections)
        canvases = [each.rect for each in browser.find_elements("css selector", ".cine canvas")]
        assert canvases[0]["y"] == canvases[1]["y"]
        assert canvases[0]["y"] + canvases[0]["height"] <= height  # the cine is seen without scrolling
        assert read_complaints(browser) == []
