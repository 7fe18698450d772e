"""Class means: a row belongs to the class whose mean it points to. No search at all."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError, DatasetError
from tl_pipeline.heads.inputs import checked_classes, checked_features, checked_weights
from tl_pipeline.heads.temperature import fit_scale, rows_to_scale
from tl_pipeline.tasks import Task

# The logit of a class without an example: its probability is near 0.
ABSENT_LOGIT = -60.0


class CentroidHeads(NamedTuple):
    """M heads, one for each row of weights."""

    centroid: np.ndarray  # [M, D, K] float32, times the scale: columns of one length
    bias: np.ndarray  # [M, K] float32; 0, or far below it for an absent class
    scale: np.ndarray  # [M] float64, what cosines are multiplied with


def fit_centroid(
    features: ArrayLike,
    targets: ArrayLike,
    task: Task,
    *,
    weight: ArrayLike,
) -> CentroidHeads:
    """Averages the rows of each class, and finds how far cosines are to be believed.

    A logit is `scale * cosine(row, mean of the class)`. The scale is the one of least
    log loss over the examples (of many classes, over some), each beside means that it
    had no part in: the mean of few examples lies nearer to them than to any other.

    Args:
      features: [N, D] floating.
      targets: [N] class indices. A class without an example is never predicted.
      task: Of classes.
      weight: [M, N], a row for each head, at least 0.

    Raises:
      ConfigError: The task is not one of classes, or weights are not usable.
      DatasetError: Fewer than two classes have an example, or a target is no class.
      FeatureShapeError: The features are not [N, D], or do not fit the targets.
      TrainingError: The features are not finite.
    """
    if not task.is_single_class:
        raise ConfigError(
            f"Asked for heads of kind 'centroid' for a {task.kind} task: they know "
            "classes only. Ask for linear, ridge or knn."
        )
    features = checked_features(features)
    targets = checked_classes(targets, len(features), task.n_outputs)
    different, rows = checked_weights(weight, len(np.asarray(weight)), len(targets))
    found = [_fit_one(features, targets, row, task.n_outputs) for row in different]
    centroids, biases, scales = (
        np.stack(part)[rows] for part in zip(*found, strict=True)
    )
    return CentroidHeads(centroids, biases, scales)


def centroid_outputs(
    arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], rows: np.ndarray
) -> np.ndarray:
    """Returns logits of N prepared rows: [N, K] float64; [N, 1] where there is a pair.

    Args:
      arrays: `centroid` [R, K] and `bias` [K].
      settings: `task`, a kind of task.
      rows: [N, R].
    """
    centroid = arrays["centroid"].astype(np.float64)
    logits = _directions(rows.astype(np.float64)) @ centroid + arrays["bias"]
    return np.diff(logits, axis=1) if settings["task"] == "binary" else logits


def _fit_one(
    features: np.ndarray, targets: np.ndarray, weight: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray, float]:
    used = weight > 0
    rows = features[used].astype(np.float64)
    own, mass = targets[used], weight[used]
    shares = np.bincount(own, mass, n_classes)
    present = np.flatnonzero(shares > 0)
    if len(present) < 2:
        raise DatasetError(
            f"Asked to tell {n_classes} classes apart, found training examples of "
            f"{len(present)}. Add labeled examples of at least two classes."
        )
    sums = np.zeros((n_classes, rows.shape[1]))  # of the means' directions
    np.add.at(sums, own, mass[:, None] * rows)
    towards = _directions(sums)
    alone = np.bincount(own, minlength=n_classes)[own] < 2
    # An example that is its class alone cannot be left out.
    known = np.flatnonzero(~alone)
    known = known[rows_to_scale(len(known), len(present))]
    scale = 1.0
    if len(known):
        rows, own, mass = rows[known], own[known], mass[known]
        pointing = _directions(rows)
        cosines = pointing @ towards[present].T
        without = _directions(sums[own] - mass[:, None] * rows)
        place = (np.cumsum(shares > 0) - 1)[own]
        left = np.einsum("nd,nd->n", pointing, without)
        cosines[np.arange(len(rows)), place] = left
        scale, _ = fit_scale(cosines, place, mass)
    bias = np.where(shares > 0, 0, ABSENT_LOGIT)
    return (scale * towards.T).astype(np.float32), bias.astype(np.float32), scale


def _directions(rows: np.ndarray) -> np.ndarray:
    """Returns rows of length 1; a row of 0 points nowhere, and stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
