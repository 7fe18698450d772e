"""New targets for a store's examples, from a table of ids: a snapshot without data."""

import csv
import dataclasses
import difflib
from pathlib import Path
from typing import Any

from tl_pipeline.errors import DatasetError, shorten
from tl_pipeline.examples import Examples
from tl_pipeline.store.store import FeatureStore

COLUMNS = ("id", "target")


def relabel(store: FeatureStore, examples: Examples, table: Path) -> Examples:
    """Commits a snapshot of the same examples with other targets.

    Nothing is computed and nothing opened: rows are keyed by content, and targets
    live beside them.

    Args:
      store: The store that has the examples' rows.
      examples: A snapshot of it.
      table: A CSV file with the columns `id` and `target`. Examples that it does not
        name keep their target; an empty target makes one unlabeled.

    Returns:
      The new snapshot, the latest of its dataset.

    Raises:
      DatasetError: The table cannot be read, lacks a column, has no lines below its
        names or one with more or fewer values, names an id twice or one that the
        snapshot does not have.
    """
    targets = _read_targets(table)
    known = set(examples.ids)
    unknown = sorted(targets.keys() - known)
    if unknown:
        close = difflib.get_close_matches(unknown[0], examples.ids, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        first = shorten(repr(unknown[0]))
        raise DatasetError(
            f"Targets {table} name {len(unknown):,} ids that {examples.dataset} does "
            f"not have, the first {first}.{hint} `tl-pipeline store show` lists "
            "the snapshots."
        )
    relabeled = dataclasses.replace(
        examples,
        targets=tuple(
            targets.get(id, old)
            for id, old in zip(examples.ids, examples.targets, strict=True)
        ),
    )
    with store.lock():
        store.commit_snapshot(relabeled)
    return relabeled


def _read_targets(table: Path) -> dict[str, str | None]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            return _parse_targets(csv.reader(file, strict=True), table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"Targets {table} cannot be read: {shorten(error)}. Bring a CSV file in "
            "UTF-8 with the columns id,target."
        ) from error


def _parse_targets(reader: Any, table: Path) -> dict[str, str | None]:
    names = next((row for row in reader if row), [])
    for problem, wrong in (
        ("lack", [name for name in COLUMNS if name not in names]),
        ("have twice", [name for name in COLUMNS if names.count(name) > 1]),
    ):
        if wrong:
            found = shorten(", ".join(names)) or "none"
            raise DatasetError(
                f"Targets {table} {problem} the column {' and '.join(wrong)}; found "
                f"{found}. The first line names the columns: id,target."
            )
    targets: dict[str, str | None] = {}
    for row in reader:
        if not row:  # an empty line
            continue
        where = f"Targets {table}, line {reader.line_num}"
        # A short line would silently unlabel its example, a long one shift its label.
        if len(row) != len(names):
            raise DatasetError(
                f"{where}: {len(row)} values for {len(names)} columns. Quote a value "
                "that holds a comma."
            )
        id, target = (row[names.index(name)] for name in COLUMNS)
        if "\0" in id + target:
            raise DatasetError(f"{where} holds a zero byte. Save the table anew.")
        if id in targets:
            raise DatasetError(
                f"{where}: {shorten(repr(id))} stands there twice. Keep one line an id."
            )
        targets[id] = target or None
    if not targets:  # a table cut short would be taken for one that changes nothing
        raise DatasetError(
            f"Targets {table} name no example: only the columns are there. Bring a "
            "line for each example whose target changes."
        )
    return targets
