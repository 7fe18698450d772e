"""Two runs side by side, on the test examples that both scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import NotFoundError, RequestError, StoreError
from tl_pipeline.evaluation.gate import choose_units
from tl_pipeline.evaluation.merits import MEASURES, find_losses, find_merits
from tl_pipeline.evaluation.paired import Paired, compare_scores, compare_slices
from tl_pipeline.evaluation.uncertainty import Interval
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.store.store import open_store


def compare_runs(first: str | Path, second: str | Path) -> dict[str, Json]:
    """Compares two runs, paired, on the test examples that both scored.

    Examples are the same where id and content are. Where an example was relabeled in
    between, the second run's label is the truth for both. No row is read and no head
    is run; only the groups, for slices, come from a run's store, where it still is.

    Args:
      first: A run, or a `.current.json`.
      second: The run that is said to be better or worse.

    Returns:
      Plain data: `first`, `second`, `n` common examples, `metrics` and `slices` with
      the differences second minus first, `relabeled`, `notes` and a `sentence`.

    Raises:
      NotFoundError: There is no such run.
      RequestError: The runs have no test example in common, or other classes.
      RunDamagedError: A run's files are not the ones that were written.
    """
    runs = load_run(first), load_run(second)
    ours, theirs = (run.predictions() for run in runs)
    if ours.task.is_single_class != theirs.task.is_single_class or (
        not ours.task.is_single_class and ours.task.kind != theirs.task.kind
    ):
        raise RequestError(
            f"Asked to compare {runs[0].path} ({ours.task.kind}) with {runs[1].path} "
            f"({theirs.task.kind}): these are two tasks. Compare runs of one."
        )
    if set(ours.classes) != set(theirs.classes):
        only = [sorted(set(a) - set(b)) for a, b in _both_ways(ours, theirs)]
        raise RequestError(
            f"Asked to compare {runs[0].path} with {runs[1].path}: their classes "
            f"differ. Only the first knows {', '.join(only[0]) or 'none'}, only the "
            f"second {', '.join(only[1]) or 'none'}. Compare runs of one task."
        )
    rows = _join(ours, theirs)
    if not len(rows):
        raise RequestError(
            f"Asked to compare {runs[0].path} with {runs[1].path}: they have no "
            "labeled test example in common, by id and content. Compare runs of one "
            "dataset, or train both on one snapshot."
        )
    task = theirs.task
    truth, before = theirs.targets[rows[:, 1]], ours.targets[rows[:, 0]]
    # Each run is scored in the order of its own classes.
    places = np.array([ours.classes.index(name) for name in theirs.classes])
    if task.is_single_class:
        truth_of_first = places[truth]
        relabeled = before != truth_of_first
    else:
        truth_of_first = truth[:, np.argsort(places)]
        same = (before == truth_of_first) | (
            np.isnan(before) & np.isnan(truth_of_first)
        )
        relabeled = ~same.all(axis=1)
    groups, notes = _read_groups(runs[1], [theirs.ids[i] for i in rows[:, 1]])
    units = choose_units(groups)
    rng = np.random.default_rng([0, len(rows)])
    scored = (
        (ours, truth_of_first, ours.outputs[rows[:, 0]]),
        (theirs, truth, theirs.outputs[rows[:, 1]]),
    )
    merits = [
        find_merits(one.task, targets, outputs, thresholds=one.thresholds)
        for one, targets, outputs in scored
    ]
    gains = [-find_losses(one.task, targets, out) for one, targets, out in scored]
    measure = MEASURES[task.kind]
    loss = "squared_error" if task.kind == "regression" else "log_loss"
    headline = compare_scores(*merits, metric=measure, rng=rng, units=units)
    losses = compare_scores(*gains, metric=loss, rng=rng, units=units)
    slices = compare_slices(merits[0], merits[1], groups, metric=measure, rng=rng)
    return {
        "first": _describe(runs[0], ours),
        "second": _describe(runs[1], theirs),
        "n": len(rows),
        "relabeled": int(relabeled.sum()),
        "metrics": [headline.to_json(), _as_loss(losses).to_json()],
        "slices": [one.to_json() for one in slices],
        "notes": notes,
        "sentence": _sentence(headline),
    }


def _both_ways(
    ours: Predictions, theirs: Predictions
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(ours.classes, theirs.classes), (theirs.classes, ours.classes)]


def _join(ours: Predictions, theirs: Predictions) -> np.ndarray:
    """Returns [n, 2] rows of the same labeled test examples."""
    known, known_to_them = ours.labeled, theirs.labeled
    place = {
        (ours.ids[i], ours.content[i].tobytes()): i
        for i in range(len(ours.ids))
        if ours.splits[i] == "test" and known[i]
    }
    pairs = [
        (place[key], j)
        for j in range(len(theirs.ids))
        if theirs.splits[j] == "test"
        and known_to_them[j]
        and (key := (theirs.ids[j], theirs.content[j].tobytes())) in place
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _as_loss(paired: Paired) -> Paired:
    """Turns mean scores, of which higher is better, into losses."""
    value, low, high = paired.difference
    return paired._replace(
        first=-paired.first,
        second=-paired.second,
        difference=Interval(-value, -high, -low),
    )


def _read_groups(run: Run, ids: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """Returns the groups of examples by their snapshot, and what stood in the way."""
    try:
        store = open_store(run.provenance["store"])
        examples = store.snapshot(digest=str(run.head["snapshot"]))
    except (NotFoundError, StoreError):
        gone = f"no slices: the snapshot of {run.path} is not where it was"
        return [None] * len(ids), [gone]
    group_of = dict(zip(examples.ids, examples.groups, strict=True))
    return [group_of.get(id) for id in ids], []


def _describe(run: Run, predictions: Predictions) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "dataset": run.provenance["dataset"],
        "created": run.created,
        "test": sum(split == "test" for split in predictions.splits),
    }


def _sentence(accuracy: Paired) -> str:
    value, low, high = (100 * figure for figure in accuracy.difference)
    if low <= 0 <= high:
        verdict = "No difference beyond noise"
    else:
        verdict = f"The second is {'better' if value > 0 else 'worse'}"
    return (
        f"{verdict}: {value:+.1f} points of accuracy (95 % {low:.1f} to {high:.1f}), "
        f"right where the other is wrong {accuracy.better:,} to {accuracy.worse:,} "
        f"(McNemar p = {accuracy.p_value:.2g})"
    )
