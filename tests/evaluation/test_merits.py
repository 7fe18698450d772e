import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, r2_score

from tl_pipeline.evaluation.merits import find_losses, find_merits
from tl_pipeline.tasks import Task


def test_their_means_are_the_accuracy_and_the_log_loss():
    rng = np.random.default_rng(0)
    outputs = rng.dirichlet(np.ones(3), (2, 50))
    targets = rng.integers(0, 3, 50)
    task = Task("multiclass", ("a", "b", "c"))
    merits = find_merits(task, targets, outputs)
    losses = find_losses(task, targets, outputs)
    assert merits.shape == losses.shape == (2, 50)
    for i in range(2):
        guess = outputs[i].argmax(axis=1)
        assert merits[i].mean() == pytest.approx(accuracy_score(targets, guess))
        assert losses[i].mean() == pytest.approx(log_loss(targets, outputs[i]))


def test_of_numbers_they_are_r2_and_the_squared_error():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 2))
    outputs = targets + rng.normal(size=(50, 2)) / 2
    task = Task("regression", ("x", "y"))
    merits = find_merits(task, targets, outputs)
    assert merits.mean() == pytest.approx(r2_score(targets, outputs))
    losses = find_losses(task, targets, outputs)
    assert losses.mean() == pytest.approx(mean_squared_error(targets, outputs))


def test_missing_targets_count_in_neither():
    task = Task("multilabel", ("x", "y"))
    targets = np.array([[1, np.nan], [0, 1]])
    outputs = np.array([[0.9, 0.1], [0.9, 0.8]])
    np.testing.assert_allclose(find_merits(task, targets, outputs), [1, 0.5])
    losses = find_losses(task, targets, outputs)
    np.testing.assert_allclose(losses, [-np.log(0.9), (-np.log(0.1) - np.log(0.8)) / 2])
    numbers = Task("regression", ("x", "y"))
    merits = find_merits(numbers, [[1, np.nan], [3, np.nan]], np.ones((2, 2)))
    np.testing.assert_allclose(merits, [1, 1 - 4])
