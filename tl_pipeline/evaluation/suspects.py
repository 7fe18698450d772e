"""Labels that are probably wrong, by cross-validated confident learning."""

import warnings
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Principal components that are learned from: the cost of a fold grows with them, and
# of 1,280 dimensions the rest told no suspect from another.
MOST_COMPONENTS = 256


class Suspects(NamedTuple):
    """Examples whose label is probably wrong, the least believed first.

    Attributes:
      rows: [S] positions.
      suggested: [S] class indices.
      confidence: [S] out-of-sample probability of the label itself.
    """

    rows: np.ndarray
    suggested: np.ndarray
    confidence: np.ndarray


def find_suspects(targets: ArrayLike, probabilities: ArrayLike) -> Suspects:
    """Finds examples that are confidently of another class than their label.

    A class is confident of an example if it gives it at least the probability that it
    gives, on average, to the examples labeled so. An example counts as the likeliest
    of the classes that are confident of it; where that is not its label, it is a
    suspect. The thresholds are what makes this right for classes that a model is
    unsure of, or too sure of.

    Args:
      targets: [N] class indices.
      probabilities: [N, K], each row predicted by a model that did not see it.

    Reference:
      C. G. Northcutt, L. Jiang and I. L. Chuang, "Confident Learning: Estimating
      Uncertainty in Dataset Labels", JAIR 2021: the confident joint, equation 1, and
      pruning by its off-diagonals.
    """
    targets, shares = np.asarray(targets), np.asarray(probabilities, np.float64)
    own = shares[np.arange(len(targets)), targets]
    n_classes = shares.shape[1]
    counts = np.bincount(targets, minlength=n_classes)
    sums = np.bincount(targets, own, minlength=n_classes)
    # A class without an example is confident of nothing.
    threshold = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    # Between rounding errors of the mean and of the shares, equal is confident.
    confident = shares >= threshold - 1e-12
    likeliest = np.where(confident, shares, -1.0).argmax(axis=1)
    rows = np.flatnonzero(confident.any(axis=1) & (likeliest != targets))
    rows = rows[np.argsort(own[rows], kind="stable")]
    return Suspects(rows, likeliest[rows], own[rows])


def assign_folds(
    targets: ArrayLike,
    units: Sequence[Hashable],
    *,
    n_folds: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Deals examples into folds: each class evenly, a unit never into two.

    Args:
      targets: [N] class indices.
      units: N names of what must stay together: the same bytes, or a group. Otherwise
        a model would have seen what it is asked about.
      n_folds: How many folds.
      rng: Shuffles before dealing.

    Returns:
      [N] fold numbers.
    """
    targets = np.asarray(targets)
    first: dict[Hashable, int] = {}
    for row, unit in enumerate(units):
        first.setdefault(unit, row)
    rows = np.fromiter(first.values(), np.int64, len(first))
    fold_of: dict[int, int] = {}
    for target in np.unique(targets[rows]):
        members = rng.permutation(rows[targets[rows] == target])
        # Each class starts where the last one ended, so that folds are even.
        for place, row in enumerate(members.tolist(), start=len(fold_of)):
            fold_of[row] = place % n_folds
    return np.array([fold_of[first[unit]] for unit in units], np.int64)


def predict_held_out(
    features: ArrayLike,
    targets: ArrayLike,
    folds: ArrayLike,
    *,
    n_classes: int,
    seed: int,
    strength: float = 0.01,
) -> np.ndarray:
    """Predicts each example by a logistic regression fitted to the other folds.

    Features are standardized and turned to principal components over all rows: no
    label takes part in that.

    Args:
      features: [N, D] floating.
      targets: [N] class indices below `n_classes`.
      folds: [N] fold numbers, from `assign_folds`.
      n_classes: K.
      seed: Of the randomized singular value decomposition.
      strength: L2 strength a row, as in the heads: `C = 1 / (strength * N)`.

    Returns:
      [N, K] float64. A class that no other fold holds gets 0; rows whose other folds
      hold fewer than two classes get NaN.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    targets, folds = np.asarray(targets), np.asarray(folds)
    inputs = _reduce(np.asarray(features, np.float32), seed)
    shares = np.zeros((len(targets), n_classes))
    for fold in np.unique(folds):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        classes = np.unique(targets[rest])
        if len(classes) < 2:
            shares[held] = np.nan
            continue
        model = LogisticRegression(C=1 / (strength * len(rest)), max_iter=300, tol=1e-2)
        with warnings.catch_warnings():
            # A fit that is nearly done ranks suspects as well as one that is.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs[rest], targets[rest])
        shares[np.ix_(held, classes)] = model.predict_proba(inputs[held])
    return shares


def _reduce(features: np.ndarray, seed: int) -> np.ndarray:
    """Standardizes and, of many dimensions, keeps `MOST_COMPONENTS` components."""
    from sklearn.decomposition import PCA

    std = features.std(axis=0, dtype=np.float64)
    centered = features - features.mean(axis=0, dtype=np.float64)
    rows = (centered / np.where(std > 0, std, 1)).astype(np.float32)
    if min(rows.shape) <= MOST_COMPONENTS:
        return rows
    pca = PCA(
        MOST_COMPONENTS,
        svd_solver="randomized",
        iterated_power=2,  # pyright: ignore[reportArgumentType]
        random_state=seed,
    )
    return pca.fit_transform(rows)
