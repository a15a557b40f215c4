"""Values as JSON knows them."""

import json
import math

from angiomorph.storage.json_values import replace_non_finite


def test_what_is_not_finite_becomes_null_wherever_it_stands():
    given = {"a": math.nan, "b": (1, math.inf, [-math.inf, 2.5]), "c": {"d": "nan", "e": None, "f": True}}
    found = json.loads(json.dumps(replace_non_finite(given), allow_nan=False))
    assert found == {"a": None, "b": [1, None, [None, 2.5]], "c": {"d": "nan", "e": None, "f": True}}
