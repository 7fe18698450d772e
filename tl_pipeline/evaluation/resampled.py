"""Every metric of many resamples at once, from how often each draws each example."""

from functools import cached_property

import numpy as np

from tl_pipeline.evaluation.class_metrics import MOST_RANKED
from tl_pipeline.evaluation.ranks import BLOCK, RankedLabel, RankedNumber
from tl_pipeline.evaluation.reliability import N_BINS, find_bin, flatten_confidence
from tl_pipeline.evaluation.scored import Scored, normalize_rows

Measured = dict[str, np.ndarray]  # by metric: [R] float64, NaN where undefined
_EPS = np.finfo(np.float64).eps


class ResampledClasses:
    """Metrics of classes of which each example has exactly one."""

    def __init__(self, scored: Scored) -> None:
        truth, guess, shares = scored.targets, scored.predictions, scored.outputs
        self._kind = scored.task.kind
        self._n_classes = shares.shape[1]
        self._of_target = _Groups(truth, self._n_classes)
        self._of_guess = _Groups(guess, self._n_classes)
        self._right = (truth == guess).astype(np.float64)
        exact = normalize_rows(shares)
        own = exact[np.arange(len(truth)), truth]
        self._means = {
            "accuracy": self._right,
            "log_loss": -np.log(np.clip(own, _EPS, 1)),
            # (1 - p)² of the own class and p² of the others.
            "brier": ((exact**2).sum(axis=1) + 1 - 2 * own)
            / (2 if self._n_classes == 2 else 1),
        }
        if self._n_classes > 5:
            best = np.argsort(shares, axis=1, kind="stable")[:, -5:]
            self._means["top_5_accuracy"] = (best == truth[:, None]).any(axis=1) * 1.0
        self._error = _CalibrationError(scored)
        self._scored = scored

    @cached_property
    def _ranked(self) -> list[RankedLabel]:
        if self._n_classes > MOST_RANKED:
            return []
        truth, shares = self._scored.targets, self._scored.outputs
        columns = [1] if self._kind == "binary" else range(self._n_classes)
        return [RankedLabel(truth == k, shares[:, k]) for k in columns]

    @property
    def n_ranked(self) -> int:
        """The columns that `measure_ranks` passes over."""
        return 1 if self._kind == "binary" else self._n_classes

    def measure(self, counts: np.ndarray) -> Measured:
        """Computes what needs no ranks, for [R, N] float64 counts."""
        n = counts.sum(axis=1)
        # Not `@`: a product's last bits depend on how many resamples there are.
        found = {
            name: np.einsum("rn,n->r", counts, each) / n
            for name, each in self._means.items()
        }
        support = self._of_target.sums(counts)  # [R, K]
        guessed = self._of_guess.sums(counts)
        hits = self._of_target.sums(counts * self._right)
        held = support + guessed > 0
        found["balanced_accuracy"] = _mean_ratio(hits, support, support > 0)
        found["f1_macro"] = _mean_ratio(2 * hits, support + guessed, held)
        found["expected_calibration_error"] = self._error.measure(counts)
        if self._kind == "binary":
            hit, true, guess = hits[:, 1], support[:, 1], guessed[:, 1]
            found["precision"] = _ratio(hit, guess)
            found["recall"] = _ratio(hit, true)
            found["f1"] = _ratio(2 * hit, true + guess)
            return found
        found["precision_macro"] = _mean_ratio(hits, guessed, held)
        found["recall_macro"] = _mean_ratio(hits, support, held)
        for name in ("precision_micro", "recall_micro", "f1_micro"):
            found[name] = found["accuracy"]  # each example has one class and one guess
        return found

    def measure_ranks(self, counts: np.ndarray) -> Measured:
        """Computes ROC AUC and average precision, for [R, N] float64 counts."""
        return _measure_labels(self._ranked, counts)


class ResampledLabels:
    """Metrics of labels of which each example has any number."""

    def __init__(self, scored: Scored) -> None:
        known = ~np.isnan(scored.targets)
        truth, shares = (scored.targets == 1) & known, scored.outputs
        guess = scored.predictions & known
        self._known = known * 1.0
        self._truth, self._guess = truth * 1.0, guess * 1.0
        self._hits = (truth & guess) * 1.0
        self._whole = known.all(axis=1) * 1.0
        self._exact = self._whole * (truth == guess).all(axis=1)
        own = np.where(truth, shares, 1 - shares)
        self._losses = np.where(known, -np.log(np.clip(own, _EPS, 1)), 0)
        self._squares = np.where(known, (1 - own) ** 2, 0)
        self._error = _CalibrationError(scored)
        self._scored = scored

    @cached_property
    def _ranked(self) -> list[RankedLabel]:
        if self._scored.task.n_outputs > MOST_RANKED:
            return []
        targets, shares = self._scored.targets, self._scored.outputs
        rows = [np.flatnonzero(known) for known in self._known.T]
        return [
            RankedLabel(targets[of_label, k] == 1, shares[of_label, k], of_label)
            for k, of_label in enumerate(rows)
        ]

    @property
    def n_ranked(self) -> int:
        """The columns that `measure_ranks` passes over; dense, each costs three."""
        return 3 * self._scored.task.n_outputs

    def measure(self, counts: np.ndarray) -> Measured:
        """Computes what needs no ranks, for [R, N] float64 counts."""
        known, support = counts @ self._known, counts @ self._truth  # [R, K]
        guessed, hits = counts @ self._guess, counts @ self._hits
        none = known - support
        passed = none - (guessed - hits)
        held = support + guessed > 0
        mixed = (support > 0) & (none > 0)
        recalls = _safe(hits, support, mixed) + _safe(passed, none, mixed)
        found = {
            "subset_accuracy": _ratio(counts @ self._exact, counts @ self._whole),
            "balanced_accuracy": _ratio(recalls.sum(axis=1) / 2, mixed.sum(axis=1)),
            "log_loss": _mean_ratio(counts @ self._losses, known, known > 0),
            "brier": _mean_ratio(counts @ self._squares, known, known > 0),
            "expected_calibration_error": self._error.measure(counts),
        }
        for name, above, below in (
            ("precision", hits, guessed),
            ("recall", hits, support),
            ("f1", 2 * hits, support + guessed),
        ):
            found[f"{name}_macro"] = _mean_ratio(above, below, held)
            micro = _safe(above.sum(axis=1), below.sum(axis=1))
            found[f"{name}_micro"] = np.where(held.any(axis=1), micro, np.nan)
        return found

    def measure_ranks(self, counts: np.ndarray) -> Measured:
        """Computes ROC AUC and average precision, for [R, N] float64 counts."""
        return _measure_labels(self._ranked, counts)


class ResampledNumbers:
    """Metrics of predicted numbers."""

    def __init__(self, scored: Scored) -> None:
        self._known = ~np.isnan(scored.targets)
        truth = np.where(self._known, scored.targets, 0)
        # Centered, so that variances lose no digits to a large mean.
        means = truth.sum(axis=0) / np.maximum(self._known.sum(axis=0), 1)
        self._truth = np.where(self._known, truth - means, 0)
        self._errors = np.where(self._known, scored.outputs - truth, 0)
        self._ties, self._ranked = [], []
        for k, rows in enumerate(self._known.T):
            distinct = np.unique(scored.targets[rows, k], return_inverse=True)[1]
            self._ties.append(distinct)
            self._ranked.append(
                RankedNumber(scored.targets[rows, k], scored.outputs[rows, k])
            )

    @property
    def n_ranked(self) -> int:
        """The columns that `measure_ranks` passes over, at both sides."""
        return 8 * len(self._ranked)  # float64, and some passes more than a label

    def measure(self, counts: np.ndarray) -> Measured:
        """Computes what needs no ranks, for [R, N] float64 counts."""
        known = counts @ (self._known * 1.0)  # [R, K]
        squares = counts @ self._errors**2
        sums = counts @ self._truth
        spread = counts @ self._truth**2 - _safe(sums**2, known)
        varies = np.column_stack(
            [
                _varies(counts[:, rows], ties)
                for rows, ties in zip(self._known.T, self._ties, strict=True)
            ]
        )
        r2 = np.where(varies, 1 - _safe(squares, spread), 0)
        errors = counts @ np.abs(self._errors)
        return {
            "mean_absolute_error": _mean_ratio(errors, known, known > 0),
            "root_mean_squared_error": _ratio(
                np.sqrt(_safe(squares, known)).sum(axis=1), (known > 0).sum(axis=1)
            ),
            "r2": _ratio(r2.sum(axis=1), varies.sum(axis=1)),
        }

    def measure_ranks(self, counts: np.ndarray) -> Measured:
        """Computes Spearman's correlation, for [R, N] float64 counts."""
        found = []
        for start in range(0, len(counts), BLOCK):
            weights = counts[start : start + BLOCK].T
            of_targets = [
                each.measure(weights[rows])
                for each, rows in zip(self._ranked, self._known.T, strict=True)
            ]
            found.append(_mean_defined(np.stack(of_targets)))
        return {"spearman": np.concatenate(found)}


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


class _CalibrationError:
    """The expected calibration error, from each example's gap in each bin."""

    def __init__(self, scored: Scored) -> None:
        confidence, right, rows = flatten_confidence(scored)
        n = len(scored.targets)
        cells = rows * N_BINS + find_bin(confidence)
        gaps = np.bincount(cells, weights=right - confidence, minlength=n * N_BINS)
        self._gaps = gaps.reshape(n, N_BINS)
        self._n = np.bincount(rows, minlength=n) * 1.0

    def measure(self, counts: np.ndarray) -> np.ndarray:
        return _ratio(np.abs(counts @ self._gaps).sum(axis=1), counts @ self._n)


def _measure_labels(ranked: list[RankedLabel], counts: np.ndarray) -> Measured:
    if not ranked:
        return {}
    areas, averages = [], []
    for start in range(0, len(counts), BLOCK):
        weights = counts[start : start + BLOCK].T.astype(np.float32, order="C")
        pairs = [label.measure(weights) for label in ranked]
        areas.append(_mean_defined(np.stack([area for area, _ in pairs])))
        averages.append(_mean_defined(np.stack([average for _, average in pairs])))
    return {
        "roc_auc": np.concatenate(areas),
        "average_precision": np.concatenate(averages),
    }


def _varies(counts: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Says which [R, M] resamples draw more than one of the distinct values: [R]."""
    drawn = counts > 0
    low = np.where(drawn, ties, len(ties)).min(axis=1, initial=len(ties))
    return np.where(drawn, ties, -1).max(axis=1, initial=-1) > low


def _safe(
    above: np.ndarray, below: np.ndarray, where: np.ndarray | None = None
) -> np.ndarray:
    """Divides; 0 where there is nothing to divide by."""
    where = below > 0 if where is None else where
    return np.divide(above, below, out=np.zeros(above.shape), where=where)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divides; NaN where there is nothing to divide by."""
    nothing = np.full(above.shape, np.nan)
    return np.divide(above, below, out=nothing, where=below > 0)


def _mean_ratio(above: np.ndarray, below: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Returns [R] means over the classes that are held; of those 0 / 0 is 0."""
    ratios = np.where(held, _safe(above, below), 0)
    return _ratio(ratios.sum(axis=1), held.sum(axis=1))


def _mean_defined(values: np.ndarray) -> np.ndarray:
    """Returns [R] means over the [K, R] values that are no NaN."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=0), defined.sum(axis=0))
