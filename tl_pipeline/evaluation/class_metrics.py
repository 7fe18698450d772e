"""Metrics of classes of which each example has exactly one."""

import numpy as np

from tl_pipeline.evaluation.reliability import calibration_error
from tl_pipeline.evaluation.scored import Scored, normalize_rows

# Above it a class has a handful of examples to rank, at a sort of all examples each.
MOST_RANKED = 1000

# scikit-learn is imported inside: it loads in a second, which a caller of the other
# modules need not wait for.


def score_classes_quickly(scored: Scored) -> dict[str, float]:
    """Computes what needs no sorting: accuracies, macro F1 and log loss."""
    from sklearn import metrics

    truth, guess = scored.targets, scored.predictions
    recall = metrics.recall_score(
        # scikit-learn's own balanced accuracy is this, but warns of predictions of a
        # class that no target holds.
        truth,
        guess,
        labels=np.unique(truth),
        average="macro",
    )
    f1 = metrics.f1_score(truth, guess, average="macro", zero_division=0.0)  # pyright: ignore[reportArgumentType]
    labels = np.arange(scored.outputs.shape[1])
    shares = normalize_rows(scored.outputs)
    return {
        "accuracy": float(metrics.accuracy_score(truth, guess)),
        "balanced_accuracy": float(recall),
        "f1_macro": float(f1),
        "log_loss": float(metrics.log_loss(truth, shares, labels=labels)),
    }


def score_classes_fully(scored: Scored) -> dict[str, float]:
    """Computes every metric of classes; what is undefined is left out."""
    from sklearn import metrics

    truth, guess, shares = scored.targets, scored.predictions, scored.outputs
    labels = np.arange(shares.shape[1])
    found = score_classes_quickly(scored)
    if scored.task.kind == "binary":
        positive = score_classes_alone(scored)[1]
        for name in ("precision", "recall", "f1"):
            if positive[name] is not None:
                found[name] = float(positive[name])  # pyright: ignore[reportArgumentType]
        columns = [1]
    else:
        for name, average in (("macro", "macro"), ("micro", "micro")):
            precision, recall, f1, _ = metrics.precision_recall_fscore_support(
                truth,
                guess,
                average=average,
                zero_division=0.0,  # pyright: ignore[reportArgumentType]
            )
            found[f"precision_{name}"] = float(precision)
            found[f"recall_{name}"] = float(recall)
            found[f"f1_{name}"] = float(f1)
        columns = labels[: len(labels) if len(labels) <= MOST_RANKED else 0]
    if len(labels) > 5:
        found["top_5_accuracy"] = float(
            metrics.top_k_accuracy_score(truth, shares, k=5, labels=labels)
        )
    held = [k for k in columns if (truth == k).any()]
    mixed = [k for k in held if (truth != k).any()]
    if mixed:
        found["roc_auc"] = float(
            np.mean([metrics.roc_auc_score(truth == k, shares[:, k]) for k in mixed])
        )
    if held:
        found["average_precision"] = float(
            np.mean(
                [
                    metrics.average_precision_score(truth == k, shares[:, k])
                    for k in held
                ]
            )
        )
    found["brier"] = float(
        metrics.brier_score_loss(truth, normalize_rows(shares), labels=labels)
    )
    found["expected_calibration_error"] = calibration_error(scored)
    return found


def score_classes_alone(scored: Scored) -> list[dict[str, float | int | str | None]]:
    """Computes the metrics of each class against the rest."""
    from sklearn import metrics

    truth, guess = scored.targets, scored.predictions
    n_classes = scored.outputs.shape[1]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth,
        guess,
        labels=np.arange(n_classes),
        zero_division=np.nan,  # pyright: ignore[reportArgumentType]
    )
    rows = []
    for k, name in enumerate(scored.task.names):
        n = int(np.asarray(support)[k])
        ranked = n_classes <= MOST_RANKED and n
        rows.append(
            {
                "name": name,
                "support": n,
                "precision": _plain(precision, k),
                "recall": _plain(recall, k),
                "f1": _plain(f1, k),
                "average_precision": float(
                    metrics.average_precision_score(truth == k, scored.outputs[:, k])
                )
                if ranked
                else None,
            }
        )
    return rows


def _plain(values: object, k: int) -> float | None:
    value = float(np.asarray(values)[k])
    return None if np.isnan(value) else value
