import numpy as np
import pytest

from angiomorph.errors import InputError
from angiomorph.simulate.scene.anatomy import load_ct
from angiomorph.simulate.scene.phantom import procedural_head
from angiomorph.simulate.scene.territory import find_territory, patient
from angiomorph.simulate.scene.volume import Volume
from tests.simulate.bodies import HEART, HEART_HALF, chest, neck
from tests.tools import shared_data


def test_the_procedural_heads_cavity_is_found():
    territory = find_territory(procedural_head(1))
    assert territory.kind == "head"
    np.testing.assert_allclose(territory.centre, (0, -4, 2), atol=7)
    np.testing.assert_allclose(territory.half, (63, 77, 62), rtol=0.2)


@pytest.mark.slow
def test_a_real_head_is_a_head():
    territory = find_territory(load_ct(shared_data("ct/mricrogl_head_ct_1mm.nii.gz")))
    assert territory.kind == "head"
    np.testing.assert_allclose(territory.half, (65, 75, 65), atol=8)


def test_between_two_lungs_lies_the_heart():
    territory = find_territory(chest())
    assert territory.kind == "chest"
    np.testing.assert_allclose(territory.centre, HEART, atol=12)
    np.testing.assert_allclose(territory.half, HEART_HALF, rtol=0.3)


def test_a_body_about_a_spine_is_a_neck_where_it_is_narrow():
    """Narrow means above z = -80; at most half of the area more than at the top."""
    territory = find_territory(neck())
    assert territory.kind == "neck"
    np.testing.assert_allclose(territory.half[:2], (58, 60), atol=6)
    low = territory.centre[2] - territory.half[2]
    assert -90 < low < -60
    assert territory.centre[2] + territory.half[2] == pytest.approx(-150 + 79 * 4, abs=5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_is_no_patient_is_refused(value):
    volume = Volume(np.full((20, 20, 20), value, np.float32), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="neck with its spine, found none"):
        find_territory(volume)


def test_the_table_is_cleared_and_the_patient_is_not():
    volume = chest()
    table = np.zeros(volume.attenuation.shape, bool)
    table[:, :10] = True  # y below -120
    cleared = patient(volume).attenuation
    assert volume.attenuation[table].max() == 1
    assert cleared[table].max() == 0
    np.testing.assert_array_equal(cleared[~table], volume.attenuation[~table])


def test_a_head_keeps_its_thin_parts():
    head = procedural_head(1)
    np.testing.assert_array_equal(patient(head).attenuation, head.attenuation)
