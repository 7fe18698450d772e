"""Standardization: fitted on the train split, applied to every split."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import FeatureShapeError


class Standardizer(NamedTuple):
    """The per-feature affine map `(x - mean) / scale`."""

    mean: np.ndarray  # [D] float32
    scale: np.ndarray  # [D] float32, never zero


# The least that float16 keeps of a number, and of a feature's deviation beside the
# largest one's: what is below both is rounding.
SMALLEST, SMALL_SHARE = 2.0**-24, 1e-3


def fit_standardizer(features: ArrayLike, *, min_std: float = 1e-6) -> Standardizer:
    """Fits the mean and scale of each feature.

    Fit on the train split only. A map fitted on the split it is applied to lets a
    prediction depend on which examples happen to share its batch.

    Args:
      features: [N, D] floating. One row per example, padding already removed.
      min_std: A feature whose standard deviation is not above this share of its
        largest magnitude keeps scale 1, so a constant feature maps to 0 and not to
        NaN or to its own rounding errors. So does one that is not above `SMALLEST`,
        unless the others are about as small: a network's dead unit, of which float16
        keeps a stray last bit in some rows.

    Returns:
      A `Standardizer` of two [D] float32 arrays.

    Raises:
      FeatureShapeError: `features` is not an [N, D] matrix with N > 0.

    Example:
      >>> fit_standardizer([[1.0, 5.0], [3.0, 5.0]]).scale.tolist()
      [1.0, 1.0]

    Reference:
      The constant-feature rule is that of scikit-learn's `StandardScaler`:
      https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.StandardScaler.html
    """
    features = np.asarray(features)
    if features.ndim != 2 or not len(features):
        raise FeatureShapeError(
            f"Expected features of shape [N, D] with N > 0, got {list(features.shape)}."
        )
    # Along axis 0 NumPy adds row by row: summed in float32, the mean of 20M rows of
    # N(5, 1) came out 8 % off. Hence float64 sums and a float32 result.
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    magnitude = np.maximum(features.max(axis=0), -features.min(axis=0))
    small = min(SMALLEST, SMALL_SHARE * std.max(initial=0.0))
    least = np.maximum(min_std * magnitude.astype(np.float64), small)
    scale = np.where(std > least, std, 1.0)
    return Standardizer(mean.astype(np.float32), scale.astype(np.float32))


def apply_standardizer(standardizer: Standardizer, features: ArrayLike) -> np.ndarray:
    """Standardizes features by statistics that were fitted before.

    Args:
      standardizer: From `fit_standardizer`, over the same D features.
      features: [N, D] floating; N may be 0.

    Returns:
      [N, D] float32.

    Raises:
      FeatureShapeError: `features` is not [N, D] with the D of the standardizer.
    """
    features = np.asarray(features)
    wanted = len(standardizer.mean)
    if features.ndim != 2 or features.shape[1] != wanted:
        raise FeatureShapeError(
            f"Asked to standardize {wanted} features a row, got the shape "
            f"{list(features.shape)}. Pass the features that the head was trained on."
        )
    centered = np.subtract(features, standardizer.mean, dtype=np.float32)
    centered /= standardizer.scale
    return centered
