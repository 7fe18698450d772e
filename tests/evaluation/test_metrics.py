"""Metrics: scikit-learn's figures, whatever classes the split happens to hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.metrics import METRICS, count_confusions, score
from tl_pipeline.tasks import Task


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, n_classes = draw(st.integers(1, 30)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sharpness = draw(st.sampled_from([0.1, 1.0, 30.0]))
    logits = rng.normal(size=(n, n_classes)) * sharpness
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return rng.integers(0, n_classes, n), probabilities


@given(scored())
@settings(max_examples=40)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_metrics_are_those_of_scikit_learn(case):
    targets, probabilities = case
    predicted = probabilities.argmax(axis=1)
    labels = list(range(probabilities.shape[1]))
    found = score(targets, probabilities)
    assert tuple(found) == METRICS
    assert found == pytest.approx(
        {
            "accuracy": metrics.accuracy_score(targets, predicted),
            "balanced_accuracy": metrics.balanced_accuracy_score(targets, predicted),
            "f1_macro": metrics.f1_score(targets, predicted, average="macro"),
            "log_loss": metrics.log_loss(targets, probabilities, labels=labels),
        },
        abs=1e-12,
    )
    task = Task("multiclass", tuple(map(str, labels)))
    confusion = np.zeros((len(labels), len(labels)), int)
    for target, guess, n in count_confusions(task, targets, probabilities):
        assert n and not confusion[target, guess]
        confusion[target, guess] = n
    np.testing.assert_array_equal(
        confusion, metrics.confusion_matrix(targets, predicted, labels=labels)
    )


def test_a_class_that_no_example_has_counts_in_no_mean():
    probabilities = np.eye(4)[[0, 0, 1, 3]]
    found = score([0, 0, 1, 1], probabilities)
    assert found["balanced_accuracy"] == 0.75  # class 3 is predicted, class 2 is not
    assert found["f1_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "without labeled examples"),
        ([0, 1], np.ones((1, 2)), r"shape \[2\], probabilities \[1, 2\]"),
        ([0], np.ones((1, 1)), "K of at least 2"),
        ([2], [[0.5, 0.5]], "targets from 2 to 2 by the probabilities of 2"),
        ([0, 1], [[0.5, 0.5], [np.nan, 1]], "2 rows .* of which 1 are not finite"),
    ],
)
def test_what_cannot_be_scored_gets_one_sentence(targets, probabilities, message):
    with pytest.raises(DatasetError, match=message):
        score(targets, probabilities)
