"""Selection: the lowest log loss, and of equals the simplest head."""

import numpy as np
import pytest

from tl_pipeline.errors import TrainingError
from tl_pipeline.evaluation.selection import choose
from tl_pipeline.tasks import Task


@pytest.mark.parametrize(
    ("losses", "strength", "expected"),
    [
        ([0.9, 0.3, 0.5], [1e-3, 1e-2, 1e-1], 1),
        ([0.3, 0.3, 0.5], [1e-3, 1e-2, 1e-1], 1),
        ([0.3, 0.3001, 0.31], [1e-3, 1e-2, 1e-1], 1),
        ([0.3, 0.3, 0.3], [1e-1, 1.0, 1e-2], 1),
        ([np.nan, np.inf, 0.5], [1.0, 10.0, 1e-3], 2),
    ],
)
def test_the_lowest_log_loss_wins_and_ties_go_to_the_stronger_penalty(
    losses, strength, expected
):
    scores = [{"log_loss": loss, "accuracy": 1 - loss} for loss in losses]
    assert choose(scores, strength=strength) == expected


def test_accuracy_that_is_only_luck_does_not_decide():
    scores = [{"accuracy": 1.0, "log_loss": 0.4}, {"accuracy": 0.97, "log_loss": 0.2}]
    assert choose(scores, strength=[1e-6, 1e-2]) == 1


@pytest.mark.parametrize("losses", [[], [np.nan, np.inf]])
def test_nothing_finite_to_choose_from_is_told(losses):
    with pytest.raises(TrainingError, match=f"among {len(losses)} heads, found none"):
        choose([{"log_loss": loss} for loss in losses], strength=[1.0] * len(losses))


def test_numbers_are_chosen_by_their_error_and_labels_by_their_log_loss():
    scores = [
        {"log_loss": 0.1, "root_mean_squared_error": 2.0},
        {"log_loss": 0.2, "root_mean_squared_error": 1.0},
        {"log_loss": 0.2, "root_mean_squared_error": 1.0001},
    ]
    numbers, labels = Task("regression", ("x",)), Task("multilabel", ("a",))
    strength = [1.0, 2.0, 3.0]
    assert choose(scores, strength=strength, task=numbers) == 2
    assert choose(scores, strength=strength, task=labels) == 0
    with pytest.raises(TrainingError, match="finite root mean squared error"):
        choose([], strength=[], task=numbers)
