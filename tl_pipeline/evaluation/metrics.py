"""Metrics of class probabilities, by scikit-learn and under its names."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss")


class Scored(NamedTuple):
    """Checked targets and probabilities, with the predictions that follow."""

    targets: np.ndarray  # [N] integer
    probabilities: np.ndarray  # [N, K] float64
    predictions: np.ndarray  # [N] integer: the likeliest class, the first of equals


def score(targets: ArrayLike, probabilities: ArrayLike) -> dict[str, float]:
    """Computes every metric of `METRICS`.

    The balanced accuracy is the mean recall over the classes that `targets` hold; the
    macro F1 is over those that targets or predictions hold. A class that is in neither
    counts in none of them.

    Args:
      targets: [N] integer class indices.
      probabilities: [N, K] floating; rows add up to 1.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.

    Example:
      >>> score([0, 1], [[0.5, 0.5], [0.5, 0.5]])["accuracy"]
      0.5
    """
    # Imported here: scikit-learn loads in a second, which a caller of the other
    # modules need not wait for.
    from sklearn import metrics

    scored = check_scored(targets, probabilities)
    truth, guess = scored.targets, scored.predictions
    n_classes = scored.probabilities.shape[1]
    recall = metrics.recall_score(
        # scikit-learn's own balanced accuracy is this, but warns of predictions of a
        # class that no target holds.
        truth,
        guess,
        labels=np.unique(truth),
        average="macro",
    )
    f1 = metrics.f1_score(truth, guess, average="macro", zero_division=0.0)  # pyright: ignore[reportArgumentType]
    loss = metrics.log_loss(truth, scored.probabilities, labels=np.arange(n_classes))
    return {
        "accuracy": float(metrics.accuracy_score(truth, guess)),
        "balanced_accuracy": float(recall),
        "f1_macro": float(f1),
        "log_loss": float(loss),
    }


def confusion_matrix(targets: ArrayLike, probabilities: ArrayLike) -> np.ndarray:
    """Counts examples by target (row) and likeliest class (column): [K, K] int64.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    scored = check_scored(targets, probabilities)
    n_classes = scored.probabilities.shape[1]
    cells = scored.targets * n_classes + scored.predictions
    counts = np.bincount(cells, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes)


def check_scored(targets: ArrayLike, probabilities: ArrayLike) -> Scored:
    """Checks that targets and probabilities can be scored together.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    truth = np.asarray(targets)
    shares = np.asarray(probabilities, np.float64)
    shapes = f"targets of shape {list(truth.shape)}, probabilities {list(shares.shape)}"
    if shares.ndim != 2 or truth.shape != shares.shape[:1] or shares.shape[1] < 2:
        raise DatasetError(
            f"Asked to score {shapes}: they must be [N] and [N, K] with K of at least "
            "2. Pass one class index and one row of probabilities an example."
        )
    if not len(truth):
        raise DatasetError(
            "Asked to score a split without labeled examples. Label some, or choose "
            "other split sizes."
        )
    if truth.min() < 0 or truth.max() >= shares.shape[1]:
        raise DatasetError(
            f"Asked to score targets from {truth.min()} to {truth.max()} by the "
            f"probabilities of {shares.shape[1]} classes. Leave out examples of "
            "classes that the head does not know."
        )
    if not np.isfinite(shares).all():
        rows = int((~np.isfinite(shares).all(axis=1)).sum())
        raise DatasetError(
            f"Asked to score {len(shares)} rows of probabilities, of which {rows} are "
            "not finite. Leave those examples out."
        )
    truth = truth.astype(np.int64)
    return Scored(truth, shares, shares.argmax(axis=1))
