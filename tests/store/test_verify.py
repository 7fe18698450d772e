import hashlib
import io
import random
import shutil

import h5py
import numpy as np
import pytest

from tl_pipeline.errors import NotFoundError, StoreError
from tl_pipeline.store.failures import (
    Failure,
    merge_failures,
    read_failures,
    write_failures,
)
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store


@pytest.fixture
def store(toy, tmp_path):
    content = toy.make_content(24)
    content[0, 0] = 3  # does not decode
    content[1, 2] = 5  # cannot be read
    store = toy.extract(tmp_path, content)
    with store.lock():
        store.record_extraction({"rows_computed": 20, "seconds": 1.5})
        store.record_parity({"shards": [store.manifest.shards[0].name]})
    return store


def committed_files(store):
    return [
        file
        for file in sorted(store.path.rglob("*"))
        if file.is_file() and not file.name.startswith(".lock")
    ]


def read_everything(toy, path):
    """Reads all that a user reads; returns whether every row was right."""
    store = open_store(path)
    right = True
    for feature in ("pool", "stage1"):
        rows = store.read(feature)
        wanted = toy.compute(rows.content, feature).astype("float16")
        right &= np.array_equal(rows.features, wanted)
    store.describe()
    store.has_parity()
    return right


def test_an_intact_store_has_counts_and_neither_problems_nor_notes(store):
    report = verify_store(store.path)
    assert report["intact"] and not report["problems"] and not report["notes"]
    assert report["shards"] == len(store.manifest.shards)
    assert report["snapshots"] == 1
    assert report["failures"] == len({f.content for f in store.failures()})


@pytest.mark.parametrize("n_flips", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_are_found_and_never_read_as_rows(toy, store, n_flips):
    rng = random.Random(0)
    files = committed_files(store)
    assert {file.name for file in files} >= {
        *("store.json", "failures.jsonl", "extractions.jsonl")
    }
    for k in range(n_flips):
        file = files[k % len(files)]
        data = file.read_bytes()
        # Half of them where the metadata of HDF5 is.
        span = 8 * (min(len(data), 2048) if k % 2 else len(data))
        bit = rng.randrange(span)
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        report = verify_store(store.path)
        assert not report["intact"], f"bit {bit} of {file.name}"
        assert any(file.name in problem for problem in report["problems"])
        try:
            assert read_everything(toy, store.path)
        except StoreError as error:
            assert str(store.path) in str(error)
        file.write_bytes(data)
    assert verify_store(store.path)["intact"]


def test_truncations_and_deletions_are_found(store):
    rng = random.Random(1)
    for file in committed_files(store):
        data = file.read_bytes()
        lengths = [0, 1, len(data) - 1, rng.randrange(len(data))]
        for length in lengths:
            # A journal that ends with a whole line lost records, not facts.
            whole_lines = data[:length].endswith(b"\n") or not length
            if file.suffix == ".jsonl" and whole_lines:
                continue
            file.write_bytes(data[:length])
            assert not verify_store(store.path)["intact"], f"{file.name} {length}"
        file.write_bytes(data)
        if file.name not in ("store.json", "extractions.jsonl"):
            file.unlink()
            assert any(
                file.name in problem for problem in verify_store(store.path)["problems"]
            )
            file.write_bytes(data)
    (store.path / "store.json").unlink()
    with pytest.raises(NotFoundError):
        verify_store(store.path)


def test_swapped_shards_are_found(store):
    first, second, *_ = sorted((store.path / "shards").iterdir())
    first.rename(store.path / "shards" / "x")
    second.rename(first)
    (store.path / "shards" / "x").rename(second)
    problems = verify_store(store.path)["problems"]
    assert {first.name in p for p in problems} == {True, False}


@pytest.mark.parametrize(
    "name", ["notes.txt", "shards/x.h5", "shards/000099-0123456789ab.h5", "snapshots/a"]
)
def test_a_foreign_file_is_a_problem_and_no_sweep_takes_a_users_file(store, name):
    (store.path / name).write_bytes(b"mine")
    (problem,) = verify_store(store.path)["problems"]
    assert f"{store.path / name} is not part of the store" in problem
    with store.lock():
        pass
    assert (store.path / name).exists() == ("000099" not in name)


def test_leftovers_of_a_killed_writer_are_notes_until_they_are_swept(store):
    number = store.manifest.next_number
    snapshot = store.path / "snapshots" / store.manifest.snapshots[0].name
    leftovers = [
        store.path / ".tmp-store.json-1",
        store.path / "shards" / ".tmp-000000-0123456789ab.h5-1",
        store.path / "shards" / f"{number:06d}-0123456789ab.h5",
        store.path / "snapshots" / "toy-0123456789ab.h5",
    ]
    for file in leftovers:
        shutil.copy(snapshot, file)
    report = verify_store(store.path)
    assert report["intact"] and len(report["notes"]) == 4
    with store.lock():
        assert not any(file.exists() for file in leftovers)
    assert verify_store(store.path)["notes"] == []


def test_a_reason_that_the_manifest_does_not_name_is_a_note_until_it_is_swept(store):
    # What a writer leaves that is killed between the reasons and the manifest.
    failures = store.failures()
    late = Failure("ab" * 32, "late.png", "broken", "decode")
    write_failures(store.path, merge_failures(failures, [late]))
    report = verify_store(store.path)
    assert report["intact"] and "1 lines of a killed writer" in report["notes"][0]
    assert store.failures() == failures
    with store.lock():
        assert read_failures(store.path) == failures
    assert verify_store(store.path)["notes"] == []


def test_a_stale_manifest_is_found(toy, store):
    old = (store.path / "store.json").read_bytes()
    with store.lock():
        new = toy.make_content(30, salt="new")
        toy.fill(store, new, fails=lambda digest: None)
    (store.path / "store.json").write_bytes(old)
    assert len(verify_store(store.path)["problems"]) >= 2


def test_commits_while_it_reads_are_no_problem_and_no_shard_is_read_twice(
    toy, store, monkeypatch
):
    # The manifest is read, then a writer commits two shards, then the folder is read,
    # and so on: as of a store that is being filled.
    from tl_pipeline.store import verify

    check, check_shard = verify._check, verify._check_shard
    calls, shards = [], []

    def check_late(path, manifest, checked):
        if len(calls) < 6:
            with store.lock():
                new = toy.make_content(20, salt=f"new {len(calls)}")
                toy.fill(store, new, fails=lambda digest: None)
        calls.append(manifest)
        return check(path, manifest, checked)

    def check_once(path, shard, manifest):
        shards.append(shard.name)
        return check_shard(path, shard, manifest)

    monkeypatch.setattr(verify, "_check", check_late)
    monkeypatch.setattr(verify, "_check_shard", check_once)
    assert verify_store(store.path)["intact"]
    assert len(calls) == 7
    assert sorted(shards) == [shard.name for shard in store.manifest.shards]


def test_a_shard_of_another_spec_under_a_live_number_is_a_problem(store):
    live = store.path / "shards" / store.manifest.shards[0].name
    copied = io.BytesIO(live.read_bytes())
    with h5py.File(copied, "r+") as file:
        file.attrs["spec"] = "{}"
    digest = hashlib.sha256(copied.getbuffer()).hexdigest()
    foreign = live.with_name(f"000000-{digest[:12]}.h5")
    foreign.write_bytes(copied.getbuffer())
    (problem,) = verify_store(store.path)["problems"]
    assert str(foreign) in problem
