"""Rank metrics of many weightings of the examples: sorted once, then only summed."""

import numpy as np

# Weightings whose weights stay in the processor's cache while they are gathered.
BLOCK = 64


class RankedLabel:
    """ROC AUC and average precision of one label, for whole weights of examples.

    The examples are sorted by score once. What a resample changes are sums of weights
    over runs of that order: between the scores that positives have, and at them. So a
    label costs one pass over [N, R] weights, and sorting nothing.
    """

    def __init__(
        self, positive: np.ndarray, scores: np.ndarray, rows: np.ndarray | None = None
    ) -> None:
        """Sorts the examples.

        Args:
          positive: [M] bool.
          scores: [M] floating.
          rows: [M] their rows in the weights; without it, all in order.
        """
        order = np.argsort(-scores, kind="stable")
        ranked, hits = scores[order], positive[order]
        self._rows = order if rows is None else rows[order]
        self._n = len(ranked)
        # Ends of runs of equal scores.
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
        begins = np.append(0, ends[:-1])
        holds = np.add.reduceat(hits, begins, dtype=np.int64) > 0 if len(hits) else []
        begins, ends = begins[holds], ends[holds]  # [T] runs with a positive
        self._positives = self._rows[hits]
        if not len(begins):
            return
        # A run may begin where another ends, and then there is no gap between.
        starts = np.unique(np.concatenate([[0], begins, ends]))
        self._starts = starts[starts < self._n]
        self._is_run = np.isin(self._starts, begins)
        before = np.cumsum(hits) - hits
        self._first_positive = before[begins]

    def measure(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns ROC AUC and average precision, [R] float64, NaN where undefined.

        Args:
          weights: [N, R] float32, whole numbers: their sums are exact.
        """
        n_weightings = weights.shape[1]
        if not len(self._positives):
            return np.full((2, n_weightings), np.nan)[0], np.full(n_weightings, np.nan)
        total = np.add.reduceat(weights[self._rows], self._starts, axis=0)
        total = total.astype(np.float64)  # [S, R]
        hits = np.add.reduceat(weights[self._positives], self._first_positive, axis=0)
        positive = np.zeros_like(total)
        positive[self._is_run] = hits
        through = positive.cumsum(axis=0)
        n_positive = through[-1]
        negative = total - positive
        n_negative = negative.sum(axis=0)
        # A negative is beaten by the positives before it, and half by those beside it.
        won = (negative * (through - positive / 2)).sum(axis=0)
        pairs = n_positive * n_negative
        area = np.divide(won, pairs, out=np.full(n_weightings, np.nan), where=pairs > 0)
        precision = np.divide(
            hits * through[self._is_run],
            total.cumsum(axis=0)[self._is_run],
            out=np.zeros(hits.shape),
            where=hits > 0,
        ).sum(axis=0)
        average = np.divide(
            precision,
            n_positive,
            out=np.full(n_weightings, np.nan),
            where=n_positive > 0,
        )
        return area, average


class RankedNumber:
    """Spearman's correlation of one target column, for whole weights of examples."""

    def __init__(self, targets: np.ndarray, guesses: np.ndarray) -> None:
        """Sorts [M] targets and [M] predictions."""
        self._sides = [_Ties(targets), _Ties(guesses)]

    def measure(self, weights: np.ndarray) -> np.ndarray:
        """Returns the correlation of ranks, [R] float64, NaN where undefined.

        Args:
          weights: [M, R] float64, whole numbers.
        """
        total = weights.sum(axis=0)
        first, second = (
            # The mean rank is half of the total, whatever the ties.
            side.ranks(weights) - (total + 1) / 2
            for side in self._sides
        )
        shared = (weights * first * second).sum(axis=0)
        squares = (weights * first**2).sum(axis=0) * (weights * second**2).sum(axis=0)
        return np.divide(
            shared,
            np.sqrt(squares),
            out=np.full(len(total), np.nan),
            where=squares > 0,
        )


class _Ties:
    """Values in order, those that are equal together."""

    def __init__(self, values: np.ndarray) -> None:
        self._order = np.argsort(values, kind="stable")
        ranked = values[self._order]
        begins = np.append(True, ranked[1:] != ranked[:-1])
        self._starts = np.flatnonzero(begins)
        self._run = np.empty(len(values), np.int64)
        self._run[self._order] = np.cumsum(begins) - 1

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Returns [M, R] mean ranks of values that occur as often as they weigh."""
        sums = np.add.reduceat(weights[self._order], self._starts, axis=0)
        return (sums.cumsum(axis=0) - (sums - 1) / 2)[self._run]
