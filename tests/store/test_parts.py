import dataclasses

import numpy as np
import pytest

from tl_pipeline.errors import StoreError
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.parts import Part, write_part


def compute_part(toy, store, group, i) -> Part:
    """Writes the part of one range as another process would."""
    rows = group.content[group.ranges[i]]
    kinds = [toy.fail_some(digest) for digest in rows]
    failed = [
        Failure(digest.tobytes().hex(), "some.png", f"{kind} went wrong", kind)
        for digest, kind in zip(rows, kinds, strict=True)
        if kind
    ]
    alone = dataclasses.replace(group, content=rows, ranges=(slice(len(rows)),))
    rows = rows[[kind is None for kind in kinds]]
    return write_part(
        store.path,
        alone,
        content=rows,
        arrays={name: toy.compute(rows, name) for name in group.features},
        infos={name: toy.FEATURES[name] for name in group.features},
        failed=failed,
        spec=toy.SPEC,
        versions=toy.VERSIONS,
    )


def commit_parts(toy, store, content, **options) -> None:
    for group in store.plan(content, ["pool"], **options):
        # Written from the last to the first, committed in order.
        numbers = range(len(group.ranges))
        parts = {i: compute_part(toy, store, group, i) for i in reversed(numbers)}
        for i in numbers:
            store.commit_part(group, i, parts[i])


def test_parts_make_the_same_store_as_commits_byte_for_byte(toy, tmp_path):
    content = toy.make_content(120)
    whole, by_parts = (toy.make_store(tmp_path / name) for name in "ab")
    with whole.lock():
        toy.fill(whole, content)
        whole.commit_snapshot(toy.make_examples(content))
    with by_parts.lock():
        commit_parts(toy, by_parts, content)
        by_parts.commit_snapshot(toy.make_examples(content))
    assert whole.manifest.failed and whole.manifest.retry
    assert toy.read_files(by_parts.path) == toy.read_files(whole.path)
    assert not list(by_parts.path.glob("shards/.tmp-*"))


def test_a_part_is_committed_as_its_own_range_only(toy, tmp_path):
    store = toy.make_store(tmp_path)
    with store.lock():
        (group,) = store.plan(toy.make_content(40), ["pool"])
        part = compute_part(toy, store, group, 1)
        lost = part._replace(failed=())
        for wrong, place in ((part, 0), (lost, 1), (Part("", None, ()), 1)):
            with pytest.raises(StoreError, match="does not account"):
                store.commit_part(group, place, wrong)
    assert not store.manifest.shards


@pytest.mark.parametrize("found", ["no such file", "it has 5"])
def test_a_part_that_is_not_whole_here_is_refused(toy, tmp_path, found):
    store = toy.make_store(tmp_path)
    with store.lock():
        (group,) = store.plan(toy.make_content(40), ["pool"])
        part = compute_part(toy, store, group, 0)
        file = store.path / "shards" / part.file
        if found == "it has 5":
            file.write_bytes(b"short")
        else:
            file.unlink()
        with pytest.raises(StoreError, match=f"{found}.*see the same folder"):
            store.commit_part(group, 0, part)
    assert not store.manifest.shards


def test_parts_that_nobody_committed_are_swept_by_the_next_writer(toy, tmp_path):
    store, content = toy.make_store(tmp_path), toy.make_content(40)
    with store.lock():
        (group,) = store.plan(content, ["pool"])
        parts = [compute_part(toy, store, group, i) for i in range(2)]
        store.commit_part(group, 0, parts[0])
    assert [path.name for path in store.path.glob("shards/.tmp-*")] == [parts[1].file]
    with store.lock():
        assert not list(store.path.glob("shards/.tmp-*"))
        commit_parts(toy, store, content)
    rows, _ = store.rows("pool")
    assert np.isfinite(rows).all() and len(store.manifest.shards) > 1


def test_a_part_of_rows_that_the_store_cannot_hold_is_refused(toy, tmp_path):
    store = toy.make_store(tmp_path)
    (group,) = store.plan(toy.make_content(3), ["pool"])
    with pytest.raises(StoreError, match="no number"):
        write_part(
            store.path,
            group,
            content=group.content,
            arrays={"pool": np.full((3, 8), np.nan)},
            infos=toy.FEATURES,
            failed=(),
            spec=toy.SPEC,
            versions={},
        )
    assert not list(store.path.glob("shards/.tmp-*"))
