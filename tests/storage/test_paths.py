"""A path by itself is one path."""

from pathlib import Path

import pytest

from angiomorph.storage.paths import list_paths


@pytest.mark.parametrize("given", ["a/b", Path("a/b"), ["a/b"], (Path("a/b"),), iter(["a/b"]), {"a/b": 1}])
def test_one_path_is_a_list_of_one(given):
    assert list_paths(given) == [Path("a/b")]


def test_several_keep_their_order():
    assert list_paths(["b", Path("a"), "b"]) == [Path("b"), Path("a"), Path("b")]


def test_none_are_none():
    assert list_paths([]) == []
