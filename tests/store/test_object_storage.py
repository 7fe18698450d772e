"""A store in a bucket: the same bytes as on disk, and the same promises."""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import (
    BucketError,
    ServerError,
    StoreConflictError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
)
from tl_pipeline.files import cache_folder
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.store import lease, writer
from tl_pipeline.store.catalog import list_stores
from tl_pipeline.store.manifest import read_manifest, replace_manifest
from tl_pipeline.store.merge import Merged
from tl_pipeline.store.parts import write_part
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

WRITER = Path(__file__).with_name("bucket_writer.py")


@pytest.fixture
def stored(toy, bucket):
    """A store of 40 examples in a bucket, whose shards nobody fetched yet."""
    store = toy.extract(bucket / "stores", toy.make_content(40))
    forget_copies()
    return open_store(str(store.path))


def forget_copies() -> None:
    for file in cache_folder("objects").iterdir():
        file.unlink()


def list_copies() -> list[Path]:
    files = cache_folder("objects").iterdir()
    return [file for file in files if file.suffix != ".used"]


def damage(path: ObjectPath) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_store_in_a_bucket_has_the_bytes_of_a_local_one(toy, bucket, tmp_path):
    content = toy.make_content(40)
    local = toy.extract(tmp_path / "stores", content)
    remote = toy.extract(bucket / "stores", content)
    assert toy.read_files(remote.path) == toy.read_files(local.path)
    forget_copies()
    there = open_store(str(remote.path))
    for name in ("pool", "stage1"):
        for mine, theirs in zip(there.rows(name), local.rows(name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert there.snapshot().digest == local.snapshot().digest
    assert there.failures() == local.failures()
    report = verify_store(str(remote.path))
    assert report == verify_store(local.path) and report["intact"]
    (listed,) = list_stores(str(bucket / "stores"))
    assert listed["intact"] and listed["path"] == str(remote.path)
    assert listed["rows"] == list_stores(tmp_path / "stores")[0]["rows"]


def test_a_second_extraction_of_the_same_reads_no_row(toy, stored, monkeypatch):
    sizes = []
    get = ObjectPath._get

    def counted(path, **asked):
        data, etag = get(path, **asked)
        if "/shards/" in str(path):
            sizes.append(len(data))
        return data, etag

    monkeypatch.setattr(ObjectPath, "_get", counted)
    content = toy.make_content(40)
    with stored.lock():
        assert toy.fill(stored, content, features=("pool", "stage1")) == 0
    rows = [shard.rows for shard in stored.manifest.shards]
    assert sorted(sizes) == sorted(32 * n for n in rows)  # digests alone
    sizes.clear()
    again = open_store(str(stored.path))
    again.declare(toy.FEATURES)
    with again.lock():
        assert toy.fill(again, content, features=("pool", "stage1")) == 0
    assert sizes == []


def test_parts_of_other_processes_make_the_same_store(toy, bucket, tmp_path):
    content = toy.make_content(40)
    content[:, :3] = 0  # none fails
    whole, by_parts = toy.make_store(tmp_path), toy.make_store(bucket)
    with whole.lock():
        toy.fill(whole, content)
    with by_parts.lock():
        for group in by_parts.plan(content, ["pool"]):
            for i, rows in enumerate(group.ranges):
                part = write_part(
                    by_parts.path,
                    dataclasses.replace(
                        group,
                        content=group.content[rows],
                        ranges=(slice(rows.stop - rows.start),),
                    ),
                    content=group.content[rows],
                    arrays={"pool": toy.compute(group.content[rows], "pool")},
                    infos=toy.FEATURES,
                    failed=(),
                    spec=toy.SPEC,
                    versions=toy.VERSIONS,
                )
                by_parts.commit_part(group, i, part)
    assert toy.read_files(by_parts.path) == toy.read_files(whole.path)


def test_a_merge_and_a_collection_leave_the_files_that_they_leave_on_disk(
    toy, bucket, tmp_path, monkeypatch
):
    monkeypatch.setattr(writer, "FRESH_SECONDS", -1)
    found = []
    for root in (bucket, tmp_path):
        store = toy.make_store(root)
        content = toy.make_content(12)
        content[:, :3] = 0
        for i in range(6):
            with store.lock():
                toy.fill(store, content[2 * i : 2 * i + 2])
                store.commit_snapshot(toy.make_examples(content[2 * i : 2 * i + 2]))
        with store.lock():
            assert store.merge(most=2) == Merged(6, 2)
            store.collect(keep=1)
        assert verify_store(store.path)["intact"]
        found.append(toy.read_files(store.path))
    assert found[0] == found[1] and len(found[0]) == 3


def test_two_commits_upon_one_manifest_are_one_and_a_refusal(toy, stored):
    first = read_manifest(stored.path)
    others = writer.commit_examples(
        stored.path, first, toy.make_examples(toy.make_content(3), dataset="theirs")
    )
    with pytest.raises(StoreConflictError, match="committed to it at the same time"):
        writer.commit_examples(
            stored.path, first, toy.make_examples(toy.make_content(4), dataset="mine")
        )
    assert read_manifest(stored.path) == others
    assert verify_store(stored.path)["intact"]
    # Who looks again adds to it.
    both = writer.commit_examples(
        stored.path, others, toy.make_examples(toy.make_content(4), dataset="mine")
    )
    assert {entry.dataset for entry in both.snapshots} == {"toy", "theirs", "mine"}
    with pytest.raises(StoreConflictError):
        replace_manifest(stored.path, None, first)


def test_many_writers_without_a_lease_lose_no_commit(toy, stored):
    def add(number: int) -> None:
        examples = toy.make_examples(toy.make_content(3), dataset=f"set {number}")
        while True:
            try:
                manifest = read_manifest(stored.path)
                writer.commit_examples(stored.path, manifest, examples)
            except StoreConflictError:
                continue
            return

    threads = [threading.Thread(target=add, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    datasets = [entry.dataset for entry in read_manifest(stored.path).snapshots]
    assert sorted(datasets) == [*(f"set {i}" for i in range(6)), "toy"]
    assert verify_store(stored.path)["intact"]


@pytest.fixture
def sleeper(toy, bucket):
    """A process that holds a store's lease, and commits when it is told to."""
    with subprocess.Popen(
        [sys.executable, str(WRITER), str(bucket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdout.readline() == "computed\n"
        yield process
        process.kill()


def test_a_store_that_is_being_written_says_by_whom(toy, bucket, sleeper):
    (path,) = bucket.iterdir()
    with pytest.raises(StoreLockedError, match=rf"process {sleeper.pid} on .*one can"):
        with open_store(str(path)).lock(wait=False):
            pass
    reply, _ = sleeper.communicate("go on\n")
    assert reply == "committed\n"
    for _ in range(2):  # free the moment it is given back, also by who is alive
        with open_store(str(path)).lock(wait=False):
            pass


def test_the_lease_of_a_killed_writer_is_free_at_once(toy, bucket, sleeper):
    sleeper.kill()
    sleeper.wait()
    (path,) = bucket.iterdir()
    with open_store(str(path)).lock(wait=False):
        pass


def test_a_lease_outlives_a_renewal_whose_answer_was_lost(toy, stored, monkeypatch):
    call = ObjectPath._call

    def lose_answer(path, method, **asked):
        call(path, method, **asked)
        raise ServerError("its server cannot be reached")

    clock = itertools.count()
    monkeypatch.setattr(time, "strftime", lambda *_: f"at {next(clock)}")
    with stored.lock():
        held = lease._held[stored.path]
        with monkeypatch.context() as patch, pytest.raises(ServerError):
            patch.setattr(ObjectPath, "_call", lose_answer)
            held.renew()
        held.renew()
        stored.commit_snapshot(toy.make_examples(toy.make_content(3)))


def test_a_writer_that_slept_through_its_lease_commits_nothing_and_says_so(
    toy, bucket, sleeper, tmp_path, monkeypatch
):
    os.kill(sleeper.pid, signal.SIGSTOP)  # alive, and not renewing
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    content = toy.make_content(30)
    said: list[str] = []
    (path,) = bucket.iterdir()
    store = open_store(str(path))
    with store.lock(on_wait=said.append):
        assert str(sleeper.pid) in said[0]
        os.kill(sleeper.pid, signal.SIGCONT)
        reply, _ = sleeper.communicate("commit now\n")
        assert reply.startswith("StoreConflictError: ")
        assert "no longer this process's to write" in reply
        toy.fill(store, content)
    local = toy.make_store(tmp_path)
    with local.lock():
        toy.fill(local, content)
    assert read_manifest(path) == local.manifest
    assert verify_store(path)["intact"]


@pytest.mark.parametrize("moments", [5, pytest.param(0, marks=pytest.mark.slow)])
def test_a_writer_killed_at_any_request_ends_byte_equal_to_a_local_one(
    bucket, tmp_path, moments
):
    done = subprocess.run(
        [
            *(sys.executable, str(WRITER), str(bucket), "--folder", str(tmp_path)),
            *("--moments", str(moments), "--seed", "3"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["kills"] == (moments or report["steps"])
    assert report["steps"] > 100


def test_leftovers_are_swept_when_they_are_nobodys_any_more(stored, monkeypatch):
    stray = stored.path / "shards" / "000099-0123456789ab.h5"
    stray.write_bytes(b"put by a writer that was killed, or is about to commit")
    with stored.lock():
        pass
    assert stray.exists()
    monkeypatch.setattr(writer, "FRESH_SECONDS", -1)
    with stored.lock():
        pass
    assert not stray.exists() and verify_store(stored.path)["intact"]


def test_a_corrupt_object_is_named_by_verify_and_by_reading(stored):
    shard = stored.manifest.shards[0]
    path = stored.path / "shards" / shard.name
    damage(path)
    report = verify_store(stored.path)
    assert not report["intact"] and len(report["problems"]) == 1
    assert f"{path} is damaged: its SHA-256" in report["problems"][0]
    with pytest.raises(StoreDamagedError, match=f"{path} is damaged: its SHA-256"):
        stored.rows("pool")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreDamagedError, match="bytes instead of"):
        stored.rows("pool")
    path.unlink()
    with pytest.raises(StoreDamagedError, match="is not there, though the manifest"):
        stored.rows("pool")
    (listed,) = list_stores(stored.path.parent)
    assert not listed["intact"] and shard.name in listed["problem"]


def test_verify_is_not_fooled_by_a_good_copy_of_a_corrupt_object(stored):
    stored.rows("pool")
    stored.rows("stage1")
    damage(stored.path / "shards" / stored.manifest.shards[0].name)
    assert not verify_store(stored.path)["intact"]


def test_a_corrupt_copy_is_fetched_again(toy, stored):
    wanted, content = stored.rows("pool")
    for copy in list_copies():
        data = bytearray(copy.read_bytes())
        data[-len(data) // 2] ^= 1
        copy.write_bytes(data)
    rows, keys = open_store(str(stored.path)).rows("pool")
    np.testing.assert_array_equal(rows, wanted)
    np.testing.assert_array_equal(keys, content)


def test_a_store_larger_than_the_cache_is_read_whole(stored, monkeypatch):
    wanted, _ = stored.rows("pool")
    largest = max(shard.bytes for shard in stored.manifest.shards)
    forget_copies()
    monkeypatch.setenv("TL_PIPELINE_CACHE_GB", str(2.5 * largest / 1e9))
    for _ in range(2):
        rows, _ = open_store(str(stored.path)).rows("pool")
        np.testing.assert_array_equal(rows, wanted)
    assert sum(copy.stat().st_size for copy in list_copies()) <= 2.5 * largest


def test_readers_that_share_a_small_cache_all_read_what_was_stored(stored, monkeypatch):
    wanted, _ = stored.rows("pool")
    largest = max(shard.bytes for shard in stored.manifest.shards)
    monkeypatch.setenv("TL_PIPELINE_CACHE_GB", str(2.5 * largest / 1e9))
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        readers = [open_store(str(stored.path)) for _ in range(3)]
        for rows, _ in pool.map(lambda reader: reader.rows("pool"), readers):
            np.testing.assert_array_equal(rows, wanted)


def test_a_copy_that_others_needed_the_room_of_is_fetched_again(stored, monkeypatch):
    wanted, _ = stored.rows("pool")
    opened = os.open
    gone = []

    def lose(path, *args, **kwargs):
        if "objects" in str(path) and str(path) not in gone:
            gone.append(str(path))
            os.unlink(path)
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", lose)
    np.testing.assert_array_equal(stored.rows("pool")[0], wanted)
    assert gone


def test_a_server_without_conditional_puts_is_refused_before_anything_is_lost(
    toy, make_bucket
):
    with pytest.raises(StoreError, match="ignores conditional puts"):
        toy.make_store(make_bucket("deaf"))


def test_a_store_root_in_no_bucket_is_a_wrong_request(toy, s3_environment):
    with pytest.raises(BucketError, match="there is no such bucket"):
        toy.make_store(ObjectPath("no-such-bucket", "stores"))
