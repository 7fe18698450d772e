"""Rows of files that others wrote, made a table of examples with content digests."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.feature_file import FeatureTable
from tl_pipeline.data.folders import SPLIT_OF
from tl_pipeline.errors import DatasetError
from tl_pipeline.examples import Examples, assign_split
from tl_pipeline.store.index import from_hex
from tl_pipeline.store.schema import DIGEST

_BLOCK = 4096  # rows at a time


@dataclasses.dataclass(frozen=True)
class ForeignRows:
    """Rows in the order of their examples.

    Attributes:
      examples: The N examples, sorted by id.
      rows: [N, ...] floating by feature name.
      place_of: The first example with each content digest, by its hexadecimal form.
      keyed_by: `"content_digest"`, `"data"` or `"row"`: where the digests are from.
      notes: Sentences on what was found odd.
    """

    examples: Examples
    rows: Mapping[str, np.ndarray]
    place_of: Mapping[str, int]
    keyed_by: str
    notes: tuple[str, ...]


def key_rows(
    table: FeatureTable,
    *,
    dataset: str,
    data: Dataset | None,
    val_size: float,
    test_size: float,
) -> ForeignRows:
    """Finds each row's id, content digest, target, split and group.

    Args:
      table: What the files hold.
      dataset: The dataset's name.
      data: Where the examples are; what the files lack comes from there.
      val_size: Share of validation, where there are no splits.
      test_size: Share of test, where there are no splits.

    Raises:
      DatasetError: Ids are missing, not unique or not of `data`; a split has an
        unknown name; or two examples share a content digest but not their row.
    """
    notes = [f"ignored the array {name!r}" for name in table.ignored]
    ids = _check_ids(table, notes)
    columns = dict(table.columns)
    if data is not None:
        content, told = _look_up(data, ids)
        columns = {**told, **columns}
        keyed_by = "data"
    elif "content_digest" in columns:
        content, keyed_by = _parse_digests(columns["content_digest"]), "content_digest"
    else:
        content, keyed_by = _digest_rows(table.features), "row"
    nothing = (None,) * len(ids)
    groups = columns.get("group", nothing)
    targets = columns.get("target", nothing)
    given, carve_val = _name_splits(columns.get("split", nothing), notes)
    splits = [
        assign_split(
            split,
            content=row.tobytes(),
            group=group,
            val_size=val_size,
            test_size=test_size,
            carve_val=carve_val,
        )
        for split, row, group in zip(given, content, groups, strict=True)
    ]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    examples = Examples(
        dataset,
        tuple(ids[i] for i in order),
        np.ascontiguousarray(content[order]),
        tuple(targets[i] for i in order),
        tuple(splits[i] for i in order),
        tuple(groups[i] for i in order),
    )
    rows = {name: array[order] for name, array in table.features.items()}
    place_of: dict[str, int] = {}
    for place, digest in enumerate(examples.hex_digests()):
        first = place_of.setdefault(digest, place)
        for name, array in rows.items():
            if first != place and not np.array_equal(array[first], array[place]):
                raise DatasetError(
                    f"{examples.ids[first]!r} and {examples.ids[place]!r} have the "
                    f"same bytes but different rows of {name}. One of them is not "
                    "what the file says."
                )
    return ForeignRows(examples, rows, place_of, keyed_by, tuple(notes))


def _check_ids(table: FeatureTable, notes: list[str]) -> tuple[str, ...]:
    if "id" not in table.columns:
        notes.append("no ids were given: rows are named by their number")
        width = len(str(len(table) - 1))
        return tuple(f"{row:0{width}}" for row in range(len(table)))
    found = table.columns["id"]
    ids = tuple(id for id in found if id is not None)
    if len(ids) < len(found):
        raise DatasetError(
            f"Row {found.index(None) + 1:,} of the features has no id. Name every row."
        )
    twice = [id for id, n in Counter(ids).items() if n > 1]
    if twice:
        raise DatasetError(
            f"{len(twice):,} ids of the features stand there more than once, the "
            f"first {twice[0]!r}. Ids are unique within a dataset."
        )
    return ids


def _look_up(
    data: Dataset, ids: Sequence[str]
) -> tuple[np.ndarray, dict[str, tuple[str | None, ...]]]:
    """Returns [N, 32] content digests of the examples, and what the data says."""
    item_of = {item.id: item for item in data.items}
    unknown = [id for id in ids if id not in item_of]
    if unknown:
        raise DatasetError(
            f"{len(unknown):,} of {len(ids):,} ids of the features are not in "
            f"{data.source}, the first {unknown[0]!r}; it has ids such as "
            f"{next(iter(item_of), None)!r}. Ids are paths within the dataset."
        )
    items = tuple(sorted((item_of[id] for id in ids), key=lambda item: item.id))
    contents = digest_items(dataclasses.replace(data, items=items), None)
    if contents.unreadable:
        id, reason = contents.unreadable[0]
        raise DatasetError(
            f"{len(contents.unreadable):,} files of {data.source} cannot be read, "
            f"the first {id!r}: {reason}. Their rows cannot be told apart without."
        )
    row_of = {item.id: row for row, item in enumerate(contents.items)}
    told = {
        name: tuple(getattr(item_of[id], name) for id in ids)
        for name in ("target", "split", "group")
    }
    return contents.content[[row_of[id] for id in ids]], told


def _parse_digests(texts: Sequence[str | None]) -> np.ndarray:
    wrong = [row for row, text in enumerate(texts) if not DIGEST.fullmatch(text or "")]
    if wrong:
        raise DatasetError(
            f"Row {wrong[0] + 1:,} of the features has the content digest "
            f"{texts[wrong[0]]!r}: it is a SHA-256 in 64 hexadecimal digits."
        )
    return from_hex([text or "" for text in texts])


def _digest_rows(features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the [N, 32] digests of the rows themselves, as float32."""
    n = len(next(iter(features.values())))
    digests = np.empty((n, 32), np.uint8)
    names = sorted(features)
    header = b"tl_pipeline imported row\0" + "\0".join(names).encode() + b"\0"
    for start in range(0, n, _BLOCK):
        block = [np.ascontiguousarray(features[name][start : start + _BLOCK], "<f4")
                 for name in names]  # fmt: skip
        for i in range(len(block[0])):
            digest = hashlib.sha256(header)
            for rows in block:
                digest.update(rows[i].tobytes())
            digests[start + i] = np.frombuffer(digest.digest(), np.uint8)
    return digests


def _name_splits(
    splits: Sequence[str | None], notes: list[str]
) -> tuple[list[str | None], bool]:
    """Returns splits by their names here, and whether to carve val from train."""
    unknown = sorted({split for split in splits if split} - SPLIT_OF.keys())
    if unknown:
        raise DatasetError(
            f"The features have the split {unknown[0]!r}; known are "
            f"{', '.join(SPLIT_OF)}."
        )
    named = [SPLIT_OF[split] if split else None for split in splits]
    present = set(named) - {None}
    if present == {"train", "val"}:
        notes.append("`val` is used as the test split; validation is carved from train")
        return ["test" if split == "val" else split for split in named], True
    return named, present == {"train", "test"}
