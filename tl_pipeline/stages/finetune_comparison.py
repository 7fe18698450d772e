"""Ways of fine-tuning beside the head they began with, on the same test examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.merits import MEASURES, POINTS, find_merits
from tl_pipeline.evaluation.paired import compare_scores
from tl_pipeline.evaluation.uncertainty import paired_difference
from tl_pipeline.reporting.sentences import format_duration
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import Run

ALPHA = 0.05  # chance of calling noise a gain, over all ways that are compared
# What a sentence calls the ways that may be advised.
_NAMES = {
    "views": "the head trained on cached views",
    "split": "the network fine-tuned behind a cut",
    "end-to-end": "the network fine-tuned end to end",
}


def find_headline(run: Run) -> dict[str, Json]:
    """Returns the one figure of a run on test: `metric`, `value`, `low` and `high`."""
    predictions = run.predictions()
    metric = MEASURES[predictions.task.kind]
    if metric in run.metrics["test"]:
        return {"metric": metric, **run.metrics["test"][metric]}
    rows = np.flatnonzero(np.array(predictions.splits) == "test")
    merits = find_merits(
        predictions.task,
        predictions.targets[rows],
        predictions.outputs[rows],
        thresholds=predictions.thresholds,
    )
    rng = np.random.default_rng([0, len(rows)])
    found = paired_difference(merits, np.zeros(len(merits)), rng=rng)
    return {"metric": metric, **found._asdict()}


def pair_predictions(before: Predictions, after: Predictions) -> dict[str, Json]:
    """Compares two heads on the test examples that both scored.

    Returns:
      `metric`, `n`, `gain`, `low`, `high` (hundredths, with the paired 95 % interval),
      `points` (what they are called), `better`, `worse` (examples), and `p_value`,
      two-sided.
    """
    place = {id: row for row, id in enumerate(before.ids)}
    pairs = np.array(
        [
            (place[id], row)
            for row, id in enumerate(after.ids)
            if after.splits[row] == "test" and id in place
        ],
        np.int64,
    )
    merits = [
        find_merits(
            one.task, one.targets[rows], one.outputs[rows], thresholds=one.thresholds
        )
        for one, rows in ((before, pairs[:, 0]), (after, pairs[:, 1]))
    ]
    found = compare_scores(
        *merits,
        metric=MEASURES[after.task.kind],
        rng=np.random.default_rng([0, len(pairs)]),
    )
    gain, low, high = (100 * figure for figure in found.difference)
    return {
        "metric": found.metric,
        "n": found.n,
        "gain": gain,
        "low": low,
        "high": high,
        "points": POINTS[after.task.kind],
        "better": found.better,
        "worse": found.worse,
        "p_value": found.p_value,
    }


def choose_way(rows: Sequence[Mapping[str, Any]]) -> tuple[int | None, str]:
    """Decides which way is worth what it costs, if any is.

    A gain counts where it is beyond noise for all the ways that were tried together.
    Training from scratch is a yardstick, and never advised.

    Args:
      rows: The cached head's, then each way's, with `against` of `pair_predictions`.

    Returns:
      The index of the row to use, None for the cached head; and a sentence.
    """
    tried = [i for i, row in enumerate(rows) if row["way"] in _NAMES]
    if not tried:
        return None, "Keep the cached head: no way of fine-tuning was tried."
    beyond = [
        i
        for i in tried
        if rows[i]["against"]["gain"] > 0
        and rows[i]["against"]["p_value"] * len(tried) <= ALPHA
    ]
    best = max(beyond or tried, key=lambda i: rows[i]["against"]["gain"])
    against = rows[best]["against"]
    figures = (
        f"{against['gain']:+.1f} {against['points']} (95 % {against['low']:.1f} to "
        f"{against['high']:.1f}) on {against['n']:,} test examples, "
        f"p = {against['p_value']:.2g}"
    )
    seconds, name = rows[best]["seconds"], _NAMES[rows[best]["way"]]
    took = "" if seconds is None else f"; {format_duration(seconds)}"
    if beyond:
        return best, f"Use {name}: {figures}{took}."
    return None, (
        f"Keep the cached head: {name} is not better beyond noise, {figures}{took}."
    )
