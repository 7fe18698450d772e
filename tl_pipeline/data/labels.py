"""Ids, targets, splits and groups as a table or a file of arrays gives them.

Splits follow the folders' rule. Where every example has one, `val` without `test` is
used as the test split and validation is carved from `train`; examples without one are
split by their digest, as those of a folder without split folders are.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tl_pipeline.data.folders import SPLIT_OF
from tl_pipeline.data.problems import Problems, show

Texts = Sequence[str | None]


class Labels(NamedTuple):
    """What is known of N examples; None where a value is missing.

    Attributes:
      rows: Row numbers in the file, from 1.
      ids: Unique ids, NFC.
      targets: Class names.
      splits: Splits as the file spells them.
      groups: Group names.
    """

    rows: Sequence[int]
    ids: Texts
    targets: Texts
    splits: Texts
    groups: Texts


class Settled(NamedTuple):
    """Splits after the folders' rule.

    Attributes:
      splits: `"train"`, `"val"`, `"test"`, or None where the digest decides.
      carve_val: Whether validation is to be carved from train.
      notes: Sentences for the user.
    """

    splits: Texts
    carve_val: bool
    notes: tuple[str, ...]


def normalize_id(text: str) -> str:
    """Returns an id in the Unicode form that ids have everywhere."""
    return unicodedata.normalize("NFC", text)


def check_ids(labels: Labels, problems: Problems) -> None:
    """Notes the rows whose id is missing or was there before."""
    first: dict[str, int] = {}
    for row, id_ in zip(labels.rows, labels.ids, strict=True):
        if id_ is None:
            problems.add("without an id", row)
        elif first.setdefault(id_, row) != row:
            problems.add("with the id of a row before", row, id_)


def settle_splits(labels: Labels, problems: Problems) -> Settled:
    """Maps the splits to ours, and notes the rows that name another."""
    names: list[str | None] = []
    spelled: dict[str, str] = {}
    for row, text in zip(labels.rows, labels.splits, strict=True):
        split = None if text is None else SPLIT_OF.get(text)
        if text is not None and split is None:
            known = ", ".join(SPLIT_OF)
            problems.add(f"with an unknown split (known are {known})", row, text)
        elif text is not None and split is not None:
            spelled[split] = text
        names.append(split)
    count = Counter(names)
    n_without = count.pop(None, 0)
    if not count:
        return Settled(names, False, ())
    spanning = _note_spanning(labels.groups, names)
    if n_without:
        note = f"{n_without:,} examples name no split; their digest decides it."
        return Settled(names, False, (note, *spanning))
    if not count["train"] or len(count) == 1:
        problems.add_sentence(
            f"of the splits it names {', '.join(sorted(spelled.values()))} only: add "
            "the others, or leave the split of all rows empty to split by content"
        )
    if count["val"] and not count["test"]:
        moved = ["test" if split == "val" else split for split in names]
        note = f"`{spelled['val']}` is used as the test split; validation is carved "
        return Settled(moved, True, (note + "from `train`.", *spanning))
    if not count["val"]:
        note = "There is no validation split; it is carved from `train`."
        return Settled(names, True, (note, *spanning))
    return Settled(names, False, spanning)


def _note_spanning(groups: Texts, splits: Texts) -> tuple[str, ...]:
    """Says which groups the file itself tears apart: what they have in common leaks."""
    seen: dict[str, set[str | None]] = {}
    for group, split in zip(groups, splits, strict=True):
        if group is not None:
            seen.setdefault(group, set()).add(split)
    torn = sorted(group for group, theirs in seen.items() if len(theirs) > 1)
    if not torn:
        return ()
    return (
        f"{len(torn):,} of {len(seen):,} groups are not in one split alone, the first "
        f"{show(torn[0])}: the splits named in the file say so.",
    )
