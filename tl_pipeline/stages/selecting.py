"""The columns of many layers that matter for a task, read one layer at a time."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.examples import Examples
from tl_pipeline.heads.relevance import (
    draw_rows,
    keep_columns,
    score_columns,
    union_of,
)
from tl_pipeline.stages.choosing import Choosing
from tl_pipeline.stages.joined import split_name
from tl_pipeline.stages.labeled import Labeled
from tl_pipeline.stages.sweep import ClassWeight, part_weights
from tl_pipeline.store.store import FeatureStore


class Selected(NamedTuple):
    """Labeled rows of those columns that some head keeps.

    Attributes:
      data: The rows, their features [N, U] float32.
      columns: [U] int32 which columns of the joined rows these are, ascending.
      by_share: For each share, which of the U are kept: by all of train, and by each
        fold's part of it.
    """

    data: Labeled
    columns: np.ndarray
    by_share: tuple[tuple[np.ndarray, ...], ...]


def select_columns(
    store: FeatureStore,
    frame: Labeled,
    examples: Examples,
    *,
    choosing: Choosing,
    shares: Sequence[float],
    class_weight: ClassWeight = "none",
) -> Selected:
    """Scores all columns of a joined feature and reads those of the highest scores.

    Scores come from train alone; where heads are chosen by cross-validation, each fold
    has scores of its own, from what the fold does not hold. Otherwise a fold's labels
    would choose the columns by which it is then predicted.

    Args:
      store: Where the rows are.
      frame: The labeled examples, from `load_frame`.
      examples: The snapshot.
      choosing: Where heads are chosen.
      shares: How many of the columns to keep, each above 0 and at most 1.
      class_weight: `balanced`: every class counts the same.
    """
    train = frame.split("train")
    drawn = draw_rows(frame.content[train.rows])
    weight = part_weights(train, choosing, class_weight)[:, drawn]
    scored = train.rows[drawn]
    place = {id: row for row, id in enumerate(examples.ids)}
    ids = np.array([place[id] for id in frame.ids], np.int64)
    scores = score_columns(
        lambda: _layers(store, frame.feature, examples.take(ids[scored])),
        train.targets[drawn],
        frame.task,
        weight=weight,
    )
    by_share = [[keep_columns(own, share) for own in scores] for share in shares]
    columns = union_of([kept for parts in by_share for kept in parts])
    parts, offset = [], 0
    for rows in _layers(store, frame.feature, examples.take(ids)):
        own = columns[(columns >= offset) & (columns < offset + rows.shape[1])]
        parts.append(rows[:, own - offset].astype(np.float32))
        offset += rows.shape[1]
    return Selected(
        dataclasses.replace(frame, features=np.concatenate(parts, axis=1)),
        columns,
        tuple(
            tuple(np.searchsorted(columns, kept) for kept in parts)
            for parts in by_share
        ),
    )


def _layers(
    store: FeatureStore, feature: str, examples: Examples
) -> Iterator[np.ndarray]:
    """Yields the rows of each part of a joined feature, flattened: [N, D]."""
    for name in split_name(feature):
        rows = store.read(name, snapshot=examples).features
        yield rows.reshape(len(rows), -1)
