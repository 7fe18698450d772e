"""Ridge heads: least squares with L2, of all strengths from one decomposition.

The objective is the (weighted) mean squared error plus `l2` times the squared norm of
the kernel; the bias is not penalized. It is scikit-learn's `Ridge` with
`alpha = l2 * N`, where N is the sum of the sample weights of a target's known rows.

For classes the targets are 1 and -1 (of many classes, 1 for the own one and 0 for the
others), and the outputs are stretched by a scale fitted on leave-one-out outputs, so
that their softmax or sigmoid can be believed.

One decomposition on the host is all that there is to compute: devices gain it nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.heads.inputs import (
    checked_classes,
    checked_columns,
    checked_features,
    checked_strengths,
    checked_weights,
)
from tl_pipeline.heads.temperature import fit_scale
from tl_pipeline.tasks import TaskKind

# Directions whose share of the largest variance is below this are rounding.
LEAST_VARIANCE = 1e-13
# The logit of a class without an example: its probability is near 0.
ABSENT_LOGIT = -20.0


class RidgeHeads(NamedTuple):
    """M fitted heads, in the order of the strengths asked for."""

    kernel: np.ndarray  # [M, D, K] float32; K is 1 where the task is binary
    bias: np.ndarray  # [M, K] float32
    # [M] float64: the weighted mean over the rows fitted to, each as it is predicted
    # without it, of the squared error, or of the log loss of classes and labels.
    # NaN where no row can be left out.
    leave_one_out: np.ndarray


class _Part(NamedTuple):
    """What one strength makes of the columns that miss the same rows."""

    head: int
    columns: np.ndarray  # [C]
    kernel: np.ndarray  # [D, C] float64
    bias: np.ndarray  # [C]
    outputs: np.ndarray  # [N, C], each as without its row; NaN where it is alone
    weights: np.ndarray  # [N], adding up to 1


def fit_ridge(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> RidgeHeads:
    """Fits M ridge regressions that share their features.

    Args:
      features: [N, D] floating; sums are float64. The rows' or the features' Gram
        matrix is decomposed, whichever is smaller, once for each different row of
        weights and each different set of missing targets.
      targets: [N, K] floating; NaN is missing and left out, column by column.
      l2: M strengths, each above 0.
      sample_weight: [N], or [M, N] with a row for each head, at least 0. A weight of 0
        leaves an example out.

    Raises:
      FeatureShapeError: `features` is not [N, D], or the targets are not [N, K].
      DatasetError: A target has no value in the weighted rows, or an infinite one.
      ConfigError: A strength or weight that is not usable.
      TrainingError: The features are not finite.

    Example:
      >>> heads = fit_ridge([[-1.0], [1.0]], [[1.0], [3.0]], l2=[1.0])
      >>> heads.kernel.ravel().tolist(), heads.bias.ravel().tolist()
      ([0.5], [2.0])
    """
    features = checked_features(features)
    columns = checked_columns(targets, len(features))
    strengths = checked_strengths(l2)
    kernel, bias = _empty(strengths, features, columns.shape[1])
    losses = np.zeros(len(strengths))
    for part in _fit_parts(features, columns, strengths, sample_weight):
        kernel[part.head][:, part.columns] = part.kernel
        bias[part.head, part.columns] = part.bias
        used = part.weights > 0
        errors = part.outputs[used] - columns[used][:, part.columns]
        losses[part.head] += (part.weights[used] @ errors**2).sum()
    return RidgeHeads(kernel, bias, losses / columns.shape[1])


def fit_ridge_classifier(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    kind: TaskKind,
    n_classes: int,
    l2: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> RidgeHeads:
    """Fits M ridge classifiers whose outputs are logits.

    The least-squares outputs times a scale are the logits. The scale, one a head, or
    one a label, is the one of least log loss over leave-one-out outputs, which come in
    closed form. Rows of weight 0 have no part in it.

    Args:
      features: [N, D] floating.
      targets: As `Task` encodes them: [N] class indices; of labels, [N, K] with NaN.
      kind: `multiclass`, `binary` or `multilabel`.
      n_classes: K. A class without an example gets a logit of -20 and no kernel.
      l2: M strengths, each above 0.
      sample_weight: [N], or [M, N] with a row for each head, at least 0.

    Returns:
      Kernels and biases with the scale multiplied in; the loss is the log loss.

    Raises:
      As `fit_ridge`; DatasetError too where fewer than two classes have an example.
    """
    features = checked_features(features)
    strengths = checked_strengths(l2)
    classes = np.zeros(0, np.int32)
    if kind == "multilabel":
        columns = checked_columns(targets, len(features)) * 2 - 1
    else:
        classes = checked_classes(targets, len(features), n_classes)
        if kind == "binary":
            columns = classes[:, None] * 2.0 - 1
        else:
            columns = np.zeros((len(classes), n_classes))
            columns[np.arange(len(classes)), classes] = 1
    kernel, bias = _empty(strengths, features, columns.shape[1])
    losses = np.zeros(len(strengths))
    for part in _fit_parts(features, columns, strengths, sample_weight):
        # A row that is its class alone, or of the fit, cannot be left out.
        known = (part.weights > 0) & np.isfinite(part.outputs).all(axis=1)
        weights = np.where(known, part.weights, 0)
        if kind == "multiclass":
            shares = np.bincount(classes, part.weights, n_classes)
            present = np.flatnonzero(shares > 0)
            _require_two(len(present), n_classes)
            place = np.cumsum(shares > 0) - 1
            scores = part.outputs[:, present]
            scale, loss = _scale(scores, place[classes], weights)
            kernel[part.head][:, present] = part.kernel[:, present] * scale
            bias[part.head] = ABSENT_LOGIT
            bias[part.head, present] = part.bias[present] * scale
            losses[part.head] += loss
            continue
        for place, column in enumerate(part.columns):
            positive = columns[:, column] > 0
            of_class = np.bincount(positive, part.weights, 2)
            if kind == "binary":
                _require_two(int((of_class > 0).sum()), 2)
            score = part.outputs[:, place]
            both = np.stack([-score, score], axis=1) / 2
            scale, loss = _scale(both, positive.astype(np.int64), weights)
            kernel[part.head][:, column] = part.kernel[:, place] * scale
            bias[part.head, column] = part.bias[place] * scale
            losses[part.head] += loss / columns.shape[1]
    return RidgeHeads(kernel, bias, losses)


def _empty(
    strengths: np.ndarray, features: np.ndarray, n_outputs: int
) -> tuple[np.ndarray, np.ndarray]:
    m = len(strengths)
    kernel = np.zeros((m, features.shape[1], n_outputs), np.float32)
    return kernel, np.zeros((m, n_outputs), np.float32)


def _scale(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    if not weights.any():
        return 1.0, np.nan
    return fit_scale(scores, targets, weights)


def _require_two(found: int, n_classes: int) -> None:
    if found < 2:
        raise DatasetError(
            f"Asked to tell {n_classes} classes apart, found training examples of "
            f"{found}. Add labeled examples of at least two classes."
        )


def _fit_parts(
    features: np.ndarray,
    targets: np.ndarray,
    strengths: np.ndarray,
    sample_weight: ArrayLike | None,
) -> Iterator[_Part]:
    """Yields each head's part of each set of columns that miss the same rows."""
    weights, rows = checked_weights(sample_weight, len(strengths), len(features))
    known = np.isfinite(targets)
    patterns, pattern_of = np.unique(known, axis=1, return_inverse=True)
    pattern_of = pattern_of.reshape(-1)
    for w, weight in enumerate(weights):
        for p, pattern in enumerate(patterns.T):
            columns = np.flatnonzero(pattern_of == p)
            of_pattern = weight * pattern
            if not of_pattern.any():
                raise DatasetError(
                    f"Asked to fit heads to {targets.shape[1]} targets, found no value "
                    f"of target {columns[0]} in the weighted rows. Leave it out, or "
                    "label an example."
                )
            of_pattern = of_pattern / of_pattern.sum()
            exact = np.where(pattern[:, None], targets[:, columns], 0)
            yield from _fit_columns(
                features, exact, of_pattern, strengths, rows == w, columns
            )


def _fit_columns(
    features: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    strengths: np.ndarray,
    asked: np.ndarray,
    columns: np.ndarray,
) -> Iterator[_Part]:
    """Yields the heads asked for, from one decomposition."""
    mean = weights @ features.astype(np.float64)
    center = weights @ targets
    centered = features - mean
    variances, axes = _principal_axes(centered, weights)
    along = centered @ axes  # [N, R]: the rows in the axes
    moments = (along * weights[:, None]).T @ (targets - center)
    squares = along**2
    for head in np.flatnonzero(asked):
        # The objective is a mean, as the variances are: the strength stands beside
        # them as it is.
        shrunk = 1 / (variances + strengths[head])
        coefficients = shrunk[:, None] * moments
        kernel = axes @ coefficients
        # The share of its own target in a row's output; what is left of the residual
        # without it is exact for a fixed alpha.
        leverage = weights * (1 + squares @ shrunk)
        outputs = along @ coefficients
        outputs += center
        alone = leverage >= 1 - 1e-9
        left = np.where(alone, np.nan, leverage / np.where(alone, 1, 1 - leverage))
        outputs -= left[:, None] * (targets - outputs)
        bias = center - mean @ kernel
        yield _Part(int(head), columns, kernel, bias, outputs, weights)


def _principal_axes(
    centered: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the variances [R] and the axes [D, R] that are more than rounding."""
    used = weights > 0
    rows = centered[used] * np.sqrt(weights[used])[:, None]
    if rows.shape[0] < rows.shape[1]:
        variances, left = np.linalg.eigh(rows @ rows.T)
        kept = variances > max(LEAST_VARIANCE * variances[-1], 0)
        variances = variances[kept]
        return variances, rows.T @ (left[:, kept] / np.sqrt(variances))
    variances, axes = np.linalg.eigh(rows.T @ rows)
    kept = variances > max(LEAST_VARIANCE * variances[-1], 0)
    return variances[kept], axes[:, kept]
