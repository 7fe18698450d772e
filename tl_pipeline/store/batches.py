"""Minibatches of a feature that need not fit in memory.

A feature of a snapshot's examples, piece by piece: in the order in which rows lie in
the store, or shuffled. Memory is bounded by construction: the buffer, which is kept
for the next epoch, a batch, and a shard while it is verified, whatever the store's
size; and 16 bytes an example to know where its row is.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import RequestError
from tl_pipeline.examples import Examples
from tl_pipeline.spec import PLAIN
from tl_pipeline.store.lookup import Lookup, read_settled
from tl_pipeline.store.manifest import ShardEntry
from tl_pipeline.store.reading import read_span
from tl_pipeline.store.rows import check_known, find_places, split_rows
from tl_pipeline.store.schema import CHUNK_BYTES, SHARDS
from tl_pipeline.store.store import FeatureStore

BUFFER_BYTES = 256 * 2**20
# A full buffer is filled from at least so many places of the store.
_PIECES = 64


class Batch(NamedTuple):
    """Some rows of a feature.

    Attributes:
      features: [B, ...] in the store's dtype; the caller's to keep or change.
      rows: [B] int64, their positions in the table of `Batches.examples`.
    """

    features: np.ndarray
    rows: np.ndarray


class Batches:
    """A feature of a snapshot's examples, in batches.

    Making one finds every row, once; an epoch after that is a plain read:

        batches = Batches(store, "pool", split="train")
        for epoch in range(10):
            for features, rows in batches.shuffled(seed=0, epoch=epoch):
                ...  # targets: those of batches.examples at `rows`

    Attributes:
      examples: The whole snapshot, all splits; `Batch.rows` are positions in it.
      failed: [F] int64 positions of the examples asked for that gave no row.
      batch_size: Rows in a batch; the last one of an epoch may hold fewer.
      buffer_rows: Rows that are shuffled among each other.
    """

    def __init__(
        self,
        store: FeatureStore,
        feature: str,
        *,
        split: str | None = None,
        dataset: str | None = None,
        snapshot: str | Examples | None = None,
        batch_size: int = 1024,
        buffer_rows: int | None = None,
    ):
        """Finds the rows; nothing but one of them is read.

        Args:
          store: The store.
          feature: The feature's name.
          split: One split only.
          dataset: The dataset's name; may be left out if there is one.
          snapshot: As in `FeatureStore.read`.
          batch_size: Rows in a batch.
          buffer_rows: Rows that are shuffled among each other, a batch or more; by
            default 256 MiB of them. They take that memory during an epoch.

        Raises:
          As `FeatureStore.read`, and:
          RequestError: The batch is empty or larger than the buffer.
        """
        check_known(f"Feature store {store.path}", [feature], store.manifest.features)
        if not isinstance(snapshot, Examples):
            snapshot = store.snapshot(dataset, snapshot)
        info = store.manifest.features[feature]
        if buffer_rows is None:
            buffer_rows = max(batch_size, BUFFER_BYTES // info.row_bytes)
        if not 1 <= batch_size <= buffer_rows:
            raise RequestError(
                f"Asked for batches of {batch_size} rows out of a buffer of "
                f"{buffer_rows}: a batch holds at least 1 row, a buffer at least a "
                "batch."
            )
        self.examples = snapshot
        self.batch_size = batch_size
        self.buffer_rows = buffer_rows
        self._store, self._feature, self._info = store, feature, info
        rows = split_rows(snapshot, split)
        places, self._shards = read_settled(lambda: self._find(rows), store.reload)
        self._buffer: np.ndarray | None = None
        self._starts = np.cumsum([0, *(shard.rows for shard in self._shards)])
        self.failed = rows[places < 0]
        order = np.argsort(places, kind="stable")[len(self.failed) :]
        self._rows, self._places = rows[order], places[order]
        if len(self):
            # A file vouches for a row's size before memory is taken on a manifest's
            # word; `read` takes none before it has checked.
            store.read(feature, snapshot=snapshot.take(self._rows[:1]))

    def __len__(self) -> int:
        """Returns the rows of an epoch."""
        return len(self._rows)

    def in_order(self) -> Iterator[Batch]:
        """Yields every row once, in the order in which rows lie in the store."""
        for start in range(0, len(self), self.batch_size):
            stop = min(start + self.batch_size, len(self))
            features = self._empty(stop - start)
            self._fill(start, features)
            yield Batch(features, self._rows[start:stop].copy())

    def shuffled(
        self, *, seed: int, epoch: int = 0, drop_last: bool = False
    ) -> Iterator[Batch]:
        """Yields every row once, in an order that is drawn anew for each epoch.

        Pieces of a chunk or less are drawn from all over the store until the buffer is
        full; its rows are shuffled, and cut into batches. So rows that lie side by
        side in a shard meet in one buffer, but seldom in one batch. Where the buffer
        holds all rows, the order is uniform over all orders.

        Args:
          seed: Of the drawing: the same seed and epoch give the same batches.
          epoch: Number of the epoch.
          drop_last: Whether to leave out the rows that do not fill a batch.

        Raises:
          StoreError: The store was deleted meanwhile, or its rows were collected.
          StoreDamagedError: A shard is not the committed one.
        """
        rng = np.random.default_rng([seed, epoch])
        n, size = len(self), min(self.buffer_rows, len(self))
        chunk_rows = max(1, CHUNK_BYTES // self._info.row_bytes)
        piece = max(1, min(chunk_rows, size // _PIECES))
        # Kept from epoch to epoch: memory is slow to touch for the first time. An
        # epoch that begins within another one takes its own.
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            buffer = self._empty(size + piece)
        rows = np.empty(size + piece, np.int64)
        filled = 0
        starts = rng.permutation(np.arange(0, n, piece))
        for i, start in enumerate(starts.tolist()):
            stop = min(start + piece, n)
            end = filled + stop - start
            self._fill(start, buffer[filled:end])
            rows[filled:end] = self._rows[start:stop]
            filled = end
            is_last = i + 1 == len(starts)
            if filled < size and not is_last:
                continue
            order = rng.permutation(filled)
            kept = 0 if is_last else filled % self.batch_size
            for first in range(0, filled - kept, self.batch_size):
                taken = order[first : min(first + self.batch_size, filled - kept)]
                if len(taken) == self.batch_size or not drop_last:
                    yield Batch(buffer[taken], rows[taken])
            # Less than a batch goes on to the next buffer.
            left = order[filled - kept :]
            buffer[:kept], rows[:kept] = buffer[left], rows[left]
            filled = kept
        self._buffer = buffer

    def _empty(self, n: int) -> np.ndarray:
        return np.empty((n, *self._info.shape), self._info.dtype)

    def _find(self, rows: np.ndarray) -> tuple[np.ndarray, list[ShardEntry]]:
        """Returns the rows' places in the store, -1 for none, and the shards there."""
        lookup = Lookup(self._store.path, self._store.manifest)
        places = find_places(lookup, self._feature, self.examples, rows)
        return places, lookup.manifest.shards_of(self._feature, PLAIN)

    def _fill(self, start: int, out: np.ndarray) -> None:
        """Fills an array with the rows from a rank in the store's order on."""
        stop = start + len(out)
        at = start
        while at < stop:
            number = int(np.searchsorted(self._starts, self._places[at], "right")) - 1
            low, high = self._starts[number : number + 2]
            end = at + int(np.searchsorted(self._places[at:stop], high))
            self._fill_from(
                self._shards[number], low, at, out[at - start : end - start]
            )
            at = end

    def _fill_from(
        self, shard: ShardEntry, low: int, start: int, out: np.ndarray
    ) -> None:
        inside = self._places[start : start + len(out)] - low
        first, last = int(inside[0]), int(inside[-1]) + 1
        path = self._store.path / SHARDS / shard.name
        is_dense = len(inside) == last - first and bool((np.diff(inside) == 1).all())
        try:
            stored = read_span(
                path,
                shard,
                self._feature,
                self._info,
                first,
                last,
                out=out if is_dense else None,
            )
            if not is_dense:
                out[...] = stored[inside - first]
        except FileNotFoundError:
            # Its rows were moved to a new shard meanwhile, or collected; `read` looks
            # at the store as it is now, and says so if they are gone.
            rows = self._rows[start : start + len(out)]
            found = self._store.read(
                self._feature, snapshot=self.examples.take(rows)
            ).features
            out[np.argsort(rows, kind="stable")] = found
