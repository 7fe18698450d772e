import json

import pytest

from tl_pipeline.digest import canonical_json, json_digest
from tl_pipeline.errors import NotFoundError, StoreDamagedError, StoreError
from tl_pipeline.store.manifest import read_manifest


@pytest.fixture
def store(toy, tmp_path):
    return toy.extract(tmp_path, toy.make_content(20))


def rewrite(store, change):
    """Changes the manifest as someone does who knows how to make its digest."""
    value = json.loads((store.path / "store.json").read_bytes())
    del value["manifest_sha256"]
    change(value)
    value["manifest_sha256"] = json_digest(value)
    (store.path / "store.json").write_text(canonical_json(value) + "\n")


def test_it_is_canonical_json_that_comes_back_the_same(store):
    data = (store.path / "store.json").read_bytes()
    assert read_manifest(store.path) == store.manifest
    assert store.manifest.to_bytes() == data
    assert {
        *("batch_size", "digest", "failed", "features", "manifest_sha256", "name"),
        *("retry", "schema", "shard_rows", "shards", "snapshots", "spec"),
    } == set(json.loads(data))


def test_every_flipped_bit_is_refused(store):
    file = store.path / "store.json"
    data = file.read_bytes()
    for bit in range(0, 8 * len(data), 13):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with pytest.raises(StoreDamagedError, match="store.json is damaged"):
            read_manifest(store.path)


@pytest.mark.parametrize("data", [b"", b"[" * 10**6, b"null", b"[]", b'{"a":1e999}'])
def test_what_is_no_manifest_is_refused_with_the_stores_name(store, data):
    (store.path / "store.json").write_bytes(data)
    with pytest.raises(StoreDamagedError, match=f"{store.path.name}.*is damaged"):
        read_manifest(store.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["shards"][0].update(name="../../../etc/passwd"),
        lambda value: value["snapshots"][0].update(name="../x-0123456789ab.h5"),
        lambda value: value["shards"][0].update(rows=2**40),
        lambda value: value["shards"][0].update(rows=-1),
        lambda value: value["shards"][0].update(rows=1.0),
        lambda value: value["shards"][0].update(features=["pool", "other"]),
        lambda value: value["shards"].append(value["shards"][0]),
        lambda value: value["features"]["pool"].update(shape=[-8]),
        lambda value: value["features"]["pool"].update(dtype="object"),
        lambda value: value["features"].update({"../x": value["features"]["pool"]}),
        lambda value: value.update(shards={}),
        lambda value: value.update(failed=[]),
        lambda value: value.update(failed={"x": [""]}),
        lambda value: value.update(retry=["AB" * 32]),
        lambda value: value.update(digest="0" * 64),
        lambda value: value.update(extra=1),
        lambda value: value.pop("retry"),
    ],
)
def test_a_manifest_made_by_someone_else_is_refused(store, change):
    rewrite(store, change)
    with pytest.raises(StoreDamagedError, match="store.json is damaged"):
        read_manifest(store.path)


def test_a_later_schema_names_both_versions(store):
    rewrite(store, lambda value: value.update(schema=7))
    with pytest.raises(StoreError, match="schema version 7, this package reads 1"):
        read_manifest(store.path)


def test_no_store_says_what_to_name(tmp_path):
    with pytest.raises(NotFoundError, match="no store.json. Name the folder"):
        read_manifest(tmp_path)
