"""Small shards become larger ones of the same rows, and nothing else changes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import StoreDamagedError
from tl_pipeline.store import reading
from tl_pipeline.store.merge import Merged
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

LOOP = Path(__file__).with_name("rewrite_loop.py")


def fill_nightly(toy, root, *, nights, rows=2, salt="", features=("pool",)):
    """Adds some rows a night, so that each makes a shard of its own."""
    store = toy.make_store(root, features=features)
    content = toy.make_content(nights * rows, salt=salt)
    content[:, 0] = 0  # none fails
    content[:, 1:3] = 0
    for night in range(nights):
        with store.lock():
            toy.fill(store, content[night * rows : (night + 1) * rows])
    return store


def merge(store, most):
    with store.lock():
        return store.merge(most=most)


def test_rows_read_the_same_after_a_merge(toy, tmp_path):
    store = fill_nightly(toy, tmp_path, nights=10)
    examples = toy.make_examples(store.rows("pool")[1])
    with store.lock():
        store.commit_snapshot(examples)
    before = store.read("pool")
    versions = store.versions(store.manifest.shards[0].name)
    assert merge(store, 5) == Merged(10, 3)
    assert [shard.rows for shard in store.manifest.shards] == [8, 8, 4]
    after = open_store(store.path).read("pool")
    np.testing.assert_array_equal(before.features, after.features)
    np.testing.assert_array_equal(before.content, after.content)
    assert store.versions(store.manifest.shards[0].name) == versions
    assert verify_store(store.path)["intact"]
    assert len(list((store.path / "shards").iterdir())) == 3


def test_a_merged_shard_is_the_one_that_one_extraction_would_have_made(toy, tmp_path):
    store = fill_nightly(toy, tmp_path / "a", nights=4)
    content = store.rows("pool")[1]
    merge(store, 3)
    whole = toy.make_store(tmp_path / "b")
    with whole.lock():
        toy.fill(whole, content)
    assert store.manifest.shards == whole.manifest.shards
    for shard in store.manifest.shards:
        one, two = (s.path / "shards" / shard.name for s in (store, whole))
        assert one.read_bytes() == two.read_bytes()


def test_few_shards_or_large_ones_stay_as_they_are(toy, tmp_path):
    store = fill_nightly(toy, tmp_path / "few", nights=5)
    manifest = store.manifest
    assert merge(store, 5) == Merged(0, 0) and store.manifest == manifest
    large = fill_nightly(toy, tmp_path / "large", nights=8, rows=4)
    assert merge(large, 5) == Merged(0, 0)


def test_a_shard_that_is_merged_while_it_is_read_is_not_called_damaged(
    toy, tmp_path, monkeypatch
):
    store = fill_nightly(toy, tmp_path, nights=10)
    reader = open_store(store.path)
    read_verified = reading._read_verified

    def read_and_lose(*which):
        monkeypatch.undo()
        data = read_verified(*which)
        merge(store, 5)
        return data

    monkeypatch.setattr(reading, "_read_verified", read_and_lose)
    values, content = reader.rows("pool")
    np.testing.assert_array_equal(values, toy.compute(content, "pool").astype("f2"))
    assert reader.manifest.shards == store.manifest.shards


def test_a_merge_is_done_once(toy, tmp_path):
    store = fill_nightly(toy, tmp_path, nights=10)
    merge(store, 5)
    files = toy.read_files(store.path)
    assert merge(store, 5) == Merged(0, 0)
    assert toy.read_files(store.path) == files


def test_only_what_was_computed_alike_is_merged(toy, tmp_path, monkeypatch):
    store = fill_nightly(toy, tmp_path, nights=3)
    monkeypatch.setattr(toy, "VERSIONS", {"numpy": "1.0", "platform": "toy"})
    fill_nightly(toy, tmp_path, nights=3, salt="newer")
    store.reload()
    assert merge(store, 3) == Merged(0, 0)
    assert merge(store, 2) == Merged(6, 2)
    versions = [store.versions(shard.name)["numpy"] for shard in store.manifest.shards]
    assert versions == ["0.0", "1.0"]


def test_a_merged_shard_is_vouched_for_if_all_its_sources_were(toy, tmp_path):
    store = fill_nightly(toy, tmp_path, nights=4)
    with store.lock():
        names = [shard.name for shard in store.manifest.shards]
        store.record_parity({"shards": names})
    fill_nightly(toy, tmp_path, nights=4, salt="unchecked")
    store.reload()
    assert merge(store, 3) == Merged(8, 2)
    (checked, unchecked) = store.manifest.shards
    assert not store.has_parity()
    with store.lock():
        store.record_parity({"shards": [unchecked.name]})
    assert store.has_parity()


def test_a_damaged_shard_is_not_merged_into_a_sound_one(toy, tmp_path):
    store = fill_nightly(toy, tmp_path, nights=10)
    shard = store.path / "shards" / store.manifest.shards[4].name
    data = bytearray(shard.read_bytes())
    data[-20] ^= 1
    shard.write_bytes(data)
    files = toy.read_files(store.path)
    with pytest.raises(StoreDamagedError, match=shard.name):
        merge(store, 5)
    left = {name for name in toy.read_files(store.path) if name in files}
    assert left == files.keys()
    assert open_store(store.path).manifest.shards == store.manifest.shards


def test_a_reader_of_the_old_manifest_finds_the_rows_in_the_new_shards(toy, tmp_path):
    store = fill_nightly(toy, tmp_path, nights=10)
    reader = open_store(store.path)
    merge(store, 5)
    rows, content = reader.rows("pool")
    np.testing.assert_array_equal(rows, toy.compute(content, "pool").astype("float16"))
    assert len(rows) == 20


def run_loop(folder: Path, *options: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(LOOP), "merge", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_merge_killed_at_every_step_ends_byte_equal_to_an_uninterrupted_one(
    tmp_path, every
):
    report = run_loop(tmp_path, "--every", str(every))
    assert report["problems"] == []
    assert report["kills"] == len(report["steps"]) > 60 // every
    for name in ("write", "fsync", "replace", "unlink"):
        assert f"before {name}" in report["steps"]


def test_a_merge_killed_at_random_moments_ends_byte_equal(tmp_path):
    report = run_loop(tmp_path, "--random", "10")
    assert report["problems"] == [] and report["kills"] == 10


@pytest.mark.slow
def test_a_merge_killed_two_hundred_times_ends_byte_equal(tmp_path):
    report = run_loop(tmp_path, "--random", "200")
    assert report["problems"] == [] and report["kills"] == 200
