"""Broken files: what the mutations make, that each fault is noticed, and a short form of the command."""

import io
import sys

import numpy as np
import pydicom
import pytest

from benchmarks.dicom import fuzz, mutations, trees
from benchmarks.dicom.fuzz import Child, Outcome, fault
from benchmarks.dicom.mutations import Mutation
from benchmarks.dicom.trees import Tree

pytestmark = pytest.mark.slow

ALWAYS = ("explicit", "eight bit", "LOG", "implicit", "big endian", "deflated", "enhanced", "RLE")
NAMES = (*ALWAYS, "JPEG-LS", "JPEG 2000", "JPEG")  # the last three where their encoders are installed
GOOD = Outcome("read", digest="a", warnings=1)


@pytest.fixture(scope="module")
def good():
    return mutations.bases()


def named(good, name):
    found = [one for one in good if one.name == name]
    if not found and name not in ALWAYS:
        pytest.skip(f"expected an encoder of {name}, found none")
    return found[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_parser_finds_what_pydicom_finds(good, name):
    one = named(good, name)
    dataset = pydicom.dcmread(io.BytesIO(one.data))
    tags = [int(element.tag) for part in (dataset.file_meta, dataset) for element in part]
    found = [element for element in one.elements if not element.depth]
    if name == "deflated":
        tags = tags[: len(found)]
    assert [element.tag for element in found] == tags
    assert found[-1].end == (len(one.data) if name != "deflated" else found[-1].end)
    for keyword, value in (("PatientName", b"SIMULATED^RUN"), ("Modality", b"XA")):
        if element := one.find(keyword):
            assert one.data[element.value : element.end].strip() == value


def test_every_base_and_each_fragment_is_found(good):
    assert set(ALWAYS) <= {one.name for one in good} <= set(NAMES)
    assert len(named(good, "RLE").fragments()) == 1 + mutations.SHAPE[0]


def test_inner_elements_are_found_with_their_depth(good):
    enhanced = next(one for one in good if one.name == "enhanced")
    numbers = [e for e in enhanced.elements if e.tag == 0x00209156]  # FrameAcquisitionNumber
    assert [int.from_bytes(enhanced.data[e.value : e.end], "little") for e in numbers] == [1, 2, 3, 4]
    assert {e.depth for e in numbers} == {4}  # sequence, item, sequence, item


def test_a_deflate_bomb_is_small_and_inflates_to_the_same_run(good):
    deflated = next(one for one in good if one.name == "deflated")
    bomb = next(m for m in mutations.of_base(deflated, np.random.default_rng(0)) if m.detail == f"{1 << 26} bytes").make()
    assert len(bomb) < 1 << 17
    found = pydicom.dcmread(io.BytesIO(bomb))
    assert found[0x7001, 0x0010].value == bytes(1 << 26)
    assert found.PixelData == pydicom.dcmread(io.BytesIO(deflated.data)).PixelData


def test_the_mutations_of_a_seed_are_the_same_and_of_every_kind(good):
    one, two, other = (mutations.mutations(good, seed, 400) for seed in (1, 1, 2))
    assert [(m.name, m.make()) for m in one] == [(m.name, m.make()) for m in two]
    assert [m.name for m in one] != [m.name for m in other]
    assert len(one) == 400
    assert {"cut", "length", "flip of another value", "nested sequences", "fragments", "lying header", "deflate bomb"} <= {
        m.kind for m in one
    }
    whole = {base.name: base.data for base in good}
    same = [m.name for m in one if m.make() == whole.get(m.base)]
    assert all("offset table / true" in name or "transfer syntax" in name for name in same)
    assert len(mutations.mutations(good[:1], 1, 5000)) == 5000  # filled up with random bytes


@pytest.mark.parametrize("name", [name for name in NAMES if name != "deflated"])
def test_a_changed_number_stands_in_the_file(good, name):
    data = mutations.change_values(named(good, name), NumberOfFrames="65536", Rows=7)
    changed = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    assert (changed.NumberOfFrames, changed.Rows, changed.Columns) == (65536, 7, mutations.SHAPE[2])


@pytest.mark.parametrize(
    ("allowed", "found", "expected"),
    [
        ("refuse", Outcome("refused", "words"), ""),
        ("refuse", GOOD, "read (the same pixels), where the file has no such pixels"),
        ("same", GOOD, ""),
        ("same", Outcome("read", digest="b", warnings=2), "other pixels without a word"),
        ("told", Outcome("read", digest="b", warnings=2), ""),
        ("told", Outcome("read", digest="b", warnings=1), "other pixels without a word"),
        ("any", Outcome("read", digest="b"), ""),
        ("any", Outcome("traceback", "KeyError: 1"), "traceback: KeyError: 1"),
        ("any", Outcome("slow", "6.0 s; "), "slow: 6.0 s; "),
    ],
)
def test_what_counts_as_a_fault(allowed, found, expected):
    assert fault(Mutation("base", "kind", "detail", allowed, bytes), found, GOOD) == expected


READERS = {
    "traceback": "raise KeyError('x')",
    "memory": "bytearray(b'x') * (1200 << 20)",
    "died": "import os; os.abort()",
    "slow": "import time; time.sleep(600)",
}


@pytest.mark.parametrize("kind", READERS)
def test_a_child_reports_each_kind_of_fault_and_reads_on(tmp_path, kind):
    code = (
        "from benchmarks.dicom import fuzz\n"
        "def reader(path):\n"
        f"    if path.name == 'bad': {READERS[kind]}\n"
        "    return fuzz.Outcome('read', digest=path.name)\n"
        "fuzz.serve(reader)\n"
    )
    child = Child((sys.executable, "-c", code), hard_seconds=10)
    try:
        assert child.read(tmp_path / "good").digest == "good"
        assert child.read(tmp_path / "bad").kind == kind
        assert child.read(tmp_path / "good").digest == "good"
    finally:
        child.close()


def test_processor_time_and_refused_memory_are_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", -1.0)
    assert fuzz.measure(lambda path: Outcome("refused"), tmp_path).kind == "slow"
    monkeypatch.undo()
    assert fuzz.measure(lambda path: Outcome("refused", "malformed (MemoryError)"), tmp_path).kind == "memory"


def test_150_broken_files_are_refused_in_words_or_read(good):
    child = Child()
    try:
        found, _ = fuzz.run(mutations.mutations(good, 1, 150), good, child)
    finally:
        child.close()
    faults = [f"{mutation.name}: {wrong}" for mutation, _, wrong in found if wrong]
    assert faults == []
    assert sum(outcome.kind == "read" for _, outcome, _ in found) > 30


def test_40_broken_trees_are_refused_in_words_or_read():
    child = Child()
    try:
        found, _ = fuzz.run_trees(trees.trees(1, 40), child)
    finally:
        child.close()
    assert [f"{tree.name}: {wrong}" for tree, _, wrong in found if wrong] == []
    assert {tree.base for tree, _, _ in found} == {"folder", "zip", "gz", "DICOMDIR"}
    assert {outcome.kind for _, outcome, _ in found} == {"refused", "read"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("(path.parent / 'new').touch()", "left behind or changed: given/new"),
        ("(path.parent.parent / 'outside' / '1.dcm').write_bytes(b'')", "left behind or changed: outside/1.dcm"),
        ("import tempfile; tempfile.mkstemp(prefix='x')", "left behind or changed: temporary/x"),
    ],
)
def test_files_that_are_written_or_left_behind_are_faults(code, expected):
    code = (
        "from benchmarks.dicom import fuzz\n"
        "def reader(path):\n"
        f"    if path.name == 'bad': {code}\n"
        "    return fuzz.Outcome('read')\n"
        "fuzz.serve(reader)\n"
    )
    child = Child((sys.executable, "-c", code))
    bad = Tree("zip", "names", "", "any", "bad", lambda root: {"bad": str(root).encode()})
    try:
        ((_, _, wrong),), _ = fuzz.run_trees([bad], child)
    finally:
        child.close()
    assert wrong.startswith(expected)
