import pytest

from angiomorph.cli import main, parser
from angiomorph.cli.arguments import read_options
from angiomorph.errors import InputError
from angiomorph.simulate.settings import SimulationSettings


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"motion_mm": (5.0, 1.0)}, "`motion_mm` 5.0,1.0: expected the lower end first"),
        ({"dose": (-1.0, 1.0)}, "`dose` -1.0,1.0: expected a number from 1, got -1.0"),
        ({"size": 8}, "`size` 8: expected a whole number from 32"),
        ({"size": 66}, "`size` 66: expected a multiple of 4"),
        ({"background": 20}, "`background` 20: expected at most `frames`, 12"),
        ({"background": 0}, "`background` 0: expected a whole number from 1"),
        ({"views": ("sideways",)}, "`views` sideways: expected some of frontal,lateral,oblique, got sideways"),
        ({"views": ()}, "`views`: expected at least one to draw from"),
        ({"bits_stored": (9,)}, "`bits_stored` 9: expected some of 8,10,12,16"),
        ({"kv": (50.0, 80.0)}, "`kv` 50.0,80.0: expected a number from 60.0 to 125.0, got 50.0"),
        ({"blush": (0.3, 1.2)}, "`blush` 0.3,1.2: expected a number from 0 to 1, got 1.2"),
    ],
)
def test_impossible_settings_are_refused(changes, told):
    with pytest.raises(InputError, match=told):
        SimulationSettings(**changes)


def test_the_command_line_draws_from_what_the_library_draws_from():
    given = ["simulate", "--size", "64", "--kv", "70", "80", "--views", "lateral", "--bits-stored", "8", "12", "--still", "0"]
    assert read_options(parser().parse_args(["simulate"]), SimulationSettings) == SimulationSettings()
    assert read_options(parser().parse_args(given), SimulationSettings) == SimulationSettings(
        size=64, kv=(70.0, 80.0), views=("lateral",), bits_stored=(8, 12), still=0.0
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--motion-mm", "5", "1"], "--motion-mm 5.0,1.0: expected the lower end first"),
        (["--background", "9", "--frames", "4"], "--background 9: expected at most --frames, 4"),
        ([], "--out, --store: expected a folder or a training store"),
        (["--picture", "p.png"], "--picture: expected --out DIR with it"),
    ],
)
def test_the_command_line_names_flags(capsys, given, told):
    assert main(["simulate", *given]) == 2
    assert told in capsys.readouterr().err
