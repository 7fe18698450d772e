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

    def __init__(self, features: np.ndarray, *, batch_size: int):
        """Keeps the array: [N, ...] floating."""
        self.features = features
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
            yield self.features[rows], rows


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
