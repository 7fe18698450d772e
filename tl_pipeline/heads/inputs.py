"""What every fit is given, checked at the door: features, targets and weights."""

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import (
    ConfigError,
    DatasetError,
    FeatureShapeError,
    TrainingError,
)
from tl_pipeline.heads.minibatches import Minibatches

# A million squares of it still add up to less than float32 can hold.
LARGEST = 1e15


def checked_features(features: ArrayLike) -> np.ndarray:
    """Returns [N, D] float32 features that a head can be fitted to.

    Raises:
      FeatureShapeError: They are not [N, D], or there are none.
      TrainingError: They are not finite, or too large for float32 sums of squares.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or not features.size:
        raise FeatureShapeError(
            f"Expected features of shape [N, D] with N > 0 and D > 0, got "
            f"{list(features.shape)}. Pool or flatten them to one row an example."
        )
    if not np.isfinite(features).all():
        rows = int((~np.isfinite(features).all(axis=1)).sum())
        raise TrainingError(
            f"Asked to fit heads to {len(features)} rows, of which {rows} hold "
            "features that are not finite. Leave those examples out."
        )
    largest = float(np.abs(features).max())
    if largest > LARGEST:
        raise TrainingError(
            "Asked to fit heads to features whose squares float32 cannot hold: the "
            f"largest feature is {largest:.3g}. Standardize them."
        )
    return features


def checked_classes(targets: ArrayLike, n: int, n_classes: int) -> np.ndarray:
    """Returns [N] int32 class indices below `n_classes`.

    Raises:
      FeatureShapeError: There are not `n` of them.
      DatasetError: They are no class indices.
    """
    targets = np.asarray(targets)
    if targets.shape != (n,):
        raise FeatureShapeError(
            f"{n} rows of features need as many targets, got the shape "
            f"{list(targets.shape)}. Pass one class index a row."
        )
    if targets.dtype.kind not in "iu":
        raise DatasetError(
            f"Targets are class indices, got {targets.dtype.name}. "
            "Number the classes from 0."
        )
    if targets.min() < 0 or targets.max() >= n_classes:
        raise DatasetError(
            f"Asked for heads of {n_classes} classes, found targets from "
            f"{targets.min()} to {targets.max()}. Number the classes from 0."
        )
    return targets.astype(np.int32)


def checked_columns(targets: ArrayLike, n: int) -> np.ndarray:
    """Returns [N, K] float64 targets, NaN where one is missing.

    Raises:
      FeatureShapeError: They are not [N, K] with K > 0.
      DatasetError: A target is infinite.
    """
    targets = np.asarray(targets, np.float64)
    if targets.ndim != 2 or len(targets) != n or not targets.shape[1]:
        raise FeatureShapeError(
            f"{n} rows of features need targets of the shape [{n}, K], got "
            f"{list(targets.shape)}. Pass one column a target."
        )
    if np.isinf(targets).any():
        raise DatasetError(
            "Asked to fit heads to targets of which some are infinite. Bring finite "
            "numbers, or NaN where one is missing."
        )
    return targets


def checked_strengths(l2: ArrayLike) -> np.ndarray:
    """Returns [M] float64 strengths, each above 0.

    Raises:
      ConfigError: One is not above 0, or there is none.
    """
    strengths = np.asarray(l2, np.float64)
    if (
        strengths.ndim != 1
        or not len(strengths)
        or not (strengths.astype(np.float32) > 0).all()
    ):
        raise ConfigError(
            f"Asked for L2 strengths {strengths.tolist()}: each must be above 0, and "
            "there must be one at least. Leave out the others, or use 1e-6 for hardly "
            "any."
        )
    return strengths


def checked_smoothing(smoothing: float) -> float | None:
    """Returns the share of a target that is spread; None where none is.

    Raises:
      ConfigError: It is not from 0 to below 1.
    """
    if not 0 <= smoothing < 1:
        raise ConfigError(
            f"Asked for a label smoothing of {smoothing}: it is a share of a target, "
            "from 0 to below 1. Use 0.1."
        )
    return smoothing or None


def checked_weights(
    weight: ArrayLike | None, m: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different rows of weights, each adding up to 1, and whose they are.

    Args:
      weight: [N], or [M, N] with a row for each head; None where all count alike.
      m: How many heads there are.
      n: How many examples.

    Returns:
      [W, N] float64 and [M], the row of each head.

    Raises:
      ConfigError: The shape is another, or a weight is not usable.
    """
    weights = np.ones((1, n)) if weight is None else np.asarray(weight, np.float64)
    if weights.shape == (n,):
        weights = weights[None]
    elif weight is not None and weights.shape != (m, n):
        raise ConfigError(
            f"{m} heads on {n} examples take sample weights of shape [{n}] or "
            f"[{m}, {n}], got {list(weights.shape)}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ConfigError(
            "Sample weights must be finite and at least 0, found "
            f"{weights.min()} to {weights.max()}. Use 0 to leave an example out."
        )
    places: dict[bytes, int] = {}
    rows = [places.setdefault(row.tobytes(), len(places)) for row in weights]
    _, firsts = np.unique(rows, return_index=True)
    different = weights[firsts]
    total = different.sum(axis=1, keepdims=True)
    # A head without any example is reported as one without classes, not as NaN.
    return different / np.where(total > 0, total, 1), np.broadcast_to(rows, m)


def checked_rows(features: ArrayLike | Minibatches) -> np.ndarray | Minibatches:
    """Returns [N, ...] float32 rows to train on, or minibatches as they are.

    Raises:
      FeatureShapeError: There are none, or they have no axis of features.
      TrainingError: They are not finite.
    """
    if isinstance(features, Minibatches):
        return features
    features = np.asarray(features, np.float32)
    if features.ndim < 2 or not features.size:
        raise FeatureShapeError(
            f"Expected features of shape [N, D] with N > 0 and D > 0, got "
            f"{list(features.shape)}."
        )
    if not np.isfinite(features).all():
        raise TrainingError(
            f"Asked to train heads on {len(features)} rows, of which some hold "
            "features that are not finite. Leave those examples out."
        )
    return features


def checked_views(views: ArrayLike, features: np.ndarray | Minibatches) -> np.ndarray:
    """Returns views [V, N, ...] of rows in the shape in which these are taken.

    Raises:
      FeatureShapeError: They are not of so many numbers.
      TrainingError: They are not finite.
      ConfigError: The rows come in minibatches.
    """
    if isinstance(features, Minibatches):
        raise ConfigError(
            "Asked to draw views of minibatches: give the features as an array, or "
            "minibatches that draw views themselves."
        )
    views = np.asarray(views, np.float32)
    if views.ndim < 3 or views[0].size != features.size:
        raise FeatureShapeError(
            f"Expected views of shape [V, N, ...] of features {list(features.shape)}, "
            f"got {list(views.shape)}."
        )
    views = views.reshape(len(views), *features.shape)
    for view in views:
        checked_rows(view)
    return views
