"""What rows are said to take on the disk, beside what they took."""

import numpy as np
import pytest

from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.shards import build_shard
from tl_pipeline.store.snapshots import build_snapshot
from tl_pipeline.store.space import (
    foresee_store,
    make_store,
    measure_shards,
    measure_snapshot,
)
from tl_pipeline.store.store import open_store

SPEC = {"backbone": "toy", "store_dtype": "float16"}
VERSIONS = {"numpy": "0.0"}


def make_group(toy, n, features, size):
    ranges = tuple(slice(i, min(i + size, n)) for i in range(0, n, size))
    return Group(tuple(sorted(features)), toy.make_content(n), ranges, "plain", 0)


@pytest.mark.parametrize(
    ("n", "size", "features"),
    [
        (1, 8, {"pool": FeatureInfo((8,), "float16")}),
        (900, 400, {"pool": FeatureInfo((1280,), "float16")}),
        (70, 30, {"stage1": FeatureInfo((56, 56, 24), "float16")}),
        (3, 2, {"wide": FeatureInfo((900, 700), "float32")}),
        (
            500,
            500,
            {
                "a": FeatureInfo((64,), "float32"),
                "b": FeatureInfo((7, 7, 64), "float32"),
            },
        ),
    ],
)
def test_shards_take_what_they_were_said_to_within_one_percent(toy, n, size, features):
    group = make_group(toy, n, features, size)
    space = measure_shards([group], features, spec=SPEC, versions=VERSIONS)
    actual = 0
    for rows in group.ranges:
        shape = rows.stop - rows.start
        shard = build_shard(
            0,
            group.content[rows],
            {k: np.ones((shape, *f.shape), f.dtype) for k, f in features.items()},
            infos=features,
            spec=SPEC,
            recipe="plain",
            view=0,
            versions=VERSIONS,
        )
        actual += len(shard.data)
    assert space.shards == len(group.ranges)
    assert space.bytes == pytest.approx(actual, rel=0.01)
    assert sum(space.features.values()) < space.bytes


def test_a_snapshot_takes_what_it_was_said_to_within_one_percent(toy, tmp_path):
    store = toy.make_store(tmp_path)
    for n in (1, 50, 40_000):
        examples = toy.make_examples(toy.make_content(n))
        actual = len(build_snapshot(examples)[0])
        assert measure_snapshot(store, examples) == pytest.approx(actual, rel=0.01)


def test_a_snapshot_that_is_there_takes_nothing(toy, tmp_path):
    store = toy.make_store(tmp_path)
    examples = toy.make_examples(toy.make_content(20))
    with store.lock():
        toy.fill(store, examples.content)
        store.commit_snapshot(examples)
    assert measure_snapshot(store, examples) == 0


def test_a_foreseen_store_plans_without_being_there_and_is_made_as_foreseen(
    toy, tmp_path
):
    foreseen = foresee_store(
        tmp_path / "stores",
        name="toy",
        spec=toy.SPEC,
        features=toy.FEATURES,
        batch_size=7,
    )
    content = toy.make_content(20)
    (group,) = foreseen.plan(content, ["pool"])
    assert len(group.content) == 20
    assert list(tmp_path.iterdir()) == []
    store = make_store(foreseen)
    assert store.path == foreseen.path and store.batch_size == 7
    assert open_store(store.path).manifest == foreseen.manifest
    assert make_store(store) is store
