"""Parts of a dataset: a stable one for baselines, and k labeled examples a class."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError


def stratified_part(
    targets: Sequence[Hashable | None], content: np.ndarray, n: int
) -> np.ndarray:
    """Chooses about n examples with the classes in their proportions.

    Each class gives its examples of smallest content digest: no seed is involved, and
    examples that come or go elsewhere in a dataset change the part by a few at most.

    Args:
      targets: N classes; None where an example is unlabeled, which is never chosen.
      content: [N, 32] uint8 content digests.
      n: How many. Every class gives one at least, if there are n of them or fewer.

    Returns:
      Sorted indices: n, or all labeled ones where there are fewer.

    Raises:
      ConfigError: n is below 1.

    Example:
      >>> digests = np.arange(6, dtype=np.uint8)[::-1, None].repeat(32, axis=1)
      >>> stratified_part(["a", "a", "a", "a", "b", "b"], digests, 3).tolist()
      [2, 3, 5]
    """
    if n < 1:
        raise ConfigError(f"Asked for a part of {n} examples; it must have 1 at least.")
    rows_of: dict[Hashable, list[int]] = {}
    for row, target in enumerate(targets):
        if target is not None:
            rows_of.setdefault(target, []).append(row)
    keys = [row.tobytes() for row in content]
    order = sorted(rows_of, key=str)
    sizes = np.array([len(rows_of[name]) for name in order], np.int64)
    shares = _shares(sizes, n)
    chosen = [
        row
        for name, share in zip(order, shares, strict=True)
        for row in sorted(rows_of[name], key=lambda row: keys[row])[:share]
    ]
    return np.array(sorted(chosen), np.int64)


def k_shot_rows(targets: ArrayLike, k: int, *, rng: np.random.Generator) -> np.ndarray:
    """Draws k examples of each class; all of a class that has fewer.

    A generator of the same seed draws, for a larger k, the same examples and more.

    Args:
      targets: [N] integer class indices.
      k: How many a class, at least 1.
      rng: Decides which.

    Returns:
      Sorted indices.

    Raises:
      ConfigError: k is below 1.
    """
    if k < 1:
        raise ConfigError(f"Asked for {k} examples a class; it must be 1 at least.")
    targets = np.asarray(targets)
    drawn = [
        rng.permutation(np.flatnonzero(targets == name))[:k]
        for name in np.unique(targets)
    ]
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)


def _shares(sizes: np.ndarray, n: int) -> np.ndarray:
    """Divides n over classes in proportion, by largest remainder."""
    if n >= sizes.sum():
        return sizes
    least = np.minimum(sizes, 1) if n >= len(sizes) else np.zeros_like(sizes)
    exact = sizes * n / sizes.sum()
    shares = np.maximum(np.floor(exact).astype(np.int64), least)
    while shares.sum() != n:
        missing = n - shares.sum()
        # A class may neither give more than it has nor fall below its least.
        movable = shares < sizes if missing > 0 else shares > least
        gaps = np.where(movable, (exact - shares) * np.sign(missing), -np.inf)
        shares[np.argmax(gaps)] += np.sign(missing)
    return shares
