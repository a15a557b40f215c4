"""The HDF5 files: what goes in comes out, and what is no such file is said to be none."""

import os
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from angiomorph.errors import InputError
from angiomorph.storage import store

FRAMES = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)


@settings(max_examples=15, deadline=None)
@given(
    frames=st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=3, max_dims=3, max_side=6))
    ),
    relation=st.sampled_from(["LIN", "LOG", "DISP"]),
    background=st.lists(st.integers(1, 500), max_size=4).map(tuple),
    frame_time=st.floats(0, 1e4),
)
def test_a_stored_run_is_read_back_exactly(tmp_path_factory, frames, relation, background, frame_time):
    path = tmp_path_factory.mktemp("store") / "s.h5"
    with store.create(path) as file:
        store.append(file, "run-000001", store.StoredRun(frames, relation, 12, background, frame_time))
    with store.open_store(path) as file:
        assert file["run-000001/frames"].chunks == (1, *frames.shape[1:])
        found = store.read(file, "run-000001")
    np.testing.assert_array_equal(found.frames, frames)
    assert found.frames.dtype == frames.dtype
    assert (found.relation, found.bits_stored, found.background, found.frame_time) == (relation, 12, background, frame_time)


@settings(max_examples=20, deadline=None)
@given(dtype=st.sampled_from([np.uint8, np.uint16]), damaged=st.integers(0, 3), place=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_on_the_disk_is_found_in_its_frame_alone(tmp_path_factory, dtype, damaged, place, bit):
    path = tmp_path_factory.mktemp("store") / "s.h5"
    frames = np.random.default_rng(0).integers(0, 256, (4, 5, 7)).astype(dtype)
    with store.create(path) as file:
        store.append(file, "run-000001", store.StoredRun(frames, "LIN", 8))
        chunk = file["run-000001/frames"].id.get_chunk_info_by_coord((damaged, 0, 0))
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + place % frames[0].nbytes] ^= 1 << bit
    path.write_bytes(content)
    with store.open_store(path) as file:
        with pytest.raises(OSError, match="filter returned failure"):
            store.read(file, "run-000001")
        for index, frame in enumerate(frames):
            if index != damaged:
                np.testing.assert_array_equal(file["run-000001/frames"][index], frame)
                continue
            with pytest.raises(OSError, match="filter returned failure"):
                file["run-000001/frames"][index]


def test_a_store_from_before_the_checksums_is_read(tmp_path):
    with store.create(tmp_path / "s.h5") as file:
        store.append(file, "run-000001", store.StoredRun(FRAMES, "LIN", 12))
        attributes = dict(file["run-000001"].attrs)
        group = file.create_group("run-000002")
        group.create_dataset("frames", data=FRAMES, chunks=(1, 3, 4))
        group.attrs.update(attributes)
    with store.open_store(tmp_path / "s.h5") as file:
        found = store.read(file, "run-000002")
    np.testing.assert_array_equal(found.frames, FRAMES)
    assert (found.relation, found.bits_stored, found.background) == ("LIN", 12, ())


def test_keys_are_sorted(tmp_path):
    with store.create(tmp_path / "s.h5") as file:
        for key in ("run-000002", "run-000010", "run-000001"):
            store.append(file, key, store.StoredRun(FRAMES, "LIN", 12))
    with store.open_store(tmp_path / "s.h5") as file:
        assert store.keys(file) == ["run-000001", "run-000002", "run-000010"]


@pytest.mark.parametrize("frames", [FRAMES[0], FRAMES.astype(np.float32), FRAMES.astype(np.int16)])
def test_frames_of_another_kind_are_refused(tmp_path, frames):
    with store.create(tmp_path / "s.h5") as file:
        with pytest.raises(InputError, match=r"run r: expected \(T, H, W\) frames of uint8 or uint16, got shape"):
            store.append(file, "r", store.StoredRun(frames, "LIN", 12))
        assert store.keys(file) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.h5", "found no such file"),
        ("text.h5", "cannot be opened"),
        ("", "cannot be opened"),
        ("other.h5", "found None version None; make one with `angiomorph prepare`"),
        ("newer.h5", "found 'angiomorph-store' version 2"),
    ],
)
def test_what_is_no_store(tmp_path, name, reason):
    (tmp_path / "text.h5").write_text("hello")
    h5py.File(tmp_path / "other.h5", "w").close()
    with h5py.File(tmp_path / "newer.h5", "w") as file:
        file.attrs.update({"format": store.FORMAT, "version": store.VERSION + 1})
    with pytest.raises(InputError, match=reason), store.open_store(tmp_path / name):
        pytest.fail("it opened")


def test_is_hdf5(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    h5py.File(tmp_path / "other.bin", "w").close()
    assert store.is_hdf5(tmp_path / "other.bin")
    assert not any(store.is_hdf5(tmp_path / name) for name in ("text.h5", "absent.h5", ""))


def test_arrays_and_attributes_round_trip(tmp_path):
    given = {"bsa": FRAMES.astype(np.float32), "vessel_mask": FRAMES > 3, "background": np.array([1, 2], np.int64)}
    store.write_arrays(tmp_path / "new" / "a.h5", given, {"lambda": 0.7, "units": "ln(intensity)"})
    found, attributes = store.read_arrays(tmp_path / "new" / "a.h5")
    assert sorted(found) == sorted(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert attributes == {"lambda": 0.7, "units": "ln(intensity)"}
    some, _ = store.read_arrays(tmp_path / "new" / "a.h5", ("background", "absent"))
    assert list(some) == ["background"]
    with h5py.File(tmp_path / "new" / "a.h5") as file:
        assert file["bsa"].chunks == (1, 3, 4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.h5"]


@pytest.mark.parametrize("name", ["absent.h5", "text.h5"])
def test_arrays_that_cannot_be_read(tmp_path, name):
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match=f"{name}: expected an HDF5 file written by angiomorph, "):
        store.read_arrays(tmp_path / name)


def test_a_store_is_no_file_of_arrays(tmp_path):
    with store.create(tmp_path / "store.h5") as file:
        store.append(file, "run-000001", store.StoredRun(FRAMES, "LIN", 12))
    with pytest.raises(InputError, match="expected a registration or a truth file, found the group 'run-000001'"):
        store.read_arrays(tmp_path / "store.h5")


def test_a_failed_write_keeps_what_was_there(tmp_path):
    store.write_arrays(tmp_path / "a.h5", {"bsa": FRAMES}, {})
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(TypeError):
        store.write_arrays(tmp_path / "a.h5", {"bsa": FRAMES}, {"lambda": object()})
    assert (tmp_path / "a.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a file that is a full disk")
@pytest.mark.parametrize("frames", [FRAMES, np.zeros((9, 200, 200), np.uint16)], ids=["small", "large"])
def test_a_full_disk_is_told_as_that(tmp_path, monkeypatch, frames):
    @contextmanager
    def on_full_disk(path):
        yield "/dev/full"

    monkeypatch.setattr(store, "replace_file", on_full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        store.write_arrays(tmp_path / "a.h5", {"bsa": frames}, {"lambda": 0.7})


def test_a_damaged_array_is_told_where_it_is_read(tmp_path):
    path = tmp_path / "a.h5"
    store.write_arrays(path, {"bsa": FRAMES, "moved": FRAMES}, {})
    with h5py.File(path) as file:
        chunk = file["bsa"].id.get_chunk_info(0)
    whole = path.read_bytes()
    path.write_bytes(whole[: chunk.byte_offset] + bytes(chunk.size) + whole[chunk.byte_offset + chunk.size :])
    np.testing.assert_array_equal(store.read_arrays(path, ["moved"])[0]["moved"], FRAMES)
    with pytest.raises(InputError, match=r"a\.h5: expected an HDF5 file written by angiomorph, but it cannot be read"):
        store.read_arrays(path)


def test_frames_are_counted_without_being_read(tmp_path):
    with store.create(tmp_path / "two.h5") as file:
        for count in (2, 5):
            store.append(file, f"run-{count}", store.StoredRun(np.zeros((count, 3, 4), np.uint8), "LIN", 8))
    with store.open_store(tmp_path / "two.h5") as file:
        assert [store.frame_count(file, key) for key in store.keys(file)] == [2, 5]


@pytest.mark.slow
def test_what_hdf5_remembers_of_visited_runs_is_bounded(tmp_path):
    with store.create(tmp_path / "many.h5") as file:
        for number in range(1000):
            store.append(file, f"run-{number:04d}", store.StoredRun(np.zeros((2, 4, 4), np.uint8), "LIN", 8))

    def remembered(file):
        for key in store.keys(file):
            store.read(file, key)
        return file.id.get_mdc_size()[2]

    with h5py.File(tmp_path / "many.h5") as file:
        assert remembered(file) > store.METADATA
    with store.open_store(tmp_path / "many.h5") as file:
        assert remembered(file) <= store.METADATA


def test_clean_frames_come_back_and_are_the_runs_own(tmp_path):
    clean = FRAMES // 2
    with store.create(tmp_path / "s.h5") as file:
        store.append(file, "run", store.StoredRun(FRAMES, "LIN", 12, clean=clean))
        store.append(file, "other", store.StoredRun(FRAMES, "LIN", 12))
        assert file["run/clean"].fletcher32
    with store.open_store(tmp_path / "s.h5") as file:
        np.testing.assert_array_equal(store.read(file, "run").clean, clean)
        assert store.read(file, "other").clean is None


@pytest.mark.parametrize("wrong", [FRAMES[1:], FRAMES.astype(np.int32)], ids=["fewer", "another type"])
def test_clean_frames_that_do_not_fit_are_refused(tmp_path, wrong):
    with store.create(tmp_path / "s.h5") as file:
        store.append(file, "run", store.StoredRun(FRAMES, "LIN", 12, clean=FRAMES // 2))
        with pytest.raises(InputError, match="run wrong: expected clean frames"):
            store.append(file, "wrong", store.StoredRun(FRAMES, "LIN", 12, clean=wrong))
        assert store.keys(file) == ["run"]


ELSEWHERE = {
    "a soft link to '/run-000001/frames'": lambda group: group.__setitem__("more", h5py.SoftLink("/run-000001/frames")),
    "an external link to 'other.h5'": lambda group: group.__setitem__("more", h5py.ExternalLink("other.h5", "/secret")),
    "an array kept in another file": lambda group: group.create_dataset("more", (2,), "u1", external=[("secret", 0, 2)]),
}


@pytest.mark.parametrize("found", ELSEWHERE)
def test_what_leads_to_other_files_is_refused(tmp_path, found):
    (tmp_path / "secret").write_bytes(b"ab")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = FRAMES
    with store.create(tmp_path / "s.h5") as file:
        store.append(file, "run-000001", store.StoredRun(FRAMES, "LIN", 12))
        ELSEWHERE[found](file["run-000001"])
    with (
        pytest.raises(InputError, match=f"expected a training store with all in the file itself, found {found}"),
        store.open_store(tmp_path / "s.h5"),
    ):
        pass
    store.write_arrays(tmp_path / "truth.h5", {"background": FRAMES}, {})
    with h5py.File(tmp_path / "truth.h5", "a") as file:
        ELSEWHERE[found](file)
    with pytest.raises(InputError, match=f"expected a registration or a truth file with all in the file itself, found {found}"):
        store.read_arrays(tmp_path / "truth.h5")


def test_a_run_that_holds_another_one_is_refused(tmp_path):
    with store.create(tmp_path / "s.h5") as file:
        store.append(file, "run-000001", store.StoredRun(FRAMES, "LIN", 12))
        file["run-000002"] = file["run-000001"]
    with pytest.raises(InputError, match=r"each group once, found '/run-00000[12]' twice"), store.open_store(tmp_path / "s.h5"):
        pass
