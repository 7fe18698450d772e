"""What changed between two tables of examples, by id and by content.

A class folder is part of an id, so moving a photograph to another one gives it a new
id. Content tells that it is the same photograph: such examples count as renamed, and
as relabeled where their target changed, not as one removed and one added.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable

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
    new = {id: row for row, id in enumerate(newer.ids)}
    gone, come = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    renamed = _pair(
        ((older.content[old[id]].tobytes(), id) for id in gone),
        ((newer.content[new[id]].tobytes(), id) for id in come),
    )
    left, right = {a for a, _ in renamed}, {b for _, b in renamed}
    pairs = [(old[id], new[id], False) for id in old.keys() & new.keys()]
    pairs += [(old[a], new[b], True) for a, b in renamed]
    pairs.sort(key=lambda pair: pair[1])

    changed, relabeled, moved, unchanged = [], [], [], 0
    for i, j, has_new_id in pairs:
        id, touched = newer.ids[j], has_new_id
        if older.content[i].tobytes() != newer.content[j].tobytes():
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
        added=tuple(id for id in come if id not in right),
        removed=tuple(id for id in gone if id not in left),
        changed=tuple(changed),
        renamed=tuple(sorted(renamed, key=lambda pair: pair[1])),
        relabeled=tuple(relabeled),
        moved=tuple(moved),
    )


def _pair(
    gone: Iterable[tuple[bytes, str]], come: Iterable[tuple[bytes, str]]
) -> list[tuple[str, str]]:
    """Pairs ids of the same content, in order where several share it."""
    by_content: dict[bytes, list[str]] = defaultdict(list)
    for content, id in gone:
        by_content[content].append(id)
    pairs = []
    for content, id in come:
        if by_content.get(content):
            pairs.append((by_content[content].pop(0), id))
    return pairs
