import json
import subprocess
import sys

import numpy as np
import pytest

from tl_pipeline.errors import (
    NotFoundError,
    RequestError,
    SpecMismatchError,
    StoreDamagedError,
    StoreError,
)
from tl_pipeline.store import rows as tables
from tl_pipeline.store.lookup import read_settled
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.store.verify import verify_store


@pytest.fixture
def content(toy):
    return toy.make_content(30)


@pytest.fixture
def store(toy, tmp_path, content):
    return toy.extract(tmp_path, content)


def test_reading_gives_rows_in_order_of_id_beside_their_table(toy, store, content):
    examples = toy.make_examples(content)
    rows = open_store(store.path).read("pool")
    kept = [i for i, id_ in enumerate(examples.ids) if id_ in rows.ids]
    assert list(rows.ids) == [examples.ids[i] for i in kept]
    assert set(rows.failed) == set(examples.ids) - set(rows.ids) != set()
    assert rows.targets == tuple(examples.targets[i] for i in kept)
    assert rows.groups == tuple(examples.groups[i] for i in kept)
    np.testing.assert_array_equal(rows.content, content[kept])
    wanted = toy.compute(content[kept], "pool").astype("float16")
    np.testing.assert_array_equal(rows.features, wanted)
    assert rows.features.dtype == "float16"


def test_splits_part_the_rows(store):
    parts = [set(store.read("pool", split=name).ids) for name in ("train", "val")]
    assert all(parts) and not parts[0] & parts[1]
    with pytest.raises(RequestError, match="split 'dev'; known are train, val, test"):
        store.read("pool", split="dev")


def test_duplicates_share_a_row(toy, store, content):
    twice = toy.make_examples(np.concatenate([content[:9], content[:9]]))
    rows = store.read("pool", snapshot=twice)
    half = len(rows.ids) // 2
    np.testing.assert_array_equal(rows.features[:half], rows.features[half:])


def test_a_snapshot_of_rows_that_were_never_computed_says_what_to_do(toy, store):
    new = toy.make_examples(toy.make_content(3, salt="new"))
    with pytest.raises(StoreError, match="no pool of 3 of the 3.*00000.png: extract"):
        store.read("pool", snapshot=new)


def test_an_unknown_feature_lists_those_there_are(store):
    with pytest.raises(NotFoundError, match="'tokens'; it has pool, stage1"):
        store.read("tokens")


def test_all_rows_come_with_their_digests(toy, store):
    rows, content = store.rows("stage1")
    wanted = toy.compute(content, "stage1").astype("float16")
    np.testing.assert_array_equal(rows, wanted)


def test_the_latest_snapshot_is_read_unless_another_is_named(toy, store, content):
    first = toy.make_examples(content)
    later = toy.make_examples(content[:20])
    with store.lock():
        entry = store.commit_snapshot(later)
    assert store.snapshot().digest == later.digest == entry.digest
    assert store.snapshot(digest=first.digest[:8]).digest == first.digest
    before = entry.name, (store.path / "snapshots" / entry.name).stat().st_ino
    with store.lock():
        store.commit_snapshot(first)
        assert store.snapshot().digest == first.digest
        again = store.commit_snapshot(later)
    assert before == (again.name, (store.path / "snapshots" / again.name).stat().st_ino)
    assert len(store.snapshots()) == 2
    with pytest.raises(NotFoundError, match="no snapshot with digest ffff.*it has toy"):
        store.snapshot(digest="ffff")
    with pytest.raises(RequestError, match="2 snapshots whose digests begin with"):
        store.snapshot(digest="")


def test_two_datasets_share_rows_and_must_be_named(toy, store, content):
    other = toy.make_examples(content[:12], dataset="other")
    with store.lock():
        assert store.plan(content[:12], ["pool"]) == []
        store.commit_snapshot(other)
    with pytest.raises(RequestError, match="2 datasets: other, toy. Name one"):
        store.read("pool")
    assert len(store.read("pool", dataset="other").ids) < 13
    with pytest.raises(NotFoundError, match="no snapshot of dataset 'third'"):
        store.snapshot("third")


def test_opening_for_another_spec_lists_every_field_that_differs(toy, store):
    wanted = {**toy.SPEC, "weights": "1" * 64, "preprocess": {"size": [9, 9]}}
    with pytest.raises(SpecMismatchError) as caught:
        open_store(store.path, spec=wanted)
    assert "weights          stored 000000000000…, wanted 111111111111…" in str(
        caught.value
    )
    assert "preprocess.size  stored [8, 8], wanted [9, 9]" in str(caught.value)
    assert "backbone" not in str(caught.value).splitlines()[1:]
    assert open_store(store.path, spec=toy.SPEC).digest == store.digest


def test_a_moved_store_is_the_same_store(store, tmp_path):
    moved = tmp_path / "elsewhere"
    store.path.rename(moved)
    assert verify_store(moved)["intact"]
    assert len(open_store(moved).read("pool").ids)


def test_batch_size_and_shard_rows_are_fixed_when_the_store_is_made(toy, tmp_path):
    def make(batch_size, **features):
        return FeatureStore.create_or_open(
            tmp_path,
            name="a/b",
            spec=toy.SPEC,
            features={"pool": FeatureInfo((8,), "float16"), **features},
            batch_size=batch_size,
        )

    first = make(16)
    later = make(64, big=FeatureInfo((2**20,), "float16"))
    assert first.path == later.path
    assert first.path.name.startswith("a_b-")
    assert later.batch_size == 16
    assert later.manifest.shard_rows == 4096
    assert later.dtype == "float16"


def test_writing_without_the_lock_is_refused(toy, store, content):
    with pytest.raises(StoreError, match="within `with store.lock"):
        store.commit_snapshot(toy.make_examples(content))


def test_a_reader_sees_what_was_committed_after_it_opened(toy, store, content):
    reader = open_store(store.path)
    with store.lock():
        toy.fill(store, toy.make_content(9, salt="new"), fails=lambda digest: None)
    before = len(reader.rows("pool")[0])
    reader.reload()
    assert len(reader.rows("pool")[0]) == before + 9


def test_a_reader_that_misses_a_shard_reloads_the_manifest_once(toy, tmp_path):
    # As after merging: the shard that the reader knows is gone, its rows are not.
    content = toy.make_content(30)
    path = toy.extract(tmp_path / "a", content).path
    reader = open_store(path)
    toy.make_store(tmp_path / "b", shard_rows=100)
    other = toy.extract(tmp_path / "b", content).path
    for file in ("store.json", "failures.jsonl"):
        (path / file).write_bytes((other / file).read_bytes())
    for shard in (path / "shards").iterdir():
        shard.unlink()
    for shard in (other / "shards").iterdir():
        shard.rename(path / "shards" / shard.name)
    assert len(reader.read("pool").ids) == len(open_store(path).read("pool").ids)
    for shard in (path / "shards").iterdir():
        shard.unlink()
    with pytest.raises(StoreDamagedError, match="not there, though the manifest names"):
        open_store(path).read("pool")


def test_a_reader_reads_on_as_long_as_the_manifest_is_another_one(store):
    # As among writers that merge more often than it can read.
    reloads = iter([True, True, True, False])

    def read():
        raise FileNotFoundError(2, "No such file", "shards/x.h5")

    with pytest.raises(StoreDamagedError, match="shards/x.h5 is not there, though"):
        read_settled(read, lambda: next(reloads))
    assert list(reloads) == []


def test_a_snapshot_collected_with_its_rows_gives_way_to_the_latest(
    toy, tmp_path, monkeypatch
):
    content = toy.make_content(12)
    content[:, :3] = 0  # none fails
    store = toy.make_store(tmp_path)
    with store.lock():
        toy.fill(store, content)
        store.commit_snapshot(toy.make_examples(content))
    reader = open_store(store.path)
    read_snapshot = tables.read_snapshot

    def read_and_lose(lookup, *which):
        examples = read_snapshot(lookup, *which)
        with store.lock():  # between the snapshot and its rows
            store.commit_snapshot(toy.make_examples(content[:7]))
            store.collect(keep=1)
        return examples

    monkeypatch.setattr(tables, "read_snapshot", read_and_lose)
    np.testing.assert_array_equal(reader.read("pool").content, content[:7])


def test_oldest_rows_are_stored_rows_of_the_first_and_the_last_shard(toy, store):
    content = store.rows("pool")[1][2:]
    sample = store.oldest_rows(content, ["pool", "stage1"], n=4)
    assert sample.shards[0] == store.manifest.shards[0].name
    for feature, (places, values) in sample.stored.items():
        assert len(places) == 4
        wanted = toy.compute(sample.content[places], feature).astype("float16")
        np.testing.assert_array_equal(values, wanted)
    available = {row.tobytes() for row in content}
    assert {row.tobytes() for row in sample.content} <= available
    nothing = store.oldest_rows(toy.make_content(3, salt="new"), ["pool"])
    assert len(nothing.content) == 0 and not nothing.stored


def test_versions_are_those_that_computed_the_shard(toy, store):
    assert store.versions(store.manifest.shards[0].name) == toy.VERSIONS


def test_what_it_describes_is_plain_data(store):
    described = json.loads(json.dumps(store.describe()))
    assert described["features"]["pool"]["shape"] == [8]
    assert described["snapshots"][0]["dataset"] == "toy"
    assert described["rows"] == len(store.rows("pool")[0])
    assert described["parity"] is False and described["rate"] is None
    toys, examples = described["datasets"]["toy"], store.snapshot()
    assert toys["examples"] == len(examples) == sum(toys["splits"].values())
    counts = {row["class"]: row["train"] for row in toys["classes"]}
    assert list(counts) == list(examples.classes)
    labeled = zip(examples.targets, examples.splits, strict=True)
    assert counts["class 0"] == list(labeled).count(("class 0", "train")) > 0
    assert toys["unlabeled"] == examples.targets.count(None) > 0


def test_unreadable_examples_are_replaced_a_dataset(store):
    with store.lock():
        store.record_unreadable("toy", [("b.png", "denied"), ("a.png", "denied")])
        store.record_unreadable("other", [("c.png", "gone")])
        store.record_unreadable("toy", [("a.png", "gone")])
    unread = [(f.dataset, f.id) for f in store.failures() if not f.content]
    assert unread == [("other", "c.png"), ("toy", "a.png")]
    assert verify_store(store.path)["intact"]


def test_the_store_joins_with_its_snapshot_in_six_lines_of_h5py(store):
    shard = store.path / "shards" / store.manifest.shards[0].name
    snapshot = store.path / "snapshots" / store.manifest.snapshots[0].name
    import h5py

    with h5py.File(shard) as s, h5py.File(snapshot) as t:
        rows = {key.tobytes(): i for i, key in enumerate(s["content_digest"][:])}
        found = [(i, rows[k.tobytes()]) for i, k in enumerate(t["content_digest"][:])
                 if k.tobytes() in rows]  # fmt: skip
        features = s["features/pool"][:][[row for _, row in found]]
        targets = t["target"].asstr()[:][[i for i, _ in found]]

    read = store.read("pool")
    place = {id_: i for i, id_ in enumerate(read.ids)}
    ids = [store.snapshot().ids[i] for i, _ in found]
    wanted = read.features[[place[id_] for id_ in ids]]
    np.testing.assert_array_equal(features, wanted)
    assert [t or None for t in targets] == [read.targets[place[id_]] for id_ in ids]


CREATE = """
import sys
from pathlib import Path
from tl_pipeline.store import FeatureInfo, FeatureStore
sys.stdin.readline()
store = FeatureStore.create_or_open(
    Path(sys.argv[1]),
    name="toy",
    spec={"backbone": "toy", "store_dtype": "float16"},
    features={"pool": FeatureInfo((8,), "float16")},
    batch_size=int(sys.argv[2]),
)
print(store.batch_size)
"""


def test_processes_that_make_a_store_at_once_agree_on_one(tmp_path):
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path), str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for size in (1, 2, 3, 4)
    ]
    for maker in makers:
        assert maker.stdin
        maker.stdin.write("\n")
        maker.stdin.flush()
    answers = {maker.communicate()[0] for maker in makers}
    assert len(answers) == 1 and answers <= {"1\n", "2\n", "3\n", "4\n"}
