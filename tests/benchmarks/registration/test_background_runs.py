"""What the runs of a set are drawn from."""

from itertools import islice

import pytest

from angiomorph.errors import InputError
from benchmarks.registration.background_runs import ARRIVAL, CUT, DOSES, FRAMES, LEAST_AFTER, Plan, make_runs, plans

pytestmark = pytest.mark.slow

CTS = ("head", "", "chest")


@pytest.fixture(scope="module")
def drawn() -> list[Plan]:
    return list(plans(CTS, 300, 1, 64))


def test_a_plan_does_not_depend_on_how_many_there_are(drawn):
    assert list(plans(CTS, 9, 1, 64)) == list(islice(drawn, 9))
    assert list(plans(CTS, 9, 2, 64)) != drawn[:9]


def test_each_anatomy_meets_each_dose(drawn):
    assert {(plan.ct, plan.settings.dose) for plan in drawn[2:11]} == {(ct, dose) for ct in CTS for dose in DOSES}


def test_runs_are_as_long_as_the_arrival_of_iodine_needs(drawn):
    for plan in drawn:
        shown = plan.settings.frames - plan.cut
        assert FRAMES[0] <= shown <= FRAMES[1]
        if plan.cut:
            assert CUT[0] <= plan.cut < CUT[1]
            assert plan.settings.background == 2  # all of it is cut off
        else:
            assert ARRIVAL[0] <= plan.settings.background + 1 <= min(ARRIVAL[1], shown - LEAST_AFTER)
    assert {plan.settings.background for plan in drawn if not plan.cut} == set(range(1, 20))
    assert 0.03 < sum(plan.cut > 0 for plan in drawn) / len(drawn) < 0.15
    assert 0.2 < sum(plan.settings.still for plan in drawn) / len(drawn) < 0.4


def test_another_set_is_refused(tmp_path):
    def made(seed: int) -> None:
        make_runs(tmp_path, cts=CTS, vessels=None, runs=0, seed=seed, size=64, workers=1, progress=print)

    def other() -> None:
        make_runs(tmp_path, cts=CTS, vessels="cta", runs=0, seed=1, size=64, workers=1, progress=print)

    made(1)
    made(1)
    with pytest.raises(InputError, match="found one made otherwise"):
        other()
