"""Features side by side: their names joined by `+`, their rows flattened and joined."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.errors import RequestError
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.preparation import Kept
from tl_pipeline.store.store import FeatureStore

JOIN = "+"
ALL = "all"  # stands for every feature of a store


def split_name(feature: str) -> list[str]:
    """Returns the names of the features that a joined one is made of."""
    return feature.split(JOIN)


def expand_name(feature: str, store: FeatureStore) -> str:
    """Writes `all` out: every feature of the store, so that the name stays true.

    Raises:
      RequestError: The store holds none.
    """
    if feature != ALL:
        return feature
    if not store.manifest.features:
        raise RequestError(
            f"Asked to train on all features of {store.path}: it holds none. Extract "
            "some into it first."
        )
    return JOIN.join(sorted(store.manifest.features))


def join_rows(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the rows of one feature as they are, of several flattened and joined.

    Args:
      parts: [N, ...] floating of each, in the order of the names.

    Returns:
      [N, ...] float32, or [N, D].
    """
    if len(parts) == 1:
        return parts[0].astype(np.float32)
    flat = [part.reshape(len(part), -1).astype(np.float32) for part in parts]
    return np.concatenate(flat, axis=1)


def widths_of(feature: str, store: FeatureStore) -> list[int]:
    """Returns how many columns each part of a joined feature has."""
    known = store.manifest.features
    return [math.prod(known[name].shape) for name in split_name(feature)]


def locate_columns(head: Head, *, columns: np.ndarray, widths: Sequence[int]) -> Head:
    """Returns a head on some columns as one on stored rows, of no feature too many.

    Features of which it keeps no column leave its name, so that `predict` computes only
    what it needs.

    Args:
      head: A head on rows of R columns, which takes some of them.
      columns: [R] which columns of the stored rows these are, ascending.
      widths: Columns of each feature in the head's name.
    """
    names, offset = split_name(head.feature), 0
    taken = columns
    if head.preparation.kept is not None:
        taken = columns[head.preparation.kept.columns]
    kept_names, kept_columns, width = [], [], 0
    for name, own in zip(names, widths, strict=True):
        inside = taken[(taken >= offset) & (taken < offset + own)]
        if len(inside):
            kept_names.append(name)
            kept_columns.append(inside - offset + width)
            width += own
        offset += own
    kept = Kept(np.concatenate(kept_columns).astype(np.int32), width)
    return head.keeping(kept, feature=JOIN.join(kept_names))


def join_computed(feature: str, computed: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns rows of a joined feature, of what a backbone gave of each part."""
    return join_rows([computed[name] for name in split_name(feature)])
