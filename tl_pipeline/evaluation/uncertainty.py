"""How far a figure could be off, had other examples been in the test split."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.metrics import check_scored, score

# Resampled counts that are held at once: 64 MiB of float64.
_COUNTS_AT_ONCE = 2**23


class Interval(NamedTuple):
    """A figure and the percentile bootstrap interval around it."""

    value: float
    low: float
    high: float


def bootstrap_intervals(
    targets: ArrayLike,
    probabilities: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Computes every metric with its percentile bootstrap interval over examples.

    The head is held fixed: the interval is of its score on such examples, not of what
    another training would give. Where every example is right, every resample is too,
    and the interval has no width; `n` must then be read beside it.

    Args:
      targets: [N] integer class indices.
      probabilities: [N, K] floating; rows add up to 1.
      rng: Decides the resamples.
      n_resamples: How many; 1,000 settle both ends to a few hundredths of the width.
      level: The rate at which such intervals cover the truth.

    Returns:
      An `Interval` by name, for each of `METRICS`.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.

    Reference:
      Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    scored = check_scored(targets, probabilities)
    truth, guess = scored.targets, scored.predictions
    right = (truth == guess).astype(np.float64)
    chosen = scored.probabilities[np.arange(len(truth)), truth]
    losses = -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1))

    drawn = {name: [] for name in ("accuracy", "balanced_accuracy", "f1_macro")}
    drawn["log_loss"] = []
    n_classes = scored.probabilities.shape[1]
    of_target = _Groups(truth, n_classes)
    of_guess = _Groups(guess, n_classes)
    for counts in _resamples(len(truth), n_resamples, rng):
        support = of_target.sums(counts)  # [R, K]
        hits = of_target.sums(counts * right)
        both = support + of_guess.sums(counts)
        drawn["accuracy"].append(counts @ right / len(truth))
        drawn["balanced_accuracy"].append(_mean_ratio(hits, support))
        drawn["f1_macro"].append(_mean_ratio(2 * hits, both))
        drawn["log_loss"].append(counts @ losses / len(truth))
    values = score(targets, probabilities)
    return {
        name: _interval(values[name], np.concatenate(parts), level)
        for name, parts in drawn.items()
    }


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


class _Groups:
    """Sums over examples of one class, for many weightings of the examples at once."""

    def __init__(self, classes: np.ndarray, n_classes: int) -> None:
        self._order = np.argsort(classes, kind="stable")
        sizes = np.bincount(classes, minlength=n_classes)
        # `reduceat` cannot sum an empty run: only classes that occur have a column.
        self._columns = np.flatnonzero(sizes)
        self._starts = (np.cumsum(sizes) - sizes)[self._columns]
        self._n_classes = n_classes

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Returns [R, K] sums of [R, N] weights."""
        sums = np.zeros((len(weights), self._n_classes))
        runs = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        sums[:, self._columns] = runs
        return sums


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


def _mean_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Returns [R] means over the classes that the resample holds."""
    held = below > 0
    ratios = np.divide(above, below, out=np.zeros_like(above), where=held)
    return ratios.sum(axis=1) / held.sum(axis=1)


def _interval(value: float, drawn: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))
