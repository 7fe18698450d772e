"""Metrics of labels of which each example has any number; unknown ones do not count."""

from collections.abc import Iterator

import numpy as np

from tl_pipeline.evaluation.class_metrics import MOST_RANKED
from tl_pipeline.evaluation.reliability import calibration_error
from tl_pipeline.evaluation.scored import Scored

# scikit-learn is imported inside: it loads in a second, which a caller of the other
# modules need not wait for.


def score_labels_quickly(scored: Scored) -> dict[str, float]:
    """Computes what needs no sorting: subset accuracy, F1 and log loss."""
    from sklearn import metrics

    found: dict[str, float] = {}
    whole = ~np.isnan(scored.targets).any(axis=1)
    if whole.any():
        found["subset_accuracy"] = float(
            metrics.accuracy_score(
                scored.targets[whole].astype(int), scored.predictions[whole].astype(int)
            )
        )
    found |= _average(scored, "f1")
    losses = [
        metrics.log_loss(
            truth.astype(int), np.column_stack([1 - shares, shares]), labels=[0, 1]
        )
        for _, truth, shares, _ in _labels(scored)
    ]
    return found | {"log_loss": float(np.mean(losses))}


def score_labels_fully(scored: Scored) -> dict[str, float]:
    """Computes every metric of labels; what is undefined is left out."""
    from sklearn import metrics

    found = score_labels_quickly(scored)
    for name in ("precision", "recall"):
        found |= _average(scored, name)
    parts: dict[str, list[float]] = {
        name: [] for name in ("balanced_accuracy", "roc_auc", "average_precision")
    }
    brier = []
    for _, truth, shares, guess in _labels(scored):
        brier.append(np.mean((truth - shares) ** 2))
        positive = truth.any()
        if positive and not truth.all():
            recalls = metrics.balanced_accuracy_score(truth, guess)
            parts["balanced_accuracy"].append(float(recalls))
        if positive and scored.task.n_outputs <= MOST_RANKED:
            if not truth.all():
                area = metrics.roc_auc_score(truth, shares)
                parts["roc_auc"].append(float(area))
            precision = metrics.average_precision_score(truth, shares)
            parts["average_precision"].append(float(precision))
    found |= {name: float(np.mean(values)) for name, values in parts.items() if values}
    found["brier"] = float(np.mean(brier))
    found["expected_calibration_error"] = calibration_error(scored)
    return found


def score_labels_alone(scored: Scored) -> list[dict[str, float | int | str | None]]:
    """Computes the metrics of each label over the examples where it is known."""
    from sklearn import metrics

    rows: list[dict[str, float | int | str | None]] = [
        {"name": name, "support": 0}
        | dict.fromkeys(("precision", "recall", "f1", "average_precision"))
        for name in scored.task.names
    ]
    for k, truth, shares, guess in _labels(scored):
        hits, n, predicted = (truth & guess).sum(), truth.sum(), guess.sum()
        rows[k]["support"] = int(n)
        if predicted:
            rows[k]["precision"] = float(hits / predicted)
        if n:
            rows[k]["recall"] = float(hits / n)
        if n + predicted:
            rows[k]["f1"] = float(2 * hits / (n + predicted))
        if n and scored.task.n_outputs <= MOST_RANKED:
            precision = metrics.average_precision_score(truth, shares)
            rows[k]["average_precision"] = float(precision)
    return rows


def _labels(
    scored: Scored,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yields index, targets (bool), probabilities and decisions of each known label."""
    for k in range(scored.task.n_outputs):
        rows = ~np.isnan(scored.targets[:, k])
        if rows.any():
            truth = scored.targets[rows, k] == 1
            yield k, truth, scored.outputs[rows, k], scored.predictions[rows, k]


def _average(scored: Scored, name: str) -> dict[str, float]:
    """Computes F1, precision or recall, macro and micro.

    A label that neither targets nor predictions hold counts in no mean; a ratio of
    nothing otherwise is 0, as in scikit-learn.
    """
    from sklearn import metrics

    # Of an unknown target neither the truth nor the prediction is counted.
    known = ~np.isnan(scored.targets)
    truth = ((scored.targets == 1) & known).astype(int)
    guess = (scored.predictions & known).astype(int)
    held = truth.any(axis=0) | guess.any(axis=0)
    if not held.any():
        return {}
    at = {"precision": 0, "recall": 1, "f1": 2}[name]
    return {
        f"{name}_{average}": float(
            metrics.precision_recall_fscore_support(
                # A column more, that counts nowhere: one alone is no table of labels.
                np.column_stack([truth[:, held], np.zeros(len(truth), int)]),
                np.column_stack([guess[:, held], np.zeros(len(truth), int)]),
                labels=np.arange(held.sum()),
                average=average,
                zero_division=0.0,  # pyright: ignore[reportArgumentType]
            )[at]
        )
        for average in ("macro", "micro")
    }
