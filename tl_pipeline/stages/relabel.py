"""New targets for a store's examples, from a table of ids: a snapshot without data."""

import csv
import dataclasses
import difflib
from pathlib import Path

from tl_pipeline.errors import DatasetError
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
      DatasetError: The table cannot be read, lacks a column, names an id twice or one
        that the snapshot does not have.
    """
    targets = _read_targets(table)
    known = set(examples.ids)
    unknown = sorted(targets.keys() - known)
    if unknown:
        close = difflib.get_close_matches(unknown[0], examples.ids, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DatasetError(
            f"Targets {table} name {len(unknown):,} ids that {examples.dataset} does "
            f"not have, the first {unknown[0]!r}.{hint} `tl-pipeline store show` lists "
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
            reader = csv.DictReader(file)
            missing = [
                name for name in COLUMNS if name not in (reader.fieldnames or ())
            ]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "none"
                raise DatasetError(
                    f"Targets {table} lack the column {' and '.join(missing)}; found "
                    f"{found}. The first line names the columns: id,target."
                )
            targets: dict[str, str | None] = {}
            for row in reader:
                if row["id"] in targets:
                    raise DatasetError(
                        f"Targets {table}, line {reader.line_num}: {row['id']!r} "
                        "stands there twice. Keep one line an id."
                    )
                targets[row["id"]] = row["target"] or None
            return targets
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"Targets {table} cannot be read: {error}. Bring a CSV file in UTF-8 with "
            "the columns id,target."
        ) from error
