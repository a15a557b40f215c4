"""The digest of code: it changes where the code does, and nowhere else."""

import hashlib
import sys

import pytest

from benchmarks.source import digest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the folder of a package of two modules, made_up.one and made_up.deep.two, that can be imported."""
    folder = tmp_path / "made_up"
    (folder / "deep").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "deep/__init__.py", "deep/two.py"):
        (folder / name).write_text(f"raise SystemExit('{name} was run')\n" if name.endswith(("one.py", "two.py")) else "")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_up", raising=False)  # another test's, of another folder
    digest.cache_clear()
    return folder


def test_digest_is_that_of_the_source(package):
    text = (package / "one.py").read_bytes()
    expected = hashlib.sha256(b"made_up.one one.py %d\n" % len(text) + text).hexdigest()
    assert digest("made_up.one") == expected[:16]


@pytest.mark.parametrize("changed", ["one.py", "deep/two.py", "deep/new.py"])
def test_package_changes_with_each_module_in_it(package, changed):
    before = digest("made_up")
    digest.cache_clear()
    assert digest("made_up") == before
    (package / changed).write_text("VALUE = 2\n")
    digest.cache_clear()
    assert digest("made_up") != before


def test_other_module_does_not_count(package):
    before = digest("made_up.one")
    (package / "deep" / "two.py").write_text("VALUE = 2\n")
    (package / "notes.txt").write_text("of no importance")
    digest.cache_clear()
    assert digest("made_up.one") == before


def test_renamed_module_counts(package):
    before = digest("made_up")
    (package / "one.py").rename(package / "other.py")
    digest.cache_clear()
    assert digest("made_up") != before


def test_unknown_module_is_none():
    with pytest.raises(ModuleNotFoundError, match=r"benchmarks\.nothing"):
        digest("benchmarks.nothing")
