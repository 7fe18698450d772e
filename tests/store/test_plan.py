import numpy as np
import pytest

from tl_pipeline.errors import NotFoundError, SpecMismatchError, StoreError
from tl_pipeline.spec import View
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.store import open_store


def never(_digest):
    return None


def shapes(groups):
    return [(g.features, len(g.content), len(g.ranges)) for g in groups]


def test_distinct_rows_come_in_byte_order_in_ranges(toy, tmp_path):
    content = toy.make_content(20)
    store = toy.make_store(tmp_path)
    (group,) = store.plan(np.concatenate([content, content[::-2]]), ["pool"])
    rows = [row.tobytes() for row in group.content]
    assert rows == sorted(row.tobytes() for row in content)
    assert [(r.start, r.stop) for r in group.ranges] == [(0, 8), (8, 16), (16, 20)]


def test_only_the_missing_feature_and_only_the_new_rows_are_planned(toy, tmp_path):
    old, new = toy.make_content(20), toy.make_content(5, salt="new")
    store = toy.make_store(tmp_path)
    with store.lock():
        toy.fill(store, old, fails=never)
        assert store.plan(old, ["pool"]) == []
        store.declare({"stage1": toy.FEATURES["stage1"]})
        groups = store.plan(np.concatenate([old, new]), ["stage1", "pool"])
        assert shapes(groups) == [(("pool", "stage1"), 5, 1), (("stage1",), 20, 3)]
        assert toy.fill(store, new, fails=never) == 5
        groups = store.plan(np.concatenate([old, new]), ["stage1", "pool"])
        assert shapes(groups) == [(("stage1",), 25, 4)]


def test_views_and_recipes_are_rows_of_their_own(toy, tmp_path):
    content = toy.make_content(10)
    store = toy.make_store(tmp_path)
    with store.lock():
        toy.fill(store, content, fails=never)
        assert len(store.plan(content, ["pool"], view=View("flip", 1))) == 1
        toy.fill(store, content, fails=never, view=View("flip", 1))
        assert store.plan(content, ["pool"], view=View("flip", 1)) == []
        assert len(store.plan(content, ["pool"], view=View("flip", 2))) == 1
    assert len(store.rows("pool")[0]) == 10


def test_settled_failures_are_left_out_until_they_are_retried(toy, tmp_path):
    content = toy.make_content(12)
    bad = content[4].tobytes()
    store = toy.make_store(tmp_path)
    with store.lock():

        def fails(digest):
            return "decode" if digest.tobytes() == bad else None

        assert toy.fill(store, content, fails=fails) == 11
        assert store.plan(content, ["pool"]) == []
        assert [failure.content for failure in store.failures()] == [bad.hex()]
        (group,) = store.plan(content, ["pool"], retry_failed=True)
        assert group.content.tobytes() == bad
        assert toy.fill(store, content, fails=never, retry_failed=True) == 1
        assert store.failures() == []
        assert not (store.path / "failures.jsonl").read_bytes()
    assert dict(store.manifest.failed) == {}


def test_files_that_could_not_be_read_are_always_attempted_after_the_rest(
    toy, tmp_path
):
    content = toy.make_content(20)
    bad = sorted(row.tobytes() for row in content)[0]
    store = toy.make_store(tmp_path)
    with store.lock():

        def fails(digest):
            return "io" if digest.tobytes() == bad else None

        toy.fill(store, content, fails=fails, stop_after=1)
        main, again = store.plan(content, ["pool"])
        assert len(main.content) == 12 and again.content.tobytes() == bad
        toy.fill(store, content, fails=fails)
        before = store.manifest
        assert toy.fill(store, content, fails=fails) == 0
        assert store.manifest == before
        assert toy.fill(store, content, fails=never) == 1
    assert store.manifest.retry == ()


def test_a_value_failure_concerns_only_plans_that_ask_for_its_feature(toy, tmp_path):
    content = toy.make_content(10)
    content[:, 1] = 0
    content[3, 1] = 1  # overflows in stage1
    store = toy.make_store(tmp_path)
    with store.lock():
        assert toy.fill(store, content, features=["stage1"], fails=never) == 9
        assert store.failures()[0].feature == "stage1"
        assert store.plan(content, ["stage1"]) == []
        groups = store.plan(content, ["pool", "stage1"])
        assert shapes(groups) == [(("pool",), 9, 2)]
        (group,) = store.plan(content, ["pool"])
        assert len(group.content) == 10


def test_a_failure_whose_reason_was_lost_is_attempted_again(toy, tmp_path):
    content = toy.make_content(8)
    store = toy.make_store(tmp_path)
    with store.lock():
        toy.fill(store, content, fails=lambda digest: "decode")
        assert store.plan(content, ["pool"]) == []
        (store.path / "failures.jsonl").unlink()
        (group,) = store.plan(content, ["pool"])
    assert len(group.content) == 8


def test_a_range_in_which_every_row_failed_is_committed_without_a_shard(toy, tmp_path):
    content = toy.make_content(20)
    store = toy.make_store(tmp_path)
    with store.lock():
        (group,) = store.plan(content, ["pool"])
        hexes = [row.tobytes().hex() for row in group.content[group.ranges[0]]]
        shard = store.commit(
            group,
            0,
            content=group.content[:0],
            arrays={},
            failed=[Failure(hex_, "x.png", "broken", "decode") for hex_ in hexes],
            versions={},
        )
    assert shard is None
    assert len(open_store(store.path).manifest.failed) == 8
    assert store.manifest.shards == ()


def test_a_commit_must_account_for_its_range_in_order(toy, tmp_path):
    content = toy.make_content(8)
    store = toy.make_store(tmp_path)
    with store.lock():
        (group,) = store.plan(content, ["pool"])
        for rows in (group.content[:-1], group.content[::-1], content[:0]):
            arrays = {"pool": toy.compute(rows, "pool")}
            with pytest.raises(StoreError, match="account, in order, for the 8 rows"):
                store.commit(group, 0, content=rows, arrays=arrays, versions={})
        rows = group.content
        with pytest.raises(StoreError, match=r"pool should have shape \[8, 8\]"):
            store.commit(group, 0, content=rows, arrays={}, versions={})
        values = toy.compute(rows, "pool")
        values[2, 1] = np.inf
        with pytest.raises(StoreError, match=rows[2].tobytes().hex()):
            store.commit(group, 0, content=rows, arrays={"pool": values}, versions={})
    assert list((store.path / "shards").iterdir()) == []


def test_unknown_and_different_features_are_refused(toy, tmp_path):
    store = toy.make_store(tmp_path)
    with pytest.raises(NotFoundError, match="no feature 'tokens'; it has pool"):
        store.plan(toy.make_content(1), ["tokens"])
    with pytest.raises(SpecMismatchError, match=r"pool.shape  stored \[8\]"):
        store.declare({"pool": FeatureInfo((9,), "float16")})


def test_another_process_that_came_first_with_another_classifier_is_noticed(
    toy, tmp_path
):
    store, other = toy.make_store(tmp_path), toy.make_store(tmp_path)
    content = toy.make_content(3)
    other.declare({"logits": FeatureInfo((8,), "float16", "a" * 64)})
    store.declare({"logits": FeatureInfo((8,), "float16", "b" * 64)})
    with other.lock():
        (group,) = other.plan(content, ["logits"])
        arrays = {"logits": toy.compute(group.content, "pool")}
        other.commit(group, 0, content=group.content, arrays=arrays, versions={})
    with pytest.raises(SpecMismatchError, match="logits.classifier  stored aaaa"):
        with store.lock():
            pass
