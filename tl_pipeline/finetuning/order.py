"""Which examples make the batch of a step: a function of seed and step alone."""

from collections.abc import Iterator

import numpy as np


def iterate_batches(
    n: int, batch_size: int, *, seed: int, steps: range
) -> Iterator[np.ndarray]:
    """Yields the rows of each step's batch, [B] int64, all of one size.

    Every example comes once before any comes again: the passes, each in an order of its
    own, stand one behind the other, and batches are cut from that.

    Args:
      n: Examples.
      batch_size: B.
      seed: Of the orders.
      steps: Which steps, from 0.

    Example:
      >>> batches = list(iterate_batches(4, 3, seed=0, steps=range(4)))
      >>> sorted(np.concatenate(batches).tolist())
      [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    """
    number, order = -1, np.zeros(0, np.int64)
    for step in steps:
        rows = np.empty(batch_size, np.int64)
        for i in range(batch_size):
            turn, place = divmod(step * batch_size + i, n)
            if turn != number:
                number, order = turn, np.random.default_rng([seed, turn]).permutation(n)
            rows[i] = order[place]
        yield rows
