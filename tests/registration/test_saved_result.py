"""A result leads back to its run, and registered again as it was gives itself."""

from dataclasses import replace

import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.networks.warp import warp_arrays
from angiomorph.preprocessing.background import Step
from angiomorph.preprocessing.recovery import move_image
from angiomorph.registration.model import Model
from angiomorph.registration.options import OutputOptions, RegistrationOptions
from angiomorph.registration.saved_result import find_result, read_result
from angiomorph.storage import store
from tests.runs import phantom, save_tiny_model, series

OPTIONS = RegistrationOptions(refine=0)
STEPS = (Step((1,), (1, 2)), Step((3, 4), (3, 4, 5)))


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return str(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.h5"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "background"),
    [
        (series(phantom()), "2"),
        (series(phantom(), relation="LOG"), "1-2"),
        (series(phantom(bits=8), relation="DISP"), "1"),
        (series(phantom(), background_numbers=(3, 4), steps=STEPS), "tag"),
    ],
    ids=["LIN", "LOG", "8 bits", "several backgrounds"],
)
def test_a_result_leads_back_to_its_run(run, background, model_path, tmp_path):
    model = Model(model_path)
    run = replace(run, frame_times=np.arange(len(run.frames)) * 250.0)
    result = model.register(run, replace(OPTIONS, hyper=0.4, background=background))
    result.save(tmp_path / "run", kinds=("h5",))
    result.save(tmp_path / "moved", output=OutputOptions(kinds=("h5",), save_moved=True))
    again, options = read_result(tmp_path / "run_bsa.h5", model_path, OPTIONS)
    assert np.array_equal(read_result(tmp_path / "moved_bsa.h5", model_path, OPTIONS)[0].frames, run.frames)
    assert np.array_equal(again.frames, run.frames)
    assert (again.relation, again.name, again.warnings) == (run.relation, "run", ())
    assert (again.bits_stored, again.frame_times.tolist()) == (run.bits_stored, run.frame_times.tolist())
    assert np.array_equal(again.shutter, run.shutter)
    assert (options.hyper, options.background) == (0.4, "tag")
    second = model.register(again, options)
    assert second.background.numbers == result.background.numbers
    assert np.allclose(second.bsa, result.bsa, atol=1e-3 * np.abs(result.bsa).max())


def test_backgrounds_move_as_registration_moves_them():
    """Of 16 bits, far from the next whole number: places agree to the last bit, and values to float32's rounding."""
    random = np.random.default_rng(0)
    stored = random.integers(1, 2**16, (600, 700))
    image = np.log(stored.astype(np.float32))
    warp = random.normal(0, 9, (600, 700, 2)).astype(np.float32)
    by_network = warp_arrays(image[None], warp[None])[0]
    assert np.abs(np.exp(np.float64(move_image(image, warp))) - np.exp(np.float64(by_network))).max() < 0.2


def result_file(path, **changed):
    arrays = {"bsa": np.zeros((2, 4, 4), np.float32), "moved": np.full((2, 4, 4), 3, np.float32), "background": np.array([1])}
    attributes = {"units": "stored value", "relation": "DISP", "lambda": 0.3, "intensity": "linear", "model_sha256": "ab"}
    store.write_arrays(path, {name: value for name, value in (arrays | changed).items() if value is not None}, attributes)
    return path


def test_options_of_the_user_go_first(tmp_path):
    path = result_file(tmp_path / "run_bsa.h5")
    run, options = read_result(path, None, RegistrationOptions(hyper=0.9, background="2"))
    assert (options.hyper, options.background, options.intensity) == (0.9, "2", "linear")
    assert (run.frames == 3).all()
    assert "registered by another model than reg-truth.h5" in run.warnings[0]


def test_arrays_of_something_else_are_refused(tmp_path):
    store.write_arrays(tmp_path / "a_bsa.h5", {"bsa": np.zeros((2, 4, 4), np.float32)}, {"units": "stored value"})
    with pytest.raises(InputError, match="expected a result of `register --save h5`, found no relation in it"):
        read_result(tmp_path / "a_bsa.h5", None, OPTIONS)


def test_a_result_is_found_beside_the_subtracted_run(tmp_path):
    result = result_file(tmp_path / "run_bsa.h5")
    for name in ("run_bsa.dcm", "other_bsa.dcm", "run.dcm"):
        (tmp_path / name).write_bytes(b"DICM")
    assert find_result(result) == result
    assert find_result(tmp_path / "run_bsa.dcm") == result
    assert find_result(tmp_path / "other_bsa.dcm") is None
    assert find_result(tmp_path / "run.dcm") is None
    assert find_result(tmp_path / "absent_bsa.dcm") is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bsa": None}, r"expected a result of `register --save h5` that leads back to its frames, found no bsa in it"),
        ({"moved": None}, r"found no background_image in it; register the run again"),
        ({"frame_times": np.zeros(3)}, r"expected frame_times and shutter that fit bsa"),
        ({"shutter": np.ones((4, 5), bool)}, r"expected frame_times and shutter that fit bsa"),
        ({"bsa": np.full((2, 4, 4), -5, np.float32)}, r"expected frames of whole numbers from 0 to 65535"),
        ({"bsa": np.full((2, 4, 4), np.nan, np.float32)}, r"expected frames of whole numbers from 0 to 65535"),
    ],
)
def test_a_file_that_is_no_result(changed, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read_result(result_file(tmp_path / "run_bsa.h5", **changed), None, OPTIONS)
