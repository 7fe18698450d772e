"""Which single dimensions of two sets of rows differ in distribution."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import FeatureShapeError


class Marginals(NamedTuple):
    """What a test of each dimension found.

    Attributes:
      p_value: Of the dimension that differs most, times the number of dimensions, at
        most 1: how often any of them would differ so much by chance, at most.
      dimension: Which one.
      statistic: Its largest distance of the two distribution functions, 0 to 1.
    """

    p_value: float
    dimension: int
    statistic: float


def compare_marginals(older: ArrayLike, newer: ArrayLike) -> Marginals:
    """Compares each dimension by the two-sample test of Kolmogorov and Smirnov.

    Args:
      older: [N, D] floating, N at least 1.
      newer: [M, D] floating, M at least 1.

    Raises:
      FeatureShapeError: The two do not have the same dimensions.

    Example:
      >>> rows = np.arange(40.0)[:, None]
      >>> compare_marginals(rows, rows + 30).statistic
      0.75

    Reference:
      The sum over all dimensions of their chances bounds that of any of them
      (Bonferroni); a p-value for large samples: Kolmogorov's limiting distribution,
      with Stephens' correction (Journal of the Royal Statistical Society B 32, 1970).
    """
    older, newer = np.asarray(older, np.float32), np.asarray(newer, np.float32)
    if older.ndim != 2 or newer.ndim != 2 or older.shape[1:] != newer.shape[1:]:
        raise FeatureShapeError(
            f"Asked to compare dimensions of rows {list(older.shape)} and "
            f"{list(newer.shape)}: they must have the same D."
        )
    from scipy.special import kolmogorov

    n, m = len(older), len(newer)
    distances = np.array(
        [_distance(a, b) for a, b in zip(older.T, newer.T, strict=True)]
    )
    worst = int(distances.argmax())
    root = np.sqrt(n * m / (n + m))
    chance = kolmogorov((root + 0.12 + 0.11 / root) * distances[worst])
    p_value = min(1.0, float(chance) * len(distances))
    return Marginals(p_value, worst, float(distances[worst]))


def _distance(older: np.ndarray, newer: np.ndarray) -> float:
    """Returns the largest distance of two empirical distribution functions."""
    both = np.concatenate([older, newer])
    older, newer = np.sort(older), np.sort(newer)
    below = np.searchsorted(older, both, side="right") / len(older)
    return float(
        np.abs(below - np.searchsorted(newer, both, side="right") / len(newer)).max()
    )
