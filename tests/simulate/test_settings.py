import pytest

from angiomorph.errors import InputError
from angiomorph.simulate.settings import SimulationSettings


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"motion_mm": (5.0, 1.0)}, "motion_mm"),
        ({"dose": (-1.0, 1.0)}, "dose"),
        ({"size": 8}, "size"),
        ({"background": 20}, "background"),
        ({"background": 0}, "background"),
        ({"views": ("sideways",)}, "sideways"),
        ({"views": ()}, "frontal"),
        ({"blush": (0.3, 1.2)}, "blush up to 1, found 1.2"),
    ],
)
def test_impossible_settings_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        SimulationSettings(**changes)
