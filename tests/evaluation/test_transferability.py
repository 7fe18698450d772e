import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.neighbors import KNeighborsClassifier

from tl_pipeline.evaluation.transferability import (
    cluster_agreement,
    description_bits,
    h_score,
    leep,
    logme,
    nce,
    neighbor_accuracy,
)


def make_task(n: int = 60, d: int = 5, *, pull: float = 2.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    features = rng.normal(size=(n, d)) + pull * np.eye(3, d)[targets]
    return features, targets


@pytest.mark.parametrize("n, d", [(60, 5), (20, 30)])
def test_logme_is_the_largest_evidence_of_a_gaussian_model(n: int, d: int):
    features, targets = make_task(n, d)

    def largest(label: np.ndarray) -> float:
        def loss(logs: np.ndarray) -> float:
            prior, noise = np.exp(logs)
            covariance = prior * features @ features.T + noise * np.eye(n)
            return -multivariate_normal.logpdf(label, cov=covariance)

        starts = [(-1.0, -1.0), (-3.0, -2.0), (0.0, -3.0)]
        return -min(minimize(loss, s, method="Nelder-Mead").fun for s in starts)

    wanted = np.mean([largest((targets == k).astype(float)) / n for k in range(3)])
    assert logme(features, targets, n_classes=3) == pytest.approx(wanted, abs=1e-4)


def test_logme_skips_classes_without_an_example():
    features, targets = make_task()
    three = logme(features, targets, n_classes=3)
    assert logme(features, targets, n_classes=7) == three


def test_h_score_of_a_worked_example():
    # One dimension: means -1 and 1, within-class variance 1/4; 1 / (1 + 1/4).
    features = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    assert h_score(features, np.array([0, 0, 1, 1])) == pytest.approx(1 / 1.25)


def test_h_score_is_the_same_in_any_basis_and_of_copied_dimensions():
    features, targets = make_task()
    turned = features @ np.random.default_rng(1).normal(size=(5, 5))
    wanted = h_score(features, targets)
    assert h_score(turned, targets) == pytest.approx(wanted)
    assert h_score(np.hstack([features, features]), targets) == pytest.approx(wanted)
    assert 0 < wanted <= 2


def test_leep_of_a_worked_example():
    source = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    targets = np.array([0, 0, 1])
    # P(y=0 | z) = 1.4 / 1.5, 0.6 / 1.5; P(y=1 | z) = 0.1 / 1.5, 0.9 / 1.5.
    expected = [
        0.8 * 1.4 / 1.5 + 0.2 * 0.6 / 1.5,
        0.6 * 1.4 / 1.5 + 0.4 * 0.6 / 1.5,
        0.1 * 0.1 / 1.5 + 0.9 * 0.9 / 1.5,
    ]
    assert leep(source, targets) == pytest.approx(np.log(expected).mean())


def test_nce_is_minus_the_conditional_entropy():
    source = np.eye(2)[[0, 0, 0, 1]]
    targets = np.array([0, 0, 1, 1])
    entropy = 3 / 4 * -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert nce(source, targets) == pytest.approx(-entropy)
    assert nce(np.eye(2)[targets], targets) == pytest.approx(0.0)


def test_neighbors_vote_as_scikit_learn_has_them():
    features, targets = make_task(200, pull=1.0)
    right = []
    for i in range(len(targets)):
        others = np.arange(len(targets)) != i
        knn = KNeighborsClassifier(5, metric="cosine", algorithm="brute")
        knn.fit(features[others], targets[others])
        right.append(knn.predict(features[[i]])[0] == targets[i])
    found = neighbor_accuracy(features, targets)
    assert found == pytest.approx(np.mean(right)) and 0.4 < found < 1


def test_clusters_agree_with_labels_that_are_far_apart():
    features, targets = make_task(pull=30.0)
    assert cluster_agreement(features, targets, n_classes=3) == pytest.approx(1.0)
    mixed = np.random.default_rng(0).permutation(targets)
    assert cluster_agreement(features, mixed, n_classes=3) < 0.2


def test_labels_cost_their_code_length():
    targets = np.array([0, 1, 0, 1])
    sure = np.eye(2)[targets[2:]]

    def cost(*heads: np.ndarray) -> float:
        return description_bits(targets, np.stack(heads), n_first=2, n_classes=2)

    # Two labels at a bit each; of the rest half the mixture is sure, half is not.
    assert cost(sure) == pytest.approx((2 - np.log2((1 + 1 / 4) / 2)) / 4)
    assert cost(np.full((2, 2), 0.5)) == pytest.approx(1.0)
    # Heads that are wrong cost no more than their share of the mixture.
    assert cost(1 - sure) == pytest.approx((2 - np.log2(1 / 8)) / 4)
    assert cost(sure, 1 - sure) < cost(1 - sure)


@pytest.mark.parametrize("measure", [logme, cluster_agreement])
def test_better_features_score_higher(measure):
    scores = [
        measure(*make_task(pull=pull), n_classes=3) for pull in (0.0, 1.0, 2.0, 4.0)
    ]
    assert scores == sorted(scores)


def test_constant_features_and_single_rows_have_a_score():
    features, targets = np.ones((6, 3)), np.array([0, 1, 2, 0, 1, 2])
    for value in (
        logme(features, targets, n_classes=3),
        logme(0 * features, targets, n_classes=3),
        h_score(features, targets),
        neighbor_accuracy(features, targets),
        leep(features / 3, targets),
    ):
        assert np.isfinite(value)
    with pytest.raises(ValueError, match="takes"):
        h_score(features, targets[:2])
