"""Vectors: a feature of a snapshot's examples, one vector each, as many as fit."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from tl_pipeline.errors import DatasetError, RequestError
from tl_pipeline.examples import Examples
from tl_pipeline.store.rows import Rows
from tl_pipeline.store.store import FeatureStore

# Of one feature at once; beyond it rows are drawn.
_MOST_BYTES = 2**30
# Rows read at once where all are looked at: some shards' worth.
_ROWS_AT_ONCE = 8192


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Vectors of examples that have a row, in order of id.

    Attributes:
      feature: The feature's name.
      shape: A stored row's shape.
      rows: The rows, their features [n, D] float32.
      n_examples: Examples of the snapshot, whether drawn or not, with a row or not.
    """

    feature: str
    shape: tuple[int, ...]
    rows: Rows
    n_examples: int

    @property
    def averaged(self) -> bool:
        """Whether a row is no vector as stored, and was averaged over positions."""
        return len(self.shape) > 1


def choose_feature(store: FeatureStore, feature: str | None) -> str:
    """Returns the feature asked for; by default the only one, or `pool`.

    Raises:
      RequestError: There are several and none is named, or there is none.
    """
    known = sorted(store.manifest.features)
    if feature is not None:
        return feature
    if len(known) == 1:
        return known[0]
    if "pool" in known:
        return "pool"
    raise RequestError(
        f"Feature store {store.path} has {len(known)} features"
        + (f": {', '.join(known)}. " if known else ". ")
        + ("Name one with --feature." if known else "Extract some into it first.")
    )


def load_vectors(
    store: FeatureStore,
    feature: str,
    examples: Examples,
    *,
    most_rows: int,
    seed: int,
) -> Vectors:
    """Reads vectors of a snapshot's examples: all, or as many drawn as are asked for.

    Rows that are no vectors are averaged over their positions.

    Args:
      store: The store.
      feature: The feature's name.
      examples: The snapshot.
      most_rows: Draw so many examples where there are more; fewer where rows are large.
      seed: Of the drawing.

    Raises:
      DatasetError: None of the examples has a row.
      NotFoundError: The store does not hold the feature.
      StoreError: Some examples were never computed.
    """
    info = store.manifest.features.get(feature)
    row_bytes = 4 * math.prod(info.shape) if info else 4
    most = max(1, min(most_rows, _MOST_BYTES // row_bytes))
    drawn = examples
    if len(examples) > most:
        rng = np.random.default_rng([seed, 1])
        drawn = examples.take(rng.choice(len(examples), most, replace=False))
    rows = store.read(feature, snapshot=drawn)
    if not len(rows.features):
        raise DatasetError(
            f"Asked for {feature} of dataset {examples.dataset}: none of its "
            f"{len(examples):,} examples has a row. Look at the failures with "
            "`tl-pipeline store show`."
        )
    vectors = dataclasses.replace(rows, features=_to_vectors(rows.features))
    return Vectors(feature, rows.features.shape[1:], vectors, len(examples))


def iterate_vectors(
    store: FeatureStore, feature: str, examples: Examples
) -> Iterator[Rows]:
    """Yields the vectors of all examples, so many at a time that memory stays flat.

    In order of content, as they lie in the shards: each shard is read about once.

    Raises:
      NotFoundError: The store does not hold the feature.
      StoreError: Some examples were never computed.
    """
    keys = np.ascontiguousarray(examples.content).view("V32").reshape(-1)
    order = np.argsort(keys, kind="stable")
    for start in range(0, len(order), _ROWS_AT_ONCE):
        part = examples.take(order[start : start + _ROWS_AT_ONCE])
        rows = store.read(feature, snapshot=part)
        yield dataclasses.replace(rows, features=_to_vectors(rows.features))


def _to_vectors(rows: np.ndarray) -> np.ndarray:
    if rows.ndim == 1:
        rows = rows[:, None]
    positions = tuple(range(1, rows.ndim - 1))
    if positions:
        return rows.mean(axis=positions, dtype=np.float32)
    return rows.astype(np.float32)
