"""What the dimensions of features carry: constants, norms, effective rank."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import FeatureShapeError

# The spectrum takes the cube of the smaller of rows and dimensions: 2,048 rows, about
# two seconds.
MOST_ROWS = 2048
QUANTILES = (0.01, 0.05, 0.25, 0.75, 0.95, 0.99)


class Norms(NamedTuple):
    """Euclidean lengths of rows; `quantiles` are at `QUANTILES`."""

    min: float
    median: float
    max: float
    quantiles: dict[str, float]


class Rank(NamedTuple):
    """The effective rank of features.

    Attributes:
      effective: The number itself, between 1 and `limit`; 0 if all rows are equal.
      limit: What it could be at most, with so many rows and dimensions.
      rows: The rows it was computed from.
    """

    effective: float
    limit: int
    rows: int


def find_constant(features: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Finds the dimensions that have one value in all rows.

    Args:
      features: [N, D] floating, N at least 1.

    Returns:
      Constant dimensions other than 0, and those that are always 0: a unit that never
      fires. Both sorted.

    Raises:
      FeatureShapeError: `features` is not [N, D] with N > 0.

    Example:
      >>> constant, dead = find_constant([[1.0, 0.0, 3.0], [2.0, 0.0, 3.0]])
      >>> constant.tolist(), dead.tolist()
      ([2], [1])
    """
    features = _checked(features)
    low, high = features.min(axis=0), features.max(axis=0)
    return (
        np.flatnonzero((low == high) & (low != 0)),
        np.flatnonzero((low == 0) & (high == 0)),
    )


def measure_norms(features: ArrayLike) -> Norms:
    """Measures the Euclidean lengths of rows [N, D].

    Raises:
      FeatureShapeError: `features` is not [N, D] with N > 0.

    Example:
      >>> measure_norms([[3.0, 4.0], [0.0, 1.0]])[:3]
      (1.0, 3.0, 5.0)
    """
    features = _checked(features)
    # Rows of float16 would overflow when squared.
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    quantiles = np.quantile(norms, QUANTILES)
    return Norms(
        float(norms.min()),
        float(np.median(norms)),
        float(norms.max()),
        {str(q): float(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
    )


def effective_rank(features: ArrayLike, *, rng: np.random.Generator) -> Rank:
    """Computes the effective rank: in how many directions the rows really vary.

    `exp(-sum(p log p))` with p the singular values of the centered rows over their
    sum: k directions of equal strength give k, wherever they point.

    Args:
      features: [N, D] floating.
      rng: Draws `MOST_ROWS` rows, where rows and dimensions are both more.

    Raises:
      FeatureShapeError: `features` is not [N, D] with N > 0.

    Reference:
      O. Roy and M. Vetterli, "The effective rank: a measure of effective
      dimensionality", EUSIPCO 2007, definition 1 (here of centered rows).
    """
    features = _checked(features)
    if min(features.shape) > MOST_ROWS:
        drawn = rng.choice(len(features), MOST_ROWS, replace=False)
        features = features[np.sort(drawn)]
    n, width = features.shape
    limit = min(n - 1, width)
    centered = np.asarray(features, np.float64)
    centered = centered - centered.mean(axis=0)
    gram = centered @ centered.T if n < width else centered.T @ centered
    squares = np.linalg.eigvalsh(gram)
    # Below this lie the rounding errors of the product, whose roots would count.
    kept = squares > 1e-13 * max(squares[-1], np.finfo(float).tiny)
    # Equal rows differ from their mean by rounding alone.
    if squares[-1] <= 1e-24 * np.square(np.asarray(features, np.float64)).sum():
        return Rank(0.0, limit, n)
    lengths = np.sqrt(squares[kept])
    shares = lengths / lengths.sum()
    return Rank(float(np.exp(-(shares * np.log(shares)).sum())), limit, n)


def _checked(features: ArrayLike) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or not features.size:
        raise FeatureShapeError(
            f"Expected features of shape [N, D] with N > 0 and D > 0, got "
            f"{list(features.shape)}. Pool or flatten them to one row an example."
        )
    return features
