"""What is absent is skipped, and fails where the continuous integration asks for it."""

import pytest

from tests.tools import require_package, require_tool


@pytest.fixture(params=["program", "package"])
def absent(request):
    """Return a function that asks for a program or a package that nobody has."""
    if request.param == "program":
        return lambda: require_tool("no-such-program")
    return lambda: require_package("no-such-package", "benchmark")


def test_absent_one_is_skipped(absent, monkeypatch):
    monkeypatch.delenv("ANGIOMORPH_REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-\w+ is not installed"):
        absent()


def test_absent_one_fails_where_it_is_required(absent, monkeypatch):
    monkeypatch.setenv("ANGIOMORPH_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"no-such-\w+ is not installed.*ANGIOMORPH_REQUIRE_TOOLS=1 asks for it"):
        absent()


def test_present_ones_are_found(monkeypatch):
    monkeypatch.setenv("ANGIOMORPH_REQUIRE_TOOLS", "1")
    require_package("numpy", "benchmark")
    assert require_tool("sh").endswith("sh")
