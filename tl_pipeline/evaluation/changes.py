"""What changed between two tables of examples, by id and by content.

A class folder is part of an id, so moving a photograph to another one gives it a new
id. Content tells that it is the same photograph: such examples count as renamed, and
as relabeled where their target changed, not as one removed and one added.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from tl_pipeline.examples import Examples


@dataclasses.dataclass(frozen=True)
class Changes:
    """The differences from an older table to a newer one, each list sorted by id.

    Attributes:
      unchanged: Examples that are the same in every respect.
      added: Ids that are new, with content that is new under any removed id.
      removed: Ids that are gone, likewise.
      changed: Ids of which the content differs.
      renamed: (old id, new id) of the same content.
      relabeled: (new id, old target, new target) where the content is the same.
      moved: (new id, old split, new split), whatever the content.
    """

    unchanged: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    relabeled: tuple[tuple[str, str | None, str | None], ...]
    moved: tuple[tuple[str, str, str], ...]


def compare_examples(older: Examples, newer: Examples) -> Changes:
    """Compares two tables of examples.

    Groups are not compared: they decide the split, which is.
    """
    old = {id: row for row, id in enumerate(older.ids)}
    known = set(newer.ids)
    gone = [(id, row) for id, row in old.items() if id not in known]
    come = [(id, row) for row, id in enumerate(newer.ids) if id not in old]
    renamed = _pair(
        [(older.content[row].tobytes(), row) for _, row in gone],
        [(newer.content[row].tobytes(), row) for _, row in come],
    )
    left, right = {i for i, _ in renamed}, {j for _, j in renamed}
    was = np.array([old.get(id, -1) for id in newer.ids], np.int64)
    for i, j in renamed:
        was[j] = i
    rows = np.flatnonzero(was >= 0)
    same = (older.content[was[rows]] == newer.content[rows]).all(axis=1)

    changed, relabeled, moved, unchanged = [], [], [], 0
    for i, j, is_same in zip(
        was[rows].tolist(), rows.tolist(), same.tolist(), strict=True
    ):
        id, touched = newer.ids[j], j in right
        if not is_same:
            changed.append(id)
            touched = True
        elif older.targets[i] != newer.targets[j]:
            relabeled.append((id, older.targets[i], newer.targets[j]))
            touched = True
        if older.splits[i] != newer.splits[j]:
            moved.append((id, older.splits[i], newer.splits[j]))
            touched = True
        unchanged += not touched
    return Changes(
        unchanged=unchanged,
        added=tuple(id for id, row in come if row not in right),
        removed=tuple(id for id, row in gone if row not in left),
        changed=tuple(changed),
        renamed=tuple((older.ids[i], newer.ids[j]) for i, j in renamed),
        relabeled=tuple(relabeled),
        moved=tuple(moved),
    )


def _pair(
    gone: Iterable[tuple[bytes, int]], come: Iterable[tuple[bytes, int]]
) -> list[tuple[int, int]]:
    """Pairs rows of the same content, in order where several share it."""
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for content, row in gone:
        by_content[content].append(row)
    pairs = []
    for content, row in come:
        if by_content.get(content):
            pairs.append((by_content[content].pop(0), row))
    return pairs
