"""How far a figure could be off, had other examples been in the test split."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.metrics import score, score_all
from tl_pipeline.evaluation.resampled import (
    ResampledClasses,
    ResampledLabels,
    ResampledNumbers,
)
from tl_pipeline.evaluation.scored import check_scored
from tl_pipeline.tasks import Task

# Resampled counts that are held at once: 64 MiB of float64.
_COUNTS_AT_ONCE = 2**23
# Examples times resamples times classes that are ranked: about a second.
MOST_RANKED_WEIGHTS = 3 * 10**8
_RANKED = {"roc_auc", "average_precision", "spearman"}
# Of resamples they are larger than of the examples these are drawn from.
_BIASED = {"expected_calibration_error"}
_RESAMPLED = {
    "multiclass": ResampledClasses,
    "binary": ResampledClasses,
    "multilabel": ResampledLabels,
    "regression": ResampledNumbers,
}


class Interval(NamedTuple):
    """A figure and the percentile bootstrap interval around it."""

    value: float
    low: float
    high: float


def bootstrap_intervals(
    targets: ArrayLike,
    outputs: ArrayLike,
    *,
    rng: np.random.Generator,
    task: Task | None = None,
    thresholds: ArrayLike = (),
    n_resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Computes every metric with its percentile bootstrap interval over examples.

    The head is held fixed: the interval is of its score on such examples, not of what
    another training would give. Where every example is right, every resample is too,
    and the interval has no width; `n` must then be read beside it. Resamples in which
    a metric is undefined, as ROC AUC is of one class alone, are left out of its own.

    All resamples are scored at once, as weights. Rank metrics (ROC AUC, average
    precision, Spearman's correlation) cost a pass over examples and resamples for each
    class; where that exceeds `MOST_RANKED_WEIGHTS`, only the first resamples are
    ranked, never fewer than 200: those settle an end to a twentieth of the width.

    The expected calibration error is biased upwards in small samples, and in resamples
    once more. That second bias is known, and taken off its interval; the first is not,
    and the value and its interval lie too high together, the more so the fewer the
    examples.

    Args:
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      rng: Decides the resamples.
      task: What was asked. Without it: classes, and of their metrics only those that
        `score` gives.
      thresholds: As for `score_all`.
      n_resamples: How many; 1,000 settle both ends to a few hundredths of the width.
      level: The rate at which such intervals cover the truth.

    Returns:
      An `Interval` by name, for each metric of `score_all`.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.

    Reference:
      Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if task is None:
        values = score(targets, outputs)
    else:
        values = score_all(task, targets, outputs, thresholds=thresholds)
    scored = check_scored(targets, outputs, task=task, thresholds=thresholds)
    resampled = _RESAMPLED[scored.task.kind](scored)
    n = len(scored.targets)
    wanted = _RANKED & values.keys()
    most = MOST_RANKED_WEIGHTS // (n * max(resampled.n_ranked, 1))
    to_rank = max(min(200, n_resamples), most) if wanted else 0
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for counts in _resamples(n, n_resamples, rng):
        found = resampled.measure(counts)
        if to_rank > 0:
            found |= resampled.measure_ranks(counts[:to_rank])
            to_rank -= len(counts)
        for name in found.keys() & drawn.keys():
            drawn[name].append(found[name])
    intervals = {}
    for name, value in values.items():
        defined = np.concatenate(drawn[name])
        defined = defined[~np.isnan(defined)]
        if name in _BIASED and len(defined):
            defined = np.maximum(defined + (value - defined.mean()), 0)
        if len(defined):
            intervals[name] = _interval(value, defined, level)
    return intervals


def paired_difference(
    correct: ArrayLike,
    other: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Computes how much more accurate one prediction is than another, paired.

    Both predict the same examples, so what is resampled are examples, with the
    difference on each: an easy example is easy for both and cancels. Where there are
    several seeds, the seeds are resampled beside the examples (independently of them,
    pigeonhole fashion), seed i of one with seed i of the other: they are the same
    drawn subset.

    Args:
      correct: [N] or [S, N] bool: where the prediction is right, by seed.
      other: The same shape: where the other is.
      rng: Decides the resamples.
      n_resamples: How many.
      level: The rate at which such intervals cover the truth.

    Returns:
      The difference of the accuracies, in fractions of 1, and its interval.

    Raises:
      DatasetError: The two are not of one shape, or there are no examples.

    Reference:
      Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1(2), 2007.
    """
    ours, theirs = np.atleast_2d(correct), np.atleast_2d(other)
    if ours.shape != theirs.shape or ours.ndim != 2 or not ours.size:
        raise DatasetError(
            f"Asked to compare predictions of the shapes {list(ours.shape)} and "
            f"{list(theirs.shape)}: they must be of the same seeds and examples, and "
            "of one at least. Score both on one split."
        )
    differences = ours.astype(np.float64) - theirs.astype(np.float64)  # [S, N]
    n_seeds, n = differences.shape
    drawn = []
    for counts in _resamples(n, n_resamples, rng):
        by_seed = counts @ differences.T / n  # [R, S]
        seeds = rng.integers(0, n_seeds, by_seed.shape)
        drawn.append(np.take_along_axis(by_seed, seeds, axis=1).mean(axis=1))
    return _interval(float(differences.mean()), np.concatenate(drawn), level)


def _resamples(
    n: int, n_resamples: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yields how often each example is drawn, [R, N] float64, some resamples a time."""
    at_once = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, n_resamples, at_once):
        rows = min(at_once, n_resamples - start)
        drawn = rng.integers(0, n, (rows, n))
        drawn += np.arange(rows)[:, None] * n
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n) * 1.0


def _interval(value: float, drawn: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))
