import dataclasses
import shutil

import numpy as np
import pytest

from tl_pipeline.errors import NotFoundError, RequestError, StoreDamagedError
from tl_pipeline.examples import Examples
from tl_pipeline.store import batches as batching
from tl_pipeline.store.batches import Batches
from tl_pipeline.store.store import open_store

N = 600


@pytest.fixture(scope="module")
def made(toy, tmp_path_factory):
    """A store of 600 examples sorted by class, whose classes lie in own shards."""
    content = toy.make_content(N)
    examples = dataclasses.replace(
        toy.make_examples(content),
        targets=tuple(f"class {i * 6 // N}" for i in range(N)),
    )
    store = toy.make_store(tmp_path_factory.mktemp("batches"), shard_rows=32)
    with store.lock():
        for start in range(0, N, N // 6):  # one class after the other, as it comes in
            toy.fill(store, content[start : start + N // 6])
        store.commit_snapshot(examples)
    return store.path


@pytest.fixture
def filled(made, tmp_path):
    """A copy of that store."""
    return open_store(shutil.copytree(made, tmp_path / "store"))


def collect(epoch):
    """Returns an epoch's features, rows and batch sizes."""
    taken = list(epoch)
    return (
        np.concatenate([batch.features for batch in taken]),
        np.concatenate([batch.rows for batch in taken]),
        [len(batch.rows) for batch in taken],
    )


def epochs(batches):
    return batches.in_order(), batches.shuffled(seed=0)


@pytest.mark.parametrize("buffer_rows", [7, 64, 100, 1000])
@pytest.mark.parametrize("split", [None, "val"])
def test_an_epoch_holds_every_row_once_and_the_one_that_read_gives(
    filled, split, buffer_rows
):
    wanted = filled.read("pool", split=split)
    batches = Batches(
        filled, "pool", split=split, batch_size=7, buffer_rows=buffer_rows
    )
    failed = [batches.examples.ids[i] for i in batches.failed]
    assert sorted(failed) == sorted(wanted.failed)
    assert failed
    assert len(batches) == len(wanted.ids)
    for epoch in epochs(batches):
        features, rows, sizes = collect(epoch)
        assert set(sizes[:-1]) == {7}
        assert sizes[-1] == (len(wanted.ids) - 1) % 7 + 1
        assert features.dtype == np.float16
        order = np.argsort(rows)
        assert [batches.examples.ids[i] for i in rows[order]] == list(wanted.ids)
        np.testing.assert_array_equal(features[order], wanted.features)


def test_a_seed_and_an_epoch_give_the_same_batches_and_others_give_others(filled):
    def order(seed, epoch):
        batches = Batches(filled, "pool", batch_size=16, buffer_rows=128)
        return collect(batches.shuffled(seed=seed, epoch=epoch))[1].tolist()

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(*case)) for case in ((0, 0), (0, 1), (1, 0))}) == 3


def test_a_short_last_batch_is_dropped_when_asked(filled):
    batches = Batches(filled, "pool", batch_size=64, buffer_rows=100)
    _, rows, sizes = collect(batches.shuffled(seed=0, drop_last=True))
    assert set(sizes) == {64}
    assert len(set(rows.tolist())) == len(rows) == len(batches) // 64 * 64


def test_batches_mix_classes_that_lie_in_shards_of_their_own(filled):
    # With a sixth of the rows in the buffer. A batch of 32 drawn at random from 6
    # classes misses a given one with probability (5/6) ** 32 = 0.3 %.
    batches = Batches(filled, "pool", batch_size=32, buffer_rows=100)
    labels = np.array([int(name[-1]) for name in batches.examples.targets])
    plain, mixed = (
        np.mean([len(np.unique(labels[rows])) for _, rows in list(epoch)[:-1]])
        for epoch in epochs(batches)
    )
    assert plain < 2
    assert mixed > 5.5


def test_a_buffer_of_all_rows_shuffles_uniformly(filled):
    # How far after its neighbor in the store a row comes, over epochs, all round: in
    # fifths, a chi-squared of 4 degrees of freedom is above 18.5 one time in a
    # thousand. The seeds are fixed.
    batches = Batches(filled, "pool", batch_size=1000)
    neighbors = collect(batches.in_order())[1][:2]
    gaps = []
    for epoch in range(100):
        rows = collect(batches.shuffled(seed=0, epoch=epoch))[1]
        first, second = (int(np.flatnonzero(rows == row)[0]) for row in neighbors)
        gaps.append((second - first) % len(rows) * 5 // len(rows))
    counts = np.bincount(gaps, minlength=5)
    assert ((counts - 20) ** 2 / 20).sum() < 18.5


def test_no_more_rows_than_the_buffer_and_a_piece_are_ever_held(filled, monkeypatch):
    taken = []
    empty = Batches._empty
    monkeypatch.setattr(
        Batches, "_empty", lambda self, n: taken.append(n) or empty(self, n)
    )
    collect(Batches(filled, "pool", batch_size=8, buffer_rows=128).shuffled(seed=0))
    assert taken == [128 + 128 // 64]


def test_examples_with_the_same_bytes_all_get_the_row(filled, toy):
    # Rows 0, 0, 2 of the store: three of them over a span of three.
    examples = filled.snapshot()
    order = collect(Batches(filled, "pool").in_order())[1]
    content = examples.content[
        order[: len(order) // 3 * 3].reshape(-1, 3)[:, [0, 0, 2]]
    ]
    examples = toy.make_examples(content.reshape(-1, 32))
    wanted = filled.read("pool", snapshot=examples)
    batches = Batches(filled, "pool", snapshot=examples, batch_size=3, buffer_rows=64)
    for epoch in epochs(batches):
        features, rows, _ = collect(epoch)
        np.testing.assert_array_equal(features[np.argsort(rows)], wanted.features)


def test_rows_that_are_moved_during_an_epoch_are_found_again(filled):
    kept = filled.snapshot().take(np.arange(0, N, 2))
    batches = Batches(filled, "pool", snapshot=kept, batch_size=16)
    wanted = collect(batches.in_order())
    epoch = batches.in_order()
    begun = [next(epoch)]
    with filled.lock():
        filled.commit_snapshot(kept)
        assert filled.collect(keep=1).rewritten
    features, rows, _ = collect([*begun, *epoch])
    np.testing.assert_array_equal(rows, wanted[1])
    np.testing.assert_array_equal(features, wanted[0])


def test_a_damaged_shard_is_refused_when_its_turn_comes(filled):
    batches = Batches(filled, "pool")
    path = filled.path / "shards" / filled.manifest.shards[-1].name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for epoch in epochs(batches):
        with pytest.raises(StoreDamagedError, match="SHA-256 is not the committed"):
            collect(epoch)


def test_a_row_larger_than_its_file_takes_no_memory(filled, monkeypatch):
    info = filled.manifest.features["pool"]
    huge = dataclasses.replace(
        filled.manifest, features={"pool": info._replace(shape=(10**12,))}
    )
    monkeypatch.setattr(filled._lookup, "manifest", huge)
    with pytest.raises(StoreDamagedError, match=r"the manifest has float16 \[\d+, 10"):
        Batches(filled, "pool", batch_size=1)


def test_no_examples_make_no_batches(filled):
    none = Examples("toy", (), np.empty((0, 32), np.uint8), (), (), ())
    batches = Batches(filled, "pool", snapshot=none)
    assert [list(epoch) for epoch in epochs(batches)] == [[], []]


def test_what_cannot_be_batched_is_refused(filled):
    with pytest.raises(RequestError, match="batches of 0 rows"):
        Batches(filled, "pool", batch_size=0)
    with pytest.raises(RequestError, match="batches of 9 rows out of a buffer of 8"):
        Batches(filled, "pool", batch_size=9, buffer_rows=8)
    with pytest.raises(RequestError, match="known are train, val, test"):
        Batches(filled, "pool", split="vla")
    with pytest.raises(NotFoundError, match="no feature 'pol'"):
        Batches(filled, "pol")


def test_large_rows_fill_a_buffer_of_bytes_not_of_rows(filled, monkeypatch):
    monkeypatch.setattr(batching, "BUFFER_BYTES", 16 * 100)
    assert Batches(filled, "pool", batch_size=8).buffer_rows == 100
    assert Batches(filled, "pool", batch_size=300).buffer_rows == 300
