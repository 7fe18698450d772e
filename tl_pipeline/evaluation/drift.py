"""How far features moved from one set of rows to another, and what of it is noise."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import FeatureShapeError

# Rows of either side that a Fréchet distance is computed from: its singular values
# take the cube of the smaller of rows and dimensions, at 1,024 a third of a second.
MOST_ROWS = 1024


class Drift(NamedTuple):
    """How far features moved, beside how far two halves of the same rows lie apart.

    Attributes:
      n: Rows of (older, newer).
      mean_shift: Root mean square over the dimensions of the standardized shift; see
        `standardized_shift`.
      largest_shift: The largest of them, signed.
      dimension: Where it is.
      jumped: Dimensions that are constant on both sides, at two values: they have no
        scale, and count in none of the above.
      frechet: The Fréchet distance.
      mean_shift_noise: The same figure between two random halves of the older rows.
      frechet_noise: Likewise. A half has half the rows, so both overstate the noise.
    """

    n: tuple[int, int]
    mean_shift: float
    largest_shift: float
    dimension: int
    jumped: int
    frechet: float
    mean_shift_noise: float | None
    frechet_noise: float | None

    @property
    def exceeds_noise(self) -> bool | None:
        """Whether any figure is beyond its noise; None where that is unknown."""
        if self.jumped:
            return True
        if self.mean_shift_noise is None or self.frechet_noise is None:
            return None
        return (
            self.mean_shift > self.mean_shift_noise or self.frechet > self.frechet_noise
        )


def measure_drift(
    older: ArrayLike, newer: ArrayLike, *, rng: np.random.Generator, n_halvings: int = 3
) -> Drift | None:
    """Measures how far features moved.

    Args:
      older: [N, D] floating.
      newer: [M, D] floating.
      rng: Draws the halves, and the rows of a side that has more than `MOST_ROWS`.
      n_halvings: How often the older rows are halved; the largest figure is the noise.

    Returns:
      The drift; None where a side has fewer than two rows. Its noise is None where the
      older side has fewer than four.

    Raises:
      FeatureShapeError: The two do not have the same dimensions.
    """
    older, newer = _checked(older, newer)
    n = len(older), len(newer)
    if min(n) < 2:
        return None
    same = older.shape == newer.shape and np.array_equal(older, newer)
    shift = standardized_shift(older, newer)
    scaled = np.where(np.isfinite(shift), shift, 0.0)
    place = int(np.abs(scaled).argmax())
    noises = [_halves_apart(older, rng) for _ in range(n_halvings if n[0] >= 4 else 0)]
    return Drift(
        n=n,
        mean_shift=_root_mean_square(shift),
        largest_shift=float(scaled[place]),
        dimension=place,
        jumped=int(np.isinf(shift).sum()),
        # Two draws of many rows would differ, though the rows do not.
        frechet=0.0 if same else frechet_distance(_draw(older, rng), _draw(newer, rng)),
        mean_shift_noise=max((noise for noise, _ in noises), default=None),
        frechet_noise=max((noise for _, noise in noises), default=None),
    )


def standardized_shift(older: ArrayLike, newer: ArrayLike) -> np.ndarray:
    """Computes the shift of each dimension's mean in pooled standard deviations.

    `(mean(newer) - mean(older)) / s`, with `s**2` the two variances weighted by their
    degrees of freedom. A dimension that is constant on both sides has no scale: its
    shift is 0 if it kept its value, else signed infinity.

    Args:
      older: [N, D] floating, N at least 2.
      newer: [M, D] floating, M at least 2.

    Returns:
      [D] float64.

    Raises:
      FeatureShapeError: The two do not have the same dimensions.

    Example:
      >>> standardized_shift([[0.0], [2.0]], [[1.0], [3.0]]).round(4).tolist()
      [0.7071]

    Reference:
      Cohen's d; J. Cohen, "Statistical Power Analysis for the Behavioral Sciences",
      1988, section 2.5.2.
    """
    older, newer = _checked(older, newer)
    n, m = len(older), len(newer)
    shift = newer.mean(axis=0) - older.mean(axis=0)
    pooled = (n - 1) * older.var(axis=0, ddof=1) + (m - 1) * newer.var(axis=0, ddof=1)
    scale = np.sqrt(pooled / (n + m - 2))
    # Means of a constant are exact to their last digit only.
    rounding = 1e-9 * np.maximum(np.abs(older).max(axis=0), np.abs(newer).max(axis=0))
    shift[np.abs(shift) <= rounding] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(
            scale > rounding,
            shift / scale,
            np.where(shift == 0, 0.0, np.sign(shift) * np.inf),
        )


def frechet_distance(older: ArrayLike, newer: ArrayLike) -> float:
    """Computes the squared Fréchet distance of two Gaussians fitted to the rows.

    `|mean_a - mean_b|**2 + tr(A + B - 2 (A B)**(1/2))` of the means and covariances A
    and B. With `A = X'X` and `B = Y'Y` of centered rows, the last trace is the sum of
    the singular values of `X Y'`: no D x D matrix where rows are few, and no root of
    an ill-conditioned one where they are many. Few rows bias it upwards: compare it
    only with distances between as many.

    Args:
      older: [N, D] floating, N at least 2.
      newer: [M, D] floating, M at least 2.

    Raises:
      FeatureShapeError: The two do not have the same dimensions.

    Example:
      >>> round(frechet_distance([[0.0], [2.0]], [[3.0], [7.0]]), 6)  # 4**2 + 2
      18.0

    Reference:
      D. C. Dowson and B. V. Landau, "The Fréchet distance between multivariate normal
      distributions", 1982, equation 4; as a distance of features, M. Heusel et al.,
      "GANs Trained by a Two Time-Scale Update Rule", 2017. The bias: M. J. Chong and
      D. Forsyth, "Effectively Unbiased FID and Inception Score", 2020.
    """
    older, newer = _checked(older, newer)
    mean = older.mean(axis=0) - newer.mean(axis=0)
    x, y = _root(older), _root(newer)
    both = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    squares = np.square(x).sum() + np.square(y).sum()
    return float(max(mean @ mean + squares - 2 * both, 0.0))


def _root(rows: np.ndarray) -> np.ndarray:
    """Returns R [min(N, D), D] with R'R the covariance of rows [N, D]."""
    centered = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    n, width = centered.shape
    return np.asarray(np.linalg.qr(centered, mode="r")) if n > width else centered


def _halves_apart(rows: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    order = rng.permutation(len(rows))
    half = len(rows) // 2
    left, right = rows[order[:half]], rows[order[half:]]
    return (
        _root_mean_square(standardized_shift(left, right)),
        frechet_distance(left[:MOST_ROWS], right[:MOST_ROWS]),
    )


def _root_mean_square(shift: np.ndarray) -> float:
    """Of the dimensions that have a scale."""
    finite = shift[np.isfinite(shift)]
    return float(np.sqrt(np.square(finite).mean())) if finite.size else 0.0


def _draw(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if len(rows) <= MOST_ROWS:
        return rows
    return rows[np.sort(rng.choice(len(rows), MOST_ROWS, replace=False))]


def _checked(older: ArrayLike, newer: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    older, newer = np.asarray(older, np.float64), np.asarray(newer, np.float64)
    shaped = older.ndim == newer.ndim == 2 and older.shape[1] == newer.shape[1]
    if not shaped or not older.shape[1]:
        raise FeatureShapeError(
            f"Asked to compare features of shapes {list(older.shape)} and "
            f"{list(newer.shape)}: both must be [N, D] with the same D. Compare the "
            "same feature of the same backbone."
        )
    return older, newer
