"""Linear heads of labels: a logistic regression for each label, apart from the others.

A label's objective is that of `fit_linear` with two classes, over the rows where the
label is known: scikit-learn's `LogisticRegression` with `C = 1 / (l2 * N)`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.heads.axes import principal_axes
from tl_pipeline.heads.inputs import (
    checked_columns,
    checked_features,
    checked_smoothing,
    checked_strengths,
    checked_weights,
)
from tl_pipeline.heads.linear import LinearHeads, class_shares, fit_along

# The logit of a label that has one value only: its probability is near 0 or 1.
SURE_LOGIT = 20.0


def fit_linear_labels(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    l2: Sequence[float],
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    max_iter: int = 1000,
    tol: float = 1e-7,
) -> LinearHeads:
    """Fits M heads of K labels each; all else is as in `fit_linear`.

    Args:
      features: [N, D] floating.
      targets: [N, K], 1 where a label applies, 0 where not, NaN where it is not known.
        A label that has one value only among a head's rows gets a logit of 20 or -20
        and no kernel.
      l2: M strengths, each above 0.
      sample_weight: [N], or [M, N] with a row for each head, at least 0.
      label_smoothing: Half of it is the share of the opposite answer in a target.
      max_iter: As in `fit_linear`.
      tol: Likewise.

    Returns:
      Kernels [M, D, K] and biases [M, K] of logits; the loss is the mean over labels,
      the iterations are those of the slowest.

    Raises:
      FeatureShapeError: `features` is not [N, D], or the targets are not [N, K].
      DatasetError: A label is not known in any weighted row, or is neither 0 nor 1.
      ConfigError: A strength or weight that is not usable.
      TrainingError: The features, or the fit, are not finite.
    """
    features = checked_features(features)
    columns = checked_columns(targets, len(features))
    strengths = checked_strengths(l2).astype(np.float32)
    smoothing = checked_smoothing(label_smoothing)
    known = ~np.isnan(columns)
    if not np.isin(columns[known], (0, 1)).all():
        raise DatasetError(
            "Asked to fit heads to labels, found "
            f"{np.setdiff1d(columns[known], (0, 1))[0]}: a label is 0, 1, or NaN where "
            "it is not known."
        )
    different, rows = checked_weights(sample_weight, len(strengths), len(columns))
    # The rows of any label stay for all: one shape is one compilation.
    used = (different > 0).any(axis=0) & known.any(axis=1)
    unknown = np.flatnonzero(~((different > 0) @ known).all(axis=0))
    if len(unknown):
        raise DatasetError(
            f"Asked to fit a head to the label in column {unknown[0]}, which is not "
            "known in any of its training examples. Leave the label out, or add "
            "examples."
        )
    columns, known, different = columns[used], known[used], different[:, used]
    axes = principal_axes(features[used])
    heads = []
    for column, is_known in zip(columns.T, known.T, strict=True):
        weights = different * is_known
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        classes = np.where(is_known, column, 0).astype(np.int32)
        shares = class_shares(weights, classes, 2)
        found = fit_along(
            axes,
            classes,
            strengths,
            weights=weights,
            rows=rows,
            shares=shares,
            smoothing=smoothing,
            max_iter=max_iter,
            tol=tol,
        )
        heads.append(_one_logit(found, shares[rows]))
    kernels, biases, losses, n_iter, converged = zip(*heads, strict=True)
    return LinearHeads(
        np.stack(kernels, axis=2),
        np.stack(biases, axis=1),
        np.mean(losses, axis=0),
        np.max(n_iter, axis=0),
        np.all(converged, axis=0),
    )


def _one_logit(heads: LinearHeads, shares: np.ndarray) -> LinearHeads:
    """Returns the heads with the logit of yes over no: kernels [M, D], biases [M]."""
    kernel = heads.kernel[:, :, 1] - heads.kernel[:, :, 0]
    bias = heads.bias[:, 1] - heads.bias[:, 0]
    is_sure = (shares == 0).any(axis=1)
    kernel[is_sure] = 0
    bias = np.where(is_sure, np.where(shares[:, 1] > 0, SURE_LOGIT, -SURE_LOGIT), bias)
    # What is certain was not searched for: rounding may have left it unfinished.
    return heads._replace(
        kernel=kernel, bias=bias.astype(np.float32), converged=heads.converged | is_sure
    )
