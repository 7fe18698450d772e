"""Two domains: whether they differ, and what can be mended without a target label."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError, FeatureShapeError
from tl_pipeline.evaluation.uncertainty import Interval

# Rows of either side that a two-sample test is given: it tells 0.5 from 0.54 by them.
MOST_ROWS = 2000
# With fewer of either side, an accuracy of 0.8 would not reach a level of 0.05.
LEAST_ROWS = 16
# The roots of a covariance take the cube of its dimensions: at 4,096 about a minute.
MOST_DIMENSIONS = 4096
# A confusion matrix of a smaller least singular value, of the largest, is noise.
_LEAST_SINGULAR = 1e-3
_EM_STEPS, _EM_CHANGE = 1000, 1e-7


class TwoSampleTest(NamedTuple):
    """How well a classifier tells two sets of rows apart.

    Attributes:
      n: Rows of each side.
      accuracy: On rows that it was not fitted on, with an interval that covers the
        truth at its level or more often; 0.5 is chance.
      p_value: How often rows of one distribution would be told apart so well, at most.
    """

    n: int
    accuracy: Interval
    p_value: float


def two_sample_test(
    source: ArrayLike,
    target: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> TwoSampleTest:
    """Tests whether two sets of rows are of one distribution, by a classifier.

    As many rows of either side are halved; a logistic regression of each half is scored
    on the other. Within a half the correct ones are at most binomial, exactly; over
    both together they are not, for each half has taught the classifier of the other.
    So the p-value is twice the smaller one of the halves, and the interval the mean of
    theirs at twice the confidence: both hold however the halves depend on each other.

    Args:
      source: [N, D] floating, independent of each other.
      target: [M, D] floating, likewise; no row of the source's.
      rng: Draws the rows, at most `MOST_ROWS` of each, and the halves.
      level: Of the interval.

    Raises:
      DatasetError: A side has fewer than `LEAST_ROWS` rows.
      FeatureShapeError: The two do not have the same dimensions.

    Reference:
      D. Lopez-Paz and M. Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017.
    """
    from scipy.stats import binomtest
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    source, target = _checked(source, target)
    n = min(len(source), len(target), MOST_ROWS)
    if n < LEAST_ROWS:
        raise DatasetError(
            f"Asked to tell {len(source):,} rows from {len(target):,}: it takes "
            f"{LEAST_ROWS} of each. Bring more examples."
        )
    half = n // 2
    drawn = [rng.permutation(side)[: 2 * half] for side in (source, target)]
    sides = np.repeat([0, 1], half)
    halves = [
        np.concatenate([rows[:half] for rows in drawn]),
        np.concatenate([rows[half:] for rows in drawn]),
    ]
    found = []
    for fitted, held in (halves, halves[::-1]):
        # Strong L2: what tells domains apart is mostly coarse, and rows may be few.
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
        )
        right = int((model.fit(fitted, sides).predict(held) == sides).sum())
        found.append(binomtest(right, 2 * half, 0.5, alternative="greater"))
    ends = [
        binomtest(one.k, one.n, 0.5).proportion_ci((1 + level) / 2) for one in found
    ]
    accuracy = Interval(
        float(np.mean([one.statistic for one in found])),
        float(np.mean([one.low for one in ends])),
        float(np.mean([one.high for one in ends])),
    )
    p_value = min(1.0, 2 * min(one.pvalue for one in found))
    return TwoSampleTest(2 * half, accuracy, float(p_value))


class Alignment(NamedTuple):
    """Source rows with the mean and covariance of the target.

    Attributes:
      rows: [N, D] float32.
      shrinkage: How far the covariances of (source, target) were drawn towards a
        multiple of the identity, 0 to 1.
    """

    rows: np.ndarray
    shrinkage: tuple[float, float]


def align_coral(source: ArrayLike, target: ArrayLike) -> Alignment:
    """Gives source rows the mean and covariance of target rows: CORAL.

    Rows are whitened by the source's covariance and colored by the target's, both of
    dimensions scaled by their pooled deviation. Covariances are shrunk by Ledoit and
    Wolf's estimate, which takes the place of the identity that the authors add: there
    may be more dimensions than rows. No label is looked at.

    Args:
      source: [N, D] floating, N at least 2.
      target: [M, D] floating, M at least 2.

    Raises:
      DatasetError: A side has fewer than two rows.
      FeatureShapeError: The two do not have the same dimensions, or more than
        `MOST_DIMENSIONS`.

    Example:
      >>> align_coral([[0.0], [2.0]], [[4.0], [10.0]]).rows.tolist()
      [[4.0], [10.0]]

    Reference:
      B. Sun, J. Feng and K. Saenko, "Return of Frustratingly Easy Domain Adaptation",
      AAAI 2016, algorithm 1; O. Ledoit and M. Wolf, "A well-conditioned estimator for
      large-dimensional covariance matrices", 2004.
    """
    from sklearn.covariance import ledoit_wolf

    source, target = _checked(source, target)
    if min(len(source), len(target)) < 2:
        raise DatasetError(
            f"Asked to align {len(source):,} rows with {len(target):,}: a covariance "
            "takes two of each. Bring more examples."
        )
    if source.shape[1] > MOST_DIMENSIONS:
        raise FeatureShapeError(
            f"Asked to align rows of {source.shape[1]:,} dimensions: that takes their "
            f"covariance, of at most {MOST_DIMENSIONS:,}. Take a pooled feature."
        )
    means = source.mean(axis=0), target.mean(axis=0)
    scale = np.sqrt((source.var(axis=0) + target.var(axis=0)) / 2)
    scale[scale == 0] = 1.0
    centered = [
        (rows - mean) / scale
        for rows, mean in zip((source, target), means, strict=True)
    ]
    of_source, of_target = (
        ledoit_wolf(rows, assume_centered=True) for rows in centered
    )
    moved = centered[0] @ _power(of_source[0], -0.5) @ _power(of_target[0], 0.5)
    return Alignment(
        (moved * scale + means[1]).astype(np.float32),
        (float(of_source[1]), float(of_target[1])),
    )


class Priors(NamedTuple):
    """Class shares of a target, and what they make of probabilities.

    Attributes:
      priors: [K] float64, estimated shares of the target; they add up to 1.
      probabilities: [M, K] float64, corrected for them.
    """

    priors: np.ndarray
    probabilities: np.ndarray


def priors_by_em(probabilities: ArrayLike, source_priors: ArrayLike) -> Priors:
    """Estimates a target's class shares by maximum likelihood, and corrects for them.

    It assumes that examples of a class look the same in both domains, and that the
    probabilities are calibrated in the source.

    Args:
      probabilities: [M, K], what a head gives for target examples.
      source_priors: [K], the class shares that it was trained on.

    Raises:
      DatasetError: There is no example, or the two do not fit each other.

    Reference:
      M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a Classifier
      to New a Priori Probabilities", Neural Computation 14(1), 2002, section 3.
    """
    shares, source = _checked_shares(probabilities, source_priors)
    priors = source
    for _ in range(_EM_STEPS):
        updated = _reweigh(shares, priors, source).mean(axis=0)
        done = np.abs(updated - priors).sum() < _EM_CHANGE
        priors = updated
        if done:
            break
    return Priors(priors, _reweigh(shares, priors, source))


def priors_by_bbse(
    probabilities: ArrayLike,
    source_priors: ArrayLike,
    *,
    held_targets: ArrayLike,
    held_probabilities: ArrayLike,
) -> Priors:
    """Estimates a target's class shares by how a head mistakes one class for another.

    Solves C w = q, with C the joint shares of predicted and true classes over held-out
    source examples, q the shares predicted in the target, w the ratio of the shares.
    Unlike `priors_by_em` it takes any head, calibrated or not. Ratios below 0, which
    only chance gives, count as 0.

    Args:
      probabilities: [M, K], what a head gives for target examples.
      source_priors: [K], the class shares that it was trained on.
      held_targets: [N] classes of source examples that it was not trained on.
      held_probabilities: [N, K], what it gives for those.

    Raises:
      DatasetError: There is no example, the arguments do not fit each other, a class
        has no held-out example, or the predictions do not tell the classes apart.

    Reference:
      Z. C. Lipton, Y.-X. Wang and A. J. Smola, "Detecting and Correcting for Label
      Shift with Black Box Predictors", ICML 2018, algorithm 1.
    """
    shares, source = _checked_shares(probabilities, source_priors)
    held, _ = _checked_shares(held_probabilities, source_priors)
    truth = np.asarray(held_targets)
    k = len(source)
    confusion = np.zeros((k, k))
    np.add.at(confusion, (held.argmax(axis=1), truth), 1 / len(truth))
    values = np.linalg.svd(confusion, compute_uv=False)
    if values[-1] <= _LEAST_SINGULAR * values[0]:
        raise DatasetError(
            f"Asked for class shares by the mistakes on {len(truth):,} held-out "
            f"examples: they do not tell all {k} classes apart. Hold out more of each."
        )
    predicted = np.bincount(shares.argmax(axis=1), minlength=k) / len(shares)
    ratio = np.maximum(np.linalg.solve(confusion, predicted), 0)
    # The ratio is to the shares of the held-out examples.
    priors = ratio * np.bincount(truth, minlength=k) / len(truth)
    priors /= priors.sum()
    return Priors(priors, _reweigh(shares, priors, source))


def _reweigh(shares: np.ndarray, priors: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Returns probabilities under other priors, Bayes' rule."""
    ratio = np.divide(priors, source, out=np.zeros(len(source)), where=source > 0)
    joint = shares * ratio
    total = joint.sum(axis=1, keepdims=True)
    # An example all of whose classes have no share keeps its own probabilities.
    return np.divide(joint, total, out=shares.copy(), where=total > 0)


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    # Directions without variance have nothing to whiten.
    kept = values > 1e-12 * max(values[-1], 1e-300)
    powers = np.where(kept, np.where(kept, values, 1.0) ** exponent, 0.0)
    return (vectors * powers) @ vectors.T


def _checked(source: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    shaped = source.ndim == target.ndim == 2 and source.shape[1] == target.shape[1]
    if not shaped or not source.shape[1]:
        raise FeatureShapeError(
            f"Asked to compare domains of shapes {list(source.shape)} and "
            f"{list(target.shape)}: both must be [N, D] with the same D. Compare the "
            "same feature of the same backbone."
        )
    return source, target


def _checked_shares(
    probabilities: ArrayLike, source_priors: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    shares = np.asarray(probabilities, np.float64)
    source = np.asarray(source_priors, np.float64)
    if source.ndim != 1 or shares.shape[1:] != source.shape or not len(shares):
        raise DatasetError(
            "Asked for class shares by probabilities of the shape "
            f"{list(shares.shape)} and source shares of {list(source.shape)}: they "
            "must be [M, K] and [K], and M at least 1."
        )
    return shares, source / source.sum()
