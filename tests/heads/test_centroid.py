"""Class means: the nearest by angle, and cosines stretched to honest probabilities."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import cosine_similarity

from tl_pipeline.errors import ConfigError, DatasetError
from tl_pipeline.heads.centroid import centroid_outputs, fit_centroid
from tl_pipeline.heads.fitting import fit_heads
from tl_pipeline.heads.links import softmax
from tl_pipeline.tasks import Task

TEN = Task("multiclass", tuple("0123456789"))


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    features, targets = load_digits(return_X_y=True)
    features = (features - features[:900].mean(axis=0)).astype(np.float32)
    return features[:900], targets[:900], features[900:], targets[900:]


def logits_of(features, targets, rows, *, task=TEN, weight=None):
    weight = np.ones((1, len(targets))) if weight is None else weight
    heads = fit_heads(
        "centroid", features, targets, task=task, settings=[{}], weight=weight
    )
    return centroid_outputs(heads[0].arrays, heads[0].settings, rows)


def test_logits_are_scaled_cosines_with_the_weighted_means():
    features, targets, unseen, _ = digits()
    weight = np.random.default_rng(0).uniform(size=(2, 900))
    weight[1, ::2] = 0
    heads = fit_centroid(features, targets, TEN, weight=weight)
    for head in range(2):
        means = [
            np.average(features[targets == k], axis=0, weights=row)
            for k in range(10)
            for row in [weight[head, targets == k]]
        ]
        expected = heads.scale[head] * cosine_similarity(unseen, np.stack(means))
        arrays = {"centroid": heads.centroid[head], "bias": heads.bias[head]}
        found = centroid_outputs(arrays, {"task": "multiclass"}, unseen)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_probabilities_are_near_the_best_that_a_scale_can_make_of_unseen_rows():
    # Few rows of many features lie far nearer to means that they are in.
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 10, 3000)
    rows = 0.2 * rng.normal(size=(10, 200))[truth] + rng.normal(size=(3000, 200))
    logits = logits_of(rows[:100], truth[:100], rows[100:])
    loss = log_loss(truth[100:], softmax(logits))
    factors = np.exp(np.linspace(-2, 2, 81))
    best = min(log_loss(truth[100:], softmax(factor * logits)) for factor in factors)
    assert loss < 1.05 * best
    assert np.mean(logits.argmax(axis=1) == truth[100:]) > 0.4


def test_a_binary_head_has_the_difference_of_both_logits():
    features, targets, unseen, _ = digits()
    kept = targets < 2
    pair = logits_of(
        features[kept], targets[kept], unseen, task=Task("multiclass", ("0", "1"))
    )
    one = logits_of(
        features[kept], targets[kept], unseen, task=Task("binary", ("0", "1"))
    )
    np.testing.assert_allclose(one, pair[:, 1:] - pair[:, :1], atol=1e-9)


def test_an_absent_class_is_never_predicted_and_rows_of_zeros_are_no_error():
    features, targets, unseen, _ = digits()
    weight = (targets != 3)[None].astype(float)
    features[5] = 0
    logits = logits_of(features, targets, unseen, weight=weight)
    assert softmax(logits)[:, 3].max() < 1e-12
    assert np.isfinite(logits_of(features, targets, 0 * unseen)).all()
    first = np.unique(targets, return_index=True)[1]  # one example a class
    assert np.isfinite(logits_of(features[first], targets[first], unseen)).all()


def test_what_has_no_classes_is_refused_in_one_sentence():
    features, targets, _, _ = digits()
    for kind in ("regression", "multilabel"):
        with pytest.raises(ConfigError, match=f"for a {kind} task: they know classes"):
            logits_of(features, targets[:, None], features, task=Task(kind, ("a",)))
    weight = (targets == 3)[None].astype(float)
    with pytest.raises(DatasetError, match="10 classes apart, found .* of 1"):
        logits_of(features, targets, features, weight=weight)
