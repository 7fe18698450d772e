"""Linear heads of labels: scikit-learn's optimum for each, whatever is missing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tl_pipeline.errors import DatasetError
from tl_pipeline.heads.fitting import fit_heads
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.linear_labels import fit_linear_labels
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.heads.solver import advance
from tl_pipeline.tasks import Task

L2 = [0.3, 1e-3]


def three_labels() -> tuple[np.ndarray, np.ndarray]:
    """Rows of 12 features; of the labels the second is known of a half, one is rare."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12)).astype(np.float32)
    scores = features @ rng.normal(size=(12, 3)) + rng.normal(size=(300, 3))
    targets = (scores > [0, 1, 5]).astype(np.float32)
    targets[rng.permutation(300)[:150], 1] = np.nan
    targets[:4] = np.nan
    return features, targets


def objective(features, truth, weight, l2: float, kernel, bias) -> float:
    logits = features.astype(np.float64) @ kernel.astype(np.float64) + bias
    losses = np.logaddexp(0, logits) - truth * logits
    return np.average(losses, weights=weight) + l2 / 2 * np.sum(np.square(kernel))


def test_each_label_reaches_the_optimum_of_scikit_learn_on_the_rows_that_know_it():
    features, targets = three_labels()
    weight = np.random.default_rng(1).uniform(0, 2, (2, 300))
    weight[0, ::3] = 0
    heads = fit_linear_labels(features, targets, l2=L2, sample_weight=weight)
    assert heads.kernel.shape == (2, 12, 3) and heads.converged.all()
    for head, l2 in enumerate(L2):
        ours, theirs = [], []
        for label in range(3):
            known = ~np.isnan(targets[:, label]) & (weight[head] > 0)
            rows, truth = features[known].astype(np.float64), targets[known, label]
            mass = weight[head, known]
            oracle = LogisticRegression(
                C=sklearn_c(l2, mass.sum()), tol=1e-9, max_iter=5000
            ).fit(rows, truth, sample_weight=mass)
            problem = rows, truth, mass, l2
            ours.append(
                objective(
                    *problem, heads.kernel[head, :, label], heads.bias[head, label]
                )
            )
            theirs.append(objective(*problem, oracle.coef_[0], oracle.intercept_[0]))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
        np.testing.assert_allclose(heads.loss[head], np.mean(ours), rtol=1e-4)


def test_labels_of_different_rows_share_one_compilation():
    features, targets = three_labels()
    fit_linear_labels(features, targets[:, :1], l2=L2)
    before = advance._cache_size()
    fit_linear_labels(features, targets, l2=L2)
    assert advance._cache_size() == before


def test_a_label_of_one_value_is_predicted_with_certainty_and_spoils_no_other():
    features, targets = three_labels()
    alone = fit_linear_labels(features, targets, l2=L2)
    first = np.arange(300) % 2 == 0
    targets[4:, 2] = ~first[4:]
    weight = np.stack([first, ~first]).astype(float)
    heads = fit_linear_labels(features, targets, l2=[0.1] * 2, sample_weight=weight)
    assert heads.bias[:, 2].tolist() == [-20, 20]
    assert not heads.kernel[:, :, 2].any() and heads.converged.all()
    targets[4:, 2] = 0
    beside = fit_linear_labels(features, targets, l2=L2)
    np.testing.assert_allclose(
        beside.kernel[:, :, :2], alone.kernel[:, :, :2], atol=1e-6
    )


def test_what_is_no_label_or_not_known_at_all_is_named():
    features, targets = three_labels()
    with pytest.raises(DatasetError, match=r"found 2\.0: a label is 0, 1"):
        fit_linear_labels(features, targets * 2, l2=L2)
    targets[50:, 1] = np.nan
    weight = np.stack([np.arange(300) < 100, np.arange(300) >= 50])
    with pytest.raises(DatasetError, match="in column 1, which is not known"):
        fit_linear_labels(features, targets, l2=L2, sample_weight=weight)


def test_a_linear_head_of_labels_is_fitted_and_used_like_any_other():
    features, targets = three_labels()
    task = Task("multilabel", ("a", "b", "c"))
    heads = fit_heads(
        "linear",
        features,
        targets,
        task=task,
        settings=[{"l2": l2} for l2 in L2],
        weight=np.ones((2, 300)),
    )
    assert [head.settings for head in heads] == [{"l2": l2} for l2 in L2]
    outputs, needed = KINDS["linear"]
    assert set(needed) == set(heads[1].arrays)
    logits = outputs(heads[1].arrays, heads[1].settings, features)
    known = ~np.isnan(targets)
    assert np.mean((logits > 0)[known] == targets[known]) > 0.85
