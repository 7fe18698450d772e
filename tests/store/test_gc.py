"""A collection drops what no kept snapshot uses, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import RequestError, StoreDamagedError
from tl_pipeline.store.gc import plan_gc
from tl_pipeline.store.history import covered_shards
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

LOOP = Path(__file__).with_name("rewrite_loop.py")


@pytest.mark.parametrize("seed", range(8))
def test_kept_snapshots_read_the_same_after_a_collection(toy, tmp_path, seed):
    rng = np.random.default_rng(seed)
    content = toy.make_content(60, salt=f"{seed}")
    store = toy.make_store(tmp_path)
    with store.lock():
        for _ in range(rng.integers(2, 6)):
            some = rng.permutation(content)[: rng.integers(1, 25)]
            dataset = ("one", "two")[rng.integers(2)]
            features = ("pool", "stage1") if rng.integers(2) else ("pool",)
            toy.fill(store, some, features=features)
            store.commit_snapshot(toy.make_examples(some, dataset=dataset))
    keep = int(rng.integers(1, 3))
    latest = {entry.dataset: [] for entry in store.snapshots()}
    for entry in store.snapshots():
        latest[entry.dataset].append(entry)
    kept = [entry for entries in latest.values() for entry in entries[-keep:]]
    before = [store.read("pool", snapshot=entry.digest) for entry in kept]
    reader = open_store(store.path)
    planned = plan_gc(store.path, keep=keep)
    n_rows = sum(shard.rows for shard in store.manifest.shards)
    untouched = {shard.name for shard in store.manifest.shards}
    untouched -= {*planned.rewritten, *planned.removed}
    with store.lock():
        assert store.collect(keep=keep) == planned
        assert sum(s.rows for s in store.manifest.shards) == n_rows - planned.rows
        assert store.collect(keep=keep).is_empty
    for opened in (store, reader):  # the reader's manifest was the one before
        for entry, rows in zip(kept, before, strict=True):
            now = opened.read("pool", snapshot=entry.digest)
            np.testing.assert_array_equal(now.features, rows.features)
            assert (now.ids, now.targets, now.splits, now.failed) == (
                *(rows.ids, rows.targets, rows.splits, rows.failed),
            )
    assert untouched <= {shard.name for shard in store.manifest.shards}
    used = {
        row.tobytes() for e in kept for row in store.snapshot(None, e.digest).content
    }
    assert {row.tobytes() for row in store.rows("pool")[1]} <= used
    named = {*store.manifest.failed, *store.manifest.retry}
    assert {bytes.fromhex(digest) for digest in named} <= used
    report = verify_store(store.path)
    assert report["intact"] and report["notes"] == []


@pytest.fixture
def stale(toy, tmp_path):
    """A store of two snapshots, whose rows lie mixed in its shards."""
    store = toy.make_store(tmp_path)
    content = toy.make_content(24)
    with store.lock():
        toy.fill(store, content)
        store.commit_snapshot(toy.make_examples(content))
        store.commit_snapshot(toy.make_examples(content[:12]))
    return store


def test_a_plan_changes_nothing_and_five_snapshots_are_kept_by_default(toy, stale):
    before = toy.read_files(stale.path)
    assert plan_gc(stale.path).is_empty
    assert plan_gc(stale.path, keep=1).rows > 0
    assert toy.read_files(stale.path) == before
    with pytest.raises(RequestError, match="keep at least 1"):
        plan_gc(stale.path, keep=0)


def test_a_shard_written_anew_is_vouched_for_if_and_only_if_the_old_one_was(stale):
    covered, other, *_ = stale.manifest.shards
    with stale.lock():
        stale.record_parity({"shards": [covered.name]})
        plan = stale.collect(keep=1)
    assert {covered.name, other.name} <= set(plan.rewritten)
    first, second, *_ = stale.manifest.shards
    assert (first.number, second.number) == (covered.number, other.number)
    covered_now = covered_shards(stale.path)
    assert first.name in covered_now and second.name not in covered_now


def test_a_shard_written_anew_says_what_computed_its_rows(toy, stale):
    with stale.lock():
        stale.collect(keep=1)
    assert stale.versions(stale.manifest.shards[0].name) == toy.VERSIONS


def test_dropped_rows_are_computed_again_when_asked_for(toy, stale):
    content = toy.make_content(24)
    with stale.lock():
        plan = stale.collect(keep=1)
        assert toy.fill(stale, content, retry_failed=True) == plan.rows
    assert verify_store(stale.path)["intact"]


def run_loop(folder: Path, *options: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(LOOP), "gc", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_collection_killed_at_every_step_ends_as_an_uninterrupted_one(
    tmp_path, every
):
    report = run_loop(tmp_path, "--every", str(every))
    assert report["problems"] == []
    assert report["kills"] == len(report["steps"]) > 30 // every
    for name in ("before write", "before fsync", "after replace", "after unlink"):
        assert name in report["steps"]


@pytest.mark.slow
def test_a_collection_killed_at_two_hundred_random_moments_ends_the_same(tmp_path):
    report = run_loop(tmp_path, "--random", "200")
    assert report["problems"] == []
    assert report["kills"] == 200


def test_a_store_whose_first_extraction_is_unfinished_is_not_emptied(toy, tmp_path):
    store = toy.make_store(tmp_path)
    with store.lock():
        toy.fill(store, toy.make_content(10))
        with pytest.raises(RequestError, match="no snapshot yet"):
            store.collect()
    with pytest.raises(RequestError, match="Finish its extraction"):
        plan_gc(store.path)
    assert len(store.rows("pool")[1]) > 0


def test_a_shard_that_is_gone_is_one_sentence(toy, tmp_path):
    store = toy.make_store(tmp_path)
    content = toy.make_content(10)
    with store.lock():
        toy.fill(store, content)
        store.commit_snapshot(toy.make_examples(content))
    (store.path / "shards" / store.manifest.shards[0].name).unlink()
    with pytest.raises(StoreDamagedError, match="is not there"):
        plan_gc(store.path)
