"""Features that were made elsewhere become a store, so that heads train on them.

What made the rows is declared, not known: it names the store, and nothing of it can be
checked. A row's key is the content digest of its example where the file or the data
tells it, else the digest of the row itself.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tl_pipeline.arrays import PARITY_TOLERANCE, row_difference
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.feature_file import load_feature_files
from tl_pipeline.digest import Json
from tl_pipeline.errors import ParityError
from tl_pipeline.examples import check_split_sizes
from tl_pipeline.places import Place
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.spec import make_declared_spec
from tl_pipeline.stages.extraction import count_changes
from tl_pipeline.stages.foreign_rows import ForeignRows, key_rows
from tl_pipeline.stages.provenance import library_versions
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.index import KeyIndex
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import FeatureInfo, cast_rows, find_unstorable
from tl_pipeline.store.store import FeatureStore


@dataclasses.dataclass(frozen=True)
class ImportReport:
    """What an import did; `examples = reused + imported + duplicates + failed`.

    Attributes:
      store: The store's folder.
      digest: The feature spec's digest.
      dataset: The dataset's name.
      snapshot: The digest of the snapshot it left in the store.
      features: The features of the files.
      keyed_by: `"content_digest"`, `"data"` or `"row"`: where the keys are from.
      examples: Rows of the files.
      changes: As in `ExtractReport`.
      rows_reused: Examples whose rows were there, and equal.
      rows_imported: Examples whose rows were added.
      duplicates: Examples with the key of another one.
      failures: Examples that the store cannot hold, each `{id, kind, reason, ...}`.
      seconds: Wall time.
      notes: Sentences on what was found odd.
    """

    store: str
    digest: str
    dataset: str
    snapshot: str
    features: tuple[str, ...]
    keyed_by: str
    examples: int
    changes: Mapping[str, int] | None
    rows_reused: int
    rows_imported: int
    duplicates: int
    failures: tuple[Mapping[str, str], ...]
    seconds: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def import_features(
    files: Sequence[str | Path],
    *,
    backbone: str,
    weights: str,
    dataset: str,
    store_root: str | Place,
    preprocess: str = "not stated",
    ids: str | Path | None = None,
    data: Dataset | None = None,
    features: Sequence[str] | None = None,
    store_dtype: str | None = None,
    val_size: float = 0.15,
    test_size: float = 0.15,
    progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> ImportReport:
    """Writes features that were made elsewhere into a store.

    All rows are in memory once. Importing the same again adds nothing.

    Args:
      files: `.npz`, `.npy`, `.h5` or `.parquet`; see `load_feature_files`.
      backbone: What network made them, in free words; names the store.
      weights: Which weights it had, in free words.
      dataset: The dataset's name.
      store_root: The folder that holds stores; made where it is missing.
      preprocess: What was done to the inputs, in free words.
      ids: A `.txt` or `.csv` file of ids, for files that hold none.
      data: Where the examples are. Rows are then keyed by their bytes, and targets,
        splits and groups come from there where the files have none.
      features: Which arrays, each `NAME` or `NAME=FEATURE`; by default all.
      store_dtype: By default float16 if all features are, else float32.
      val_size: Share of validation, where there are no splits.
      test_size: Share of test, where there are no splits.
      progress: What to tell as it goes on.
      on_wait: As in `FeatureStore.lock`.

    Raises:
      DatasetError: The files cannot be read, or their ids are not unique or not of
        `data`, or one key has two rows.
      ParityError: The store holds other rows under the same keys.
      StoreError: The store cannot be written.
    """
    begin = time.perf_counter()
    progress = progress or NoProgress()
    check_split_sizes(val_size, test_size)
    table = load_feature_files(
        [Path(file) for file in files],
        ids=None if ids is None else Path(ids),
        features=features,
    )
    foreign = key_rows(
        table, dataset=dataset, data=data, val_size=val_size, test_size=test_size
    )
    examples, rows = foreign.examples, foreign.rows
    common = {str(array.dtype) for array in rows.values()} == {"float16"}
    dtype = store_dtype or ("float16" if common else "float32")
    store = FeatureStore.create_or_open(
        store_root,
        name=backbone,
        spec=make_declared_spec(
            backbone=backbone,
            weights=weights,
            preprocess=preprocess,
            store_dtype=dtype,
        ),
        features={
            name: FeatureInfo(shape=array.shape[1:], dtype=dtype)
            for name, array in rows.items()
        },
        batch_size=1,
        on_wait=on_wait,
    )
    added = 0
    with store.lock(on_wait=on_wait):
        groups = store.plan(examples.content, list(rows))
        _check_same_rows(store, foreign, groups)
        changes = count_changes(store, examples)
        progress.start("import", sum(len(group.content) for group in groups))
        try:
            for group in groups:
                added += _commit(store, group, foreign, progress)
        finally:
            progress.finish()
        store.commit_snapshot(examples)
        if added:
            store.record_extraction(
                {
                    "dataset": dataset,
                    "snapshot": examples.digest,
                    "examples": len(examples),
                    "rows_imported": added,
                    "seconds": time.perf_counter() - begin,
                    "weights": weights,
                    "weights_origin": {"declared": True, "preprocess": preprocess},
                    "files": [str(file) for file in files],
                    "versions": library_versions(),
                }
            )
    failures = [
        failure._asdict()
        for failure in store.failures()
        if failure.content in foreign.place_of and failure.feature in rows
    ]
    n_failed = len({failure["content"] for failure in failures})
    n_rows = len(foreign.place_of)
    return ImportReport(
        store=str(store.path),
        digest=store.digest,
        dataset=dataset,
        snapshot=examples.digest,
        features=tuple(rows),
        keyed_by=foreign.keyed_by,
        examples=len(examples),
        changes=changes,
        rows_reused=n_rows - added - n_failed,
        rows_imported=added,
        duplicates=len(examples) - n_rows,
        failures=tuple(failures),
        seconds=time.perf_counter() - begin,
        notes=foreign.notes,
    )


def _commit(
    store: FeatureStore, group: Group, foreign: ForeignRows, progress: Progress
) -> int:
    """Commits a group of missing rows, and returns how many the store could hold."""
    added = 0
    for i, part in enumerate(group.ranges):
        content = group.content[part]
        places = [foreign.place_of[row.tobytes().hex()] for row in content]
        arrays = {name: foreign.rows[name][places] for name in group.features}
        failed = [
            Failure(
                content=content[row].tobytes().hex(),
                id=foreign.examples.ids[places[row]],
                reason=reason,
                kind="value",
                feature=feature,
            )
            for row, feature, reason in find_unstorable(arrays, store.dtype)
        ]
        lost = {failure.content for failure in failed}
        good = np.array([row.tobytes().hex() not in lost for row in content], bool)
        store.commit(
            group,
            i,
            content=content[good],
            arrays={name: array[good] for name, array in arrays.items()},
            failed=failed,
            versions=library_versions(),
        )
        added += int(good.sum())
        progress.advance(len(content))
    return added


def _check_same_rows(
    store: FeatureStore, foreign: ForeignRows, groups: Sequence[Group]
) -> None:
    """Raises unless the rows that the store has already are those of the files."""
    examples = foreign.examples
    for name, array in foreign.rows.items():
        missing = [group.content for group in groups if name in group.features]
        held = np.ones(len(examples), bool)
        if missing:
            held = KeyIndex(np.concatenate(missing)).find(examples.content) < 0
        if name not in store.manifest.features or not held.any():
            continue
        stored = store.read(name, snapshot=examples.take(np.flatnonzero(held)))
        place = {id: row for row, id in enumerate(examples.ids)}
        ours = cast_rows(array[[place[id] for id in stored.ids]], store.dtype)
        difference = row_difference(stored.features, ours)
        if difference > PARITY_TOLERANCE[store.dtype]:
            raise ParityError(
                f"Feature store {store.path} holds {name} of the same examples with "
                f"other values, up to {difference:.2g} of a row's largest: one "
                "declaration cannot have two rows for one example. Declare what made "
                "these rows: other --weights, or another --preprocess."
            )
