"""Drift watch: do new examples look like those that the head in use knows?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import DriftError
from tl_pipeline.evaluation.marginals import compare_marginals
from tl_pipeline.evaluation.shift import LEAST_ROWS, two_sample_test
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place
from tl_pipeline.reporting.sentences import count
from tl_pipeline.runs.current import current_file, read_current
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.joined import split_name
from tl_pipeline.stages.vectors import load_vectors
from tl_pipeline.store.store import FeatureStore, open_store

_MOST_ROWS = 2000  # of either side, as many as the classifier is given


def watch(
    store: str | Place,
    *,
    snapshot: str,
    dataset: str,
    features: Sequence[str],
    run_root: str | Path,
    alpha: float,
) -> dict[str, Json] | None:
    """Tests whether the examples new since the head in use look like its own.

    Each feature is tested by a classifier that tries to tell new rows from old, and
    dimension by dimension; of all these tests together the chance of a false alarm is
    at most `alpha`.

    Args:
      store: The store's folder.
      snapshot: Today's, by its digest.
      dataset: The dataset's name.
      features: Features, some joined by `+`.
      run_root: The folder of runs, where it stands which one is in use. Its snapshot is
        compared with; where the store no longer has it, the one before today's.
      alpha: The chance of a false alarm a night.

    Returns:
      Plain data: `since`, the other snapshot's digest; `rows` [older, newer]; `differ`,
      None where new examples are too few to say; `features`, each with `classifier`
      (`accuracy`, `p_value`) and `dimensions` (`p_value`, `dimension`, `statistic`);
      and a `sentence`. None where nothing is new, or nothing is there to compare with.

    Raises:
      NotFoundError: There is no such store or snapshot.
      StoreDamagedError: A file of the store is not the committed one.
    """
    opened = open_store(store)
    today = opened.snapshot(dataset, digest=snapshot)
    since = _find_reference(opened, dataset, today.digest, Path(run_root))
    if since is None:
        return None
    before = opened.snapshot(dataset, digest=since)
    known = {row.tobytes() for row in before.content}
    new = _first_rows(today, without=known)
    if not new:
        return None
    older = before.take(_first_rows(before, without=set()))
    newer = today.take(new)
    found: dict[str, Any] = {
        "since": since,
        "rows": [len(older), len(newer)],
        "differ": None,
        "features": [],
        "sentence": f"Drift: {count(len(newer), 'new example')} since the head in use, "
        "too few to say whether they differ",
    }
    if min(len(older), len(newer)) < LEAST_ROWS:
        return found
    names = list(dict.fromkeys(n for feature in features for n in split_name(feature)))
    level = alpha / (2 * len(names))
    tests = [_test(opened, name, older, newer) for name in names]
    alarms = [
        (name, test)
        for name, test in zip(names, tests, strict=True)
        if min(test["classifier"]["p_value"], test["dimensions"]["p_value"]) <= level
    ]
    listed = [{"feature": n, **test} for n, test in zip(names, tests, strict=True)]
    found |= {"features": listed, "differ": bool(alarms)}
    what = f"{count(len(newer), 'new example')} since the head in use"
    if not alarms:
        found["sentence"] = f"Drift: none seen in {what}"
        return found
    name, test = alarms[0]
    accuracy = test["classifier"]["accuracy"]["value"]
    found["sentence"] = (
        f"Drift: {what} differ in {', '.join(name for name, _ in alarms)}; by {name} a "
        f"classifier tells them from older ones in {accuracy:.0%}, chance is 50 %"
    )
    return found


def check_drift(found: dict[str, Json] | None, action: str) -> None:
    """Raises where new examples differ and a run is to fail then.

    Args:
      found: What `watch` returned.
      action: `[drift] action`.

    Raises:
      DriftError: They do.
    """
    if found and found["differ"] and action == "fail":
        raise DriftError(
            f"{found['sentence']}. Look at them with `tl-pipeline store diff`; if they "
            'are right, set action = "warn" in [drift] for one run. Their rows are '
            "kept; no head was trained."
        )


def _find_reference(
    store: FeatureStore, dataset: str, today: str, run_root: Path
) -> str | None:
    """Returns the digest of the snapshot to compare with, or None."""
    kept = [one.digest for one in store.snapshots() if one.dataset == dataset]
    current = read_current(current_file(run_root, dataset))
    if current is not None and current.folder.is_dir():  # else the gate says so
        used = str(load_run(current.folder).head["snapshot"])
        if used in kept:
            return used if used != today else None
    before = kept[: kept.index(today)]
    return before[-1] if before else None


def _first_rows(examples: Examples, *, without: set[bytes]) -> list[int]:
    """Returns the rows that are the first with their bytes, without some bytes."""
    seen = set(without)
    rows = []
    for row, content in enumerate(examples.content):
        if (key := content.tobytes()) not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def _test(
    store: FeatureStore, feature: str, older: Examples, newer: Examples
) -> dict[str, Any]:
    sides = [
        load_vectors(store, feature, side, most_rows=_MOST_ROWS, seed=0).rows.features
        for side in (older, newer)
    ]
    told = two_sample_test(*sides, rng=np.random.default_rng([0, *map(len, sides)]))
    return {
        "classifier": {
            "n": told.n,
            "accuracy": told.accuracy._asdict(),
            "p_value": told.p_value,
        },
        "dimensions": compare_marginals(*sides)._asdict(),
    }
