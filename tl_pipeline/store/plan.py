"""What is missing, and in which order it is computed.

The order depends on content digests and on the manifest alone. Ranges are committed
one by one in this order, so a plan made after a crash begins where the last committed
range ended and cuts the rest at the same places.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tl_pipeline.spec import View
from tl_pipeline.store.failures import scope_of
from tl_pipeline.store.index import KeyIndex, from_hex, sort_unique
from tl_pipeline.store.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class Group:
    """Rows that lack the same features.

    Attributes:
      features: Names of these features, sorted.
      content: [n, 32] uint8, distinct content digests in byte order.
      ranges: Slices of `content` in order; each becomes one shard.
      recipe: Recipe of the view.
      view: Number of the view.
      is_later: Whether these rows were attempted before.
    """

    features: tuple[str, ...]
    content: np.ndarray
    ranges: tuple[slice, ...]
    recipe: str
    view: int
    is_later: bool = False


def plan_missing(
    manifest: Manifest,
    content: np.ndarray,
    features: Sequence[str],
    *,
    view: View,
    index: Callable[[str], KeyIndex],
    range_rows: Callable[[tuple[str, ...]], int],
    again: Sequence[str],
) -> list[Group]:
    """Groups the rows that no shard holds by the features they lack.

    Groups come in the order of their features; those of rows attempted before come
    after all others, so that they never shift the ranges of the rest.

    Args:
      manifest: What the store holds.
      content: [N, 32] uint8 content digests, in any order, with duplicates.
      features: Names of the features asked for.
      view: Which view.
      index: Returns the index of the rows that hold a feature of the view.
      range_rows: Returns how many rows of some features go in a range.
      again: Settled failures, in hexadecimal, to attempt again nonetheless.
    """
    names = sorted(set(features))
    rows = sort_unique(content)
    lacks = np.stack([index(name).find(rows) < 0 for name in names], axis=1)  # [U, F]

    scopes = {"", *(scope_of(name, *view) for name in names)}
    settled = [hex_ for hex_, known in manifest.failed.items() if scopes & set(known)]
    kept = sorted(set(settled) - set(again))
    lacks[_among(rows, kept)] = False
    later = _among(rows, sorted({*manifest.retry, *again}))

    groups = []
    for is_later in (False, True):
        patterns = {tuple(row) for row in lacks[later == is_later].tolist()}
        groups += sorted(
            (is_later, tuple(np.array(names)[list(pattern)].tolist()), pattern)
            for pattern in patterns
            if any(pattern)
        )
    return [
        _group(
            lacking,
            rows[(lacks == np.array(pattern)).all(axis=1) & (later == is_later)],
            range_rows(lacking),
            view,
            is_later,
        )
        for is_later, lacking, pattern in groups
    ]


def _group(
    features: tuple[str, ...],
    content: np.ndarray,
    size: int,
    view: View,
    is_later: bool,
) -> Group:
    ranges = tuple(
        slice(start, min(start + size, len(content)))
        for start in range(0, len(content), size)
    )
    return Group(features, content, ranges, *view, is_later)


def _among(rows: np.ndarray, digests: list[str]) -> np.ndarray:
    """Tells which rows are among some hexadecimal digests, [U] bool."""
    if not digests:
        return np.zeros(len(rows), bool)
    return KeyIndex(from_hex(digests)).find(rows) >= 0
