"""How well features would serve a task, told from the features: nothing is trained.

All measures are higher for better features but `description_bits`. None has units that
compare across tasks: they rank features for one task. LogME, H-score and NMI see
features and labels; LEEP and NCE the source model's own classes instead.
"""

import warnings

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score

_MOST_STEPS = 100  # of LogME's fixed point, which settles in about ten
_BLOCK = 1024  # rows compared with all others at once


def logme(features: ArrayLike, targets: ArrayLike, *, n_classes: int) -> float:
    """Returns the log evidence of the labels, per example and class.

    Each class's indicator is taken for a linear function of the features with a
    Gaussian prior and Gaussian noise, whose two scales maximize the evidence.

    Args:
      features: [N, D] floating.
      targets: [N] class indices.
      n_classes: K; the mean is over classes that have an example.

    Reference:
      K. You, Y. Liu, J. Wang and M. Long, "LogME: Practical Assessment of Pre-trained
      Models for Transfer Learning", ICML 2021, algorithm 1; the fixed point is that of
      "Ranking and Tuning Pre-trained Models", JMLR 2022.
    """
    x, y = _checked(features, targets)
    n = len(x)
    labels = np.eye(n_classes)[y]  # [N, K]
    # Of the smaller of the two Gram matrices; the evidence needs no more of x.
    wide = x.shape[1] > n
    squares, axes = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = squares > squares.max() * max(x.shape) * np.finfo(np.float64).eps
    squares, axes = squares[kept], axes[:, kept]
    if wide:
        projected = (axes.T @ labels) ** 2
    else:
        projected = (axes.T @ (x.T @ labels)) ** 2 / squares[:, None]
    counts = labels.sum(axis=0)
    found = [
        _evidence(projected[:, k], counts[k], squares, n)
        for k in np.flatnonzero(counts)
    ]
    return float(np.mean(found))


def _evidence(
    projected: np.ndarray, total: float, squares: np.ndarray, n: int
) -> float:
    """Maximizes the evidence of one label, per example.

    Args:
      projected: [R] squares of the label's coordinates along the features.
      total: The label's squared norm.
      squares: [R] squared singular values of the features.
      n: N.
    """
    rest = max(total - projected.sum(), 0.0)
    ratio = 1.0  # the weights' precision over the noise's
    alpha = beta = 1.0
    for _ in range(_MOST_STEPS):
        shrunk = squares / (squares + ratio)
        weights = (squares * projected / (squares + ratio) ** 2).sum()
        residual = (projected * (1 - shrunk) ** 2).sum() + rest
        effective = shrunk.sum()
        # A label that is fitted exactly, or not at all, has a scale of no bound.
        alpha = max(effective, 1e-12) / max(weights, 1e-12)
        beta = max(n - effective, 1e-12) / max(residual, 1e-12)
        before, ratio = ratio, alpha / beta
        if abs(ratio - before) <= 1e-6 * before:
            break
    shrunk = squares / (squares + ratio)
    weights = (squares * projected / (squares + ratio) ** 2).sum()
    residual = (projected * (1 - shrunk) ** 2).sum() + rest
    evidence = (
        len(squares) * np.log(alpha)
        + n * np.log(beta)
        - np.log(alpha + beta * squares).sum()
        - beta * residual
        - alpha * weights
        - n * np.log(2 * np.pi)
    ) / 2
    return float(evidence / n)


def h_score(features: ArrayLike, targets: ArrayLike) -> float:
    """Returns the variance between classes relative to that of the features.

    `tr(pinv(cov(features)) @ cov(class means))`: 0 where class means coincide, at most
    min(D, K - 1).

    Args:
      features: [N, D] floating.
      targets: [N] class indices.

    Reference:
      Y. Bao et al., "An Information-Theoretic Approach to Transferability in Task
      Transfer Learning", ICIP 2019, definition 2.
    """
    x, y = _checked(features, targets)
    x = x - x.mean(axis=0)
    means = np.zeros_like(x)
    for k in np.unique(y):
        means[y == k] = x[y == k].mean(axis=0)
    covariance, between = x.T @ x / len(x), means.T @ means / len(x)
    return float(np.trace(np.linalg.pinv(covariance, hermitian=True) @ between))


def leep(source: ArrayLike, targets: ArrayLike) -> float:
    """Returns the mean log-likelihood of the labels through the source's classes.

    A label is predicted by what labels its source classes go with: `sum over z of
    P(y | z) P(z | x)`, `P(y | z)` counted on the same examples. At most 0.

    Args:
      source: [N, Z] the source model's probabilities, from its logits.
      targets: [N] class indices.

    Reference:
      C. V. Nguyen, T. Hassner, M. Seeger and C. Archambeau, "LEEP: A New Measure to
      Evaluate Transferability of Learned Representations", ICML 2020, equation 2.
    """
    shares, y = _checked(source, targets)
    joint = np.zeros((y.max() + 1, shares.shape[1]))
    np.add.at(joint, y, shares / len(y))
    given = joint / np.maximum(joint.sum(axis=0), np.finfo(np.float64).tiny)
    expected = (shares * given[y]).sum(axis=1)
    return float(np.log(np.maximum(expected, np.finfo(np.float64).tiny)).mean())


def nce(source: ArrayLike, targets: ArrayLike) -> float:
    """Returns minus the entropy, in nats, of the labels given the source's best class.

    Args:
      source: [N, Z] the source model's probabilities or logits.
      targets: [N] class indices.

    Reference:
      A. T. Tran, C. V. Nguyen and T. Hassner, "Transferability and Hardness of
      Supervised Classification Tasks", ICCV 2019, section 4.
    """
    scores, y = _checked(source, targets)
    return leep(np.eye(scores.shape[1])[scores.argmax(axis=1)], y)


def neighbor_accuracy(features: ArrayLike, targets: ArrayLike, *, k: int = 5) -> float:
    """Returns how often the k nearest others, by cosine, vote for an example's label.

    Args:
      features: [N, D] floating, N at least 2.
      targets: [N] class indices; of equal votes the lowest index wins.
      k: Neighbors, fewer where there are not so many others.
    """
    x, y = _checked(features, targets)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit = (x / np.where(norms == 0, 1.0, norms)).astype(np.float32)
    k = min(k, len(x) - 1)
    votes = np.eye(y.max() + 1)
    right = 0
    for start in range(0, len(x), _BLOCK):
        cosine = unit[start : start + _BLOCK] @ unit.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -np.inf
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        found = votes[y[nearest]].sum(axis=1).argmax(axis=1)
        right += int((found == y[start : start + _BLOCK]).sum())
    return right / len(x)


def cluster_agreement(
    features: ArrayLike, targets: ArrayLike, *, n_classes: int, seed: int = 0
) -> float:
    """Returns the normalized mutual information of k-means clusters and labels.

    Args:
      features: [N, D] floating.
      targets: [N] class indices.
      n_classes: As many clusters, at most N.
      seed: Of the ten starts of k-means.
    """
    x, y = _checked(features, targets)
    means = KMeans(
        min(n_classes, len(x)),
        n_init=10,  # pyright: ignore[reportArgumentType]
        random_state=seed,
    )
    with warnings.catch_warnings():  # rows that are all alike make fewer clusters
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = means.fit_predict(x)
    return float(normalized_mutual_info_score(y, clusters))


def description_bits(
    targets: ArrayLike, probabilities: ArrayLike, *, n_first: int, n_classes: int
) -> float:
    """Returns the bits an example that the labels still cost, given the features.

    The prequential code: the first labels are sent at log2 K bits each; then every
    block by a head that was trained on all labels before it. The better the features,
    the sooner labels are cheap. Of several heads, and of none, the Bayesian mixture
    sends them, so that labels never cost more than log2 K and a fraction of a bit. It
    is the computable form of the labels' Kolmogorov complexity given the features.

    Args:
      targets: [N] class indices, in the order in which they are sent.
      probabilities: [S, N - n_first, K] by S kinds of heads, each row by the head that
        sends its label.
      n_first: Labels sent before any head.
      n_classes: K.

    Reference:
      L. Blier and Y. Ollivier, "The Description Length of Deep Learning Models",
      NeurIPS 2018, section 3.3; E. Voita and I. Titov, "Information-Theoretic Probing
      with Minimum Description Length", EMNLP 2020.
    """
    y = np.asarray(targets)
    shares = np.asarray(probabilities, np.float64)
    own = shares[:, np.arange(shares.shape[1]), y[n_first:]]
    sent = np.log2(np.maximum(own, np.finfo(np.float64).tiny)).sum(axis=1)
    by_none = -(len(y) - n_first) * np.log2(n_classes)
    mixed = np.logaddexp2.reduce([*sent, by_none]) - np.log2(len(sent) + 1)
    return float((n_first * np.log2(n_classes) - mixed) / len(y))


def _checked(rows: ArrayLike, targets: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(rows, np.float64), np.asarray(targets)
    if x.ndim != 2 or len(x) != len(y) or not len(x):
        raise ValueError(
            f"Transferability of rows of shape {list(x.shape)} and {len(y)} targets: "
            "it takes [N, D] and [N], N at least 1."
        )
    return x, y
