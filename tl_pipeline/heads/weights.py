"""What each example counts: class weights and sample weights, as one row of weights."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError


def make_sample_weight(
    targets: ArrayLike,
    *,
    class_weight: Literal["balanced"] | Sequence[float] | None = None,
    sample_weight: ArrayLike | None = None,
) -> np.ndarray:
    """Returns the [N] float64 weights that every fit of a head takes.

    Args:
      targets: [N] integer class indices; of labels or numbers, [N, K].
      class_weight: `balanced`: all classes that have an example weigh the same
        together, whose mean weight is kept; it is scikit-learn's, of rows that already
        weigh something. Or K factors, at least 0.
      sample_weight: [N], at least 0; a class weight multiplies it.

    Raises:
      ConfigError: The weights do not fit the targets, or cannot be used.

    Example:
      >>> make_sample_weight([0, 0, 0, 1], class_weight="balanced").round(3).tolist()
      [0.667, 0.667, 0.667, 2.0]
    """
    targets = np.asarray(targets)
    n = len(targets)
    weights = np.ones(n) if sample_weight is None else np.array(sample_weight, float)
    if weights.shape != (n,):
        raise ConfigError(
            f"{n} examples take as many sample weights, got the shape "
            f"{list(weights.shape)}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ConfigError(
            "Sample weights must be finite and at least 0, found "
            f"{weights.min()} to {weights.max()}. Use 0 to leave an example out."
        )
    if class_weight is None or not n:
        return weights
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise ConfigError(
            "Asked for class weights, found targets that are no classes: of the shape "
            f"{list(targets.shape)} and {targets.dtype.name}. Leave class weights out, "
            "or weigh the examples by a column."
        )
    if isinstance(class_weight, str):
        shares = np.bincount(targets, weights)
        present = shares > 0
        factors = np.zeros(len(shares))
        factors[present] = shares.sum() / (present.sum() * shares[present])
        return weights * factors[targets]
    factors = np.asarray(class_weight, np.float64)
    usable = np.isfinite(factors).all() and (factors >= 0).all()
    if factors.ndim != 1 or not usable or targets.max() >= len(factors):
        raise ConfigError(
            f"Asked for class weights {factors.tolist()} of {int(targets.max()) + 1} "
            "classes: give one a class, finite and at least 0, or `balanced`."
        )
    return weights * factors[targets]
