"""Folds for cross-validation: stratified, groups kept whole, nearly the same tomorrow.

Where an example goes is a matter of its digest, not of its place in the table: each
prefers a fold by hash and goes there unless that fold has had its fill of the class,
then to the next. That is consistent hashing with bounded loads (Mirrokni, Thorup and
Zadimoghaddam, 2018, https://arxiv.org/abs/1608.01350): an example that comes or goes
moves a few others of its class at most, where shuffling would move nearly all.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError

# How much more than its even share of a class a fold takes before it passes examples
# on. Less is better stratified, more is steadier: with a quarter, 13 of 20,000 examples
# of 100 classes moved when 200 came.
SLACK = 0.25


def assign_folds(
    targets: ArrayLike,
    content: np.ndarray,
    *,
    n_folds: int,
    groups: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Assigns each example to the fold that holds it out.

    Examples of one group, or of the same bytes where they have no group, are in one
    fold. A class with two of these units, unmixed, is in the train part of each fold.

    Args:
      targets: [N] integer class indices.
      content: [N, 32] uint8 content digests.
      n_folds: At least 2.
      groups: N group names; None, for all or for one, where there is no group.

    Returns:
      [N] int64, from 0 to `n_folds - 1`.

    Raises:
      ConfigError: Fewer than two folds, or fewer groups or examples than folds.

    Example:
      >>> digests = np.arange(4, dtype=np.uint8)[:, None].repeat(32, axis=1)
      >>> folds = assign_folds([0, 0, 1, 1], digests, n_folds=2)
      >>> sorted(folds[:2].tolist()), sorted(folds[2:].tolist())
      ([0, 1], [0, 1])
    """
    targets = np.asarray(targets)
    if n_folds < 2:
        raise ConfigError(f"Asked for {n_folds} folds; there must be 2 at least.")
    units: dict[bytes, list[int]] = {}
    for row, digest in enumerate(content):
        group = None if groups is None else groups[row]
        key = digest.tobytes() if group is None else b"group\0" + group.encode()
        units.setdefault(key, []).append(row)
    if len(units) < n_folds:
        raise ConfigError(
            f"Asked for {n_folds} folds of {len(targets)} examples, found "
            f"{len(units)} that are no twins and of no common group. Ask for fewer "
            "folds."
        )
    _, inverse, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    classes = inverse.tolist()
    share = sizes / n_folds
    room = np.maximum(np.ceil(share), np.floor((1 + SLACK) * share)).tolist()
    taken = [[0] * len(sizes) for _ in range(n_folds)]
    folds = np.empty(len(targets), np.int64)
    # Large ones first, which fit badly later; else in an order of the digests' own.
    hashed = sorted((-len(rows), _hash(key), rows) for key, rows in units.items())
    for _, digest, rows in hashed:
        counts = Counter(classes[row] for row in rows)
        best, least = -1, math.inf
        first = int.from_bytes(digest[:8], "big") * n_folds >> 64
        for fold in (*range(first, n_folds), *range(first)):
            held = taken[fold]
            filled = max((held[name] + n) / room[name] for name, n in counts.items())
            # What is too large for any fold goes where it overfills the least.
            if filled < least:
                best, least = fold, filled
            if filled <= 1:
                break
        for name, n in counts.items():
            taken[best][name] += n
        folds[rows] = best
    return folds


def _hash(key: bytes) -> bytes:
    # With a name of its own: independent of the split, which uses the same digest.
    return hashlib.sha256(b"tl_pipeline fold\0" + key).digest()
