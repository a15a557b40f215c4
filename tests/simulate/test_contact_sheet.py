import numpy as np
import pytest
from matplotlib.image import imread

from angiomorph.dicom import write_run
from angiomorph.pictures import CAPTION, GAP
from angiomorph.simulate.contact_sheet import contact_sheet
from angiomorph.storage.truth import BLOCK, RunTruth, write_truth

SIZE = 64


def written(folder, name, relation="LIN", per_ln=1.0):
    """A flat field of ln 6 whose third frame has a vessel of depth 0.5 in columns 30 to 33."""
    vessel = np.zeros((3, SIZE, SIZE), np.float32)
    vessel[2, :, 30:34] = -0.5
    values = np.exp(6 + vessel) if relation == "LIN" else (6 + vessel) * per_ln
    write_run(
        folder / f"{name}.dcm", np.rint(values).astype(np.uint16), BitsStored=12, relation=relation, frame_time=100,
        attributes={"MaskFrameNumbers": [1, 2]},
    )  # fmt: skip
    everywhere = np.ones(vessel.shape, bool)
    blocks = 3, SIZE // BLOCK, SIZE // BLOCK
    truth = RunTruth(
        background=np.full(vessel.shape, 6.0, np.float32), vessel=vessel, vessel_mask=vessel < 0, anatomy=everywhere,
        pose=np.zeros((3, 6)), displacement=np.zeros((*blocks, 2)), displacement_defined=np.ones(blocks, bool),
        stored_per_ln=per_ln,
    )  # fmt: skip
    write_truth(folder / f"{name}_truth.h5", truth)
    return folder / f"{name}.dcm"


@pytest.mark.parametrize(("relation", "per_ln"), [("LIN", 1.0), ("DISP", 400.0)])
def test_a_still_runs_dsa_looks_like_its_truth(tmp_path, relation, per_ln):
    contact_sheet([written(tmp_path, "a", relation, per_ln)], tmp_path / "p.png", side=SIZE, columns=1)
    picture = imread(tmp_path / "p.png")[CAPTION:, :, 0]
    assert picture.shape == (SIZE, 4 * SIZE + 3 * GAP)
    background, filled, dsa, truth = (picture[:, k * (SIZE + GAP) : k * (SIZE + GAP) + SIZE] for k in range(4))
    np.testing.assert_allclose(dsa, truth, atol=0.02)
    assert truth[:, 31].max() < 0.02
    assert truth[:, 10].min() > 0.6
    assert np.ptp(background) == 0
    assert filled[:, 31].max() < background.min() + 1e-6


def test_runs_fill_rows_and_an_odd_one_leaves_black(tmp_path):
    runs = [written(tmp_path, name) for name in "abc"]
    contact_sheet(runs, tmp_path / "p.png", side=32, columns=2)
    picture = imread(tmp_path / "p.png")[..., 0]
    assert picture.shape == (CAPTION + 2 * 32 + GAP, 8 * 32 + 7 * GAP)
    assert picture[-32:, 4 * (32 + GAP) :].max() == 0
    assert picture[-32:, : 4 * (32 + GAP)].max() > 0.5


def test_frames_smaller_than_their_panel_are_enlarged(tmp_path):
    contact_sheet([written(tmp_path, "a")], tmp_path / "p.png", side=2 * SIZE, columns=1)
    truth = imread(tmp_path / "p.png")[CAPTION:, 3 * (2 * SIZE + GAP) :, 0]
    assert truth.shape == (2 * SIZE, 2 * SIZE)
    assert truth[:, 60:68].max() < 0.02
    assert truth[:, 70:].min() > 0.6
