"""Metrics of every task, by scikit-learn and under its names."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.evaluation.class_metrics import (
    score_classes_alone,
    score_classes_fully,
    score_classes_quickly,
)
from tl_pipeline.evaluation.label_metrics import (
    score_labels_alone,
    score_labels_fully,
    score_labels_quickly,
)
from tl_pipeline.evaluation.number_metrics import score_numbers, score_numbers_alone
from tl_pipeline.evaluation.scored import check_scored
from tl_pipeline.tasks import Task, TaskKind

# What candidates are compared by: nothing that sorts all examples for each class.
METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss")
QUICK_METRICS: Mapping[TaskKind, tuple[str, ...]] = {
    "multiclass": METRICS,
    "binary": METRICS,
    "multilabel": ("subset_accuracy", "f1_macro", "f1_micro", "log_loss"),
    "regression": ("mean_absolute_error", "root_mean_squared_error", "r2"),
}
# The lower, the better; of all others the higher.
LOSSES = frozenset(
    {
        "log_loss",
        "brier",
        "expected_calibration_error",
        "mean_absolute_error",
        "root_mean_squared_error",
    }
)


def score(
    targets: ArrayLike, outputs: ArrayLike, *, task: Task | None = None
) -> dict[str, float]:
    """Computes the metrics that candidates are compared by: `QUICK_METRICS`.

    The balanced accuracy is the mean recall over the classes that `targets` hold; the
    macro F1 is over those that targets or predictions hold. A class that is in neither
    counts in none of them. What is undefined is left out: R² of constant targets, the
    subset accuracy where no example has all its labels.

    Args:
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      task: What was asked; without it, as many classes as `outputs` has columns.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.

    Example:
      >>> score([0, 1], [[0.5, 0.5], [0.5, 0.5]])["accuracy"]
      0.5
    """
    scored = check_scored(targets, outputs, task=task)
    if scored.task.is_single_class:
        return score_classes_quickly(scored)
    if scored.task.kind == "multilabel":
        return score_labels_quickly(scored)
    names = QUICK_METRICS["regression"]
    return {k: v for k, v in score_numbers(scored).items() if k in names}


def score_all(
    task: Task,
    targets: ArrayLike,
    outputs: ArrayLike,
    *,
    thresholds: ArrayLike = (),
) -> dict[str, float]:
    """Computes every metric of a task. One that is undefined is left out.

    * Classes: accuracy, balanced accuracy, top 5 accuracy (of more than 5 classes),
      precision, recall and F1 (macro and micro; of two classes those of the positive
      one, and macro F1), ROC AUC and average precision, log loss, Brier score, expected
      calibration error (15 bins of equal width, see `reliability_bins`).
    * Labels: subset accuracy over examples of which all labels are known; the others
      label by label over the known targets, then averaged over labels. Micro means
      pool all labels.
    * Numbers: mean absolute error, root mean squared error, R² and Spearman's
      correlation, target by target over the known ones, then averaged.

    ROC AUC and average precision are one class against the rest, averaged over the
    classes that targets hold. They are left out above `MOST_RANKED` classes.

    Args:
      task: What was asked.
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      thresholds: What a probability must exceed to be a yes: one number for `binary`,
        [K] for `multilabel`; none: 0.5.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    scored = check_scored(targets, outputs, task=task, thresholds=thresholds)
    if task.is_single_class:
        return score_classes_fully(scored)
    if task.kind == "multilabel":
        return score_labels_fully(scored)
    return score_numbers(scored)


def score_classes(
    task: Task,
    targets: ArrayLike,
    outputs: ArrayLike,
    *,
    thresholds: ArrayLike = (),
) -> list[dict[str, float | int | str | None]]:
    """Computes the metrics of each class, label or target column alone.

    Args:
      task: What was asked.
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      thresholds: As for `score_all`.

    Returns:
      A row for each name of the task. Of classes and labels: `name`, `support` (how
      many targets have it), `precision`, `recall`, `f1`, `average_precision`; of
      numbers: `name`, `support` (known targets) and the metrics of `score_all`. None
      where nothing can be said.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    scored = check_scored(targets, outputs, task=task, thresholds=thresholds)
    if task.is_single_class:
        return score_classes_alone(scored)
    if task.kind == "multilabel":
        return score_labels_alone(scored)
    return score_numbers_alone(scored)


def count_confusions(
    task: Task, targets: ArrayLike, outputs: ArrayLike, *, thresholds: ArrayLike = ()
) -> np.ndarray:
    """Counts examples by target and predicted class: a confusion matrix, sparse.

    Args:
      task: `multiclass` or `binary`.
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      thresholds: As for `score_all`.

    Returns:
      [C, 3] int64, the target, the prediction and how many, of every pair that occurs,
      in order: of 10,000 classes a matrix would hold a hundred million zeros.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    scored = check_scored(targets, outputs, task=task, thresholds=thresholds)
    pairs = np.stack([scored.targets, scored.predictions], axis=1)
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.concatenate([cells, counts[:, None]], axis=1)
