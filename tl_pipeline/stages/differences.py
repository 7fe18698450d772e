"""What differs between two stores, or two snapshots of one."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import (
    NotFoundError,
    RequestError,
    StoreDamagedError,
    StoreError,
)
from tl_pipeline.evaluation.changes import compare_examples
from tl_pipeline.evaluation.drift import Drift, measure_drift
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place, find_place
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.spec import diff_specs
from tl_pipeline.stages.vectors import load_vectors
from tl_pipeline.store.rows import Rows
from tl_pipeline.store.store import FeatureStore, open_store

MOST_ROWS = 8192
_FIRST = 20  # of a list that may be long


def diff_stores(
    a: str | Place,
    b: str | Place | None = None,
    *,
    dataset: str | None = None,
    snapshot_a: str | None = None,
    snapshot_b: str | None = None,
    features: Sequence[str] | None = None,
    most_rows: int = MOST_ROWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Json]:
    """Compares the specs, examples and features of two snapshots, older to newer.

    Args:
      a: The older store's folder.
      b: The newer one's; by default the same.
      dataset: Which dataset, on both sides.
      snapshot_a: The older snapshot, by the start of its digest. By default the latest
        of its store; within one store the one before `snapshot_b`.
      snapshot_b: The newer snapshot; by default the latest.
      features: Whose drift to measure; by default of all that both sides have in the
        same shape.
      most_rows: Rows drawn on either side where there are more.
      seed: Of the drawing.
      progress: Told of every feature.

    Returns:
      Plain data: `a` and `b`, `spec`, `features`, `examples`, `classes`, `drift` and
      `skipped`.

    Raises:
      NotFoundError: A store, snapshot or feature is not there.
      RequestError: It is open which snapshots are meant, or there is only one.
    """
    older = open_store(a)
    newer = older if b is None or _same_folder(a, b) else open_store(b)
    x, y = _choose_snapshots(older, newer, dataset, snapshot_a, snapshot_b)
    common, listed = _compare_features(older, newer)
    unknown = sorted(set(features or ()) - set(common))
    if unknown:
        raise NotFoundError(
            f"Asked for the drift of {', '.join(unknown)}; both sides have "
            f"{', '.join(common) or 'no feature'} in the same shape. Name one of these."
        )
    chosen = common if features is None else list(features)
    progress = progress or NoProgress()
    progress.start("features compared", len(chosen))
    drift, skipped = [], []
    for name in chosen:
        try:
            drift.append(_drift((older, x), (newer, y), name, most_rows, seed))
        except StoreDamagedError:
            raise
        except (StoreError, RequestError) as error:  # not extracted on one side
            if features is not None:
                raise
            skipped.append({"feature": name, "reason": str(error)})
        progress.advance(1)
    progress.finish()
    counts = Counter(x.targets), Counter(y.targets)
    return {
        "a": _describe_side(older, x),
        "b": _describe_side(newer, y),
        "spec": [
            {"field": field, "a": left, "b": right}
            for field, left, right in diff_specs(older.spec, newer.spec)
        ],
        "features": listed,
        "examples": _describe_changes(x, y),
        "classes": [
            {"class": name, "a": counts[0][name], "b": counts[1][name]}
            for name in dict.fromkeys((*x.classes, *y.classes))
        ],
        "drift": drift,
        "skipped": skipped,
    }


def _same_folder(a: str | Place, b: str | Place) -> bool:
    a, b = find_place(a), find_place(b)
    if isinstance(a, Path) and isinstance(b, Path):
        return a.resolve() == b.resolve()
    return a == b


def _choose_snapshots(
    older: FeatureStore,
    newer: FeatureStore,
    dataset: str | None,
    snapshot_a: str | None,
    snapshot_b: str | None,
) -> tuple[Examples, Examples]:
    if older is not newer or (snapshot_a and snapshot_b):
        return older.snapshot(dataset, snapshot_a), newer.snapshot(dataset, snapshot_b)
    if snapshot_a:
        before = older.snapshot(dataset, snapshot_a)
        return before, newer.snapshot(before.dataset)
    after = newer.snapshot(dataset, snapshot_b)
    digests = [e.digest for e in newer.snapshots() if e.dataset == after.dataset]
    place = digests.index(after.digest)
    if place == 0:
        raise RequestError(
            f"Asked what changed in feature store {newer.path}: snapshot "
            f"{after.digest[:12]} of dataset {after.dataset} is its first one. Extract "
            "again when the data has changed, or name a second store."
        )
    return newer.snapshot(after.dataset, digests[place - 1]), after


def _compare_features(
    older: FeatureStore, newer: FeatureStore
) -> tuple[list[str], dict[str, Json]]:
    left, right = older.manifest.features, newer.manifest.features
    both = sorted(left.keys() & right.keys())
    common = [name for name in both if left[name].shape == right[name].shape]
    listed: dict[str, Any] = {
        "common": common,
        "only_a": sorted(left.keys() - right.keys()),
        "only_b": sorted(right.keys() - left.keys()),
        "other_shape": [
            {
                "feature": name,
                "a": list(left[name].shape),
                "b": list(right[name].shape),
            }
            for name in both
            if name not in common
        ],
    }
    return common, listed


def _describe_side(store: FeatureStore, examples: Examples) -> dict[str, Json]:
    return {
        "store": str(store.path),
        "digest": store.digest,
        "dataset": examples.dataset,
        "snapshot": examples.digest,
        "examples": len(examples),
    }


def _describe_changes(older: Examples, newer: Examples) -> dict[str, Json]:
    changes = compare_examples(older, newer)

    def listed(items: Sequence[Any], show: Callable[[Any], Json]) -> dict[str, Json]:
        return {"count": len(items), "first": [show(item) for item in items[:_FIRST]]}

    def fields(*names: str) -> Callable[[Any], Json]:
        return lambda item: dict(zip(names, item, strict=True))

    return {
        "unchanged": changes.unchanged,
        "added": listed(changes.added, str),
        "removed": listed(changes.removed, str),
        "changed": listed(changes.changed, str),
        "renamed": listed(changes.renamed, fields("a", "b")),
        "relabeled": listed(changes.relabeled, fields("id", "a", "b")),
        "moved_split": listed(changes.moved, fields("id", "a", "b")),
    }


def _drift(
    older: tuple[FeatureStore, Examples],
    newer: tuple[FeatureStore, Examples],
    feature: str,
    most_rows: int,
    seed: int,
) -> dict[str, Json]:
    x, y = (
        load_vectors(store, feature, examples, most_rows=most_rows, seed=seed)
        for store, examples in (older, newer)
    )
    rng = np.random.default_rng([seed, 2])
    names = [name for name in older[1].classes if name in newer[1].classes]
    overall = measure_drift(x.rows.features, y.rows.features, rng=rng)
    return {
        "feature": feature,
        "averaged": x.averaged,
        "rows": {"a": len(x.rows.ids), "b": len(y.rows.ids)},
        "of": {"a": x.n_examples, "b": y.n_examples},
        "overall": _plain(overall),
        "classes": [
            {
                "class": name,
                **_plain(measure_drift(_of(x.rows, name), _of(y.rows, name), rng=rng)),
            }
            for name in names
        ],
    }


def _of(rows: Rows, target: str) -> np.ndarray:
    return rows.features[np.array([name == target for name in rows.targets], bool)]


def _plain(drift: Drift | None) -> dict[str, Any]:
    """Returns a drift as plain data; nothing but its keys where rows are too few."""
    if drift is None:
        return dict.fromkeys((*Drift._fields, "exceeds_noise"))
    return {
        **drift._asdict(),
        "n": list(drift.n),
        "exceeds_noise": drift.exceeds_noise,
    }
