"""Greedy selection with replacement, against doing it by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from tl_pipeline.evaluation.ensembles import select_members
from tl_pipeline.tasks import Task

THREE = Task("multiclass", ("a", "b", "c"))


def shares(n_heads: int, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), (n_heads, n))


def test_each_head_taken_is_the_one_of_least_log_loss_with_those_before():
    targets, outputs = np.arange(20) % 3, shares(6, 20, 0)
    taken: list[int] = []
    by_length = []
    for _ in range(7):
        losses = [
            log_loss(targets, outputs[[*taken, more]].mean(axis=0)) for more in range(6)
        ]
        taken.append(int(np.argmin(losses)))
        by_length.append(min(losses))
    best = int(np.argmin(by_length)) + 1
    expected = np.bincount(taken[:best], minlength=6)
    found = select_members(THREE, targets, outputs, most=7)
    assert found.tolist() == expected.tolist() and len(set(taken[:best])) > 1


def test_two_heads_that_err_oppositely_are_joined_and_a_perfect_one_stays_alone():
    task = Task("regression", ("height", "weight"))
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(30, 2))
    error = rng.normal(size=(30, 2))
    targets[3, 1] = np.nan
    known = np.nan_to_num(targets)
    outputs = np.stack([known + 9, known + error, known - error])
    found = select_members(task, targets, outputs, most=4)
    assert found.tolist() == [0, 1, 1]
    outputs[0] = known
    assert select_members(task, targets, outputs, most=4).tolist() == [1, 0, 0]


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_a_head_that_failed_is_never_taken(kind: Any):
    task = Task(kind, ("no", "yes"))
    targets = np.array([0, 1, 1, 0])
    if kind == "multilabel":
        targets = np.stack([targets, 1 - targets], axis=1).astype(np.float64)
    outputs = np.random.default_rng(2).dirichlet(np.ones(2), (3, 4))
    outputs[1] = np.nan
    found = select_members(task, targets, outputs, most=5)
    assert found[1] == 0 and found.sum() > 0


def test_no_more_heads_are_taken_than_asked_for():
    targets, outputs = np.arange(40) % 3, shares(9, 40, 3)
    sums = [select_members(THREE, targets, outputs, most=n).sum() for n in (1, 2, 30)]
    assert sums[0] == 1 and all(a <= b for a, b in itertools.pairwise(sums))
    assert sums[1] == 2
