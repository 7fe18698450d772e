"""Two heads on the same examples: how much better is one, and is it more than chance?

What is compared is a score of each example: whether it was predicted right, minus its
squared error, its share of right labels. An easy example is easy for both heads, and
cancels; what decides are the examples on which they differ.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import Json
from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.uncertainty import Interval

SMALLEST_SLICE = 20  # examples; of fewer, one more or less right is above 5 points
_DRAWN_AT_ONCE = 2**22
# The smallest constant by which a normal tail bounds that of a sum of random signs.
_SIGNS_OVER_NORMAL = 3.179  # 1 / (4 P(Z >= sqrt 2)), rounded up


class Paired(NamedTuple):
    """How a second head differs from a first one on the same examples.

    Attributes:
      metric: What a score is, averaged over examples.
      n: Examples.
      n_units: Groups of examples that count as one draw; `n` where each is its own.
      first: The mean score of the first head.
      second: Of the second.
      difference: Second minus first, with its paired bootstrap interval.
      better: Examples on which the second head scores higher.
      worse: Examples on which it scores lower.
      p_value: Two-sided: of a difference as large, were the heads interchangeable.
    """

    metric: str
    n: int
    n_units: int
    first: float
    second: float
    difference: Interval
    better: int
    worse: int
    p_value: float

    def to_json(self) -> dict[str, Json]:
        """Returns the comparison as plain data."""
        return {**self._asdict(), "difference": self.difference._asdict()}


class Slice(NamedTuple):
    """The examples of one group.

    Attributes:
      name: The group.
      enough: Whether there are at least `SMALLEST_SLICE` examples.
      paired: How the heads differ on them.
    """

    name: str
    enough: bool
    paired: Paired

    def to_json(self) -> dict[str, Json]:
        """Returns the slice as plain data."""
        return {"slice": self.name, "enough": self.enough, **self.paired.to_json()}


def compare_scores(
    first: ArrayLike,
    second: ArrayLike,
    *,
    metric: str,
    rng: np.random.Generator,
    units: Sequence[str] | None = None,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> Paired:
    """Compares two heads by their scores on the same examples.

    With 0 and 1 as scores, the p-value is that of McNemar's exact test.

    Args:
      first: [N] scores of the first head; higher is better.
      second: [N] scores of the second head.
      metric: What the mean score is called.
      rng: Decides the resamples of the paired bootstrap.
      units: N names: examples of one name are resampled, and counted, as one draw. By
        default each example is its own.
      n_resamples: How many.
      level: The rate at which such intervals cover the truth.

    Raises:
      DatasetError: There are no examples, or the two are not of the same ones.

    Reference:
      Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> compare_scores([0, 0, 1], [1, 1, 1], metric="accuracy", rng=rng).p_value
      0.5
    """
    ours, theirs = _check_scores(first, second)
    differences = theirs - ours
    sums, sizes = sum_by_unit(differences, units)
    return Paired(
        metric=metric,
        n=len(ours),
        n_units=len(sums),
        first=float(ours.mean()),
        second=float(theirs.mean()),
        difference=_bootstrap(sums, sizes, rng, n_resamples, level),
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
        p_value=min(1.0, 2 * min(gain_p_value(sums), gain_p_value(-sums))),
    )


def compare_slices(
    first: ArrayLike,
    second: ArrayLike,
    groups: Sequence[str | None],
    *,
    metric: str,
    rng: np.random.Generator,
) -> list[Slice]:
    """Compares two heads on the examples of each group, the worst for the second first.

    Slices that are too small to say anything come last.

    Args:
      first: [N] scores of the first head; higher is better.
      second: [N] scores of the second head.
      groups: N group names; examples without one are in no slice.
      metric: What the mean score is called.
      rng: Decides the resamples.

    Raises:
      DatasetError: There are no examples, or the two are not of the same ones.
    """
    ours, theirs = _check_scores(first, second)
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        if group is not None:
            rows.setdefault(group, []).append(row)
    slices = [
        Slice(
            name,
            len(rows[name]) >= SMALLEST_SLICE,
            compare_scores(
                ours[rows[name]], theirs[rows[name]], metric=metric, rng=rng
            ),
        )
        for name in sorted(rows)
    ]
    return sorted(slices, key=lambda s: (not s.enough, s.paired.difference.value))


def sum_by_unit(
    differences: np.ndarray, units: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns [U] sums of differences by unit, and [U] numbers of examples."""
    if units is None:
        return differences, np.ones(len(differences))
    _, unit_of = np.unique(np.asarray(units, str), return_inverse=True)
    return np.bincount(unit_of, differences), np.bincount(unit_of).astype(np.float64)


def gain_p_value(differences: ArrayLike) -> float:
    """Returns the one-sided p-value of a gain, however small the level it must pass.

    Were the heads interchangeable, each difference would have either sign with the
    same chance. Where all that are not 0 have one size, their signs are McNemar's
    discordant pairs, and the p-value is exact. Else it is a bound on the tail of a sum
    of such signs, at most 3.18 times that of the normal distribution: no resampling
    reaches the levels that many looks at one test split call for.

    Args:
      differences: [U] independent differences in score, new minus old.

    References:
      McNemar, Note on the sampling error of the difference between correlated
      proportions, Psychometrika 12(2), 1947; exact as in Dietterich, Approximate
      statistical tests for comparing supervised classification learning algorithms,
      Neural Computation 10(7), 1998.
      Bentkus and Dzindzalieta, A tight Gaussian bound for weighted sums of Rademacher
      random variables, Bernoulli 21(2), 2015.

    Example:
      >>> gain_p_value([1, 1, 1, 0]), gain_p_value([-1, 0])
      (0.125, 1.0)
    """
    from scipy.stats import norm

    found = np.asarray(differences, np.float64)
    found = found[found != 0]
    if not len(found):
        return 1.0
    if np.ptp(np.abs(found)) == 0:
        better = int((found > 0).sum())
        return float(sign_test(better, len(found) - better))
    z = found.sum() / np.sqrt((found**2).sum())
    return float(min(1.0, _SIGNS_OVER_NORMAL * norm.sf(z)))


def sign_test(better: ArrayLike, worse: ArrayLike) -> np.ndarray:
    """Returns the chance of so many better among the differing, by fair coins.

    Args:
      better: [...] numbers of examples on which the new head alone is right.
      worse: [...] on which the old one alone is.

    Example:
      >>> sign_test([3, 0], [0, 3]).tolist()
      [0.125, 1.0]
    """
    from scipy.stats import binom

    more, less = np.asarray(better), np.asarray(worse)
    return np.asarray(binom.sf(more - 1, more + less, 0.5))


def _check_scores(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size:
        raise DatasetError(
            f"Asked to compare scores of the shapes {list(ours.shape)} and "
            f"{list(theirs.shape)}: they must be of the same examples, and of one at "
            "least. Score both heads on one split."
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise DatasetError(
            f"Asked to compare scores of {len(ours)} examples, of which some are not "
            "finite. Leave those examples out."
        )
    return ours, theirs


def _bootstrap(
    sums: np.ndarray,
    sizes: np.ndarray,
    rng: np.random.Generator,
    n_resamples: int,
    level: float,
) -> Interval:
    """Returns the mean over examples, and its interval by resampled units."""
    n = len(sums)
    at_once = max(1, _DRAWN_AT_ONCE // n)
    means = []
    for start in range(0, n_resamples, at_once):
        drawn = rng.integers(0, n, (min(at_once, n_resamples - start), n))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    ends = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums.sum() / sizes.sum()), float(ends[0]), float(ends[1]))
