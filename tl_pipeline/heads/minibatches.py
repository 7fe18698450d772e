"""Minibatches of features: what a training reads that does not hold all of them."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Minibatches(Protocol):
    """Features that come in batches, in an order drawn anew for each epoch.

    Attributes:
      batch_size: Rows in a batch; the last one of an epoch may hold fewer.
    """

    batch_size: int

    def __len__(self) -> int:
        """Returns the rows of an epoch."""
        ...

    def shuffled(
        self, *, seed: int, epoch: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features [B, ...] and their rows [B] in the table of targets."""
        ...


class ArrayBatches:
    """Minibatches of an array, in the order in which a resident training sees them."""

    def __init__(
        self,
        features: np.ndarray,
        *,
        batch_size: int,
        views: np.ndarray | None = None,
    ):
        """Keeps the arrays: [N, ...] floating, and [V, N, ...] other views of them."""
        self.features = features
        self.views = views
        self.batch_size = min(batch_size, len(features))

    def __len__(self) -> int:
        """Returns N."""
        return len(self.features)

    def shuffled(
        self, *, seed: int, epoch: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields features and rows; see `Minibatches`."""
        for rows in epoch_order(len(self), self.batch_size, seed=seed, epoch=epoch):
            rows = rows[rows >= 0]
            if self.views is None:
                yield self.features[rows], rows
                continue
            n, n_views = len(self), len(self.views)
            drawn = draw_views(rows, n, n_views, seed=seed, epoch=epoch)
            features = self.features[rows]
            augmented = np.flatnonzero(drawn >= n)
            view, row = np.divmod(drawn[augmented] - n, n)
            features[augmented] = self.views[view, row]
            yield features, rows


def epoch_order(n: int, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Returns the rows of each batch, [S, B] int32; -1 where the last one has none.

    Example:
      >>> sorted(epoch_order(3, 2, seed=0, epoch=0).ravel().tolist())
      [-1, 0, 1, 2]
    """
    order = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int32)
    return np.pad(order, (0, -n % batch_size), constant_values=-1).reshape(
        -1, batch_size
    )


def draw_views(
    rows: np.ndarray, n: int, n_views: int, *, seed: int, epoch: int
) -> np.ndarray:
    """Draws a view of each row for an epoch: the plain one or one of V, all alike.

    Args:
      rows: [...] int32 of the epoch; below 0: none.
      n: N.
      n_views: V.
      seed: Of the order of rows.
      epoch: Its number.

    Returns:
      [...] int32 rows of the array [(V + 1) * N, ...] that begins with the plain ones.

    Example:
      >>> draw_views(np.array([0, 1, -1]), 2, 0, seed=0, epoch=0)
      array([ 0,  1, -1], dtype=int32)
    """
    # Apart from the order of rows; a row's view does not depend on its place in it.
    views = np.random.default_rng([seed, epoch, 1]).integers(0, n_views + 1, n)
    return np.where(rows >= 0, rows + n * views[rows], rows).astype(np.int32)
